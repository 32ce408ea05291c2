"""Deletes finished workflows whose time has come: ``ttlStrategy`` and the controller's retention policy.

Not part of a workflow's run, which is over by then. A workflow that is retried meanwhile is not finished any more and
stays. Source: upstream's workflow/gccontroller, including its extra second after the time to live.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from tiphys.client.client import Client, Object
from tiphys.machinery.actions import Delete, Plan
from tiphys.machinery.resources import WORKFLOWS, ObjectKey, key_of
from tiphys.machinery.times import parse_time
from tiphys.runtime.act import Actor, EventSink
from tiphys.runtime.clock import Clock
from tiphys.runtime.controller import Controller, Outcome
from tiphys.runtime.informer import Informer
from tiphys.runtime.queue import WorkQueue

_WORKERS = 4
_COMPLETED_LABEL = "workflows.argoproj.io/completed"
_EXTRA = timedelta(seconds=1)
# Which field of ttlStrategy counts for which phase, before secondsAfterCompletion.
_AFTER = {"Succeeded": "secondsAfterSuccess", "Failed": "secondsAfterFailure", "Error": "secondsAfterFailure"}


@dataclass(frozen=True, slots=True)
class Retention:
    """How many finished workflows of a phase are kept at most; None: all."""

    completed: int | None = None
    failed: int | None = None
    errored: int | None = None

    def limit(self, phase: str) -> int | None:
        return {"Succeeded": self.completed, "Failed": self.failed, "Error": self.errored}.get(phase)


def plan(workflow: Object, now: datetime) -> Plan:
    """Deletes a workflow that outlived its time, or says when to look again."""
    dies_at = expiry(workflow)
    if dies_at is None or workflow["metadata"].get("deletionTimestamp"):
        return Plan()
    if now < dies_at:
        return Plan(wake_at=dies_at)
    return Plan(((_delete(workflow, "its ttlStrategy says so"),),))


def expiry(workflow: Object) -> datetime | None:
    """When to delete it; None: never, as far as the ttlStrategy goes."""
    status = workflow.get("status") or {}
    phase = status.get("phase", "")
    if not is_completed(workflow) or phase not in _AFTER or not status.get("finishedAt"):
        return None
    strategy = _strategy(workflow)
    for name in (_AFTER[phase], "secondsAfterCompletion"):
        if strategy.get(name) is not None:
            return parse_time(status["finishedAt"]) + timedelta(seconds=int(strategy[name])) + _EXTRA
    return None


def surplus(finished: Iterable[Object], limit: int) -> list[Delete]:
    """The oldest of ``finished`` (workflows of one phase) beyond the ``limit`` newest."""
    oldest_first = sorted(finished, key=lambda workflow: workflow["status"].get("finishedAt") or "")
    return [_delete(workflow, "beyond the retention policy") for workflow in oldest_first[: -limit or None]]


def is_completed(workflow: Object) -> bool:
    labels = workflow["metadata"].get("labels") or {}
    return bool(labels.get(_COMPLETED_LABEL) == "true")


def _strategy(workflow: Object) -> Mapping[str, Any]:
    stored = (workflow.get("status") or {}).get("storedWorkflowTemplateSpec") or {}
    strategy: Mapping[str, Any] = workflow["spec"].get("ttlStrategy") or stored.get("ttlStrategy") or {}
    return strategy


def _delete(workflow: Object, why: str) -> Delete:
    return Delete(WORKFLOWS, key_of(workflow), workflow["metadata"]["uid"], propagation="Background", why=why)


class TtlController:
    def __init__(
        self,
        client: Client,
        workflows: Informer,
        *,
        clock: Clock,
        rng: random.Random,
        events: EventSink,
        retention: Retention | None = None,
    ) -> None:
        self._clock = clock
        self._workflows = workflows
        self._retention = retention or Retention()
        self._actor = Actor(client, events)
        self._queue = WorkQueue[ObjectKey](clock, rng)
        self._finished: dict[str, dict[ObjectKey, None]] = {phase: {} for phase in _AFTER}
        workflows.subscribe(self._on_workflow)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(Controller("ttl", self._queue, self._reconcile, _WORKERS).run(), name="ttl")

    def _on_workflow(self, key: ObjectKey, _before: Object | None, after: Object | None) -> None:
        for keys in self._finished.values():
            keys.pop(key, None)
        if after is not None and is_completed(after):
            self._finished.get(after.get("status", {}).get("phase", ""), {})[key] = None
            self._queue.add(key)

    async def _reconcile(self, key: ObjectKey) -> Outcome:
        workflow = self._workflows.get(key)
        if workflow is None:
            return None
        todo = plan(workflow, self._clock.now())
        phase = workflow.get("status", {}).get("phase", "")
        limit = self._retention.limit(phase)
        if limit is not None and is_completed(workflow) and len(self._finished[phase]) > limit:
            todo = Plan((*todo.stages, tuple(surplus(self._known(phase), limit))), todo.wake_at)
        for outcome in await self._actor.carry_out(todo):
            if outcome.error is not None:
                raise outcome.error
        return todo.wake_at

    def _known(self, phase: str) -> list[Object]:
        return [found for key in self._finished[phase] if (found := self._workflows.get(key)) is not None]
