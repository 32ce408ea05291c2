"""The controllers of the embedded cluster, put together: which there are, and what they share.

They run beside the API server in one process, each from the first object on that it is for.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Final, Protocol

from tiphys.client.client import Client
from tiphys.client.managed import ManagedTransport
from tiphys.client.transport import Transport
from tiphys.cluster.controllers.deployments import DeploymentController
from tiphys.cluster.controllers.garbage import GarbageCollector, Kinds
from tiphys.cluster.controllers.graph import Feed
from tiphys.cluster.controllers.kit import Caches, Controller, Kit, Sinks
from tiphys.cluster.controllers.manager import Manager, Presence
from tiphys.cluster.controllers.replica_sets import ReplicaSetController, ReplicationControllerController
from tiphys.runtime.clock import Clock

MANAGER: Final = "kube-controller-manager"

CONTROLLERS: Final[Sequence[type[Controller]]] = (
    DeploymentController,
    ReplicaSetController,
    ReplicationControllerController,
)


class ClusterFeed(Presence, Feed, Kinds, Protocol):
    """What the API server tells (``feed.py``)."""


class ClusterControllers:
    """All of them; ``run`` works until cancelled."""

    def __init__(self, transport: Transport, feed: ClusterFeed, clock: Clock, rng: random.Random) -> None:
        client = Client(ManagedTransport(transport, MANAGER))
        plain = Client(transport)  # events are nobody's
        self.kit = Kit(client, clock, rng, Sinks(plain, clock), Caches(plain, clock, rng))
        self.manager = Manager(self.kit, feed, CONTROLLERS)
        self.garbage = GarbageCollector(self.kit, feed, feed)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.manager.run(), name="cluster controllers")
            tasks.create_task(self.garbage.run(), name=self.garbage.name)
