"""RBAC: roles and bindings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from tiphys.api import internal_names
from tiphys.cluster.apiserver.problems import Complaint, invalid_value, required, unsupported
from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.rules.paths import named_segment
from tiphys.cluster.apiserver.rules.values import Fields, in_form, selector
from tiphys.lang import name_rules
from tiphys.machinery.equality import same

GROUP: Final = "rbac.authorization.k8s.io"


def role(obj: Object, old: Object | None) -> Iterator[Complaint]:
    del old
    yield from _policy_rules(obj, is_namespaced=True)


def cluster_role(obj: Object, old: Object | None) -> Iterator[Complaint]:
    del old
    yield from _policy_rules(obj, is_namespaced=False)
    aggregation = obj.get("aggregationRule")
    if aggregation is None:
        return
    selectors, at = aggregation.get("clusterRoleSelectors") or [], "aggregationRule.clusterRoleSelectors"
    if not selectors:
        yield required(at, "at least one clusterRoleSelector required if aggregationRule is non-nil")
    for number, each in enumerate(selectors):
        found = list(selector(each, f"{at}[{number}]"))
        yield from found
        if found:
            yield invalid_value(f"{at}[{number}]", None, "invalid label selector.")


def _policy_rules(obj: Object, *, is_namespaced: bool) -> Iterator[Complaint]:
    for number, rule in enumerate(obj.get("rules") or ()):
        at, urls = f"rules[{number}]", rule.get("nonResourceURLs") or []
        if not rule.get("verbs"):
            yield required(f"{at}.verbs", "verbs must contain at least one value")
        if urls:
            if is_namespaced:
                text = "namespaced rules cannot apply to non-resource URLs"
                yield invalid_value(f"{at}.nonResourceURLs", urls, text)
            if any(rule.get(field) for field in ("apiGroups", "resources", "resourceNames")):
                text = "rules cannot apply to both regular resources and non-resource URLs"
                yield invalid_value(f"{at}.nonResourceURLs", urls, text)
            continue
        if not rule.get("apiGroups"):
            yield required(f"{at}.apiGroups", "resource rules must supply at least one api group")
        if not rule.get("resources"):
            yield required(f"{at}.resources", "resource rules must supply at least one resource")


def binding(kinds: Sequence[str]) -> Callable[[Object, Object | None], Iterator[Complaint]]:
    """The rule of bindings that may refer to these kinds of roles."""

    def check(obj: Object, old: Object | None) -> Iterator[Complaint]:
        reference = obj.get("roleRef") or {}
        group, kind = reference.get("apiGroup") or "", reference.get("kind") or ""
        if group != GROUP:
            yield unsupported("roleRef.apiGroup", group, (GROUP,))
        if kind not in kinds:
            yield unsupported("roleRef.kind", kind, kinds)
        yield from named_segment(reference, "roleRef", "name")
        for number, subject in enumerate(obj.get("subjects") or ()):
            yield from _subject(subject, f"subjects[{number}]", is_namespaced=len(kinds) > 1)
        if old is not None and not same(old.get("roleRef"), reference):
            yield invalid_value("roleRef", internal_names.shown("rbac.RoleRef", reference), "cannot change roleRef")

    return check


def _subject(subject: Fields, at: str, *, is_namespaced: bool) -> Iterator[Complaint]:
    name, kind, group = (subject.get(field) or "" for field in ("name", "kind", "apiGroup"))
    if not name:
        yield required(f"{at}.name")
    if kind == "ServiceAccount":
        if name:
            yield from in_form(name, f"{at}.name", name_rules.dns1123_subdomain)
        if group:
            yield unsupported(f"{at}.apiGroup", group, ("",))
        if not is_namespaced and not subject.get("namespace"):
            yield required(f"{at}.namespace")
    elif kind in ("User", "Group"):
        if group != GROUP:
            yield unsupported(f"{at}.apiGroup", group, (GROUP,))
    else:
        yield unsupported(f"{at}.kind", kind, ("ServiceAccount", "User", "Group"))
