"""What a pod's containers should do next: a pure decision from what is known of them.

    init 1 ─► init 2 ─► … ─► all containers ─► those that count have ended ─► the others are asked to stop ─► over
               (native sidecars among them start in order and stay)
                                     │
       deleted, deadline passed ─────┴──► all are asked to stop (SIGTERM, after the grace period SIGKILL) ─► over

Restarts follow the pod's policy with the kubelet's crash back-off (first at once, then 10 s, 20 s … 5 min; forgotten
after 10 minutes of running). Sources: kubernetes pkg/kubelet/kuberuntime (computePodActions), golden ``kubelet``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tiphys.machinery.podlife import Exit

BACKOFF_FIRST = timedelta(seconds=10)
BACKOFF_CAP = timedelta(minutes=5)
BACKOFF_FORGOTTEN_AFTER = timedelta(minutes=10)
DEFAULT_GRACE_SECONDS = 30


@dataclass(slots=True)
class Life:
    """The latest life of one container. ``waiting`` is (reason, message) while it cannot be started.

    ``crashes`` counts failures in a row, ``not_before`` holds back the next attempt. ``asked`` is when it was sent
    SIGTERM. ``last`` is how the life before this one ended.
    """

    attempt: int = 0
    waiting: tuple[str, str] | None = None
    running_since: datetime | None = None
    exit: Exit | None = None
    last: Exit | None = None
    crashes: int = 0
    not_before: datetime | None = None
    asked: datetime | None = None
    killed: bool = False

    @property
    def running(self) -> bool:
        return self.running_since is not None and self.exit is None


@dataclass(frozen=True, slots=True)
class Stop:
    """The pod is to end, whatever its containers do. ``reason``/``message`` go into the pod's status when given."""

    at: datetime
    grace_seconds: float
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Shape:
    """What of a pod's spec its life depends on. ``counts`` are the containers whose end is the pod's end."""

    init: tuple[str, ...]
    sidecars: frozenset[str]
    main: tuple[str, ...]
    counts: frozenset[str]
    policies: Mapping[str, str]
    grace_seconds: float
    deadline_seconds: float | None
    after: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decision:
    """``start``: containers to start now; ``term``/``kill``: to signal. ``over``: nothing runs and nothing will.

    ``wake_at`` is when to decide again should nothing happen before.
    """

    start: tuple[str, ...] = ()
    term: tuple[str, ...] = ()
    kill: tuple[str, ...] = ()
    over: bool = False
    wake_at: datetime | None = None


def shape_of(
    pod: Mapping[str, Any],
    counts: frozenset[str] | None = None,
    after: Mapping[str, Sequence[str]] | None = None,
) -> Shape:
    spec = pod["spec"]
    policy = spec.get("restartPolicy") or "Always"
    init, main = spec.get("initContainers") or (), spec["containers"]
    sidecars = frozenset(c["name"] for c in init if c.get("restartPolicy") == "Always")
    policies = {c["name"]: c.get("restartPolicy") or policy for c in main}
    for container in init:
        name = container["name"]
        policies[name] = "Always" if name in sidecars else ("Never" if policy == "Never" else "OnFailure")
    names = tuple(c["name"] for c in main)
    grace = spec.get("terminationGracePeriodSeconds")
    return Shape(
        init=tuple(c["name"] for c in init),
        sidecars=sidecars,
        main=names,
        counts=(counts & frozenset(names)) or frozenset(names) if counts else frozenset(names),
        policies=policies,
        grace_seconds=DEFAULT_GRACE_SECONDS if grace is None else grace,
        deadline_seconds=spec.get("activeDeadlineSeconds"),
        after=after or {},
    )


def decide(shape: Shape, lives: Mapping[str, Life], stop: Stop | None, now: datetime) -> Decision:
    """What to do now. ``lives`` holds an entry for every container of the pod."""
    if stop is not None:
        return _end(lives, [*shape.init, *shape.main], stop.grace_seconds, now)
    start: list[str] = []
    wake: list[datetime] = []
    for name in shape.init:
        life = lives[name]
        if name in shape.sidecars:
            _consider(name, life, shape, now, start, wake)
            if start:
                return Decision(tuple(start), wake_at=_first(wake))
            if not life.running:
                return Decision(wake_at=_first(wake))
            continue
        if life.exit is not None and life.exit.code == 0:
            continue
        if life.exit is not None and shape.policies[name] == "Never":
            return _end(lives, [*shape.init, *shape.main], shape.grace_seconds, now)
        _consider(name, life, shape, now, start, wake)
        return Decision(tuple(start), wake_at=_first(wake))
    for name in shape.main:
        if _may_begin(name, shape, lives):
            _consider(name, lives[name], shape, now, start, wake)
    if start or not _work_is_done(shape, lives):
        return Decision(tuple(start), wake_at=_first(wake))
    return _end(lives, [*shape.main, *reversed(shape.init)], shape.grace_seconds, now)


def _consider(name: str, life: Life, shape: Shape, now: datetime, start: list[str], wake: list[datetime]) -> None:
    """Starts the container if it is due; notes when it will be."""
    if life.running or (life.exit is not None and not _restarts(shape.policies[name], life.exit)):
        return
    if life.not_before is not None and life.not_before > now:
        wake.append(life.not_before)
    else:
        start.append(name)


def _restarts(policy: str, end: Exit) -> bool:
    return policy == "Always" or (policy == "OnFailure" and end.code != 0)


def _may_begin(name: str, shape: Shape, lives: Mapping[str, Life]) -> bool:
    """Whether the containers that this one waits for have all ended well."""
    ends = [lives[other].exit for other in shape.after.get(name, ()) if other in lives]
    return all(end is not None and end.code == 0 for end in ends)


def _never_begins(name: str, shape: Shape, lives: Mapping[str, Life]) -> bool:
    """Whether a container it waits for has failed, or will itself never begin."""
    for other in shape.after.get(name, ()):
        life = lives.get(other)
        if life is None:
            continue
        if life.exit is not None and life.exit.code != 0:
            return True
        if life.exit is None and not life.running and _never_begins(other, shape, lives):
            return True
    return False


def _work_is_done(shape: Shape, lives: Mapping[str, Life]) -> bool:
    for name in shape.counts:
        life = lives[name]
        if life.exit is None and not _never_begins(name, shape, lives):
            return False
        if life.exit is not None and _restarts(shape.policies[name], life.exit):
            return False
    return True


def _end(lives: Mapping[str, Life], order: Sequence[str], grace: float, now: datetime) -> Decision:
    running = [name for name in order if lives[name].running]
    if not running:
        return Decision(over=True)
    term = tuple(name for name in running if lives[name].asked is None)
    kill: list[str] = []
    wake: list[datetime] = []
    for name in running:
        life = lives[name]
        asked = life.asked or now
        due = asked + timedelta(seconds=grace)
        if life.killed:
            continue
        if due <= now and life.asked is not None:
            kill.append(name)
        else:
            wake.append(due)
    return Decision(term=term, kill=tuple(kill), wake_at=_first(wake))


def next_attempt(life: Life, now: datetime) -> Life:
    """The life after one that ended: the next attempt, and when it may begin."""
    end = life.exit
    if end is None:
        return life
    long_run = end.finished_at - end.started_at >= BACKOFF_FORGOTTEN_AFTER
    crashes = 1 if long_run else life.crashes + 1
    wait = timedelta(0) if crashes == 1 else min(BACKOFF_FIRST * 2 ** min(crashes - 2, 10), BACKOFF_CAP)
    waiting = None
    if wait:
        waiting = ("CrashLoopBackOff", f"back-off {_go_duration(wait)} restarting failed container")
    return Life(attempt=life.attempt + 1, last=end, crashes=crashes, not_before=end.finished_at + wait, waiting=waiting)


def _go_duration(wait: timedelta) -> str:
    minutes, seconds = divmod(int(wait.total_seconds()), 60)
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"


def _first(moments: Sequence[datetime]) -> datetime | None:
    return min(moments, default=None)
