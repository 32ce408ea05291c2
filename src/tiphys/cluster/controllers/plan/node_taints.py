"""The taints that say what is wrong with a node: no new pods go where a condition, or the administrator, is against it.

    condition or spec.unschedulable ──> taint node.kubernetes.io/…:NoSchedule

Other taints, and those of other effects, are left alone. Source: ``nodelifecycle`` (doNoScheduleTaintingPass).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_PREFIX: Final = "node.kubernetes.io/"
_OF_CONDITIONS: Final = {
    ("Ready", "False"): "not-ready",
    ("Ready", "Unknown"): "unreachable",
    ("MemoryPressure", "True"): "memory-pressure",
    ("DiskPressure", "True"): "disk-pressure",
    ("NetworkUnavailable", "True"): "network-unavailable",
    ("PIDPressure", "True"): "pid-pressure",
}
_UNSCHEDULABLE: Final = "unschedulable"
_OURS: Final = frozenset(_PREFIX + name for name in (*_OF_CONDITIONS.values(), _UNSCHEDULABLE))

Taint = Mapping[str, Any]


def taints_of(node: Mapping[str, Any]) -> list[Taint] | None:
    """The taints that the node should have; None where it has them."""
    spec, status = node.get("spec") or {}, node.get("status") or {}
    names = [_OF_CONDITIONS.get((each["type"], each["status"])) for each in status.get("conditions") or ()]
    names += [_UNSCHEDULABLE] if spec.get("unschedulable") else []
    wanted = {_PREFIX + name for name in names if name}
    present = spec.get("taints") or []
    held = {taint["key"] for taint in present if _is_ours(taint)}
    if held == wanted:
        return None
    kept = [taint for taint in present if not _is_ours(taint) or taint["key"] in wanted]
    return kept + [{"key": key, "effect": "NoSchedule"} for key in sorted(wanted - held)]


def _is_ours(taint: Taint) -> bool:
    return taint.get("effect") == "NoSchedule" and taint.get("key") in _OURS
