"""Pods: one word for what may be many containers in many states."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from tiphys.cluster.apiserver.printers.row import NONE, Row, age_of, containers_of, labels_text, name_of, part
from tiphys.cluster.apiserver.record import Object
from tiphys.machinery.ages import age

_COMPLETED: Final = {
    "Succeeded": ("Succeeded", "The pod has completed successfully."),
    "Failed": ("Failed", "The pod failed."),
}


@dataclass
class _Summary:
    """What the containers of a pod come to."""

    reason: str
    ready: int = 0
    restarts: int = 0
    last_restart: str = ""

    def count(self, status: Mapping[str, Any]) -> None:
        self.restarts += int(status.get("restartCount") or 0)
        finished = part(status, "lastState", "terminated", "finishedAt") or ""
        self.last_restart = max(self.last_restart, finished)


def pod(obj: Object, now: datetime) -> Row:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    summary = _summarize(obj)
    total = len(spec.get("containers") or ()) + len(_sidecars(spec))
    restarts = str(summary.restarts)
    if summary.restarts and summary.last_restart:
        restarts += f" ({age(summary.last_restart, now)} ago)"
    ips = status.get("podIPs") or ()
    cells = [
        name_of(obj),
        f"{summary.ready}/{total}",
        summary.reason,
        restarts,
        age_of(obj, now),
        (ips[0].get("ip") if ips else "") or NONE,
        spec.get("nodeName") or NONE,
        status.get("nominatedNodeName") or NONE,
        _readiness_gates(spec, status),
    ]
    phase = status.get("phase", "")
    if phase not in _COMPLETED:
        return Row(cells)
    reason, message = _COMPLETED[phase]
    return Row(cells, [{"type": "Completed", "status": "True", "reason": reason, "message": message}])


def _summarize(obj: Object) -> _Summary:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    phase = status.get("phase") or ""
    conditions = status.get("conditions") or ()
    gated = any(c.get("type") == "PodScheduled" and c.get("reason") == "SchedulingGated" for c in conditions)
    reason = "SchedulingGated" if gated else status.get("reason") or phase
    summary = _Summary(reason)
    sidecars = _sidecars(spec)
    initializing = _initialize(summary, spec, status.get("initContainerStatuses") or (), sidecars)
    if not initializing or _is_true(conditions, "Initialized"):
        _run(summary, status, sidecars)
    if obj["metadata"].get("deletionTimestamp"):
        if status.get("reason") == "NodeLost":
            summary.reason = "Unknown"
        elif phase not in _COMPLETED:
            summary.reason = "Terminating"
    return summary


def _initialize(
    summary: _Summary, spec: Mapping[str, Any], statuses: Sequence[Mapping[str, Any]], sidecars: frozenset[str]
) -> bool:
    """Goes through the init containers up to the first that is not done; says whether there is one."""
    for at, status in enumerate(statuses):
        summary.count(status)
        terminated, waiting = part(status, "state", "terminated"), part(status, "state", "waiting")
        if terminated is not None and not terminated.get("exitCode"):
            continue
        if status.get("name") in sidecars and status.get("started"):
            summary.ready += bool(status.get("ready"))
            continue
        if terminated is not None:
            summary.reason = f"Init:{_end(terminated)}"
        elif waiting is not None and waiting.get("reason") not in (None, "", "PodInitializing"):
            summary.reason = f"Init:{waiting['reason']}"
        else:
            summary.reason = f"Init:{at}/{len(spec.get('initContainers') or ())}"
        return True
    return False


def _run(summary: _Summary, status: Mapping[str, Any], sidecars: frozenset[str]) -> None:
    """The containers proper; of the init containers only sidecars still count for restarts."""
    summary.restarts, summary.last_restart = 0, ""
    for each in status.get("initContainerStatuses") or ():
        if each.get("name") in sidecars:
            summary.count(each)
    has_running = False
    for each in reversed(status.get("containerStatuses") or ()):
        summary.count(each)
        state = each.get("state") or {}
        if part(state, "waiting", "reason"):
            summary.reason = state["waiting"]["reason"]
        elif state.get("terminated") is not None:
            summary.reason = _end(state["terminated"])
        elif each.get("ready") and state.get("running") is not None:
            has_running = True
            summary.ready += 1
    if summary.reason == "Completed" and has_running:
        is_ready = _is_true(status.get("conditions") or (), "Ready")
        summary.reason = "Running" if is_ready else "NotReady"


def _end(terminated: Mapping[str, Any]) -> str:
    if terminated.get("reason"):
        return str(terminated["reason"])
    if terminated.get("signal"):
        return f"Signal:{terminated['signal']}"
    return f"ExitCode:{terminated.get('exitCode') or 0}"


def _sidecars(spec: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(c["name"] for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always")


def _readiness_gates(spec: Mapping[str, Any], status: Mapping[str, Any]) -> str:
    gates = spec.get("readinessGates") or ()
    if not gates:
        return NONE
    conditions = status.get("conditions") or ()
    return f"{sum(_is_true(conditions, gate.get('conditionType', '')) for gate in gates)}/{len(gates)}"


def _is_true(conditions: Sequence[Mapping[str, Any]], kind: str) -> bool:
    return any(c.get("type") == kind and c.get("status") == "True" for c in conditions)


def pod_template(obj: Object, now: datetime) -> Row:
    del now
    template = obj.get("template") or {}
    names, images = containers_of(template)
    return Row([name_of(obj), names, images, labels_text(part(template, "metadata", "labels"))])


PRINTERS: Final[dict[str, Callable[[Object, datetime], Row]]] = {"/Pod": pod, "/PodTemplate": pod_template}
