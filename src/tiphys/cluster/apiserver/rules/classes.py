"""Priority and runtime classes, leases, and other small kinds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tiphys.cluster.apiserver.metadata import label_complaints
from tiphys.cluster.apiserver.problems import Complaint, forbidden_value, invalid_value, unsupported
from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.rules.affinity import toleration_complaints
from tiphys.cluster.apiserver.rules.amounts import requirement_complaints
from tiphys.cluster.apiserver.rules.values import AT_LEAST_0, Fields, duplicate, immutable, in_form
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
