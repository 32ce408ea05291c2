"""The scheduler: puts pods on nodes, the most important first; says why where it cannot.

    pending ──► ready (by priority, then age) ──decide──► bound
                  ▲                               └─────► parked: something must change first
                  ├── back-off (1 s … 10 s) ◄── a pod went, a node or a claim changed
                  └── five minutes passed: in case nobody said what changed

Decisions are ``plan/scheduling``. What is decided counts at once (the pod is assumed to be on its node), so that many
pods are placed in one go and bound together; so does the room that is made for a pod by ending others. A pod whose
claims wait for their first consumer is parked until they are bound to a volume for the chosen node.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from tiphys.client.transport import Request
from tiphys.cluster.controllers.kit import Component, Kit
from tiphys.cluster.controllers.plan import pods as podfacts
from tiphys.cluster.controllers.plan.disruption import allowed_for
from tiphys.cluster.controllers.plan.owners import reference_to
from tiphys.cluster.controllers.plan.scheduling.cluster import ClusterState, PodFacts
from tiphys.cluster.controllers.plan.scheduling.decide import Decision, decide, rejected
from tiphys.cluster.controllers.plan.scheduling.volumes import SELECTED_NODE, Claims, Unbound, judge
from tiphys.cluster.controllers.wakes import SCHEDULER, wants_scheduling
from tiphys.machinery.actions import Delete, Emit, Patch
from tiphys.machinery.errors import ApiError, Conflict, NotFound
from tiphys.machinery.resources import (
    NAMESPACES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    POD_DISRUPTION_BUDGETS,
    PODS,
    STORAGE_CLASSES,
    ObjectKey,
    key_of,
)
from tiphys.machinery.times import to_time

Object = Mapping[str, Any]

_BATCH_MAX: Final = 200
_BACKOFF_FIRST: Final = timedelta(seconds=1)
_BACKOFF_MAX: Final = timedelta(seconds=10)
_PARKED_MAX: Final = timedelta(minutes=5)  # podMaxInUnschedulablePodsDuration


class Scheduler(Component):
    name = SCHEDULER
    reads = (PODS, NODES, NAMESPACES)
    manager = "kube-scheduler"

    def __init__(self, kit: Kit) -> None:
        super().__init__(kit)
        self.cluster = ClusterState()
        self._ready: list[tuple[int, str, int, ObjectKey]] = []
        self._queued: set[ObjectKey] = set()
        self._parked: dict[ObjectKey, datetime] = {}
        self._attempts: dict[str, int] = {}
        self._news = asyncio.Event()
        self._sequence = 0
        self._knows_volumes = False

    async def work(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._retries(), name="scheduler retries")
            while True:
                await self._news.wait()
                self._news.clear()
                await self._schedule_all()

    def subscribe(self) -> None:
        self.on(NAMESPACES, self._on_namespace)
        self.on(NODES, self._on_node)
        self.on(PODS, self._on_pod)

    # What happens

    def _on_node(self, key: ObjectKey, _before: Object | None, after: Object | None) -> None:
        if after is None:
            self.cluster.drop_node(key.name)
        else:
            self.cluster.set_node(after)
        self._unpark()

    def _on_namespace(self, key: ObjectKey, _before: Object | None, after: Object | None) -> None:
        labels = (after["metadata"].get("labels") or {}) if after is not None else None
        if labels == self.cluster.namespaces.get(key.name):
            return
        if labels is None:
            del self.cluster.namespaces[key.name]
        else:
            self.cluster.namespaces[key.name] = labels
        self._unpark()

    def _on_pod(self, key: ObjectKey, before: Object | None, after: Object | None) -> None:
        if before is not None and after is not None and before["metadata"]["uid"] != after["metadata"]["uid"]:
            self._on_pod(key, before, None)  # nobody saw that one went before there was another of its name
            before = None
        if before is not None and (after is None or podfacts.is_terminated(after)):
            uid = before["metadata"]["uid"]
            had_room = self.cluster.node_of(uid) or self.cluster.expected_at(uid)
            self.cluster.remove(uid)
            self._attempts.pop(uid, None)
            self._parked.pop(key, None)
            if had_room:
                self._unpark()
        if after is None or podfacts.is_terminated(after):
            return
        node = after["spec"].get("nodeName")
        if node:
            self._parked.pop(key, None)
            if self.cluster.node_of(after["metadata"]["uid"]) != node or _differs(before, after):
                self.cluster.place(PodFacts.of(after), node)
        elif wants_scheduling(after) and (before is None or _spec_changed(before, after)):
            self._parked.pop(key, None)
            nominated = (after.get("status") or {}).get("nominatedNodeName")
            if before is None and nominated:  # the one before us made room for it
                self.cluster.expect(PodFacts.of(after), nominated)
            self._enqueue(key, after)

    def _enqueue(self, key: ObjectKey, pod: Object) -> None:
        if key in self._queued:
            return
        self._queued.add(key)
        self._sequence += 1
        priority = int(pod["spec"].get("priority") or 0)
        heapq.heappush(self._ready, (-priority, pod["metadata"]["creationTimestamp"], self._sequence, key))
        self._news.set()

    def _unpark(self) -> None:
        """Something changed that may help those that wait: tried again after their back-off."""
        for key, not_before in list(self._parked.items()):
            self.queue.add_at(key, not_before)

    async def _retries(self) -> None:
        while True:
            key = await self.queue.get()
            self.queue.done(key)
            pod = self.cache(PODS).get(key)
            if self._parked.pop(key, None) is not None and pod is not None and wants_scheduling(pod):
                self._enqueue(key, pod)

    # Decisions

    async def _schedule_all(self) -> None:
        while self._ready:
            chosen: list[tuple[Object, str]] = []
            while self._ready and len(chosen) < _BATCH_MAX:
                key = heapq.heappop(self._ready)[3]
                self._queued.discard(key)
                pod = self.cache(PODS).get(key)
                if pod is not None and wants_scheduling(pod):
                    node = await self._decide(pod)
                    if node:
                        chosen.append((pod, node))
            await asyncio.gather(*(self._bind(pod, node) for pod, node in chosen))

    async def _decide(self, pod: Object) -> str:
        """The node for a pod, which is assumed to be there from now on; "" where there is none."""
        facts = PodFacts.of(pod)
        claims: Claims | None = None
        try:
            claims = await self._claims(pod)
            decision = decide(facts, self.cluster, judge(claims, self.cluster) if claims else {}, self._protects)
        except Unbound as err:
            decision = rejected(self.cluster, str(err))
        if decision.node and claims is not None and claims.waiting:
            self._wait(key_of(pod), self.clock.now())
            await self._select_node(claims, decision.node)
            return ""
        if decision.node:
            self.cluster.place(facts, decision.node)
            return decision.node
        if decision.nominated:
            self.cluster.expect(facts, decision.nominated)
        elif self.cluster.expected_at(facts.uid):
            self.cluster.remove(facts.uid)
            self._unpark()
        await self._unschedulable(pod, decision)
        return ""

    def _protects(self, pod: PodFacts) -> bool:
        return not allowed_for(pod.labels, pod.key.namespace, self.cache(POD_DISRUPTION_BUDGETS).objects())

    async def _claims(self, pod: Object) -> Claims | None:
        if not any(v.get("persistentVolumeClaim") or v.get("ephemeral") for v in pod["spec"].get("volumes") or ()):
            return None
        kinds = (PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, STORAGE_CLASSES)
        if not self._knows_volumes:
            self._knows_volumes = True
            await self.kit.caches.synced(*kinds)
            self.on(PERSISTENT_VOLUME_CLAIMS, self._on_volume)
            self.on(PERSISTENT_VOLUMES, self._on_volume)
        claims, volumes, classes = map(self.cache, kinds)
        return Claims.of(pod, claims.get, volumes.get, tuple(volumes.objects()), classes.get)

    def _on_volume(self, _key: ObjectKey, _before: Object | None, _after: Object | None) -> None:
        self._unpark()

    async def _select_node(self, claims: Claims, node: str) -> None:
        """Tells whoever makes volumes for which node they are wanted."""
        patches = []
        for claim in claims.waiting:
            if (claim["metadata"].get("annotations") or {}).get(SELECTED_NODE) != node:
                patch = {"metadata": {"annotations": {SELECTED_NODE: node}}}
                patches.append(Patch(PERSISTENT_VOLUME_CLAIMS, key_of(claim), patch, why="its first consumer"))
        await self.attempt(patches)

    # Consequences

    async def _bind(self, pod: Object, node: str) -> None:
        key, uid = key_of(pod), pod["metadata"]["uid"]
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": key.name, "namespace": key.namespace, "uid": uid},
            "target": {"kind": "Node", "name": node},
        }
        try:
            request = Request("create", PODS, key.namespace, key.name, "binding", body=body)
            await self.client.transport.call(request)
        except (NotFound, Conflict):
            self.cluster.remove(uid)  # it is gone, or somebody else bound it: its event tells
            return
        except ApiError:
            self.cluster.remove(uid)
            self._park(pod)
            self.queue.add_at(key, self._parked[key])
            return
        self._attempts.pop(uid, None)
        text = f"Successfully assigned {key} to {node}"
        self.events.emit(Emit(reference_to(pod, PODS), "Normal", "Scheduled", text))

    async def _unschedulable(self, pod: Object, decision: Decision) -> None:
        self._park(pod)
        self.events.emit(Emit(reference_to(pod, PODS), "Warning", "FailedScheduling", decision.message))
        now = to_time(self.clock.now())
        held = podfacts.condition(pod, "PodScheduled")
        said = {
            "type": "PodScheduled",
            "observedGeneration": pod["metadata"].get("generation"),
            "status": "False",
            "lastProbeTime": None,
            "lastTransitionTime": held["lastTransitionTime"] if held and held["status"] == "False" else now,
            "reason": "Unschedulable",
            "message": decision.message,
        }
        status: dict[str, Any] = dict(pod.get("status") or {})
        others = [c for c in status.get("conditions") or () if c["type"] != "PodScheduled"]
        if held != said:
            status["conditions"] = [*others, said]
        if decision.nominated:
            status["nominatedNodeName"] = decision.nominated
        else:
            status.pop("nominatedNodeName", None)
        if status != pod.get("status"):
            await self._write_status(pod, status)
        if decision.victims:
            await self._preempt(pod, decision)

    async def _write_status(self, pod: Object, status: Mapping[str, Any]) -> None:
        """A whole status and no patch: patches lose the nulls that a pod's conditions show."""
        try:
            written = await self.client.replace(PODS, {**pod, "status": status}, "status")
        except ApiError:
            return  # the pod stays parked: said when it is tried again
        self.cache(PODS).learn(written)

    async def _preempt(self, pod: Object, decision: Decision) -> None:
        """Ends lesser pods; the pod is tried again as they go."""
        for victim in decision.victims:
            held = self.cache(PODS).get(victim.key)
            if held is None:
                continue
            text = f"Preempted by pod {pod['metadata']['uid']} on node {decision.nominated}"
            self.events.emit(Emit(reference_to(held, PODS), "Normal", "Preempted", text))
            now = to_time(self.clock.now())
            why = {
                "type": "DisruptionTarget",
                "status": "True",
                "lastProbeTime": None,
                "lastTransitionTime": now,
                "reason": "PreemptionByScheduler",
                "message": f"{SCHEDULER}: preempting to accommodate a higher priority pod",
            }
            conditions = [*((held.get("status") or {}).get("conditions") or ()), why]
            await self._write_status(held, {**(held.get("status") or {}), "conditions": conditions})
            await self.attempt([Delete(PODS, victim.key, victim.uid, why="preempted")])

    def _park(self, pod: Object) -> None:
        uid = pod["metadata"]["uid"]
        tried = self._attempts[uid] = self._attempts.get(uid, 0) + 1
        wait = min(_BACKOFF_MAX, _BACKOFF_FIRST * 2 ** min(tried - 1, 8))
        self._wait(key_of(pod), self.clock.now() + wait)

    def _wait(self, key: ObjectKey, not_before: datetime) -> None:
        self._parked[key] = not_before
        self.queue.add_at(key, self.clock.now() + _PARKED_MAX)


def _differs(before: Object | None, after: Object) -> bool:
    """Whether what decisions need of a bound pod changed."""
    if before is None:
        return True
    one, other = before["metadata"], after["metadata"]
    return bool(
        one.get("labels") != other.get("labels")
        or bool(one.get("deletionTimestamp")) != bool(other.get("deletionTimestamp"))
        or before["spec"].get("containers") != after["spec"].get("containers")
    )


def _spec_changed(before: Object, after: Object) -> bool:
    labels = before["metadata"].get("labels") != after["metadata"].get("labels")
    return labels or bool(before["spec"] != after["spec"])
