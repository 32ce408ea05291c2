"""One application through its life in virtual time, with faults and crashes of the controller chosen by a seed.

    commit ─► PreSync job ─► wave 0 ─► wave 1 ─► PostSync job ─► Synced       (a commit or two more on the way)

Checked on every change: a hook runs once per attempt, nothing of a phase or wave comes before what it waits for is
done, an operation that ended does not begin again. At the end the cluster is what the last commit says.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

from tests.unit.cd.controller.scenes import Sources, annotated, application, config_map
from tiphys.app.cd import RegistryKinds
from tiphys.app.compose import World, api_server
from tiphys.app.controllers import ClusterControllers
from tiphys.app.feed import StoreFeed
from tiphys.cd.caches import APP_PROJECTS, APPLICATIONS
from tiphys.cd.controller import ApplicationController
from tiphys.cd.plan.sync.run import RUN_ID
from tiphys.cd.settings import ControllerSettings
from tiphys.client.client import Client
from tiphys.client.transport import WatchEvent
from tiphys.machinery.actions import Emit
from tiphys.machinery.errors import AlreadyExists, ApiError
from tiphys.machinery.resources import CONFIG_MAPS, NAMESPACES, ObjectKey, Resource, key_of
from tiphys.runtime.ids import SeededIds
from tiphys.runtime.virtual import VirtualClock, VirtualLoop
from tiphys.testing.sim import Faults, Violation
from tiphys.testing.sim.faults import FaultyTransport

JOBS = Resource("batch", "v1", "jobs", "Job")
_KEY = ObjectKey("argocd", "app")
_PATIENCE_SECONDS = 24 * 3600.0
_RESTART_SECONDS_MAX = 20.0
_DEFINITIONS = (APPLICATIONS.key, APP_PROJECTS.key)
_COMPLETED = ("Succeeded", "Failed", "Error")


@dataclass
class Life:
    """What happened in a simulation."""

    crashes: int = 0
    trace: list[str] = field(default_factory=list)
    runs: dict[str, str] = field(default_factory=dict)
    finished: set[str] = field(default_factory=set)
    ended: set[str] = field(default_factory=set)


def simulate(seed: int, faults: Faults | None = None) -> Life:
    """Raises Violation."""
    rng = random.Random(seed)
    clock = VirtualClock()
    world = World(clock, rng, SeededIds(rng))
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(clock, rng)) as runner:
        return runner.run(_Simulation(world, faults or Faults()).run())


@dataclass
class _Simulation:
    world: World
    faults: Faults
    sources: Sources = field(default_factory=Sources)
    life: Life = field(default_factory=Life)

    async def run(self) -> Life:
        world, rng = self.world, self.world.rng
        async with api_server(world, definitions=_DEFINITIONS) as server:
            client = Client(server.transport())
            await _prepared(client)
            feed = StoreFeed(server.store, server.registry)
            cluster = ClusterControllers(server.transport(), feed, world.clock, random.Random(0))
            kinds = RegistryKinds(server.registry)

            async def start(faulty: Client) -> None:
                settings = ControllerSettings()
                await ApplicationController(
                    faulty, kinds, self.sources, settings, clock=world.clock, rng=rng, events=_NoEvents()
                ).run()

            async with asyncio.TaskGroup() as group:
                cluster.kit.caches.begin(group)
                cluster.kit.sinks.begin(group)
                tasks = [
                    group.create_task(cluster.garbage.run()),
                    group.create_task(self._jobs_end(client)),
                    group.create_task(self._observe(client, APPLICATIONS, self._on_application)),
                    group.create_task(self._observe(client, CONFIG_MAPS, self._on_config_map)),
                    group.create_task(self._lives(client, start)),
                ]
                self.sources.commit(*_objects(0))
                retry = {"limit": -1, "backoff": {"duration": "5s", "maxDuration": "1m"}}
                policy = {"automated": {"prune": True, "selfHeal": True}, "retry": retry}
                await client.create(APPLICATIONS, application(syncPolicy=policy))
                for number in range(1, rng.randrange(1, 4)):
                    await world.clock.sleep_until(world.clock.monotonic() + rng.uniform(0, 60))
                    self.sources.commit(*_objects(number))
                await self._settled(client)
                for task in tasks:
                    task.cancel()
                await cluster_ends(group)
        return self.life

    async def _settled(self, client: Client) -> None:
        clock = self.world.clock
        until = clock.monotonic() + _PATIENCE_SECONDS
        app: Any = None
        while clock.monotonic() < until:
            await clock.sleep_until(clock.monotonic() + 5)
            app = await client.get(APPLICATIONS, _KEY)
            status = app.get("status") or {}
            parts = [(status.get(part) or {}).get(name) for part, name in _WANTED]
            if parts == ["Synced", self.sources.revision, "Healthy", "Succeeded"] and "operation" not in app:
                await self._check_end(client)
                return
        raise Violation(f"never Synced: {app}")

    async def _check_end(self, client: Client) -> None:
        found = (await client.list(CONFIG_MAPS, "default"))["items"]
        data = {each["metadata"]["name"]: each["data"] for each in found if "a" in (each.get("data") or {})}
        wanted = {obj["metadata"]["name"]: obj["data"] for obj in self.sources.objects if obj["kind"] == "ConfigMap"}
        if data != wanted:
            raise Violation(f"the cluster has {data}, Git says {wanted}")

    # What is watched

    async def _observe(self, client: Client, resource: Resource, check: Callable[[WatchEvent], None]) -> None:
        async with client.watch(resource, resourceVersion="0") as events:
            async for event in events:
                if event.type != "BOOKMARK":
                    self._note(resource, event)
                    check(event)

    def _note(self, resource: Resource, event: WatchEvent) -> None:
        key = key_of(event.object)
        phase = ((event.object.get("status") or {}).get("operationState") or {}).get("phase", "")
        self.life.trace.append(f"{self.world.clock.monotonic():.3f} {event.type} {resource.plural} {key} {phase}")

    def _on_application(self, event: WatchEvent) -> None:
        state = (event.object.get("status") or {}).get("operationState") or {}
        begun = f"{state.get('startedAt')} {(state.get('operation') or {}).get('sync')}"
        if state.get("phase") in _COMPLETED:
            self.life.ended.add(begun + str(state.get("finishedAt")))
        elif begun + str(state.get("finishedAt")) in self.life.ended:
            raise Violation(f"the operation begun {begun} ended and runs again")

    def _on_config_map(self, event: WatchEvent) -> None:
        data = event.object.get("data") or {}
        if event.type == "DELETED" or "a" not in data:
            return
        number, name = data["a"], event.object["metadata"]["name"]
        if not any(each.startswith(f"before-{number} ") for each in self.life.finished):
            raise Violation(f"{name} of commit {number} came before its PreSync hook was done")

    async def _jobs_end(self, client: Client) -> None:
        """Jobs are completed after a while; a hook that runs twice in one attempt is an error."""

        async def complete(job: Any) -> None:
            clock = self.world.clock
            await clock.sleep_until(clock.monotonic() + self.world.rng.uniform(0, 30))
            conditions = [{"type": each, "status": "True"} for each in ("SuccessCriteriaMet", "Complete")]
            times = dict.fromkeys(("startTime", "completionTime"), "2024-01-01T00:00:00Z")
            self.life.finished.add(f"{job['spec']['template']['metadata']['labels']['run']} {job['metadata']['uid']}")
            try:
                await client.patch(
                    JOBS, key_of(job), {"status": {"conditions": conditions, **times}}, subresource="status"
                )
            except ApiError:
                return

        async with asyncio.TaskGroup() as group, client.watch(JOBS, resourceVersion="0") as events:
            async for event in events:
                self._note(JOBS, event)
                if event.type != "ADDED":
                    continue
                run_id, uid = event.object["metadata"]["annotations"][RUN_ID], event.object["metadata"]["uid"]
                name = f"{event.object['metadata']['name']} {run_id}"
                if self.life.runs.setdefault(name, uid) != uid:
                    raise Violation(f"hook {name} runs twice in one attempt")
                group.create_task(complete(event.object))

    # The controller's lives

    async def _lives(self, client: Client, start: Callable[[Client], Awaitable[None]]) -> None:
        clock, rng = self.world.clock, self.world.rng
        while True:
            await self._live(client, start)
            self.life.crashes += 1
            self.life.trace.append(f"{clock.monotonic():.3f} died")
            if self.life.crashes > 200:
                self.faults = replace(self.faults, crash=0.0)
            await clock.sleep_until(clock.monotonic() + rng.uniform(0, _RESTART_SECONDS_MAX))

    async def _live(self, client: Client, start: Callable[[Client], Awaitable[None]]) -> None:
        def die() -> None:
            life.cancel()

        transport = FaultyTransport(client.transport, self.faults, self.world.rng, self.world.clock, die)
        life = asyncio.ensure_future(_awaited(start(Client(transport))))
        try:
            await asyncio.wait([life])
        finally:
            life.cancel()
        if not life.cancelled():
            await life


_WANTED = (("sync", "status"), ("sync", "revision"), ("health", "status"), ("operationState", "phase"))


def _objects(number: int) -> list[dict[str, Any]]:
    return [
        annotated(_job("before", number), hook="PreSync"),
        config_map("first", a=str(number)),
        annotated(config_map("second", a=str(number)), sync_wave="1"),
        annotated(config_map(f"only-{number}", a=str(number)), sync_wave="2"),
        annotated(_job("after", number), hook="PostSync", hook_delete_policy="HookSucceeded"),
    ]


def _job(name: str, number: int) -> dict[str, Any]:
    pod = {
        "metadata": {"labels": {"run": f"{name}-{number}"}},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "busybox"}]},
    }
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": {"template": pod}}


async def _prepared(client: Client) -> None:
    for name in ("argocd", "default"):
        try:
            await client.create(NAMESPACES, {"metadata": {"name": name}})
        except AlreadyExists:
            continue


async def cluster_ends(group: asyncio.TaskGroup) -> None:
    """Ends what the cluster's parts started in the group."""
    for task in list(group._tasks):
        task.cancel()


class _NoEvents:
    def emit(self, event: Emit) -> None:
        pass


async def _awaited(awaitable: Awaitable[None]) -> None:
    await awaitable
