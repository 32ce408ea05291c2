"""Simulated nodes: nobody runs their pods, a table of stages says what becomes of them (``stages.py``).

For tests at scale and for teaching: any number of nodes is one task, a pod costs two status writes.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, Final

from tiphys.client.client import Client
from tiphys.cluster.node.simulated.stages import Stage, Stages, ended, load, running
from tiphys.machinery.errors import AlreadyExists, Conflict, NotFound
from tiphys.machinery.resources import NODES, PODS, ObjectKey
from tiphys.machinery.times import parse_time, to_time
from tiphys.runtime.clock import Clock
from tiphys.runtime.controller import Controller, Outcome
from tiphys.runtime.informer import Informer
from tiphys.runtime.queue import WorkQueue

Object = Mapping[str, Any]

CAPACITY: Final = {"cpu": "32", "memory": "256Gi", "ephemeral-storage": "1Ti", "pods": "110"}
_ADDRESSES_MAX: Final = 254 * 254


class SimulatedNodes:
    """``names`` are the nodes; ``run`` plays their pods until cancelled."""

    def __init__(
        self, client: Client, names: Iterable[str], *, clock: Clock, rng: random.Random, stages: Stages | None = None
    ) -> None:
        self._client = client
        self._clock = clock
        self._stages = stages or load()
        self._hosts = {name: f"10.0.{number // 254}.{number % 254 + 1}" for number, name in enumerate(names)}
        self._pods = Informer(client, PODS, clock=clock, rng=rng)
        self._queue: WorkQueue[ObjectKey] = WorkQueue(clock, rng)
        self._used: set[str] = set()
        self._next = 0
        self._pods.subscribe(self._changed)

    async def register(self) -> None:
        """Makes the Node objects that are missing."""
        for number, name in enumerate(self._hosts):
            try:
                made = node(name, self._hosts[name], to_time(self._clock.now()), number)
                created = await self._client.create(NODES, made)
            except AlreadyExists:
                continue
            await self._client.replace(NODES, {**created, "status": made["status"]}, "status")

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
            addresses = (self._hosts[pod["spec"]["nodeName"]], self._address())
            status = running(pod, self._stages.is_ready(pod), addresses, now)
        else:
            status = ended(pod, self._stages.exit_code(stage, pod), now)
        # A whole status and no patch: patches lose the nulls that a pod's conditions show.
        whole = {**pod, "status": {**(pod.get("status") or {}), **status}}
        self._pods.learn(await self._client.replace(PODS, whole, "status"))

    def _address(self) -> str:
        for _ in range(_ADDRESSES_MAX):
            found = f"10.244.{self._next // 254 % 254}.{self._next % 254 + 1}"
            self._next += 1
            if found not in self._used:
                self._used.add(found)
                return found
        return "10.244.254.254"


def _since(pod: Object) -> str:
    """Since when a pod is in its present stage."""
    found: str = (pod.get("status") or {}).get("startTime") or pod["metadata"]["creationTimestamp"]
    return found


def node(name: str, address: str, now: str, number: int = 0) -> dict[str, Any]:
    """A Ready Node object."""
    zone = f"zone-{'abc'[number % 3]}"
    labels = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "type": "simulated",
        "topology.kubernetes.io/zone": zone,
    }
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "KubeletReady",
        "message": "simulated",
        "lastHeartbeatTime": now,
    }
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {},
        "status": {
            "capacity": CAPACITY,
            "allocatable": CAPACITY,
            "conditions": [ready | {"lastTransitionTime": now}],
            "addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}],
            "nodeInfo": {"kubeletVersion": "v1.35.4", "operatingSystem": "linux", "architecture": "amd64"},
        },
    }
