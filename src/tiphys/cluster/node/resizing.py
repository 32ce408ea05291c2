"""Other resources for a pod that runs (``pods/resize``): what of the wish is granted, what is given, what is told.

    wanted (the specification) ──► granted ──► given (what the container's control groups hold, or it restarted with)
            │                         │
            │ no room                 │ a limit below what is in use: tried again
            ▼                         ▼
      PodResizePending           PodResizeInProgress
      Infeasible | Deferred      (reason Error)

Here are the states, conditions and events (kubernetes pkg/kubelet/allocation, kuberuntime_manager.go
computePodResizeAction, events/resize.go); the worker asks the runtime. Pure but for being a state.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from tiphys.cluster.node.amounts import amount
from tiphys.cluster.node.refusals import no_room, requested, whole
from tiphys.machinery.times import to_time

Object = Mapping[str, Any]
Event = tuple[str, str, str]
"""Type, reason, message."""

PENDING, IN_PROGRESS = "PodResizePending", "PodResizeInProgress"
INFEASIBLE, DEFERRED, ERROR = "Infeasible", "Deferred", "Error"
COUNTED = ("cpu", "memory")
SIDES = ("limits", "requests")
# After which a container that used too much for its new limit is looked at again.
RETRY_SECONDS = 10.0
_CLASSES = {"Guaranteed": 0, "Burstable": 1, "BestEffort": 2}


@dataclass(frozen=True, slots=True)
class Condition:
    """Of a resize that is not done; ``generation`` is the specification's that asked for it."""

    kind: str
    generation: int
    since: datetime
    reason: str = ""
    message: str = ""

    def row(self) -> dict[str, Any]:
        at = to_time(self.since)
        shown = {
            "type": self.kind,
            "observedGeneration": self.generation,
            "status": "True",
            "lastProbeTime": at,
            "lastTransitionTime": at,
            "reason": self.reason,
            "message": self.message,
        }
        return {key: value for key, value in shown.items() if value != ""}


class Resizing:
    """Of one pod, container by container: the resources granted, and those given to the ones that have begun."""

    def __init__(self, pod: Object) -> None:
        self.granted: dict[str, Object] = resources_of(pod)
        self.given: dict[str, Object] = {}
        self.pending: Condition | None = None
        self.progress: Condition | None = None

    def resume(self, pod: Object) -> None:
        """Takes from the status what an earlier agent had given to containers that run still."""
        status = pod.get("status") or {}
        for row in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
            if row["name"] in self.granted and row.get("resources") is not None:
                self.granted[row["name"]] = self.given[row["name"]] = row["resources"]

    def consider(
        self, pod: Object, refusal: Callable[[Object], tuple[str, str] | None], now: datetime
    ) -> tuple[Event, ...]:
        """Grants what the specification wants, or notes why not; what is to be told."""
        wanted = resources_of(pod)
        if all(_same(wanted[name], self.granted.get(name, {})) for name in wanted):
            self.pending = None
            return ()
        refused = refusal(pod)
        generation = int(pod["metadata"].get("generation", 1))
        if refused is None:
            self.granted, self.pending = wanted, None
            self.progress = Condition(IN_PROGRESS, generation, now)
            return (("Normal", "ResizeStarted", f"Pod resize started: {_summary(pod, generation)}"),)
        before = self.pending
        since = now if before is None else before.since
        self.pending = Condition(PENDING, generation, since, *refused)
        if self.pending == before:
            return ()
        reason, said = refused
        return (("Warning", f"Resize{reason}", f"Pod resize {reason}: {_summary(pod, generation, said)}"),)

    def outstanding(self, names: Iterable[str]) -> list[str]:
        """Those of the named containers, which run, that have not been given what was granted."""
        held = (name for name in names if name in self.given)
        return [name for name in held if not _same(self.granted[name], self.given[name])]

    def give(self, name: str) -> None:
        """The container has now what was granted to it."""
        if name in self.granted:
            self.given[name] = self.granted[name]

    def fail(self, pod: Object, why: str) -> tuple[Event, ...]:
        """A container could not be given it; told when it is news."""
        before = self.progress
        if before is None or (before.reason, before.message) == (ERROR, why):
            return ()
        self.progress = replace(before, reason=ERROR, message=why)
        summary = _summary(self.as_granted(pod), before.generation, why)
        return (("Warning", "ResizeError", f"Pod resize error: {summary}"),)

    def complete(self, pod: Object) -> tuple[Event, ...]:
        """Every container that runs has been given what was granted."""
        done, self.progress = self.progress, None
        if done is None:
            return ()
        return (
            ("Normal", "ResizeCompleted", f"Pod resize completed: {_summary(self.as_granted(pod), done.generation)}"),
        )

    def conditions(self) -> Sequence[Object]:
        return [each.row() for each in (self.pending, self.progress) if each is not None]

    def as_granted(self, pod: Object) -> Object:
        """The pod with the resources that were granted: what its containers are started with and counted for."""
        wanted = resources_of(pod)
        others = {name for name in wanted if wanted[name] is not self.granted.get(name)}
        if not any(not _same(wanted[name], self.granted.get(name, wanted[name])) for name in others):
            return pod
        spec = dict(pod["spec"])
        for field in ("initContainers", "containers"):
            if field in spec:
                spec[field] = [self._as_granted(container) for container in spec[field] or ()]
        return {**pod, "spec": spec}

    def _as_granted(self, container: Object) -> Object:
        held = self.granted.get(container["name"])
        return container if held is None else {**container, "resources": held}


def resources_of(pod: Object) -> dict[str, Object]:
    """By name, of the containers that can be resized."""
    return {container["name"]: container.get("resources") or {} for container in _resizable(pod)}


def _resizable(pod: Object) -> Iterator[Object]:
    yield from (c for c in pod["spec"].get("initContainers") or () if c.get("restartPolicy") == "Always")
    yield from pod["spec"]["containers"]


def needs_restart(container: Object, before: Object, after: Object) -> bool:
    """Whether the container's ``resizePolicy`` wants it started again for the difference."""
    wishes = {row["resourceName"] for row in container.get("resizePolicy") or () if _restarts(row)}
    old, new = _amounts(before), _amounts(after)
    decisive = (("cpu", "limits"), ("cpu", "requests"), ("memory", "limits"))
    return any(name in wishes and old.get((side, name)) != new.get((side, name)) for name, side in decisive)


def _restarts(row: Object) -> bool:
    return bool(row.get("restartPolicy") == "RestartContainer")


def no_room_for(pod: Object, others: Sequence[Object], capacity: Mapping[str, str]) -> tuple[str, str] | None:
    """(reason, message): more than the node has, or more than it has beside the others now."""
    for resource in reversed(COUNTED):
        wanted, most = requested(pod, resource), whole(capacity.get(resource, "0"), resource)
        if wanted > most:
            said = f"Node didn't have enough capacity: {resource}, requested: {wanted}, capacity: {most}"
            return INFEASIBLE, said
    refused = no_room(pod, others, capacity)
    return None if refused is None else (DEFERRED, refused[1])


def turn(pod: Object, granted: Object, since: datetime) -> tuple[bool, int, int, datetime]:
    """Orders pods whose resize was deferred: those that want no more, then by priority, by class, by waiting time."""
    more = any(requested(pod, resource) > requested(granted, resource) for resource in COUNTED)
    priority = int(pod["spec"].get("priority") or 0)
    return more, -priority, _CLASSES.get((pod.get("status") or {}).get("qosClass", ""), 1), since


def _same(one: Object, other: Object) -> bool:
    return one is other or _amounts(one) == _amounts(other)


def _amounts(resources: Object) -> dict[tuple[str, str], Any]:
    return {(side, name): amount(str(value)) for side in SIDES for name, value in (resources.get(side) or {}).items()}


def _summary(pod: Object, generation: int, error: str = "") -> str:
    """The pod's resources as the original's events have them."""
    spec = pod["spec"]
    shown: dict[str, Any] = {}
    for field in ("initContainers", "containers"):
        if spec.get(field):
            shown[field] = [{"name": c["name"], "resources": _shown(c.get("resources") or {})} for c in spec[field]]
    shown["generation"] = generation
    if error:
        shown["error"] = error
    return json.dumps(shown, separators=(",", ":"), ensure_ascii=False)


def _shown(resources: Object) -> Object:
    return {side: dict(sorted(resources[side].items())) for side in SIDES if resources.get(side)}
