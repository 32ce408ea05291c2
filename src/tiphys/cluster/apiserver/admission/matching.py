"""Which requests a policy or a webhook wants: rules, selectors, and the request as its expressions see it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from tiphys.cluster.apiserver.admission.chain import Attributes
from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.registry import Registry, ResourceInfo
from tiphys.cluster.apiserver.store import Store
from tiphys.machinery.selectors import from_structured

REGISTRATION: Final = "admissionregistration.k8s.io"
_EXEMPT: Final = frozenset(
    (
        *("validatingadmissionpolicies", "validatingadmissionpolicybindings"),
        *("mutatingadmissionpolicies", "mutatingadmissionpolicybindings"),
        *("validatingwebhookconfigurations", "mutatingwebhookconfigurations"),
    )
)


class Matcher:
    """Matches requests over the namespaces of a store."""

    def __init__(self, store: Store, registry: Registry) -> None:
        self._store = store
        self._registry = registry

    def fits(self, request: Attributes, wanted: Mapping[str, Any], rules: str = "rules") -> bool:
        """``wanted`` has rules (under that key), selectors and a match policy, as all registrations have."""
        if request.info.resource.group == REGISTRATION and request.info.resource.plural in _EXEMPT:
            return False  # nobody locks out those who would have to repair it
        infos = self._equivalent(request.info) if wanted.get("matchPolicy") != "Exact" else [request.info]
        listed = wanted.get(rules)
        if listed is not None and not any(_rule_fits(rule, request, infos) for rule in listed):
            return False
        if any(_rule_fits(rule, request, infos) for rule in wanted.get("excludeResourceRules") or ()):
            return False
        return self._namespace_fits(request, wanted) and _object_fits(request, wanted)

    def namespace(self, request: Attributes) -> Object | None:
        """The namespace that the request is about or in."""
        if request.info.collection == "namespaces":
            return request.obj or request.old
        record = self._store.latest("namespaces", request.namespace) if request.namespace else None
        return None if record is None else self._store.view(record)

    def _equivalent(self, info: ResourceInfo) -> list[ResourceInfo]:
        """The same objects under other groups and versions."""
        return [each for each in self._registry if each.collection == info.collection] or [info]

    def _namespace_fits(self, request: Attributes, wanted: Mapping[str, Any]) -> bool:
        selector = wanted.get("namespaceSelector")
        if not selector:
            return True
        if not request.namespace and request.info.collection != "namespaces":
            return True  # of the whole cluster: no namespace to select by
        found = self.namespace(request)
        labels = (found or {}).get("metadata", {}).get("labels") or {}
        return found is not None and from_structured(selector).matches(labels)


def _rule_fits(rule: Mapping[str, Any], request: Attributes, infos: Iterable[ResourceInfo]) -> bool:
    if not _has(rule.get("operations"), request.operation):
        return False
    names = rule.get("resourceNames")
    if names and request.name not in names:
        return False
    scope = rule.get("scope") or "*"
    namespaced = request.info.resource.namespaced
    if scope != "*" and (scope == "Namespaced") != namespaced:
        return False
    return any(_resource_fits(rule, info, request.subresource) for info in infos)


def _resource_fits(rule: Mapping[str, Any], info: ResourceInfo, subresource: str) -> bool:
    resource = info.resource
    if not (_has(rule.get("apiGroups"), resource.group) and _has(rule.get("apiVersions"), resource.version)):
        return False
    plural = resource.plural
    asked = (
        {f"{plural}/{subresource}", f"{plural}/*", f"*/{subresource}", "*/*"} if subresource else {plural, "*", "*/*"}
    )
    return bool(asked & set(rule.get("resources") or ()))


def _has(values: Iterable[str] | None, wanted: str) -> bool:
    return values is not None and any(value in ("*", wanted) for value in values)


def _object_fits(request: Attributes, wanted: Mapping[str, Any]) -> bool:
    """The new object or the old one."""
    selector = wanted.get("objectSelector")
    if not selector:
        return True
    parsed = from_structured(selector)
    return any(
        parsed.matches((obj.get("metadata") or {}).get("labels") or {})
        for obj in (request.obj, request.old)
        if obj is not None
    )


def described(request: Attributes) -> dict[str, Any]:
    """The request as webhooks get it and expressions see it, without the objects."""
    resource, subresource = request.info.resource, request.subresource
    declared = request.info.subresource(subresource) if subresource else None
    group, version = resource.group, resource.version
    kind = {"group": group, "version": version, "kind": resource.kind}
    if declared is not None and declared.kind != resource.kind:
        kind = {"group": declared.group or group, "version": declared.version or version, "kind": declared.kind}
    where = {"group": group, "version": version, "resource": resource.plural}
    found: dict[str, Any] = {
        "kind": kind,
        "resource": where,
        "requestKind": kind,
        "requestResource": where,
        "name": request.name,
        "operation": request.operation,
        "userInfo": request.user.info(),
        "dryRun": request.dry_run,
        "options": dict(request.options) or None,
    }
    if request.namespace:
        found["namespace"] = request.namespace
    if subresource:
        found |= {"subResource": subresource, "requestSubResource": subresource}
    return found
