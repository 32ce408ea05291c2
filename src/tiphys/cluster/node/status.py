"""A pod's status from what its containers do: phase, conditions, container states. Pure.

Field by field as a kubelet 1.35 writes it (golden ``kubelet``). Two things a kubelet has not: containers that were
asked to stop because the pod's work was done do not make it Failed, and the failure of a pod extension appears as one
more container status, named as the original's helper container would be (``init``, ``wait``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any

from tiphys.cluster.node.lifecycle import Life, Shape, Stop
from tiphys.machinery.podlife import Exit, Failure
from tiphys.machinery.times import to_time

# One status writes the same few moments many times over.
_time = lru_cache(maxsize=256)(to_time)


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What the status says about a container's image: the resolved name and where it came from."""

    image: str
    image_id: str = ""


@dataclass(slots=True)
class Facts:
    """All that a status is made of. ``times`` remembers when each condition last changed, and is updated."""

    pod: Mapping[str, Any]
    shape: Shape
    lives: Mapping[str, Life]
    started_at: datetime
    now: datetime
    over: bool
    stop: Stop | None = None
    failure: Failure | None = None
    images: Mapping[str, ImageFacts] = field(default_factory=dict)
    termination_messages: Mapping[str, str] = field(default_factory=dict)
    host_ip: str = "127.0.0.1"
    pod_ip: str = ""
    ready: frozenset[str] = frozenset()
    times: dict[str, tuple[str, str]] = field(default_factory=dict)
    id_prefix: str = "tiphys"


def pod_status(facts: Facts) -> dict[str, Any]:
    """The whole ``status`` of the pod."""
    phase = phase_of(facts)
    status: dict[str, Any] = {
        "observedGeneration": facts.pod["metadata"].get("generation", 1),
        "phase": phase,
        "conditions": _conditions(facts, phase),
        "hostIP": facts.host_ip,
        "hostIPs": [{"ip": facts.host_ip}],
        "startTime": _time(facts.started_at),
        "containerStatuses": [_container(facts, c, init=False) for c in facts.pod["spec"]["containers"]],
        "qosClass": (facts.pod.get("status") or {}).get("qosClass") or "BestEffort",
    }
    if facts.pod_ip:
        status["podIP"] = facts.pod_ip
        status["podIPs"] = [{"ip": facts.pod_ip}]
    init = facts.pod["spec"].get("initContainers") or ()
    if init:
        status["initContainerStatuses"] = [_container(facts, c, init=True) for c in init]
    if facts.stop is not None and facts.stop.reason:
        status["reason"], status["message"] = facts.stop.reason, facts.stop.message
    if facts.failure is not None:
        _add_failure(status, facts.failure, facts.now)
    return status


def phase_of(facts: Facts) -> str:
    lives, shape = facts.lives, facts.shape
    if facts.over:
        if facts.failure is not None or (facts.stop is not None and facts.stop.reason):
            return "Failed"
        if facts.stop is not None and any(lives[name].exit is None for name in shape.main):
            return "Failed"
        bad = [name for name in _decisive(facts) if _failed(lives[name])]
        return "Failed" if bad else "Succeeded"
    if any(lives[name].running or lives[name].exit or lives[name].last for name in shape.main):
        return "Running"
    return "Pending"


def _decisive(facts: Facts) -> Sequence[str]:
    """The containers whose failure fails the pod: not those that were only asked to go home."""
    lives, shape = facts.lives, facts.shape
    plain_init = [name for name in shape.init if name not in shape.sidecars]
    main = [n for n in shape.main if n in shape.counts or lives[n].asked is None or facts.stop is not None]
    return [*plain_init, *main]


def _failed(life: Life) -> bool:
    return life.exit is None or life.exit.code != 0


def _conditions(facts: Facts, phase: str) -> list[dict[str, Any]]:
    lives, shape = facts.lives, facts.shape
    done = phase in ("Succeeded", "Failed")
    generation = facts.pod["metadata"].get("generation", 1)
    incomplete = [name for name in shape.init if not _initialized(lives[name], name in shape.sidecars)]
    unready = [name for name in shape.main if name not in facts.ready]
    begun = any(life.running or life.exit or life.last for life in lives.values())
    finished = {"Succeeded": "PodCompleted", "Failed": "PodFailed"}.get(phase, "")
    rows: list[tuple[str, bool, str, str]] = [("PodReadyToStartContainers", begun and not done, "", "")]
    if incomplete and phase != "Succeeded":
        rows.append(
            (
                "Initialized",
                False,
                "ContainersNotInitialized",
                f"containers with incomplete status: {_list(incomplete)}",
            )
        )
    else:
        rows.append(("Initialized", True, "PodCompleted" if phase == "Succeeded" else "", ""))
    for kind in ("Ready", "ContainersReady"):
        if done:
            rows.append((kind, False, finished, ""))
        elif unready:
            rows.append((kind, False, "ContainersNotReady", f"containers with unready status: {_list(unready)}"))
        else:
            rows.append((kind, True, "", ""))
    rows.append(("PodScheduled", True, "", ""))
    return [_condition(facts, generation, *row) for row in rows]


def _initialized(life: Life, sidecar: bool) -> bool:
    return life.running if sidecar else life.exit is not None and life.exit.code == 0


def _list(names: Sequence[str]) -> str:
    return "[" + " ".join(names) + "]"


def _condition(facts: Facts, generation: int, kind: str, true: bool, reason: str, message: str) -> dict[str, Any]:
    value = "True" if true else "False"
    before = facts.times.get(kind)
    since = before[1] if before and before[0] == value else _time(facts.now)
    facts.times[kind] = (value, since)
    row: dict[str, Any] = {
        "type": kind,
        "observedGeneration": generation,
        "status": value,
        "lastProbeTime": None,
        "lastTransitionTime": since,
    }
    if reason:
        row["reason"] = reason
    if message:
        row["message"] = message
    return row


def _container(facts: Facts, container: Mapping[str, Any], *, init: bool) -> dict[str, Any]:
    name = container["name"]
    life = facts.lives[name]
    image = facts.images.get(name) or ImageFacts(container.get("image", ""))
    sidecar = name in facts.shape.sidecars
    ready = name in facts.ready or (init and not sidecar and life.exit is not None and life.exit.code == 0)
    status: dict[str, Any] = {
        "name": name,
        "state": _state(facts, name, life, init=init),
        "lastState": _last_state(facts, name, life),
        "ready": ready,
        "restartCount": _restarts(life),
        "image": image.image,
        "imageID": image.image_id,
        "started": life.running,
    }
    if life.running or life.exit is not None or life.last is not None:
        attempt = life.attempt if (life.running or life.exit is not None) else life.attempt - 1
        status["containerID"] = _container_id(facts, name, attempt)
    return status


def _restarts(life: Life) -> int:
    """How often it was started again; an attempt that is only waited for does not count yet."""
    begun = life.running or life.exit is not None
    return life.attempt if begun else max(life.attempt - 1, 0)


def _container_id(facts: Facts, name: str, attempt: int) -> str:
    return f"{facts.id_prefix}://{facts.pod['metadata'].get('uid', '')}/{name}/{attempt}"


def _state(facts: Facts, name: str, life: Life, *, init: bool) -> dict[str, Any]:
    if life.exit is not None:
        return {"terminated": terminated(facts, name, life.attempt, life.exit)}
    if life.running_since is not None:
        return {"running": {"startedAt": _time(life.running_since)}}
    if facts.over and facts.stop is not None and (init or _all_initialized(facts)):
        gone = {
            "exitCode": 137,
            "reason": "ContainerStatusUnknown",
            "message": "The container could not be located when the pod was terminated",
            "startedAt": None,
            "finishedAt": None,
        }
        return {"terminated": gone}
    reason, message = life.waiting or (_idle_reason(facts, init), "")
    return {"waiting": {"reason": reason, **({"message": message} if message else {})}}


def _idle_reason(facts: Facts, init: bool) -> str:
    return "PodInitializing" if init or not _all_initialized(facts) else "ContainerCreating"


def _all_initialized(facts: Facts) -> bool:
    return all(_initialized(facts.lives[name], name in facts.shape.sidecars) for name in facts.shape.init)


def _last_state(facts: Facts, name: str, life: Life) -> dict[str, Any]:
    if life.last is None:
        return {}
    return {"terminated": terminated(facts, name, life.attempt - 1, life.last)}


def terminated(facts: Facts, name: str, attempt: int, end: Exit) -> dict[str, Any]:
    state: dict[str, Any] = {
        "exitCode": end.code,
        "reason": end.reason or ("Completed" if end.code == 0 else "Error"),
        "startedAt": _time(end.started_at),
        "finishedAt": _time(end.finished_at),
        "containerID": _container_id(facts, name, attempt),
    }
    message = end.message or (facts.termination_messages.get(name, "") if facts.lives[name].exit is end else "")
    if message:
        state["message"] = message
    return state


def _add_failure(status: dict[str, Any], failure: Failure, now: datetime) -> None:
    """Shows the extension's failure where the original's helper container would show it."""
    field_name = "initContainerStatuses" if failure.container == "init" else "containerStatuses"
    at = _time(now)
    status.setdefault(field_name, []).append(
        {
            "name": failure.container,
            "state": {
                "terminated": {
                    "exitCode": failure.code,
                    "reason": "Error",
                    "message": failure.message,
                    "startedAt": at,
                    "finishedAt": at,
                }
            },
            "lastState": {},
            "ready": False,
            "restartCount": 0,
            "image": "",
            "imageID": "",
            "started": False,
        }
    )
