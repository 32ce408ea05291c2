"""The controllers of the embedded cluster, put together: which there are, and what they share.

They run beside the API server in one process, each from the first object on that it is for.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

from tiphys.client.client import Client
from tiphys.client.managed import ManagedTransport
from tiphys.client.transport import Transport
from tiphys.cluster.controllers.accounts import RootCaController, ServiceAccountController
from tiphys.cluster.controllers.autoscaling import AutoscalerController
from tiphys.cluster.controllers.certificates import CertificateController, Signer
from tiphys.cluster.controllers.cluster_roles import ClusterRoleController
from tiphys.cluster.controllers.cron_jobs import CronJobController
from tiphys.cluster.controllers.daemon_sets import DaemonSetController
from tiphys.cluster.controllers.deployments import DeploymentController
from tiphys.cluster.controllers.disruption import DisruptionController
from tiphys.cluster.controllers.endpoints import EndpointsController, EndpointSliceController
from tiphys.cluster.controllers.garbage import GarbageCollector, Kinds
from tiphys.cluster.controllers.graph import Feed
from tiphys.cluster.controllers.jobs import JobController, TtlAfterFinishedController
from tiphys.cluster.controllers.kit import Caches, Controller, Kit, Sinks
from tiphys.cluster.controllers.manager import Manager, Presence
from tiphys.cluster.controllers.namespaces import NamespaceController
from tiphys.cluster.controllers.nodes import PodGcController, TaintEvictionController
from tiphys.cluster.controllers.replica_sets import ReplicaSetController, ReplicationControllerController
from tiphys.cluster.controllers.scheduler import Scheduler
from tiphys.cluster.controllers.stateful_sets import StatefulSetController
from tiphys.cluster.controllers.volumes import (
    ClaimProtectionController,
    Places,
    VolumeController,
    VolumeProtectionController,
)
from tiphys.machinery.resources import Resource
from tiphys.runtime.clock import Clock

CONTROLLERS: Final[Sequence[type[Controller]]] = (
    DeploymentController,
    ReplicaSetController,
    ReplicationControllerController,
    Scheduler,
    EndpointsController,
    EndpointSliceController,
    NamespaceController,
    ServiceAccountController,
    RootCaController,
    ClusterRoleController,
    DisruptionController,
    JobController,
    TtlAfterFinishedController,
    CronJobController,
    DaemonSetController,
    StatefulSetController,
    VolumeController,
    ClaimProtectionController,
    VolumeProtectionController,
    AutoscalerController,
    TaintEvictionController,
    PodGcController,
    CertificateController,
)


class ClusterFeed(Presence, Feed, Kinds, Protocol):
    """What the API server tells (``feed.py``)."""

    def deletable(self) -> Iterable[Resource]: ...


class ClusterControllers:
    """All of them; ``run`` works until cancelled."""

    def __init__(
        self,
        transport: Transport,
        feed: ClusterFeed,
        clock: Clock,
        rng: random.Random,
        root_ca: Callable[[], str] = str,
        places: Places | None = None,
        signer: Signer | None = None,
    ) -> None:
        plain = Client(transport)  # readers, and events: they are nobody's

        def writer(name: str) -> Client:
            return Client(ManagedTransport(transport, name))

        sinks, caches = Sinks(plain, clock), Caches(plain, clock, rng)
        self.kit = Kit(writer, clock, rng, sinks, caches, feed.deletable, root_ca, places, signer, feed.resource)
        self.manager = Manager(self.kit, feed, CONTROLLERS)
        self.garbage = GarbageCollector(self.kit, feed, feed)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.manager.run(), name="cluster controllers")
            tasks.create_task(self.garbage.run(), name=self.garbage.name)
