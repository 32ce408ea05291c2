"""Keeps the isolation of a node's pods in step with NetworkPolicies, or says that nothing isolates them.

Pods and namespaces are watched from the first policy on. As with forwards, changes that come together are carried out
together, and what the kernel refuses is tried again.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Mapping
from typing import Any

from tiphys.client.client import Client
from tiphys.cluster.node.network.attachments import NetworkError, PodNetwork, uses_host_network
from tiphys.cluster.node.network.policies import Member, isolations, member
from tiphys.machinery.actions import Emit
from tiphys.machinery.resources import NAMESPACES, PODS, ObjectKey, Resource
from tiphys.runtime.clock import Clock
from tiphys.runtime.events import EventRecorder
from tiphys.runtime.informer import Informer

Object = Mapping[str, Any]

NETWORK_POLICIES = Resource("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy")
RETRY_SECONDS = 5.0

logger = logging.getLogger(__name__)


class PodIsolation:
    """``run`` works until cancelled."""

    def __init__(self, client: Client, network: PodNetwork, node: str, clock: Clock, rng: random.Random) -> None:
        self._network = network
        self._clock = clock
        self._policies = Informer(client, NETWORK_POLICIES, clock=clock, rng=rng)
        self._namespaces = Informer(client, NAMESPACES, clock=clock, rng=rng)
        self._pods = Informer(client, PODS, clock=clock, rng=rng, fieldSelector=f"spec.nodeName={node}")
        self._events = EventRecorder(client, clock, "tiphys-network")
        self._members: dict[ObjectKey, Member] = {}
        self._changed = asyncio.Event()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._policies.run())
            self._policies.subscribe(self._on_policy)
            if self._network.unenforced:
                tasks.create_task(self._events.run())
                await self._tell()
            await self._network.opened()
            await self._policies.synced.wait()
            await self._follow(tasks)

    async def _tell(self) -> None:
        """Says of each policy, once, that it has no effect."""
        await self._changed.wait()
        logger.warning("NetworkPolicies are not enforced: %s", self._network.unenforced)
        told: set[str] = set()
        while True:
            self._changed.clear()
            held = {policy["metadata"]["uid"]: policy for policy in self._policies.objects()}
            for uid in held.keys() - told:
                self._warn(held[uid])
            told = set(held)
            await self._changed.wait()

    def _warn(self, policy: Object) -> None:
        meta = policy["metadata"]
        about = {
            "apiVersion": NETWORK_POLICIES.api_version,
            "kind": NETWORK_POLICIES.kind,
            "name": meta["name"],
            "namespace": meta["namespace"],
            "uid": meta["uid"],
        }
        said = f"This policy is stored and has no effect: {self._network.unenforced}"
        self._events.emit(Emit(about, "Warning", "NotEnforced", said))

    async def _follow(self, tasks: asyncio.TaskGroup) -> None:
        watching = False
        while True:
            self._changed.clear()
            if len(self._policies) and not watching:
                watching = True
                await self._watch(tasks)
            try:
                await self._bring_in_step()
            except NetworkError as err:
                logger.warning("Network policies are not in force as they should be: %s", err)
                self._clock.call_at(self._clock.monotonic() + RETRY_SECONDS, self._changed.set)
            await self._changed.wait()

    async def _watch(self, tasks: asyncio.TaskGroup) -> None:
        for informer, handler in ((self._namespaces, self._on_namespace), (self._pods, self._on_pod)):
            informer.subscribe(handler)
            tasks.create_task(informer.run())
            await informer.synced.wait()

    async def _bring_in_step(self) -> None:
        labels = {one["metadata"]["name"]: one["metadata"].get("labels") or {} for one in self._namespaces.objects()}
        await self._network.isolate(isolations(self._policies.objects(), self._members.values(), labels))

    def _on_policy(self, _key: ObjectKey, before: Object | None, after: Object | None) -> None:
        if before is None or after is None or before.get("spec") != after.get("spec"):
            self._changed.set()

    def _on_namespace(self, _key: ObjectKey, before: Object | None, after: Object | None) -> None:
        if _labels(before) != _labels(after):
            self._changed.set()

    def _on_pod(self, key: ObjectKey, _before: Object | None, after: Object | None) -> None:
        """Most changes of a pod mean nothing here."""
        now = member(after) if after is not None and not uses_host_network(after) else None
        if now == self._members.get(key):
            return
        if now is None:
            del self._members[key]
        else:
            self._members[key] = now
        self._changed.set()


def _labels(namespace: Object | None) -> Mapping[str, str] | None:
    return None if namespace is None else namespace["metadata"].get("labels") or {}
