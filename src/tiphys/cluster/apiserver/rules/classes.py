"""Priority and runtime classes, leases, and other small kinds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tiphys.cluster.apiserver.metadata import label_complaints
from tiphys.cluster.apiserver.problems import Complaint, forbidden_value, invalid_value, required, shown, unsupported
from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.rules.affinity import toleration_complaints
from tiphys.cluster.apiserver.rules.amounts import requirement_complaints
from tiphys.cluster.apiserver.rules.values import AT_LEAST_0, PORT_MAX, Fields, duplicate, immutable, in_form, needed
from tiphys.lang import name_rules

_HIGHEST: Final = 1_000_000_000
_SYSTEM: Final = {"system-node-critical": 2_000_001_000, "system-cluster-critical": 2_000_000_000}
_ELECTIONS: Final = ("OldestEmulationVersion",)


def priority_class(obj: Object, old: Object | None) -> Iterator[Complaint]:
    name, value, policy = obj["metadata"].get("name") or "", obj.get("value") or 0, obj.get("preemptionPolicy")
    if old is not None:
        if value != (old.get("value") or 0):
            yield forbidden_value("value", "may not be changed in an update.")
        yield from immutable("preemptionPolicy", policy, old.get("preemptionPolicy"))
        return
    if name.startswith("system-"):
        problem = _system_problem(name, value, bool(obj.get("globalDefault")))
        if problem:
            text = "priority class names with 'system-' prefix are reserved for system use only. error: "
            yield forbidden_value("metadata.name", text + problem)
    elif value > _HIGHEST:
        yield forbidden_value("value", f"maximum allowed value of a user defined priority is {_HIGHEST}")
    if policy is not None and policy not in ("PreemptLowerPriority", "Never"):
        yield unsupported("preemptionPolicy", policy, ("PreemptLowerPriority", "Never"))


def _system_problem(name: str, value: int, is_default: bool) -> str:
    if name not in _SYSTEM:
        return f"{name} is not a known system priority class"
    if value != _SYSTEM[name]:
        return f"value of {name} PriorityClass must be {_SYSTEM[name]}"
    return f"globalDefault of {name} PriorityClass must be false" if is_default else ""


def runtime_class(obj: Object, old: Object | None) -> Iterator[Complaint]:
    if old is not None:
        yield from immutable("handler", obj.get("handler"), old.get("handler"))
        return
    yield from in_form(obj.get("handler") or "", "handler", name_rules.dns1123_label)
    if obj.get("overhead") is not None:
        amounts = {"limits": obj["overhead"].get("podFixed") or {}}
        yield from requirement_complaints(amounts, "overhead", ())
    scheduling = obj.get("scheduling") or {}
    yield from label_complaints(scheduling.get("nodeSelector") or {}, "scheduling.nodeSelector")
    tolerations = scheduling.get("tolerations") or []
    yield from toleration_complaints(tolerations, "scheduling.tolerations")
    seen: list[tuple[str, ...]] = []
    for number, each in enumerate(tolerations):
        key = tuple(each.get(field) or "" for field in ("key", "operator", "value", "effect"))
        if key in seen:
            yield duplicate(f"scheduling.tolerations[{number}]", _toleration(each))
        seen.append(key)


def _toleration(each: Fields) -> dict[str, object]:
    names = {"key": "Key", "operator": "Operator", "value": "Value", "effect": "Effect"}
    told: dict[str, object] = {shown_name: each.get(name) or "" for name, shown_name in names.items()}
    return told | {"TolerationSeconds": each.get("tolerationSeconds")}


def api_service(obj: Object, old: Object | None) -> Iterator[Complaint]:
    del old
    spec, name = obj.get("spec") or {}, obj["metadata"].get("name") or ""
    group, version, service = spec.get("group") or "", spec.get("version") or "", spec.get("service")
    wanted = f"{version}.{group}"
    if name and name != wanted:
        yield invalid_value("metadata.name", name, f'must be `spec.version+"."+spec.group`: {shown(wanted)}')
    if not group and version != "v1":
        yield required("spec.group", "only v1 may have an empty group and it better be legacy kube")
    if group:
        yield from in_form(group, "spec.group", name_rules.dns1123_subdomain)
    yield from in_form(version, "spec.version", name_rules.dns1035_label)
    for field, most in (("groupPriorityMinimum", 20_000), ("versionPriority", 1000)):
        if not 0 < (spec.get(field) or 0) <= most:
            yield invalid_value(f"spec.{field}", spec.get(field) or 0, f"must be positive and less than {most}")
    bundle, insecure = spec.get("caBundle") or "", bool(spec.get("insecureSkipTLSVerify"))
    if service is None:
        if bundle:
            size = f"{len(bundle) * 3 // 4 - bundle[-2:].count('=')} bytes"
            yield invalid_value("spec.caBundle", size, "local APIServices may not have a caBundle")
        if insecure:
            text = "local APIServices may not have insecureSkipTLSVerify"
            yield invalid_value("spec.insecureSkipTLSVerify", insecure, text)
        return
    yield from needed(service, "spec.service", "namespace", "name")
    port = service.get("port", 443)
    if not 1 <= port <= PORT_MAX:
        text = "port is not valid: must be between 1 and 65535, inclusive"
        yield invalid_value("spec.service.port", port, text)
    if insecure and bundle:
        text = "may not be true if caBundle is present"
        yield invalid_value("spec.insecureSkipTLSVerify", insecure, text)


def lease(obj: Object, old: Object | None) -> Iterator[Complaint]:
    del old
    spec = obj.get("spec") or {}
    seconds, transitions = spec.get("leaseDurationSeconds"), spec.get("leaseTransitions")
    if seconds is not None and seconds <= 0:
        yield invalid_value("spec.leaseDurationSeconds", seconds, "must be greater than 0")
    if transitions is not None and transitions < 0:
        yield invalid_value("spec.leaseTransitions", transitions, AT_LEAST_0)
    strategy = spec.get("strategy")
    if strategy is not None:
        if "/" in strategy:
            yield from in_form(strategy, "spec.strategy.strategy", name_rules.qualified_name)
        elif strategy not in _ELECTIONS:
            yield unsupported("spec.strategy.strategy", strategy, _ELECTIONS)
    if spec.get("preferredHolder") and not strategy:
        yield forbidden_value("spec.preferredHolder", "may only be specified if `strategy` is defined")
