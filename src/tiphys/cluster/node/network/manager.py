"""Keeps a node's forwards and names in step with Services and EndpointSlices.

Changes that come together are carried out together: the first one starts the work, and what arrives while it goes on is
the next round's.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from typing import Any

from tiphys.client.client import Client
from tiphys.cluster.node.network.attachments import PodNetwork
from tiphys.cluster.node.network.names import Names
from tiphys.cluster.node.network.resolver import Resolver, machine_resolvers
from tiphys.cluster.node.network.routes import Endpoint, Forward, forwards
from tiphys.machinery.resources import ENDPOINT_SLICES, SERVICES, ObjectKey
from tiphys.runtime.clock import Clock
from tiphys.runtime.informer import Informer

Object = Mapping[str, Any]

_API_PORT = 443
_GATE_PORT = 16443


class ServiceNetwork:
    """``run`` works until cancelled; ``names`` are the cluster's as of now."""

    def __init__(
        self,
        client: Client,
        network: PodNetwork,
        node: str,
        clock: Clock,
        rng: random.Random,
        api: Endpoint | None = None,
    ) -> None:
        self.network = network
        self.node = node
        self.api = api
        self.names = Names((), ())
        self.rounds = 0
        """How often the network was brought in step; for tests and metrics."""
        self._services = Informer(client, SERVICES, clock=clock, rng=rng)
        self._slices = Informer(client, ENDPOINT_SLICES, clock=clock, rng=rng)
        self._changed = asyncio.Event()
        self._resolver = Resolver(lambda: self.names, machine_resolvers())
        for informer in (self._services, self._slices):
            informer.subscribe(self._note)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._services.run())
            tasks.create_task(self._slices.run())
            await self._services.synced.wait()
            await self._slices.synced.wait()
            if self.network.resolver_address:
                tasks.create_task(self._resolve())
            while True:
                self._changed.clear()
                await self._bring_in_step()
                await self._changed.wait()

    async def _resolve(self) -> None:
        """Answers DNS once there is an address to do it on. Raises OSError where the port is taken."""
        await self.network.opened()
        self._changed.set()
        await self._resolver.start(self.network.resolver_address)
        try:
            await asyncio.Event().wait()
        finally:
            await self._resolver.stop()

    async def _bring_in_step(self) -> None:
        services, slices = list(self._services.objects()), list(self._slices.objects())
        self.names = Names(services, slices)
        own = [one for one in services if self.api is not None and _is_the_api(one)]
        others = [one for one in services if one not in own]
        await self.network.forward([*forwards(others, slices, self.node), *self._to_the_api(own)])
        self.rounds += 1

    def _to_the_api(self, own: list[Object]) -> list[Forward]:
        """The Service ``kubernetes`` leads to the server of this cluster, which listens on the machine's loopback.

        Pods with a network of their own get there through the node's address among them.
        """
        if self.api is None or not own:
            return []
        address = own[0]["spec"]["clusterIP"]
        inside = self.network.resolver_address
        if not inside:
            return [Forward(address, _API_PORT, "TCP", (self.api,), name="default/kubernetes:https")]
        gate = Endpoint(inside, _GATE_PORT)
        return [
            Forward(address, _API_PORT, "TCP", (gate,), name="default/kubernetes:https"),
            Forward(inside, _GATE_PORT, "TCP", (self.api,), name="the API among the pods"),
        ]

    def _note(self, key: ObjectKey, before: Object | None, after: Object | None) -> None:
        self._changed.set()


def _is_the_api(service: Object) -> bool:
    metadata = service["metadata"]
    return bool(metadata["name"] == "kubernetes" and metadata.get("namespace") == "default")
