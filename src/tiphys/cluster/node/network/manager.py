"""Keeps a node's forwards and names in step with Services and EndpointSlices.

Changes that come together are carried out together: the first one starts the work, and what arrives while it goes on is
the next round's. What the machine refuses is tried again: a cluster goes on without what it cannot have.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Mapping
from typing import Any

from tiphys.client.client import Client
from tiphys.cluster.node.network.attachments import NetworkError, PodNetwork
from tiphys.cluster.node.network.names import Names
from tiphys.cluster.node.network.outside import Outside, addressed
from tiphys.cluster.node.network.resolver import Resolver, machine_resolvers
from tiphys.cluster.node.network.routes import SERVICE_NAME, Endpoint, Forward, forwards
from tiphys.machinery.resources import ENDPOINT_SLICES, SERVICES, ObjectKey
from tiphys.runtime.clock import Clock
from tiphys.runtime.informer import Informer

Object = Mapping[str, Any]

_API_PORT = 443
_GATE_PORT = 16443
RETRY_SECONDS = 5.0

logger = logging.getLogger(__name__)


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
        self.clock = clock
        self.network = network
        self.node = node
        self.api = api
        self.names = Names((), ())
        self._services = Informer(client, SERVICES, clock=clock, rng=rng)
        self._slices = Informer(client, ENDPOINT_SLICES, clock=clock, rng=rng, indexes={"service": _service_of})
        self._changed = asyncio.Event()
        self._resolver = Resolver(lambda: self.names, machine_resolvers())
        self.outside = Outside(client, self._services.objects, self._slices_of, clock, rng)
        for informer in (self._services, self._slices):
            informer.subscribe(self._note)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._services.run())
            tasks.create_task(self._slices.run())
            await self._services.synced.wait()
            await self._slices.synced.wait()
            tasks.create_task(self.outside.run())
            if self.network.resolver_address:
                tasks.create_task(self._resolve())
            while True:
                self._changed.clear()
                try:
                    await self._bring_in_step()
                except NetworkError as err:
                    logger.warning("Services do not lead where they should: %s", err)
                    self.clock.call_at(self.clock.monotonic() + RETRY_SECONDS, self._changed.set)
                await self._changed.wait()

    async def _resolve(self) -> None:
        """Answers DNS once there is an address to do it on."""
        await self.network.opened()
        self._changed.set()
        try:
            await self._resolver.start(self.network.resolver_address)
        except OSError as err:
            await self._resolver.stop()
            logger.error("Pods do not find Services by name: no DNS server can be had for them: %s", err)
            return
        try:
            await asyncio.Event().wait()
        finally:
            await self._resolver.stop()

    async def _bring_in_step(self) -> None:
        held, slices = list(self._services.objects()), list(self._slices.objects())
        services = [addressed(one) for one in held]
        self.names = Names(services, slices)
        own = [one for one in services if self.api is not None and _is_the_api(one)]
        others = [one for one in services if one not in own]
        await self.network.forward([*forwards(others, slices, self.node), *self._to_the_api(own)])
        await self.outside.tell(new for old, new in zip(held, services, strict=True) if new is not old)

    def _slices_of(self, namespace: str, service: str) -> list[Object]:
        return list(self._slices.indexed("service", f"{namespace}/{service}"))

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


def _service_of(found: Object) -> list[str]:
    """The Service that a slice belongs to, as the index has it."""
    metadata = found["metadata"]
    name = (metadata.get("labels") or {}).get(SERVICE_NAME)
    return [f"{metadata.get('namespace', '')}/{name}"] if name else []


def _is_the_api(service: Object) -> bool:
    metadata = service["metadata"]
    return bool(metadata["name"] == "kubernetes" and metadata.get("namespace") == "default")
