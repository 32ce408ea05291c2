"""The stage as a node: a controller on pods that only writes what the script says. Nothing runs.

    async with LocalCluster.start(settings, node=stage(Script.parse(text))) as cluster: ...

To let time jump to the next thing that happens, run the whole on a ``VirtualLoop`` (``run_on_stage``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any, TypeVar

from tiphys.app.compose import Node, NodeContext, NodeFactory, World
from tiphys.machinery.actions import Emit
from tiphys.machinery.errors import Conflict, NotFound
from tiphys.machinery.resources import PODS, ObjectKey
from tiphys.runtime.act import Actor
from tiphys.runtime.controller import Controller
from tiphys.runtime.informer import Informer, Object
from tiphys.runtime.queue import WorkQueue
from tiphys.runtime.virtual import VirtualClock, VirtualLoop
from tiphys.testing.stage.play import play, without_ended
from tiphys.testing.stage.rules import Script

T = TypeVar("T")

_WORKERS = 64


class StageNode:
    runtime_name = "stage"
    runtime_why = "pods do not run: a script decides how they end"
    log_source = None
    usage_source = None
    stream_source = None

    def __init__(self, context: NodeContext, script: Script) -> None:
        world = context.world
        self._clock = world.clock
        self._script = script
        self._actor = Actor(context.client, _NoEvents())
        self._node_name = context.node_name
        self._pods = Informer(context.client, PODS, clock=world.clock, rng=world.rng, keep=without_ended)
        self._queue = WorkQueue[ObjectKey](world.clock, world.rng)
        self._pods.subscribe(self._on_pod)

    async def run(self) -> None:
        controller = Controller("stage", self._queue, self._reconcile, _WORKERS)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pods.run(), name="stage-pods")
            group.create_task(controller.run(), name="stage")

    async def end_all(self) -> None:
        """Nothing runs."""

    def _on_pod(self, key: ObjectKey, _before: Object | None, after: Object | None) -> None:
        # Who has no node yet is ours as well: a single node needs no scheduler.
        if after is not None and after["spec"].get("nodeName", self._node_name) == self._node_name:
            self._queue.add(key)

    async def _reconcile(self, key: ObjectKey) -> datetime | None:
        pod = self._pods.get(key)
        if pod is None:
            return None
        plan = play(pod, self._script, self._clock.now())
        for outcome in await self._actor.carry_out(plan):
            # Somebody else's write, or a deletion: its event brings the pod here again.
            if outcome.error is not None and not isinstance(outcome.error, Conflict | NotFound):
                raise outcome.error
        return plan.wake_at


class _NoEvents:
    def emit(self, event: Emit) -> None:
        pass


def stage(script: Script) -> NodeFactory:
    """The node of a cluster on which ``script`` is played."""

    async def make(context: NodeContext) -> Node:
        return StageNode(context, script)

    return make


def run_on_stage(job: Callable[[World], Coroutine[Any, Any, T]]) -> T:
    """Runs ``job`` to its end in virtual time: it gets the world to hand to ``LocalCluster.start``."""
    clock = VirtualClock()
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(clock)) as runner:
        return runner.run(job(World(clock=clock)))
