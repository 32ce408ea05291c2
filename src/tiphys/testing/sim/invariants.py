"""What must hold at every moment of a simulation, checked on every change that the store publishes.

one life        a node never has two pods that have not ended
once            a node whose pod succeeded never gets another pod
forward         a node's phase never goes back, a fulfilled node's phase stays, no node disappears
locks           never more live pods of a mutex or semaphore than may hold it
parallelism     never more live pods of a workflow than its spec allows
convergence     the workflow finishes (checked at the end)

A shutdown takes locks and places from nodes whose pods are still winding down: then the two are not looked at.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tiphys.client.transport import WatchEvent
from tiphys.machinery.resources import ObjectKey, key_of

Object = Mapping[str, Any]

_WORKFLOW = "workflows.argoproj.io/workflow"
_TEMPLATE = "workflows.argoproj.io/template"
_NODE_ID = "workflows.argoproj.io/node-id"
_ORDER = {"": 0, "Pending": 1, "Running": 2}
_LAST = 3  # every other phase is an end


class Violation(AssertionError):
    """An invariant was broken."""


class Invariants:
    """``semaphores`` are the limits by ConfigMap key; ``may_cut_short``: somebody will shut a workflow down."""

    def __init__(
        self,
        workflows: Sequence[Object] = (),
        semaphores: Mapping[str, int] | None = None,
        *,
        may_cut_short: bool = False,
    ) -> None:
        self._places = {} if may_cut_short else _places(workflows, semaphores or {})
        self._taken: dict[str, set[str]] = {}
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
        self._take_places(pod, uid, is_live=uid in live)
        if len(live) > 1:
            raise Violation(f"node {node} has {len(live)} live pods: {sorted(live)}")
        if phase == "Succeeded":
            self._succeeded[node] = uid

    def _take_places(self, pod: Object, uid: str, *, is_live: bool) -> None:
        meta = pod["metadata"]
        workflow = meta["labels"][_WORKFLOW]
        template = json.loads(meta["annotations"][_TEMPLATE])["name"]
        for place, most in (*self._places.get((workflow, template), ()), *self._places.get((workflow, ""), ())):
            taken = self._taken.setdefault(place, set())
            (taken.add if is_live else taken.discard)(uid)
            if len(taken) > most:
                raise Violation(f"{len(taken)} live pods for {place}, which allows {most}")

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


def _places(workflows: Sequence[Object], semaphores: Mapping[str, int]) -> dict[tuple[str, str], list[tuple[str, int]]]:
    """What live pods take, and how many may: by workflow and template, "" for all templates of a workflow."""
    found: dict[tuple[str, str], list[tuple[str, int]]] = {}
    for workflow in workflows:
        name, spec = workflow["metadata"]["name"], workflow["spec"]
        if spec.get("parallelism"):
            found[name, ""] = [(f"parallelism of {name}", spec["parallelism"])]
        for template in spec["templates"]:
            wanted = template.get("synchronization") or {}
            places = [(f"mutex {mutex['name']}", 1) for mutex in wanted.get("mutexes") or ()]
            keys = [semaphore["configMapKeyRef"]["key"] for semaphore in wanted.get("semaphores") or ()]
            places += [(f"semaphore {key}", semaphores[key]) for key in keys]
            if places:
                found[name, template["name"]] = places
    return found


def _is_preliminary(node: Object) -> bool:
    """A pod that a shutdown found running: Failed until the pod has ended, then what the pod says."""
    return node.get("type") == "Pod" and "shutdown with strategy" in (node.get("message") or "")
