"""The CronWorkflow controller: wakes at the moments of the schedules, and when a child begins or ends.

What is due since when is the only thing that it remembers: from its start on (or from when it first saw the object)
it misses nothing, and what was before that is for ``startingDeadlineSeconds`` to say. Decisions are ``plan/crons.py``.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from datetime import datetime

from tiphys.client.client import Client, Object
from tiphys.machinery.errors import AlreadyExists, Conflict
from tiphys.machinery.resources import CRON_WORKFLOWS, ObjectKey
from tiphys.runtime.act import Actor, EventSink
from tiphys.runtime.clock import Clock
from tiphys.runtime.controller import Controller, Outcome
from tiphys.runtime.informer import Informer
from tiphys.runtime.queue import WorkQueue
from tiphys.workflows.plan.crons import Observed, plan

_WORKERS = 8


def by_cron(workflow: Object) -> Iterable[str]:
    """An index of workflows: the uid of the CronWorkflow that controls them."""
    for owner in workflow["metadata"].get("ownerReferences") or ():
        if owner.get("controller") and owner.get("kind") == CRON_WORKFLOWS.kind:
            yield owner["uid"]


class CronController:
    """``workflows`` must be indexed as ``cron`` by ``by_cron``."""

    def __init__(
        self,
        client: Client,
        workflows: Informer,
        *,
        clock: Clock,
        rng: random.Random,
        events: EventSink,
        namespace: str | None = None,
    ) -> None:
        self._clock = clock
        self._crons = Informer(client, CRON_WORKFLOWS, clock=clock, rng=rng, namespace=namespace)
        self._workflows = workflows
        self._actor = Actor(client, events)
        self._queue = WorkQueue[ObjectKey](clock, rng)
        self._armed_at: dict[ObjectKey, datetime] = {}
        self._crons.subscribe(self._on_cron)
        workflows.subscribe(self._on_workflow)

    async def run(self) -> None:
        """Works until cancelled; decides nothing before it knows all children."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._crons.run(), name="cron-workflows")
            await self._crons.synced.wait()
            await self._workflows.synced.wait()
            group.create_task(Controller("cron", self._queue, self._reconcile, _WORKERS).run(), name="cron")

    def _on_cron(self, key: ObjectKey, before: Object | None, after: Object | None) -> None:
        if after is None:
            self._armed_at.pop(key, None)
            return
        if key not in self._armed_at or _schedule(before) != _schedule(after):
            self._armed_at[key] = self._clock.now()
        self._queue.add(key)

    def _on_workflow(self, key: ObjectKey, before: Object | None, after: Object | None) -> None:
        workflow = after or before
        assert workflow is not None
        if _phase(before) == _phase(after) and before is not None and after is not None:
            return
        for owner in workflow["metadata"].get("ownerReferences") or ():
            if owner.get("controller") and owner.get("kind") == CRON_WORKFLOWS.kind:
                self._queue.add(ObjectKey(key.namespace, owner["name"]))

    async def _reconcile(self, key: ObjectKey) -> Outcome:
        cron = self._crons.get(key)
        if cron is None or cron["metadata"].get("deletionTimestamp"):
            return None
        now = self._clock.now()
        children = tuple(self._workflows.indexed("cron", cron["metadata"]["uid"]))
        todo = plan(Observed(cron, children, self._armed_at.get(key, now)), now)
        for outcome in await self._actor.carry_out(todo):
            if isinstance(outcome.error, Conflict):
                self._queue.add(key)
            elif outcome.error is not None and not isinstance(outcome.error, AlreadyExists):
                raise outcome.error
        self._armed_at[key] = now
        return todo.wake_at


def _schedule(cron: Object | None) -> object:
    spec = cron["spec"] if cron is not None else {}
    return spec.get("schedules"), spec.get("timezone")


def _phase(workflow: Object | None) -> object:
    return (workflow.get("status") or {}).get("phase") if workflow is not None else None
