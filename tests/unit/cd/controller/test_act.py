"""A sync's writes where reads are behind: a deletion is met by writes before reads show it."""

from __future__ import annotations

import random
from typing import Any

from tests.unit.cd.controller.scenes import config_map
from tests.unit.client.servers import api_server
from tiphys.app.cd import RegistryKinds
from tiphys.cd.act import SyncActor
from tiphys.cd.live import LiveCluster
from tiphys.cd.plan.settings import Settings
from tiphys.cd.plan.sync.operations import Apply
from tiphys.client.client import Client
from tiphys.cluster.apiserver.server import ApiServer
from tiphys.machinery.errors import NotFound
from tiphys.machinery.resources import CONFIG_MAPS, ObjectKey, key_of
from tiphys.runtime.clock import SystemClock


class Behind(Client):
    """Reads what was there when ``seen`` was taken, as a server does that has staged a deletion."""

    seen: Any = None

    async def get(self, resource: Any, key: ObjectKey, subresource: str | None = None) -> Any:
        return self.seen or await super().get(resource, key, subresource)


def actor(server: ApiServer, client: Client) -> SyncActor:
    clock, kinds = SystemClock(), RegistryKinds(server.registry)
    live = LiveCluster("here", client, kinds, Settings(), lambda _name: None, clock=clock, rng=random.Random(1))
    return SyncActor(live, clock, client)


def apply(namespace: str = "default") -> Apply:
    obj = config_map("hook", of="new")
    obj["metadata"]["namespace"] = namespace
    return Apply(obj, dry_run=False, force=False, validate=True, server_side=False, manager="test")


async def test_what_reads_still_show_is_made_anew() -> None:
    async with api_server() as server:
        client = Behind(server.transport())
        old = await client.create(CONFIG_MAPS, {"metadata": {"name": "hook", "namespace": "default"}})
        client.seen = old
        await client.delete(CONFIG_MAPS, key_of(old))
        answer = await actor(server, client).answer(apply())
        assert answer.error is None
        assert answer.object is not None
        assert answer.object["metadata"]["uid"] != old["metadata"]["uid"]


async def test_a_namespace_that_is_not_there_is_said_as_it_is() -> None:
    async with api_server() as server:
        answer = await actor(server, Client(server.transport())).answer(apply("nowhere"))
        assert isinstance(answer.error, NotFound)
        assert "nowhere" in str(answer.error)
