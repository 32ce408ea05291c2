"""The controllers of the embedded cluster, put together: which there are, and what they share.

They run beside the API server in one process, each from the first object on that it is for.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol

from tiphys.client.client import Client
from tiphys.client.managed import ManagedTransport
from tiphys.client.transport import Transport
from tiphys.cluster.controllers.garbage import GarbageCollector, Kinds
from tiphys.cluster.controllers.graph import Feed
from tiphys.cluster.controllers.kit import Caches, Kit, Sinks
from tiphys.cluster.controllers.manager import Manager, Presence
from tiphys.cluster.controllers.wakes import CONTROLLERS
from tiphys.machinery.resources import Resource
from tiphys.runtime.clock import Clock

if TYPE_CHECKING:
    from tiphys.cluster.controllers.certificates import Signer
    from tiphys.cluster.controllers.volumes import Places


class ClusterFeed(Presence, Feed, Kinds, Protocol):
    """What the API server tells (``feed.py``)."""

    def deletable(self) -> Iterable[Resource]: ...


class ClusterControllers:
    """All of them; ``run`` works until cancelled. ``lasting``: those too that only a cluster needs that stays."""

    def __init__(
        self,
        transport: Transport,
        feed: ClusterFeed,
        clock: Clock,
        rng: random.Random,
        root_ca: Callable[[], str] = str,
        places: Places | None = None,
        signer: Signer | None = None,
        lasting: bool = True,
    ) -> None:
        plain = Client(transport)  # readers, and events: they are nobody's

        def writer(name: str) -> Client:
            return Client(ManagedTransport(transport, name))

        sinks, caches = Sinks(plain, clock), Caches(plain, clock, rng)
        self.kit = Kit(writer, clock, rng, sinks, caches, feed.deletable, root_ca, places, signer, feed.resource)
        rows = (row for row in CONTROLLERS if lasting or not row.lasting)
        self.manager = Manager(self.kit, feed, rows)
        self.garbage = GarbageCollector(self.kit, feed, feed)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.manager.run(), name="cluster controllers")
            tasks.create_task(self.garbage.run(), name=self.garbage.name)
