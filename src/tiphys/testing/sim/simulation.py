"""Workflows through the whole platform in virtual time, with faults and crashes chosen by a seed.

The API server, the controller with its engine and the stage agent are the real ones, in one loop. Controller and agent
each live behind a transport of their own that breaks (``faults.py``) and die at any call; a dead one comes back after a
while, remembering nothing. A user resumes what is suspended and, where there are faults, writes to the workflows while
they run, which makes conflicts. Every change that the store publishes goes into the trace and through the invariants.

    result = simulate(7)                    # raises Violation; result.trace is the same each time
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tiphys.app.compose import NodeContext, World, api_server
from tiphys.app.follow import is_finished
from tiphys.app.furniture import furnish
from tiphys.client.client import Client
from tiphys.client.transport import WatchEvent
from tiphys.machinery.actions import Emit
from tiphys.machinery.resources import (
    CLUSTER_WORKFLOW_TEMPLATES,
    CONFIG_MAPS,
    PODS,
    WORKFLOW_TASK_RESULTS,
    WORKFLOW_TASK_SETS,
    WORKFLOW_TEMPLATES,
    WORKFLOWS,
    ObjectKey,
    Resource,
    key_of,
)
from tiphys.machinery.times import to_time
from tiphys.runtime.ids import SeededIds
from tiphys.runtime.virtual import VirtualClock, VirtualLoop
from tiphys.testing.sim.faults import NO_FAULTS, Faults, FaultyTransport
from tiphys.testing.sim.generate import SEMAPHORES, Scene, scene
from tiphys.testing.sim.invariants import Invariants, Violation
from tiphys.testing.stage.node import StageNode
from tiphys.workflows.controller import WorkflowController
from tiphys.workflows.settings import Settings

# Virtual time after which a workflow that has not finished never will.
_PATIENCE_SECONDS = 48 * 3600.0
_USER_LOOKS_SECONDS = 45.0
_RESTART_SECONDS_MAX = 30.0
# How long things may still happen after the end: late writes, repeated events.
_QUIET_SECONDS = 120.0
_DEFINITIONS = tuple(
    resource.key
    for resource in (
        WORKFLOWS,
        WORKFLOW_TASK_RESULTS,
        WORKFLOW_TASK_SETS,
        WORKFLOW_TEMPLATES,
        CLUSTER_WORKFLOW_TEMPLATES,
    )
)


@dataclass(frozen=True, slots=True)
class Result:
    """How the workflows ended; ``nodes`` maps node name to type and phase, ``trace`` holds a line per change."""

    phase: str
    nodes: dict[str, tuple[str, str]]
    trace: tuple[str, ...]
    crashes: int

    @property
    def digest(self) -> str:
        return hashlib.sha256("\n".join(self.trace).encode()).hexdigest()[:16]


def simulate(seed: int, faults: Faults | None = None) -> Result:
    """The workflows of ``seed`` under the faults of ``seed``. Raises Violation."""
    return run(scene(seed), random.Random(f"faults {seed}"), faults or Faults())


def undisturbed(seed: int) -> Result:
    """The same workflows when nothing goes wrong."""
    return run(scene(seed), random.Random(0), NO_FAULTS)


def interrupted(seed: int, faults: Faults | None = None) -> Result:
    """The workflows of ``seed`` under its faults, stopped or terminated by a user at some moment."""
    rng = random.Random(f"interruption {seed}")
    order = Shutdown(rng.choice(("Stop", "Terminate")), rng.uniform(0.0, 120.0))
    return run(scene(seed), rng, faults or Faults(), order)


@dataclass(frozen=True, slots=True)
class Shutdown:
    """``strategy`` is Stop or Terminate, ordered ``after_seconds``."""

    strategy: str
    after_seconds: float


def run(what: Scene, rng: random.Random, faults: Faults, shutdown: Shutdown | None = None) -> Result:
    clock = VirtualClock()
    world = World(clock, rng, SeededIds(rng))
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(clock, rng)) as runner:
        return runner.run(_Simulation(world, what, faults, shutdown).run())


@dataclass
class _Simulation:
    world: World
    scene: Scene
    faults: Faults
    shutdown: Shutdown | None = None
    trace: list[str] = field(default_factory=list)
    crashes: int = 0
    last: dict[ObjectKey, Mapping[str, Any]] = field(default_factory=dict)

    async def run(self) -> Result:
        clock = self.world.clock
        keys = [key_of(workflow) for workflow in self.scene.workflows]
        async with api_server(self.world, definitions=_DEFINITIONS) as server:
            client = Client(server.transport())
            await furnish(client)
            invariants = Invariants(self.scene.workflows, SEMAPHORES, may_cut_short=self.shutdown is not None)
            finished = asyncio.Event()

            def on_workflow(event: WatchEvent) -> None:
                invariants.on_workflow(event)
                self.last[key_of(event.object)] = event.object
                if all(key in self.last and is_finished(self.last[key]) for key in keys):
                    finished.set()

            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._observe(client, PODS, invariants.on_pod)),
                    group.create_task(self._observe(client, WORKFLOWS, on_workflow)),
                    group.create_task(self._lives("controller", client, self._controller)),
                    group.create_task(self._lives("agent", client, self._agent)),
                    group.create_task(self._resumes(client)),
                ]
                for obj in self.scene.objects:
                    await client.create(CONFIG_MAPS, obj)
                for workflow in self.scene.workflows:
                    await client.create(WORKFLOWS, workflow)
                if self.shutdown is not None:
                    tasks.append(group.create_task(self._order(client, keys[0], self.shutdown)))
                elif self.faults != NO_FAULTS:
                    tasks.append(group.create_task(self._meddles(client, keys)))
                try:
                    async with asyncio.timeout(_PATIENCE_SECONDS):
                        await finished.wait()
                except TimeoutError:
                    raise Violation(f"not all finished in {_PATIENCE_SECONDS:.0f} s") from None
                await clock.sleep_until(clock.monotonic() + _QUIET_SECONDS)
                for task in tasks:
                    task.cancel()
        ends = [self.last[key]["status"] for key in keys]
        return Result(
            ", ".join(status["phase"] for status in ends),
            {n["name"]: (n["type"], n["phase"]) for status in ends for n in (status.get("nodes") or {}).values()},
            tuple(self.trace),
            self.crashes,
        )

    async def _order(self, client: Client, key: ObjectKey, shutdown: Shutdown) -> None:
        await self.world.clock.sleep_until(self.world.clock.monotonic() + shutdown.after_seconds)
        await client.patch(WORKFLOWS, key, {"spec": {"shutdown": shutdown.strategy}})

    async def _resumes(self, client: Client) -> None:
        """The user: looks now and then, and resumes the nodes that nothing else would."""
        clock = self.world.clock
        while True:
            await clock.sleep_until(clock.monotonic() + _USER_LOOKS_SECONDS)
            for key, workflow in list(self.last.items()):
                if is_finished(workflow):
                    continue
                now = await client.get(WORKFLOWS, key)
                nodes = (now.get("status") or {}).get("nodes") or {}
                for node_id in nodes:
                    if self._waits_for_ever(now, nodes[node_id]):
                        ended = {"phase": "Succeeded", "finishedAt": to_time(clock.now())}
                        await client.patch(WORKFLOWS, key, {"status": {"nodes": {node_id: ended}}})

    @staticmethod
    def _waits_for_ever(workflow: Mapping[str, Any], node: Mapping[str, Any]) -> bool:
        if node.get("type") != "Suspend" or node.get("phase") != "Running":
            return False
        template = next(t for t in workflow["spec"]["templates"] if t["name"] == node.get("templateName"))
        return not (template.get("suspend") or {}).get("duration")

    async def _meddles(self, client: Client, keys: Sequence[ObjectKey]) -> None:
        """The user writes to workflows that are under way: labels, and suspends and resumes them as a whole."""
        clock, rng = self.world.clock, self.world.rng
        for number in range(rng.randint(0, 4)):
            await clock.sleep_until(clock.monotonic() + rng.expovariate(1 / 30))
            key = rng.choice(keys)
            if rng.random() < 0.5:
                await client.patch(WORKFLOWS, key, {"metadata": {"labels": {"touched": str(number)}}})
                continue
            await client.patch(WORKFLOWS, key, {"spec": {"suspend": True}})
            await clock.sleep_until(clock.monotonic() + rng.expovariate(1 / 30))
            await client.patch(WORKFLOWS, key, {"spec": {"suspend": None}})

    async def _observe(self, client: Client, resource: Resource, check: Callable[[WatchEvent], None]) -> None:
        async with client.watch(resource, resourceVersion="0") as events:
            async for event in events:
                if event.type != "BOOKMARK":
                    self._note(resource, event)
                    check(event)

    def _note(self, resource: Resource, event: WatchEvent) -> None:
        status = event.object.get("status") or {}
        version = event.object["metadata"]["resourceVersion"]
        key: ObjectKey = key_of(event.object)
        now = self.world.clock.monotonic()
        phase = status.get("phase", "")
        self.trace.append(f"{now:.6f} {event.type} {resource.plural} {key} @{version} {phase}")

    async def _lives(self, name: str, client: Client, start: Callable[[Client], Awaitable[None]]) -> None:
        """One life after the other, each behind a transport that may end it."""
        clock, rng = self.world.clock, self.world.rng
        while True:
            await self._live(client, start)
            self.crashes += 1
            self.trace.append(f"{clock.monotonic():.6f} {name} died")
            await clock.sleep_until(clock.monotonic() + rng.uniform(0, _RESTART_SECONDS_MAX))

    async def _live(self, client: Client, start: Callable[[Client], Awaitable[None]]) -> None:
        """Returns when the component crashed. It must not end by itself: its error is the simulation's."""
        world = self.world

        def die() -> None:
            life.cancel()

        transport = FaultyTransport(client.transport, self.faults, world.rng, world.clock, die)
        life = asyncio.ensure_future(_awaited(start(Client(transport))))
        try:
            await asyncio.wait([life])
        finally:
            life.cancel()
        if not life.cancelled():
            await life

    async def _controller(self, client: Client) -> None:
        world = self.world
        await WorkflowController(client, Settings(), clock=world.clock, rng=world.rng, events=_NoEvents()).run()

    async def _agent(self, client: Client) -> None:
        from pathlib import Path

        await StageNode(NodeContext(client, self.world, "tiphys", Path("/nowhere")), self.scene.script).run()


class _NoEvents:
    def emit(self, event: Emit) -> None:
        pass


async def _awaited(awaitable: Awaitable[None]) -> None:
    await awaitable
