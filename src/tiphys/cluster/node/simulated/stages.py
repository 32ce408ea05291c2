"""The stages of pods that nobody really runs: read from YAML (``stages.yaml`` has the form and the default), and what
a stage makes of a pod. Pure: time comes in as an argument.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from importlib import resources
from pathlib import Path
from typing import Any, Final

import yaml

from tiphys.lang import durations
from tiphys.machinery.errors import SpecError
from tiphys.machinery.times import to_time

Object = Mapping[str, Any]

ANNOTATIONS: Final = "simulated.tiphys.dev"
NEXT: Final = ("Running", "Ended", "Gone")
_FIELDS: Final = frozenset(("name", "when", "unless", "after", "next", "exitCode"))
_WHEN: Final = frozenset(("phase", "restartPolicy", "deleting", "labels"))


@dataclass(frozen=True)
class Stage:
    name: str
    next: str
    phases: frozenset[str] = frozenset()
    policies: frozenset[str] = frozenset()
    deleting: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    unless: Mapping[str, str] = field(default_factory=dict)
    after: timedelta = timedelta()
    exit_code: int = 0


@dataclass(frozen=True)
class Stages:
    """``prefix`` is that of the annotations by which a pod says how it behaves."""

    stages: tuple[Stage, ...]
    prefix: str = ANNOTATIONS

    def next(self, pod: Object) -> Stage | None:
        return next((stage for stage in self.stages if self._fits(stage, pod)), None)

    def _fits(self, stage: Stage, pod: Object) -> bool:
        meta = pod["metadata"]
        phase = (pod.get("status") or {}).get("phase") or "Pending"
        if bool(meta.get("deletionTimestamp")) != stage.deleting or (stage.phases and phase not in stage.phases):
            return False
        if stage.policies and pod["spec"].get("restartPolicy", "Always") not in stage.policies:
            return False
        labels = meta.get("labels") or {}
        if not all(key in labels and fnmatchcase(labels[key], pattern) for key, pattern in stage.labels.items()):
            return False
        return not any(self.said(pod, key) == value for key, value in stage.unless.items())

    def said(self, pod: Object, name: str) -> str | None:
        """What the pod's annotation of this name says."""
        found: str | None = (pod["metadata"].get("annotations") or {}).get(f"{self.prefix}/{name}")
        return found

    def delay(self, stage: Stage, pod: Object) -> timedelta:
        said = self.said(pod, "delay") or ""
        if stage.next == "Ended" and said.isdecimal():
            return timedelta(milliseconds=int(said))
        return stage.after

    def exit_code(self, stage: Stage, pod: Object) -> int:
        said = self.said(pod, "exit") or ""
        return int(said) if said.isdecimal() else stage.exit_code

    def is_ready(self, pod: Object) -> bool:
        return self.said(pod, "not-ready") is None


def load(path: Path | None = None) -> Stages:
    """The stages of a file, or the default ones. Raises SpecError with the place."""
    try:
        text = (
            path.read_text("utf-8") if path else resources.files(__package__).joinpath("stages.yaml").read_text("utf-8")
        )
        document = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as err:
        raise SpecError(str(path), str(err)) from err
    rows = document.get("stages") if isinstance(document, dict) else None
    if not isinstance(rows, list):
        raise SpecError("stages", "must be a list")
    return Stages(tuple(_stage(row, f"stages[{number}]") for number, row in enumerate(rows)))


def _stage(row: Any, path: str) -> Stage:
    given = _mapping(row, path, _FIELDS)
    when = _mapping(given.get("when") or {}, f"{path}.when", _WHEN)
    if given.get("next") not in NEXT:
        raise SpecError(f"{path}.next", f"must be one of {', '.join(NEXT)}, got {given.get('next')!r}")
    try:
        after = timedelta(microseconds=durations.parse(str(given.get("after", "0s"))) / 1000)
        exit_code = int(given.get("exitCode", 0))
    except (ValueError, TypeError) as err:
        raise SpecError(path, str(err)) from err
    return Stage(
        name=str(given.get("name", path)),
        next=given["next"],
        phases=_names(when.get("phase")),
        policies=_names(when.get("restartPolicy")),
        deleting=bool(when.get("deleting", False)),
        labels={str(k): str(v) for k, v in _mapping(when.get("labels") or {}, f"{path}.when.labels", None).items()},
        unless={str(k): str(v) for k, v in _mapping(given.get("unless") or {}, f"{path}.unless", None).items()},
        after=after,
        exit_code=exit_code,
    )


def _mapping(value: Any, path: str, allowed: frozenset[str] | None) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise SpecError(path, "must be a mapping")
    unknown = [key for key in value if allowed is not None and key not in allowed]
    if unknown:
        raise SpecError(f"{path}.{unknown[0]}", f"unknown field; known: {', '.join(sorted(allowed or ()))}")
    return value


def _names(value: Any) -> frozenset[str]:
    return frozenset(map(str, value)) if isinstance(value, list) else frozenset((str(value),) if value else ())


# What a kubelet would say


def running(pod: Object, ready: bool, addresses: tuple[str, str], now: datetime) -> dict[str, Any]:
    """The status of a pod whose containers run; ``addresses`` are the node's and the pod's."""
    host, ip = addresses
    state = {"running": {"startedAt": to_time(now)}}
    conditions = [
        _condition("PodReadyToStartContainers", now),
        _condition("Initialized", now),
        _condition("Ready", now, None if ready else "ContainersNotReady"),
        _condition("ContainersReady", now, None if ready else "ContainersNotReady"),
    ]
    return {
        "phase": "Running",
        "conditions": [*conditions, *_kept(pod)],
        "hostIP": host,
        "hostIPs": [{"ip": host}],
        "podIP": ip,
        "podIPs": [{"ip": ip}],
        "startTime": to_time(now),
        **_initialised(pod, now),
        "containerStatuses": [_container(pod, each, state, ready, True) for each in pod["spec"]["containers"]],
    }


def ended(pod: Object, code: int, now: datetime) -> dict[str, Any]:
    """The status of a pod whose containers ended with ``code``."""
    began = (pod.get("status") or {}).get("startTime") or to_time(now)
    statuses = []
    for each in pod["spec"]["containers"]:
        statuses.append(_container(pod, each, _terminated(pod, each, code, began, now), False, False))
    conditions = [
        _condition("PodReadyToStartContainers", now),
        _condition("Initialized", now),
        _condition("Ready", now, "" if code else "PodCompleted"),
        _condition("ContainersReady", now, "" if code else "PodCompleted"),
    ]
    return {
        "phase": "Failed" if code else "Succeeded",
        "conditions": [*conditions, *_kept(pod)],
        "startTime": began,
        **_initialised(pod, now),
        "containerStatuses": statuses,
    }


def _initialised(pod: Object, now: datetime) -> dict[str, Any]:
    """What is told of init containers: they succeeded; those that go on beside the others run."""
    held = (pod.get("status") or {}).get("initContainerStatuses")
    statuses = []
    for each in () if held else pod["spec"].get("initContainers") or ():
        if each.get("restartPolicy") == "Always":
            statuses.append(_container(pod, each, {"running": {"startedAt": to_time(now)}}, True, True))
        else:
            statuses.append(_container(pod, each, _terminated(pod, each, 0, to_time(now), now), True, False))
    return {"initContainerStatuses": statuses} if statuses else {}


def _terminated(pod: Object, spec: Object, code: int, began: str, now: datetime) -> dict[str, Any]:
    ended_with = {
        "exitCode": code,
        "reason": "Error" if code else "Completed",
        "startedAt": began,
        "finishedAt": to_time(now),
        "containerID": _container_id(pod, spec),
    }
    return {"terminated": ended_with}


def _kept(pod: Object) -> Sequence[Mapping[str, Any]]:
    ours = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady")
    return [each for each in (pod.get("status") or {}).get("conditions") or () if each["type"] not in ours]


def _condition(kind: str, now: datetime, reason: str | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "type": kind,
        "status": "True" if reason is None else "False",
        "lastProbeTime": None,
        "lastTransitionTime": to_time(now),
    }
    return found | ({"reason": reason} if reason else {})


def _container(pod: Object, spec: Object, state: Mapping[str, Any], ready: bool, started: bool) -> dict[str, Any]:
    return {
        "name": spec["name"],
        "state": state,
        "lastState": {},
        "ready": ready,
        "restartCount": 0,
        "image": spec.get("image", ""),
        "imageID": "sha256:0000",
        "containerID": _container_id(pod, spec),
        "started": started,
    }


def _container_id(pod: Object, spec: Object) -> str:
    return f"containerd://{pod['metadata']['uid']}-{spec['name']}"
