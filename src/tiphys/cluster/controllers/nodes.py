"""The controllers of nodes: that they are known, and what happens when something is wrong with one: taints that keep
pods away, taints that evict, nodes that go."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from tiphys.cluster.controllers.kit import Controller, Kit
from tiphys.cluster.controllers.plan import pods as podfacts
from tiphys.cluster.controllers.plan.eviction import evicted_at, surplus
from tiphys.cluster.controllers.plan.node_taints import is_mistainted, taints_of
from tiphys.cluster.controllers.plan.owners import reference_to
from tiphys.cluster.controllers.wakes import evicts
from tiphys.machinery.actions import Action, Delete, Emit, Patch
from tiphys.machinery.errors import Conflict, NotFound
from tiphys.machinery.resources import NODES, PODS, ObjectKey, key_of
from tiphys.machinery.times import parse_time, to_time
from tiphys.runtime.controller import Outcome

Object = Mapping[str, Any]

_ALL: Final = ObjectKey("", "")
_LOOKS_EVERY: Final = timedelta(seconds=20)
# A node whose going nobody saw may only be late to register (source: podgc's quarantine).
_MISSING_FOR: Final = timedelta(seconds=40)
_TTL: Final = "node.alpha.kubernetes.io/ttl"
# Seconds for as many nodes.
_TTLS: Final = ((100, 0), (500, 15), (1000, 30), (2000, 60))
_TTL_MAX: Final = "300"


class NodeController(Controller):
    """Says of each node that it is known, and how long its kubelet may keep what it reads.

    Source: the node lifecycle and the ttl controller of Kubernetes. No node here is declared dead by its silence.
    """

    name = "node-controller"
    reads = (NODES,)
    workers = 1

    def __init__(self, kit: Kit) -> None:
        super().__init__(kit)
        self._known: set[str] = set()

    def subscribe(self) -> None:
        self.on(NODES, self._on_node)

    def _on_node(self, key: ObjectKey, before: Object | None, after: Object | None) -> None:
        if after is None:
            self._known.discard(before["metadata"]["uid"] if before is not None else "")
            return
        if after["metadata"]["uid"] not in self._known:
            self._known.add(after["metadata"]["uid"])
            text = f"Node {key.name} event: Registered Node {key.name} in Controller"
            self.events.emit(Emit(reference_to(after, NODES), "Normal", "RegisteredNode", text))
        self.queue.add(key)

    async def reconcile(self, key: ObjectKey) -> Outcome:
        node = self.cache(NODES).get(key)
        seconds = _ttl_seconds(len(self._known))
        if node is not None and (node["metadata"].get("annotations") or {}).get(_TTL) != seconds:
            patch = {"metadata": {"annotations": {_TTL: seconds}}}
            await self.carry_out([Patch(NODES, key, patch, why="by how many nodes there are")])
        return None


def _ttl_seconds(nodes: int) -> str:
    return next((str(seconds) for most, seconds in _TTLS if nodes <= most), _TTL_MAX)


class NodeTaintController(Controller):
    """Keeps the taints that follow from a node's conditions: also lifts the one that a new node begins with."""

    name = "node-taint-controller"
    reads = (NODES,)

    def subscribe(self) -> None:
        self.on(NODES, self._on_node)

    def _on_node(self, key: ObjectKey, before: Object | None, after: Object | None) -> None:
        if after is not None and is_mistainted(after):
            self.queue.add(key)

    async def reconcile(self, key: ObjectKey) -> Outcome:
        node = self.cache(NODES).get(key)
        if node is None or not is_mistainted(node):
            return None
        taints = taints_of(node, to_time(self.clock.now()))
        with contextlib.suppress(Conflict, NotFound):  # it changed: its event brings it back
            await self.client.replace(NODES, {**node, "spec": {**node["spec"], "taints": taints}})
        return None


class _Disrupting(Controller):
    """Ends pods after saying on them why."""

    async def disrupt(self, pod: Object, reason: str, message: str) -> None:
        status = pod.get("status") or {}
        why = {
            "type": "DisruptionTarget",
            "status": "True",
            "lastProbeTime": None,
            "lastTransitionTime": to_time(self.clock.now()),
            "reason": reason,
            "message": message,
        }
        others = [each for each in status.get("conditions") or () if each["type"] != "DisruptionTarget"]
        try:
            await self.client.replace(PODS, {**pod, "status": {**status, "conditions": [*others, why]}}, "status")
        except (Conflict, NotFound):
            return  # it changed: its event brings it back


class TaintEvictionController(_Disrupting):
    name = "taint-eviction-controller"
    reads = (NODES, PODS)

    def subscribe(self) -> None:
        self.on(NODES, self._on_node)
        self.on(PODS, self._on_pod)

    def _on_node(self, key: ObjectKey, before: Object | None, after: Object | None) -> None:
        if after is not None and (before is None or before.get("spec") != after.get("spec")):
            for pod in self.cache(PODS).objects():
                if pod["spec"].get("nodeName") == key.name:
                    self.queue.add(key_of(pod))

    def _on_pod(self, key: ObjectKey, before: Object | None, after: Object | None) -> None:
        if after is not None and (before is None or not before["spec"].get("nodeName")):
            self.queue.add(key)

    async def reconcile(self, key: ObjectKey) -> Outcome:
        pod = self.cache(PODS).get(key)
        node = self.cache(NODES).get(ObjectKey("", pod["spec"].get("nodeName") or "")) if pod is not None else None
        if pod is None or node is None or not podfacts.is_active(pod) or not evicts(node):
            return None
        leaves_at = evicted_at(pod, node["spec"]["taints"], self._since(node))
        if leaves_at is None or leaves_at > self.clock.now():
            return leaves_at
        text = f"Marking for deletion Pod {key}"
        self.events.emit(Emit(reference_to(pod, PODS), "Normal", "TaintManagerEviction", text))
        await self.disrupt(pod, "DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint")
        await self.carry_out([Delete(PODS, key, pod["metadata"]["uid"], why="its node's taint")])
        return None

    def _since(self, node: Object) -> datetime:
        """Since when the youngest evicting taint is there; one that does not say is taken to be new."""
        times = [taint.get("timeAdded") for taint in node["spec"]["taints"] if taint.get("effect") == "NoExecute"]
        return max((parse_time(at) for at in times if at), default=self.clock.now())


class PodGcController(_Disrupting):
    """Deletes pods of nodes that are gone, and the oldest ended ones where there are very many."""

    name = "pod-garbage-collector"
    reads = (NODES,)
    workers = 1

    def __init__(self, kit: Kit) -> None:
        super().__init__(kit)
        self._missing: dict[str, datetime] = {}

    def subscribe(self) -> None:
        self.on(NODES, self._on_node)
        self.queue.add(_ALL)

    def _on_node(self, key: ObjectKey, before: Object | None, after: Object | None) -> None:
        if after is None and before is not None:
            self.queue.add(key)

    async def reconcile(self, key: ObjectKey) -> Outcome:
        """``key`` names a node that went, or ``_ALL``."""
        if key == _ALL:
            await self._look_around()
            return self.clock.now() + _LOOKS_EVERY
        if self.cache(NODES).get(key) is not None:
            return None
        pods = await self.client.list(PODS, fieldSelector=f"spec.nodeName={key.name}")
        for pod in pods.get("items") or ():
            await self.disrupt(pod, "DeletionByPodGC", "PodGC: node no longer exists")
            await self.carry_out([_gone(pod)])
        return None

    async def _look_around(self) -> None:
        pods, now = (await self.client.list(PODS)).get("items") or (), self.clock.now()
        nodes = {pod["spec"].get("nodeName") or "" for pod in pods} - {""}
        missing = [name for name in nodes if self.cache(NODES).get(ObjectKey("", name)) is None]
        self._missing = {name: self._missing.get(name, now) for name in missing}
        for name, since in self._missing.items():
            if now - since >= _MISSING_FOR:
                self.queue.add(ObjectKey("", name))
        await self.attempt([_gone(pod) for pod in surplus(pods)])


def _gone(pod: Object) -> Action:
    return Delete(PODS, key_of(pod), pod["metadata"]["uid"], grace_seconds=0, why="nobody holds it any more")
