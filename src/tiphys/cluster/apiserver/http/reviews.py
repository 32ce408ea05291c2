"""Questions about identity and access: posted like objects, answered at once, never stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from tiphys.cluster.apiserver.http.rbac import Attributes, Rbac
from tiphys.cluster.apiserver.ownership import owned_once
from tiphys.cluster.apiserver.problems import bad_request, invalid, invalid_value, required
from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.tokens import Refused, ServiceAccountTokens
from tiphys.cluster.apiserver.users import MASTERS, User

AUTHORIZATION: Final = "authorization.k8s.io/v1"
AUTHENTICATION: Final = "authentication.k8s.io/v1"
_KINDS: Final = (
    "SelfSubjectReview",
    "SelfSubjectAccessReview",
    "SubjectAccessReview",
    "LocalSubjectAccessReview",
    "SelfSubjectRulesReview",
    "TokenReview",
)


def is_review(kind: str) -> bool:
    return kind in _KINDS


@dataclass(frozen=True)
class Asker:
    """Who asks, when, and as which manager of fields."""

    user: User
    now: str
    manager: str = ""


def answer(kind: str, body: Mapping[str, Any], asker: Asker, rbac: Rbac, tokens: ServiceAccountTokens) -> Object:
    """The review with its status; raises BadRequest, Invalid."""
    user, now = asker.user, asker.now
    if kind == "TokenReview":
        return _token_review(body, asker, tokens)
    if kind == "SelfSubjectReview":
        meta = {"creationTimestamp": now}
        head = {"kind": kind, "apiVersion": AUTHENTICATION, "metadata": meta}
        return head | {"status": {"userInfo": user.info()}}
    meta, spec = dict(body.get("metadata") or {}), dict(body.get("spec") or {})
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


def _token_review(body: Mapping[str, Any], asker: Asker, tokens: ServiceAccountTokens) -> Object:
    """Whether a token is good, for whom, and for which of the wanted audiences."""
    spec = dict(body.get("spec") or {})
    token = str(spec.get("token") or "")
    if not token:
        raise bad_request("token is required for TokenReview in authentication")
    status: Object
    try:
        found = tokens.review(token, spec.get("audiences") or ())
    except Refused as err:
        status = {"user": {}, "error": f"[invalid bearer token, {err}]"}
    else:
        if found is None:
            status = {"user": {}, "error": "invalid bearer token"}
        else:
            status = {"authenticated": True, "user": found.user.info(), "audiences": list(found.audiences)}
    meta = dict(body.get("metadata") or {})
    if asker.manager:
        meta["managedFields"] = [owned_once(AUTHENTICATION, {"spec": spec}, asker.manager, asker.now)]
    return {"kind": "TokenReview", "apiVersion": AUTHENTICATION, "metadata": meta, "spec": spec, "status": status}


def _rules(user: User, namespace: str, rbac: Rbac) -> Object:
    rules = [dict(rule) for rule in rbac.rules(user, namespace)]
    if MASTERS in user.groups and not rules:
        everything = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
        paths = {"verbs": ["*"], "nonResourceURLs": ["*"]}
        return {"resourceRules": [everything], "nonResourceRules": [paths], "incomplete": False}
    return {
        "resourceRules": [rule for rule in rules if rule.get("resources")],
        "nonResourceRules": [rule for rule in rules if rule.get("nonResourceURLs")],
        "incomplete": False,
    }
