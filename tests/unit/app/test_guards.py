"""Pods that are bound before the scheduler sees them, and what is told of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tiphys.app.feed import StoreFeed
from tiphys.app.guards import OnlyNode
from tiphys.client.client import Client
from tiphys.cluster.apiserver.server import ApiServer
from tiphys.cluster.apiserver.store import Store
from tiphys.machinery.actions import Emit
from tiphys.machinery.errors import ApiError
from tiphys.machinery.resources import NODES, PODS, ObjectKey
from tiphys.runtime.clock import SystemClock
from tiphys.runtime.ids import SystemIds


class World:
    def __init__(self, server: ApiServer) -> None:
        self.client = Client(server.transport())
        self.told: list[Emit] = []
        self.guard = OnlyNode(StoreFeed(server.store, server.registry), server.store)
        self.guard.tell = self.told.append
        server.verbs.admission.append(self.guard)

    async def pod(self, name: str, **spec: Any) -> str:
        """The node that it is bound to."""
        spec = {"containers": [{"name": "c", "image": "i"}], **spec}
        made = await self.client.create(PODS, {"metadata": {"name": name, "namespace": "default"}, "spec": spec})
        return str(made["spec"].get("nodeName", ""))


@pytest.fixture
async def world() -> AsyncIterator[World]:
    server = await ApiServer.start(Store(), SystemClock(), SystemIds())
    made = World(server)
    await made.client.create(NODES, {"metadata": {"name": "only"}, "spec": {}})
    held = await made.client.get(NODES, ObjectKey("", "only"))
    if held["spec"].get("taints"):  # of a node that nobody has looked after yet
        await made.client.replace(NODES, {**held, "spec": {**held["spec"], "taints": []}})
    yield made
    await server.close()


async def test_the_only_node_takes_a_pod_that_asks_for_nothing_and_it_is_told(world: World) -> None:
    assert await world.pod("plain") == "only"
    (event,) = world.told
    assert (event.type, event.reason, event.about["name"]) == ("Normal", "Scheduled", "plain")
    assert event.message == "Successfully assigned default/plain to only"
    await world.client.patch(PODS, ObjectKey("default", "plain"), {"metadata": {"labels": {"a": "b"}}})
    assert len(world.told) == 1


async def test_nothing_is_told_of_pods_that_others_bind_or_that_are_refused(world: World) -> None:
    assert await world.pod("choosy", nodeSelector={"a": "b"}) == ""
    with pytest.raises(ApiError):
        await world.pod("wrong", containers=[])
    assert world.told == []
