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

from tiphys.cluster.node.lifecycle import Shape, Stop
from tiphys.cluster.node.lives import Life
from tiphys.machinery.podlife import Exit, Failure
from tiphys.machinery.times import to_time

# One status writes the same few moments many times over.
_time = lru_cache(maxsize=256)(to_time)

# All termination messages of a pod share this many bytes (kubelet status_manager normalizeStatus).
MESSAGES_BYTES_MAX = 12 << 10
LOST = "The container could not be located when the pod was terminated"
_OWN_CONDITIONS = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled",
                   "PodResizePending", "PodResizeInProgress")  # fmt: skip


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What the status says about a container's image: the resolved name and where it came from."""

    image: str
    image_id: str = ""


@dataclass(frozen=True, slots=True)
class UserFacts:
    """Who the container's first process is."""

    uid: int
    gid: int
    groups: tuple[int, ...]


@dataclass(slots=True)
class Facts:
    """All that a status is made of.

    ``times`` remembers when each condition last changed, and is updated. ``prepared``: volumes are there, containers
    may begin. ``resize`` are the conditions of a change of resources that is not done yet.
    """

    pod: Mapping[str, Any]
    shape: Shape
    lives: Mapping[str, Life]
    started_at: datetime
    now: datetime
    over: bool
    prepared: bool = True
    stop: Stop | None = None
    failure: Failure | None = None
    images: Mapping[str, ImageFacts] = field(default_factory=dict)
    users: Mapping[str, UserFacts] = field(default_factory=dict)
    resources: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    termination_messages: Mapping[str, str] = field(default_factory=dict)
    host_ip: str = "127.0.0.1"
    pod_ip: str = ""
    times: dict[str, tuple[str, str]] = field(default_factory=dict)
    resize: Sequence[Mapping[str, Any]] = ()
    generation: int | None = None
    id_prefix: str = "tiphys"


def pod_status(facts: Facts) -> dict[str, Any]:
    """The whole ``status`` of the pod."""
    phase = phase_of(facts)
    spec = facts.pod["spec"]
    status: dict[str, Any] = {
        "observedGeneration": _generation(facts),
        "phase": phase,
        "conditions": _conditions(facts, phase),
        "hostIP": facts.host_ip,
        "hostIPs": [{"ip": facts.host_ip}],
        "startTime": _time(facts.started_at),
        "containerStatuses": [_container(facts, c) for c in sorted(spec["containers"], key=_name)],
        "qosClass": (facts.pod.get("status") or {}).get("qosClass") or "BestEffort",
    }
    if facts.pod_ip:
        status["podIP"] = facts.pod_ip
        status["podIPs"] = [{"ip": facts.pod_ip}]
    if spec.get("initContainers"):
        status["initContainerStatuses"] = [_container(facts, c, init=True) for c in spec["initContainers"]]
    if spec.get("ephemeralContainers"):
        status["ephemeralContainerStatuses"] = [_container(facts, c) for c in spec["ephemeralContainers"]]
    if facts.stop is not None and facts.stop.reason:
        status["reason"], status["message"] = facts.stop.reason, facts.stop.message
    if facts.failure is not None:
        _add_failure(status, facts.failure, facts.now)
    return status


def rejected_status(pod: Mapping[str, Any], reason: str, message: str, now: datetime) -> dict[str, Any]:
    """The status of a pod that this node does not take."""
    return {
        "observedGeneration": pod["metadata"].get("generation", 1),
        "phase": "Failed",
        "reason": reason,
        "message": f"Pod was rejected: {message}",
        "conditions": None,
        "startTime": _time(now),
        "qosClass": (pod.get("status") or {}).get("qosClass") or "BestEffort",
    }


def phase_of(facts: Facts) -> str:
    lives, shape = facts.lives, facts.shape
    if facts.over:
        if facts.failure is not None or (facts.stop is not None and facts.stop.reason):
            return "Failed"
        if facts.stop is not None and any(lives[name].exit is None for name in shape.main):
            return "Failed"
        bad = [name for name in _decisive(facts) if _failed(lives[name])]
        return "Failed" if bad else "Succeeded"
    if any(not lives[name].begun and name not in shape.after for name in shape.main):
        return "Pending"
    return "Running"


def _decisive(facts: Facts) -> Sequence[str]:
    """The containers whose failure fails the pod: not those that were only asked to go home."""
    lives, shape = facts.lives, facts.shape
    plain_init = [name for name in shape.init if name not in shape.sidecars]
    main = [n for n in shape.main if n in shape.counts or lives[n].asked is None or facts.stop is not None]
    return [*plain_init, *main]


def _failed(life: Life) -> bool:
    return life.exit is None or life.exit.code != 0


def _generation(facts: Facts) -> int:
    return int(facts.pod["metadata"].get("generation", 1) if facts.generation is None else facts.generation)


# Conditions.


def _conditions(facts: Facts, phase: str) -> list[dict[str, Any]]:
    done = phase in ("Succeeded", "Failed")
    finished = {"Succeeded": "PodCompleted", "Failed": "PodFailed"}.get(_outcome(facts, phase), "")
    rows = [
        ("PodReadyToStartContainers", facts.prepared and not done, "", ""),
        _initialized_row(facts, finished),
        ("Ready", *_ready(facts, finished, gates=True)),
        ("ContainersReady", *_ready(facts, finished, gates=False)),
        ("PodScheduled", True, "", ""),
    ]
    others = (facts.pod.get("status") or {}).get("conditions") or ()
    gates = facts.pod["spec"].get("readinessGates")
    foreign = [] if gates else [row for row in others if row.get("type") not in _OWN_CONDITIONS]
    return [*foreign, *map(dict, facts.resize), *(_condition(facts, *row) for row in rows)]


def _outcome(facts: Facts, phase: str) -> str:
    """How the pod ends, as soon as its containers tell; a pod that was deleted before it began has no outcome."""
    lives, shape = facts.lives, facts.shape
    if facts.failure is not None or (facts.stop is not None and facts.stop.reason):
        return "Failed"
    ends = [lives[name].exit for name in shape.main]
    if any(e is not None and (facts.over or lives[n].waiting is None) for n, e in zip(shape.main, ends, strict=True)):
        if facts.over:
            return phase
        if all(end is not None and not shape.restarts(n, end) for n, end in zip(shape.main, ends, strict=True)):
            return "Failed" if any(end is not None and end.code for end in ends) else "Succeeded"
        return ""
    inits = (lives[name].exit for name in shape.init if name not in shape.sidecars)
    if facts.over and (facts.stop is None or any(end is not None and end.code for end in inits)):
        return phase
    return ""


def _initialized_row(facts: Facts, finished: str) -> tuple[str, bool, str, str]:
    lives, shape = facts.lives, facts.shape
    incomplete = [name for name in shape.init if not _initialized(lives[name], name in shape.sidecars)]
    if finished == "PodCompleted":
        return "Initialized", True, finished, ""
    if not incomplete or any(lives[name].begun for name in shape.main):
        return "Initialized", True, "", ""
    message = f"containers with incomplete status: {_list(incomplete)}"
    return "Initialized", False, "ContainersNotInitialized", message


def _ready(facts: Facts, finished: str, *, gates: bool) -> tuple[bool, str, str]:
    if finished:
        return False, finished, ""
    lives, shape = facts.lives, facts.shape
    names = (*(name for name in shape.init if name in shape.sidecars), *shape.main)
    unready = [name for name in names if not (lives[name].running and lives[name].ready)]
    if unready:
        return False, "ContainersNotReady", f"containers with unready status: {_list(unready)}"
    closed = _closed_gates(facts) if gates else []
    return (False, "ReadinessGatesNotReady", ", ".join(closed)) if closed else (True, "", "")


def _closed_gates(facts: Facts) -> list[str]:
    held = {row.get("type"): row for row in (facts.pod.get("status") or {}).get("conditions") or ()}
    closed = []
    for gate in facts.pod["spec"].get("readinessGates") or ():
        name = gate["conditionType"]
        if name not in held:
            closed.append(f'corresponding condition of pod readiness gate "{name}" does not exist.')
        elif held[name].get("status") != "True":
            value = held[name].get("status")
            closed.append(f'the status of pod readiness gate "{name}" is not "True", but {value}')
    return closed


def _initialized(life: Life, sidecar: bool) -> bool:
    return life.running and life.started if sidecar else life.exit is not None and life.exit.code == 0


def _list(names: Sequence[str]) -> str:
    return "[" + " ".join(names) + "]"


def _condition(facts: Facts, kind: str, true: bool, reason: str, message: str) -> dict[str, Any]:
    value = "True" if true else "False"
    before = facts.times.get(kind)
    since = before[1] if before and before[0] == value else _time(facts.now)
    facts.times[kind] = (value, since)
    row: dict[str, Any] = {
        "type": kind,
        "observedGeneration": _generation(facts),
        "status": value,
        "lastProbeTime": None,
        "lastTransitionTime": since,
    }
    if reason:
        row["reason"] = reason
    if message:
        row["message"] = message
    return row


# Containers.


def _name(container: Mapping[str, Any]) -> str:
    return str(container["name"])


def _container(facts: Facts, container: Mapping[str, Any], *, init: bool = False) -> dict[str, Any]:
    name = container["name"]
    life = facts.lives[name]
    image = facts.images.get(name) or ImageFacts(container.get("image", ""))
    plain_init = init and name not in facts.shape.sidecars
    done = plain_init and life.exit is not None and life.exit.code == 0
    state, last_state = _states(facts, name, life, init=init)
    status: dict[str, Any] = {
        "name": name,
        "state": state,
        "lastState": last_state,
        "ready": done if plain_init else life.running and life.ready,
        "restartCount": life.attempt,
        "image": image.image,
        "imageID": image.image_id,
        "started": life.running and life.started,
    }
    if life.begun:
        status["containerID"] = _container_id(facts, name, life.attempt)
        resources = facts.resources.get(name)
        if resources is None:
            resources = container.get("resources") or {}
        if resources.get("requests"):
            status["allocatedResources"] = (container.get("resources") or {}).get("requests") or resources["requests"]
        status["resources"] = {key: resources[key] for key in ("limits", "requests") if resources.get(key)}
    mounts = container.get("volumeMounts")
    if mounts:
        status["volumeMounts"] = [_mount(mount) for mount in mounts]
    user = facts.users.get(name)
    if life.begun and user is not None:
        groups = {"supplementalGroups": list(user.groups)} if user.groups else {}
        status["user"] = {"linux": {"uid": user.uid, "gid": user.gid, **groups}}
    return status


def _mount(mount: Mapping[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {"name": mount["name"], "mountPath": mount["mountPath"]}
    if mount.get("readOnly"):
        shown["readOnly"] = True
        asked = mount.get("recursiveReadOnly") or "Disabled"
        shown["recursiveReadOnly"] = "Enabled" if asked in ("Enabled", "IfPossible") else "Disabled"
    return shown


def _container_id(facts: Facts, name: str, attempt: int) -> str:
    return f"{facts.id_prefix}://{facts.pod['metadata'].get('uid', '')}/{name}/{attempt}"


def _states(facts: Facts, name: str, life: Life, *, init: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """The container's ``state`` and ``lastState``."""
    last = {} if life.last is None else {"terminated": terminated(facts, name, life.attempt - 1, life.last)}
    if life.running and life.running_since is not None:
        return {"running": {"startedAt": _time(life.running_since)}}, last
    if life.exit is None:
        if facts.over and facts.stop is not None and (life.begun if init else _all_initialized(facts)):
            return {"terminated": _lost()}, last
        return _waiting(*(life.waiting or (_idle_reason(facts), ""))), last
    ended = {"terminated": terminated(facts, name, life.attempt, life.exit)}
    if life.waiting is None or (facts.over and facts.stop is not None and not facts.stop.reason):
        return ended, {} if facts.over else last
    if facts.over and facts.stop is not None:
        return {"terminated": _lost()}, ended
    return _waiting(*life.waiting), ended


def _waiting(reason: str, message: str) -> dict[str, Any]:
    return {"waiting": {"reason": reason, **({"message": message} if message else {})}}


def _lost() -> dict[str, Any]:
    reason = "ContainerStatusUnknown"
    return {"exitCode": 137, "reason": reason, "message": LOST, "startedAt": None, "finishedAt": None}


def _idle_reason(facts: Facts) -> str:
    return "PodInitializing" if facts.shape.init else "ContainerCreating"


def _all_initialized(facts: Facts) -> bool:
    return all(_initialized(facts.lives[name], name in facts.shape.sidecars) for name in facts.shape.init)


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
        state["message"] = _cut(message, MESSAGES_BYTES_MAX // max(1, len(facts.shape.names)))
    return state


def _cut(text: str, limit: int) -> str:
    if len(text) * 4 <= limit:
        return text
    return text.encode()[:limit].decode("utf-8", "ignore")


def _add_failure(status: dict[str, Any], failure: Failure, now: datetime) -> None:
    """Shows the extension's failure where the original's helper container would show it."""
    field_name = "initContainerStatuses" if failure.container == "init" else "containerStatuses"
    at = _time(now)
    end = {"exitCode": failure.code, "reason": "Error", "message": failure.message, "startedAt": at, "finishedAt": at}
    status.setdefault(field_name, []).append(
        {
            "name": failure.container,
            "state": {"terminated": end},
            "lastState": {},
            "ready": False,
            "restartCount": 0,
            "image": "",
            "imageID": "",
            "started": False,
        }
    )
