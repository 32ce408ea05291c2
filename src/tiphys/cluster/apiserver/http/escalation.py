"""Nobody grants more than he has: writes of roles and bindings are judged by the rules that they would give.

A role may be written by who holds all its rules or the verb ``escalate`` on it; a binding by who holds all the rules of
the role it refers to or the verb ``bind`` on that. A role that gathers the rules of others, or did so before, may be
written only by who holds everything: which rules come together in it is not known beforehand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from tiphys.cluster.apiserver.admission.chain import Attributes, Step
from tiphys.cluster.apiserver.http import rbac as roles
from tiphys.cluster.apiserver.http.rbac import GROUP, Rbac, Rule, covers
from tiphys.cluster.apiserver.problems import forbidden, not_found, shown
from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.registry import ResourceInfo
from tiphys.cluster.apiserver.users import User

_ROLES: Final = ("roles", "clusterroles")
_BINDINGS: Final = ("rolebindings", "clusterrolebindings")

_EVERYTHING: Final[Sequence[Rule]] = (
    {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
    {"verbs": ["*"], "nonResourceURLs": ["*"]},
)


def step(rbac: Rbac) -> Step:
    """The last step of admission: what is judged is what is stored, whatever others write meanwhile."""

    def check_request(request: Attributes) -> None:
        resource = request.info.resource
        grants = resource.group == GROUP and resource.plural in (*_ROLES, *_BINDINGS)
        if grants and request.obj is not None and request.operation in ("CREATE", "UPDATE"):
            check(request.info, request.obj, request.old, request.user, rbac)

    return check_request


def check(info: ResourceInfo, obj: Object, old: Object | None, user: User, rbac: Rbac) -> None:
    """Raises Forbidden where ``obj``, about to be written, would grant what the user does not hold; ``old`` is what it
    takes the place of."""
    if user.is_master:
        return
    meta = obj["metadata"]
    namespace, plural = str(meta.get("namespace") or ""), info.resource.plural
    if plural in _ROLES:
        if rbac.allows(user, roles.Attributes("escalate", GROUP, plural, "", namespace, meta["name"])):
            return
        gathers = any(each is not None and each.get("aggregationRule") is not None for each in (obj, old))
        rules: Sequence[Rule] = (*(obj.get("rules") or ()), *(_EVERYTHING if gathers else ()))
    else:
        reference = obj.get("roleRef") or {}
        target = "clusterroles" if reference.get("kind") == "ClusterRole" else "roles"
        if rbac.allows(user, roles.Attributes("bind", GROUP, target, "", namespace, str(reference.get("name")))):
            return
        found = rbac.role_rules(reference, namespace)
        if found is None:
            raise not_found(info, str(reference.get("name")))
        rules = found
    missing = list(_missing(rules, list(rbac.rules(user, namespace))))
    if missing:
        groups = " ".join(shown(group) for group in user.groups)
        listed = "\n".join(sorted(_text(rule) for rule in missing))
        why = (
            f"user {shown(user.name)} (groups=[{groups}]) is attempting to grant RBAC permissions not currently held:\n"
            f"{listed}"
        )
        raise forbidden(info, meta["name"], why)


def _missing(wanted: Sequence[Rule], held: Sequence[Rule]) -> Iterator[dict[str, Any]]:
    """The parts of the wanted rules that no held rule covers, the verbs of one thing together."""
    gathered: dict[tuple[str, str, str], dict[str, Any]] = {}
    for rule in wanted:
        for part in _parts(rule):
            if not any(covers(other, part) for other in held):
                key = (str(part.get("apiGroups")), str(part.get("resources")), str(part.get("resourceNames")))
                known = gathered.setdefault(key, {**part, "verbs": []})
                if part["verbs"][0] not in known["verbs"]:
                    known["verbs"].append(part["verbs"][0])
    yield from gathered.values()


def _parts(rule: Rule) -> Iterator[dict[str, Any]]:
    for verb in rule.get("verbs") or ():
        for url in rule.get("nonResourceURLs") or ():
            yield {"nonResourceURLs": [url], "verbs": [verb]}
        for group in rule.get("apiGroups") or ():
            for resource in rule.get("resources") or ():
                base = {"apiGroups": [group], "resources": [resource], "verbs": [verb]}
                for name in rule.get("resourceNames") or (None,):
                    yield base if name is None else base | {"resourceNames": [name]}


def _text(rule: Mapping[str, Any]) -> str:
    names = (
        ("apiGroups", "APIGroups"),
        ("resources", "Resources"),
        ("resourceNames", "ResourceNames"),
        ("nonResourceURLs", "NonResourceURLs"),
        ("verbs", "Verbs"),
    )
    parts = [f"{title}:[{' '.join(shown(value) for value in rule[key])}]" for key, title in names if rule.get(key)]
    return "{" + ", ".join(parts) + "}"
