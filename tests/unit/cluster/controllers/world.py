"""A cluster in memory and virtual time, with all controllers and simulated nodes: what unit tests run in."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tiphys.app.controllers import ClusterControllers
from tiphys.app.feed import StoreFeed
from tiphys.client.client import Client
from tiphys.cluster.apiserver.server import SHARED_MAPS, ApiServer
from tiphys.cluster.apiserver.store import Store
from tiphys.cluster.node.simulated.nodes import SimulatedNodes
from tiphys.machinery.resources import ObjectKey, Resource
from tiphys.runtime.ids import SeededIds
from tiphys.runtime.virtual import VirtualClock, VirtualLoop

Object = Mapping[str, Any]


@dataclass
class World:
    client: Client
    clock: VirtualClock
    controllers: ClusterControllers
    server: ApiServer

    async def get(self, resource: Resource, name: str) -> Object:
        return await self.client.get(resource, ObjectKey("default" if resource.namespaced else "", name))

    async def all(self, resource: Resource) -> list[Object]:
        return list((await self.client.list(resource))["items"])

    async def make(self, resource: Resource, name: str, **fields: Any) -> Object:
        meta = {"name": name} | ({"namespace": "default"} if resource.namespaced else {})
        meta |= fields.pop("metadata", {})
        return await self.client.create(resource, {"metadata": meta, **fields})

    async def patch(self, resource: Resource, name: str, patch: Any) -> Object:
        return await self.client.patch(resource, ObjectKey("default" if resource.namespaced else "", name), patch)

    async def settle(self, seconds: float = 5.0) -> None:
        await asyncio.sleep(seconds)


def in_world(test: Callable[[World], Awaitable[None]], nodes: int = 1) -> None:
    """Runs a test in a fresh world."""
    clock, rng = VirtualClock(), random.Random(7)

    async def live() -> None:
        store = Store(shared_maps=SHARED_MAPS)
        server = await ApiServer.start(store, clock, SeededIds(rng), ("none",))
        client = Client(server.transport())
        simulated = SimulatedNodes(client, [f"node-{n + 1}" for n in range(nodes)], clock=clock, rng=rng)
        await simulated.register()
        feed = StoreFeed(store, server.registry)
        controllers = ClusterControllers(server.transport(), feed, clock, rng)
        tasks = [asyncio.create_task(simulated.run()), asyncio.create_task(controllers.run())]
        try:
            await test(World(client, clock, controllers, server))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await server.close()

    with asyncio.Runner(loop_factory=lambda: VirtualLoop(clock)) as runner:
        runner.run(live())


def template(app: str, **spec: Any) -> dict[str, Any]:
    containers = [{"name": "c", "image": "i", **spec.pop("container", {})}]
    return {"metadata": {"labels": {"app": app}}, "spec": {"containers": containers, **spec}}


def workload(app: str, replicas: int, **spec: Any) -> dict[str, Any]:
    return {
        "replicas": replicas,
        "selector": {"matchLabels": {"app": app}},
        "template": template(app, **spec.pop("pod", {})),
        **spec,
    }
