"""The taints that say what is wrong with a node: no new pods go where a condition, or the administrator, is against it,
and pods leave a node that is not ready or not heard of, as soon as they do not tolerate that any more.

    condition or spec.unschedulable ──> taint node.kubernetes.io/…:NoSchedule
    Ready is not True               ──> taint node.kubernetes.io/…:NoExecute, since now

Other taints, and those of other effects, are left alone. Source: ``nodelifecycle`` (doNoScheduleTaintingPass,
processTaintBaseEviction).
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
_LEFT: Final = ("not-ready", "unreachable")
_OURS: Final = frozenset(
    [
        *((_PREFIX + name, "NoSchedule") for name in (*_OF_CONDITIONS.values(), _UNSCHEDULABLE)),
        *((_PREFIX + name, "NoExecute") for name in _LEFT),
    ]
)

Taint = Mapping[str, Any]


def is_mistainted(node: Mapping[str, Any]) -> bool:
    """A node whose taints do not say how it is."""
    return _wanted(node) != _held(node)


def taints_of(node: Mapping[str, Any], now: str) -> list[Taint]:
    """The taints that the node should have; new ones that pods leave for are there since ``now`` (RFC 3339)."""
    wanted = _wanted(node)
    present = (node.get("spec") or {}).get("taints") or ()
    kept = [taint for taint in present if _kind(taint) not in _OURS or _kind(taint) in wanted]
    return kept + [_taint(key, effect, now) for key, effect in sorted(wanted - _held(node))]


def _wanted(node: Mapping[str, Any]) -> frozenset[tuple[str, str]]:
    spec, status = node.get("spec") or {}, node.get("status") or {}
    found = [_OF_CONDITIONS.get((each["type"], each["status"])) for each in status.get("conditions") or ()]
    names = [name for name in found if name] + ([_UNSCHEDULABLE] if spec.get("unschedulable") else [])
    leaving = [(_PREFIX + name, "NoExecute") for name in names if name in _LEFT]
    return frozenset([*((_PREFIX + name, "NoSchedule") for name in names), *leaving])


def _held(node: Mapping[str, Any]) -> frozenset[tuple[str, str]]:
    return _OURS & frozenset(_kind(taint) for taint in (node.get("spec") or {}).get("taints") or ())


def _kind(taint: Taint) -> tuple[str, str]:
    return taint["key"], taint.get("effect", "")


def _taint(key: str, effect: str, now: str) -> Taint:
    return {"key": key, "effect": effect} | ({"timeAdded": now} if effect == "NoExecute" else {})
