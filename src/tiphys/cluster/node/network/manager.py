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
from tiphys.cluster.node.network.routes import forwards
from tiphys.machinery.resources import ENDPOINT_SLICES, SERVICES, ObjectKey
from tiphys.runtime.clock import Clock
from tiphys.runtime.informer import Informer

Object = Mapping[str, Any]


class ServiceNetwork:
    """``run`` works until cancelled; ``names`` are the cluster's as of now."""

    def __init__(self, client: Client, network: PodNetwork, node: str, clock: Clock, rng: random.Random) -> None:
        self.network = network
        self.node = node
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
        await self._resolver.start(self.network.resolver_address)
        try:
            await asyncio.Event().wait()
        finally:
            await self._resolver.stop()

    async def _bring_in_step(self) -> None:
        services, slices = list(self._services.objects()), list(self._slices.objects())
        self.names = Names(services, slices)
        await self.network.forward(forwards(services, slices, self.node))
        self.rounds += 1

    def _note(self, key: ObjectKey, before: Object | None, after: Object | None) -> None:
        self._changed.set()
