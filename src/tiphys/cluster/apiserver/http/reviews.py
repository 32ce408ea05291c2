"""Questions about identity and access: posted like objects, answered at once, never stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tiphys.cluster.apiserver.http.identity import MASTERS, User
from tiphys.cluster.apiserver.http.rbac import Attributes, Rbac
from tiphys.cluster.apiserver.problems import invalid, invalid_value, required
from tiphys.cluster.apiserver.record import Object

AUTHORIZATION: Final = "authorization.k8s.io/v1"
AUTHENTICATION: Final = "authentication.k8s.io/v1"
_KINDS: Final = (
    "SelfSubjectReview",
    "SelfSubjectAccessReview",
    "SubjectAccessReview",
    "LocalSubjectAccessReview",
    "SelfSubjectRulesReview",
)


def is_review(kind: str) -> bool:
    return kind in _KINDS


def answer(kind: str, body: Mapping[str, Any], user: User, rbac: Rbac, now: str) -> Object:
    """The review with its status; raises Invalid."""
    spec = dict(body.get("spec") or {})
    if kind == "SelfSubjectReview":
        meta = {"creationTimestamp": now}
        head = {"kind": kind, "apiVersion": AUTHENTICATION, "metadata": meta}
        return head | {"status": {"userInfo": _info(user)}}
    meta = dict(body.get("metadata") or {})
    head = {"kind": kind, "apiVersion": AUTHORIZATION, "metadata": meta, "spec": spec}
    if kind == "SelfSubjectRulesReview":
        return head | {"status": _rules(user, str(spec.get("namespace") or ""), rbac)}
    asked = _attributes(kind, spec)
    who = user if kind == "SelfSubjectAccessReview" else _named(spec)
    allowed = rbac.allows(who, asked)
    return head | {"status": {"allowed": allowed}}


def _attributes(kind: str, spec: Mapping[str, Any]) -> Attributes:
    resource, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if (resource is None) == (path is None):
        text = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        raise invalid(kind, "authorization.k8s.io", "", [invalid_value("spec.resourceAttributes", resource, text)])
    if kind != "SelfSubjectAccessReview" and not (spec.get("user") or spec.get("groups")):
        raise invalid(kind, "authorization.k8s.io", "", [required("spec.user")])
    if path is not None:
        return Attributes(str(path.get("verb", "")), path=str(path.get("path", "")))
    given = resource or {}
    names = ("verb", "group", "resource", "subresource", "namespace", "name")
    return Attributes(**{name: str(given.get(name) or "") for name in names})


def _named(spec: Mapping[str, Any]) -> User:
    return User(str(spec.get("user") or ""), tuple(spec.get("groups") or ()), str(spec.get("uid") or ""))


def _info(user: User) -> Object:
    info: Object = {"username": user.name, "groups": list(user.groups)}
    if user.uid:
        info["uid"] = user.uid
    if user.extra:
        info["extra"] = {key: list(values) for key, values in user.extra.items()}
    return info


def _rules(user: User, namespace: str, rbac: Rbac) -> Object:
    if MASTERS in user.groups:
        everything = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
        paths = {"verbs": ["*"], "nonResourceURLs": ["*"]}
        return {"resourceRules": [everything], "nonResourceRules": [paths], "incomplete": False}
    rules = [dict(rule) for rule in rbac.rules(user, namespace)]
    return {
        "resourceRules": [rule for rule in rules if rule.get("resources")],
        "nonResourceRules": [rule for rule in rules if rule.get("nonResourceURLs")],
        "incomplete": False,
    }
