"""Simulated nodes: nobody runs their pods, a table of stages says what becomes of them (``stages.py``).

For tests at scale and for teaching: any number of nodes is one task, a pod costs two status writes.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from tiphys.client.client import Client
from tiphys.cluster.node.report import conditions, lease
from tiphys.cluster.node.simulated.stages import Stage, Stages, ended, load, running
from tiphys.machinery.errors import AlreadyExists, Conflict, NotFound
from tiphys.machinery.resources import LEASES, NODES, PODS, ObjectKey
from tiphys.machinery.times import parse_time, to_time
from tiphys.runtime.clock import Clock
from tiphys.runtime.controller import Controller, Outcome
from tiphys.runtime.informer import Informer
from tiphys.runtime.queue import WorkQueue

Object = Mapping[str, Any]

_CAPACITY: Final = {"cpu": "32", "memory": "256Gi", "ephemeral-storage": "1Ti", "pods": "110"}
_LABELS: Final = {"type": "simulated"}
_HOSTS_MAX: Final = 254
_ADDRESSES_MAX: Final = 254 * _HOSTS_MAX
_NETWORKS: Final = 256


@dataclass(frozen=True)
class Machine:
    """What simulated nodes say of themselves. ``info`` is ``status.nodeInfo`` beside version, system and processor."""

    capacity: Mapping[str, str] = field(default_factory=lambda: _CAPACITY)
    labels: Mapping[str, str] = field(default_factory=lambda: _LABELS)
    info: Mapping[str, str] = field(default_factory=dict)
    ready: str = "simulated"


class SimulatedNodes:
    """``names`` are the nodes; ``run`` plays their pods until cancelled."""

    def __init__(
        self,
        client: Client,
        names: Iterable[str],
        *,
        clock: Clock,
        rng: random.Random,
        stages: Stages | None = None,
        machine: Machine | None = None,
    ) -> None:
        self._client = client
        self._machine = machine or Machine()
        self._clock = clock
        self._stages = stages or load()
        self._hosts = {name: f"10.0.{number // 254}.{number % 254 + 1}" for number, name in enumerate(names)}
        self._pods = Informer(client, PODS, clock=clock, rng=rng)
        self._queue: WorkQueue[ObjectKey] = WorkQueue(clock, rng)
        self._networks = {name: number for number, name in enumerate(self._hosts) if number < _NETWORKS}
        self._used: set[str] = set()
        self._next: Counter[str] = Counter()
        self._pods.subscribe(self._changed)

    async def register(self) -> None:
        """Makes the Node objects that are missing, and the Leases by which nodes say that they live."""
        for number, name in enumerate(self._hosts):
            now = self._clock.now()
            made = node(name, self._hosts[name], to_time(now), number, self._machine)
            try:
                created = await self._client.create(NODES, made)
            except AlreadyExists:
                continue
            await self._client.patch(NODES, ObjectKey("", name), {"status": made["status"]}, subresource="status")
            with contextlib.suppress(AlreadyExists, NotFound):
                await self._client.create(LEASES, lease(created, now))

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._pods.run(), name="simulated pods")
            await self._pods.synced.wait()
            tasks.create_task(Controller("simulated-nodes", self._queue, self._play, 8).run(), name="simulated nodes")

    def _changed(self, key: ObjectKey, before: Object | None, after: Object | None) -> None:
        if after is None:
            self._used.discard(((before or {}).get("status") or {}).get("podIP", ""))
        elif after["spec"].get("nodeName") in self._hosts:
            ip = (after.get("status") or {}).get("podIP")
            if ip:
                self._used.add(ip)
            if self._stages.next(after) is not None:
                self._queue.add(key)

    async def _play(self, key: ObjectKey) -> Outcome:
        pod = self._pods.get(key)
        stage = self._stages.next(pod) if pod is not None else None
        if pod is None or stage is None:
            return None
        due = parse_time(_since(pod)) + self._stages.delay(stage, pod)
        if self._stages.delay(stage, pod) > timedelta() and due > self._clock.now():
            return due
        try:
            await self._enter(key, pod, stage)
        except (NotFound, Conflict):
            return None  # gone, or another one by now
        return None

    async def _enter(self, key: ObjectKey, pod: Object, stage: Stage) -> None:
        uid, now = pod["metadata"]["uid"], self._clock.now()
        if stage.next == "Gone":
            options = {"gracePeriodSeconds": 0, "preconditions": {"uid": uid}}
            await self._client.delete(PODS, key, options)
            return
        if stage.next == "Running":
            host = pod["spec"]["nodeName"]
            addresses = (self._hosts[host], self._address(host))
            status = running(pod, self._stages.is_ready(pod), addresses, now)
        else:
            status = ended(pod, self._stages.exit_code(stage, pod), now)
        # A whole status and no patch: patches lose the nulls that a pod's conditions show.
        whole = {**pod, "status": {**(pod.get("status") or {}), **status}}
        self._pods.learn(await self._client.replace(PODS, whole, "status"))

    def _address(self, host: str) -> str:
        """The next free address in the network of a node; where that is full or there is none, beside them all."""
        network = self._networks.get(host)
        for _ in range(_HOSTS_MAX if network is not None else 0):
            at = self._next[host] = self._next[host] % _HOSTS_MAX + 1
            if self._take(found := f"10.244.{network}.{at}"):
                return found
        for _ in range(_ADDRESSES_MAX):
            at = self._next[""] = (self._next[""] + 1) % _ADDRESSES_MAX
            if self._take(found := f"10.245.{at // _HOSTS_MAX}.{at % _HOSTS_MAX + 1}"):
                return found
        return "10.245.255.254"

    def _take(self, address: str) -> bool:
        if address in self._used:
            return False
        self._used.add(address)
        return True


def _since(pod: Object) -> str:
    """Since when a pod is in its present stage."""
    found: str = (pod.get("status") or {}).get("startTime") or pod["metadata"]["creationTimestamp"]
    return found


def node(name: str, address: str, now: str, number: int = 0, machine: Machine | None = None) -> dict[str, Any]:
    """A Ready Node object; ``number`` is its place among the simulated ones."""
    machine = machine or Machine()
    about = {"arch": "amd64", "os": "linux"}
    labels = {f"{prefix}kubernetes.io/{key}": value for prefix in ("beta.", "") for key, value in about.items()}
    labels |= {"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": f"zone-{'abc'[number % 3]}"}
    network = f"10.244.{number}.0/24"
    return {
        "metadata": {"name": name, "labels": labels | dict(machine.labels)},
        "spec": {"podCIDR": network, "podCIDRs": [network]} if number < _NETWORKS else {},
        "status": {
            "capacity": machine.capacity,
            "allocatable": machine.capacity,
            "conditions": conditions(now, machine.ready),
            "addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}],
            "nodeInfo": {
                "kubeletVersion": "v1.35.4",
                "operatingSystem": "linux",
                "architecture": "amd64",
                **machine.info,
            },
        },
    }
