"""What a pod's containers should do next: a pure decision from what is known of them.

    init 1 ─► init 2 ─► … ─► all containers ─► those that count have ended ─► the others are asked to stop ─► over
               (native sidecars among them start in order, stay, and go last, in reverse order)
                                     │
       deleted, deadline passed ─────┴──► all are asked to stop (SIGTERM, after the grace period SIGKILL) ─► over

A container whose probe failed, or whose image was changed, is asked to stop alone and then started again; where the
pod's policy forbids that, it just ends. Ephemeral containers are started once and never hold the pod.
Back-off is in ``backoff.py``. Sources: kubernetes pkg/kubelet/kuberuntime (computePodActions), golden ``kubelet``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tiphys.cluster.node.lives import Condemned, Life
from tiphys.machinery.podlife import Exit

DEFAULT_GRACE_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Stop:
    """The pod is to end, whatever its containers do. ``reason``/``message`` go into the pod's status when given.

    ``shortened``: the grace period was cut after containers had been asked already.
    """

    at: datetime
    grace_seconds: float
    reason: str = ""
    message: str = ""
    shortened: bool = False


@dataclass(frozen=True, slots=True)
class RestartRule:
    """One of a container's ``restartPolicyRules``: it starts again after one of (not ``within``: any but) these."""

    codes: frozenset[int]
    within: bool = True

    def matches(self, end: Exit) -> bool:
        return (end.code in self.codes) is self.within


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
    rules: Mapping[str, Sequence[RestartRule]] = field(default_factory=dict)
    ephemeral: tuple[str, ...] = ()

    def restarts(self, name: str, end: Exit) -> bool:
        """Whether the container is started again after this end."""
        if any(rule.matches(end) for rule in self.rules.get(name, ())):
            return True
        policy = self.policies[name]
        return policy == "Always" or (policy == "OnFailure" and end.code != 0)

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.init, *self.main, *self.ephemeral)


@dataclass(frozen=True, slots=True)
class Ask:
    """A container to be asked to stop. ``message`` is empty where the whole pod ends; ``again``: to be started anew."""

    name: str
    grace_seconds: float
    message: str = ""
    again: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """``start``: containers to start now; ``ask``/``kill``: to signal. ``over``: nothing runs and nothing will.

    ``backing_off`` are those whose waiting is to be told of now. ``wake_at`` is when to decide again should nothing
    happen before.
    """

    start: tuple[str, ...] = ()
    ask: tuple[Ask, ...] = ()
    kill: tuple[str, ...] = ()
    backing_off: tuple[str, ...] = ()
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
    ephemeral = spec.get("ephemeralContainers") or ()
    sidecars = frozenset(c["name"] for c in init if c.get("restartPolicy") == "Always")
    policies = {c["name"]: c.get("restartPolicy") or policy for c in main}
    for container in init:
        usual = "Never" if policy == "Never" else "OnFailure"
        policies[container["name"]] = container.get("restartPolicy") or usual
    policies.update((c["name"], "Never") for c in ephemeral)
    names = tuple(c["name"] for c in main)
    grace = spec.get("terminationGracePeriodSeconds")
    ruled = [c for c in (*init, *main) if c.get("restartPolicyRules")]
    return Shape(
        init=tuple(c["name"] for c in init),
        sidecars=sidecars,
        main=names,
        counts=(counts & frozenset(names)) or frozenset(names) if counts else frozenset(names),
        policies=policies,
        grace_seconds=DEFAULT_GRACE_SECONDS if grace is None else grace,
        deadline_seconds=spec.get("activeDeadlineSeconds"),
        after=after or {},
        rules={c["name"]: tuple(map(_rule, c["restartPolicyRules"])) for c in ruled},
        ephemeral=tuple(c["name"] for c in ephemeral),
    )


def _rule(rule: Mapping[str, Any]) -> RestartRule:
    codes = rule.get("exitCodes") or {}
    return RestartRule(frozenset(codes.get("values") or ()), codes.get("operator") != "NotIn")


def decide(shape: Shape, lives: Mapping[str, Life], stop: Stop | None, now: datetime) -> Decision:
    """What to do now. ``lives`` holds an entry for every container of the pod."""
    if stop is not None:
        return _end(shape, lives, stop.grace_seconds, now, stop)
    todo = _Todo(shape, lives, now)
    if not _initialize(todo):
        if todo.failed:
            return _end(shape, lives, shape.grace_seconds, now)
        return todo.decision()
    _run_main(todo)
    if todo.failed or (not todo.start and not todo.ask and _work_is_done(shape, lives)):
        return _end(shape, lives, shape.grace_seconds, now)
    return todo.decision()


class _Todo:
    """A decision in the making."""

    def __init__(self, shape: Shape, lives: Mapping[str, Life], now: datetime) -> None:
        self.shape, self.lives, self.now = shape, lives, now
        self.start: list[str] = []
        self.ask: list[Ask] = []
        self.kill: list[str] = []
        self.backing_off: list[str] = []
        self.wake: list[datetime] = []
        self.failed = False

    def decision(self) -> Decision:
        return Decision(
            tuple(self.start), tuple(self.ask), tuple(self.kill), tuple(self.backing_off), wake_at=_first(self.wake)
        )

    def consider(self, name: str) -> None:
        """Starts the container if it is due, ends it if it must; notes when either will be."""
        life = self.lives[name]
        if life.running:
            self._consider_ending(name, life)
            return
        if life.dismissed or (life.exit and not life.replaced and not self.shape.restarts(name, life.exit)):
            return
        if life.not_before is None or life.not_before <= self.now:
            self.start.append(name)
            return
        self.wake.append(life.not_before)
        if life.tell_at is not None and life.tell_at <= self.now:
            self.backing_off.append(name)
        elif life.tell_at is not None:
            self.wake.append(life.tell_at)

    def _consider_ending(self, name: str, life: Life) -> None:
        if life.asked is not None:
            _consider_killing(name, life, None, self.now, self.kill, self.wake)
        elif life.condemned is not None:
            self._ask(name, life.condemned)

    def _ask(self, name: str, condemned: Condemned) -> None:
        again = condemned.restarts or self.shape.policies[name] != "Never"
        seconds = self.shape.grace_seconds if condemned.grace_seconds is None else condemned.grace_seconds
        if condemned.alone:
            self.ask.append(Ask(name, seconds, condemned.message))
        elif again:
            promise = "" if condemned.silently else ", will be restarted"
            self.ask.append(Ask(name, seconds, f"{condemned.message}{promise}", again=True))
        elif self._others_stay(name):
            self.ask.append(Ask(name, self.shape.grace_seconds, condemned.message))
        else:
            self.failed = True

    def _others_stay(self, name: str) -> bool:
        return any(
            other != name and self.lives[other].running and self.lives[other].condemned is None
            for other in self.shape.main
        )


def _initialize(todo: _Todo) -> bool:
    """Goes through the init containers in order; whether the main ones may be looked at."""
    shape, lives = todo.shape, todo.lives
    begun = any(lives[name].begun for name in shape.main)
    for name in shape.init:
        life = lives[name]
        if name in shape.sidecars:
            todo.consider(name)
            if not begun and not life.dismissed and not (life.running and life.started):
                return False
        elif not begun and not (life.exit is not None and life.exit.code == 0):
            if life.exit is not None and not life.replaced and not shape.restarts(name, life.exit):
                todo.failed = True
            else:
                todo.consider(name)
            return False
    return True


def _run_main(todo: _Todo) -> None:
    shape, lives = todo.shape, todo.lives
    for name in shape.main:
        if _may_begin(name, shape, lives):
            todo.consider(name)
        if lives[name].hooking:  # a container's postStart hook holds back those after it
            break
    for name in shape.ephemeral:
        todo.consider(name)


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
        if life.exit is not None and (life.replaced or shape.restarts(name, life.exit)):
            return False
    return True


def _end(shape: Shape, lives: Mapping[str, Life], grace: float, now: datetime, stop: Stop | None = None) -> Decision:
    running = [name for name in (*shape.ephemeral, *shape.main, *reversed(shape.init)) if lives[name].running]
    if not running:
        return Decision(over=True)
    ask: list[Ask] = []
    kill: list[str] = []
    wake: list[datetime] = []
    for place, name in enumerate(running):
        life = lives[name]
        if life.asked is not None:
            _consider_killing(name, life, stop, now, kill, wake)
        elif name in shape.sidecars and place > 0 and (stop is None or now < _latest(stop)):
            if stop is not None:  # not for ever: the grace period is the whole pod's
                wake.append(_latest(stop))
        else:
            ask.append(Ask(name, grace))
    return Decision(ask=tuple(ask), kill=tuple(kill), wake_at=_first(wake))


def _latest(stop: Stop) -> datetime:
    return stop.at + timedelta(seconds=stop.grace_seconds)


def _consider_killing(
    name: str, life: Life, stop: Stop | None, now: datetime, kill: list[str], wake: list[datetime]
) -> None:
    due = life.kill_at
    if due is None or life.killed:
        return
    if stop is not None and (stop.shortened or (life.asked is not None and life.asked < stop.at)):
        due = min(due, _latest(stop))  # it was asked for other reasons, or with more time
    if due <= now:
        kill.append(name)
    else:
        wake.append(due)


def _first(moments: Sequence[datetime]) -> datetime | None:
    return min(moments, default=None)
