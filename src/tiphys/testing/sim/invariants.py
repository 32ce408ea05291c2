"""What must hold at every moment of a simulation, checked on every change that the store publishes.

one life        a node never has two pods that have not ended
once            a node whose pod succeeded never gets another pod
forward         a node's phase never goes back, a fulfilled node's phase stays, no node disappears
convergence     the workflow finishes (checked at the end)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tiphys.client.transport import WatchEvent
from tiphys.machinery.resources import ObjectKey, key_of

Object = Mapping[str, Any]

_NODE_ID = "workflows.argoproj.io/node-id"
_ORDER = {"": 0, "Pending": 1, "Running": 2}
_LAST = 3  # every other phase is an end


class Violation(AssertionError):
    """An invariant was broken."""


class Invariants:
    def __init__(self) -> None:
        self._live: dict[str, set[str]] = {}
        self._succeeded: dict[str, str] = {}
        self._phases: dict[ObjectKey, dict[str, str]] = {}
        self._workflow_phase: dict[ObjectKey, str] = {}

    def on_pod(self, event: WatchEvent) -> None:
        pod = event.object
        node = (pod["metadata"].get("annotations") or {}).get(_NODE_ID)
        if node is None:
            return
        uid, phase = pod["metadata"]["uid"], (pod.get("status") or {}).get("phase") or "Pending"
        live = self._live.setdefault(node, set())
        if event.type == "ADDED" and node in self._succeeded:
            raise Violation(f"node {node} succeeded in pod {self._succeeded[node]} and got another one, {uid}")
        if event.type == "DELETED" or phase in ("Succeeded", "Failed"):
            live.discard(uid)
        else:
            live.add(uid)
        if len(live) > 1:
            raise Violation(f"node {node} has {len(live)} live pods: {sorted(live)}")
        if phase == "Succeeded":
            self._succeeded[node] = uid

    def on_workflow(self, event: WatchEvent) -> None:
        key = key_of(event.object)
        status = event.object.get("status") or {}
        self._forward(f"workflow {key}", self._workflow_phase.get(key, ""), status.get("phase") or "")
        self._workflow_phase[key] = status.get("phase") or ""
        before = self._phases.get(key, {})
        nodes = status.get("nodes") or {}
        now = {node_id: "" if _is_preliminary(node) else node.get("phase") or "" for node_id, node in nodes.items()}
        for node_id, phase in before.items():
            if node_id not in now:
                raise Violation(f"node {node_id} disappeared from workflow {key}")
            self._forward(f"node {node_id}", phase, now[node_id])
        self._phases[key] = now

    def _forward(self, what: str, before: str, after: str) -> None:
        if before == after or after == "":
            return
        if _ORDER.get(before, _LAST) == _LAST or _ORDER.get(after, _LAST) < _ORDER[before]:
            raise Violation(f"{what} went from {before or 'nothing'} to {after or 'nothing'}")


def _is_preliminary(node: Object) -> bool:
    """A pod that a shutdown found running: Failed until the pod has ended, then what the pod says."""
    return node.get("type") == "Pod" and "shutdown with strategy" in (node.get("message") or "")
