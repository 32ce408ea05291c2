"""The controllers of Endpoints and of EndpointSlices: two kinds, one way to find a Service's pods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tiphys.cluster.controllers.kit import NAMESPACED, OWNED, Controller, Kit
from tiphys.cluster.controllers.plan import pods as podfacts
from tiphys.cluster.controllers.plan.endpoints import Observed, plan_endpoints, plan_slices
from tiphys.cluster.controllers.wakes import selects
from tiphys.machinery.actions import Action, Delete
from tiphys.machinery.resources import ENDPOINT_SLICES, ENDPOINTS, NODES, PODS, SERVICES, ObjectKey, key_of
from tiphys.machinery.selectors import from_labels
from tiphys.runtime.controller import Outcome

Object = Mapping[str, Any]
_ZONE = "topology.kubernetes.io/zone"


class _ServiceController(Controller):
    def __init__(self, kit: Kit) -> None:
        super().__init__(kit)
        self._seen: dict[str, dict[str, str]] = {}

    def subscribe(self) -> None:
        self.on_own(SERVICES)
        self.on(PODS, self._on_pod)

    def _on_pod(self, key: ObjectKey, before: Object | None, after: Object | None) -> None:
        if before is not None and after is not None and _same_endpoint(before, after):
            return
        services = self.cache(SERVICES).indexed(NAMESPACED, key.namespace)
        for service in services:
            selector = service["spec"].get("selector")
            if selector and any(_selected(selector, pod) for pod in (before, after)):
                self.queue.add(key_of(service))

    def observe(self, service: Object) -> Observed:
        namespace = service["metadata"]["namespace"]
        selector = from_labels(service["spec"]["selector"])
        pods = self.cache(PODS).indexed(NAMESPACED, namespace)
        mine = tuple(pod for pod in pods if selector.matches(pod["metadata"].get("labels")))
        nodes = {pod["spec"].get("nodeName", "") for pod in mine}
        found = {name: self.cache(NODES).get(ObjectKey("", name)) for name in nodes}
        zones = {name: _labels(node).get(_ZONE, "") for name, node in found.items()}
        return Observed(service, mine, zones, self._changed_at(service, mine))

    def _changed_at(self, service: Object, pods: Sequence[Object]) -> str:
        """The earliest change since the last look: the Service's creation, or a pod that became (un)ready."""
        meta = service["metadata"]
        known = self._seen.setdefault(meta["uid"], {})
        times = {"": meta["creationTimestamp"]} if "" not in known else {}
        for pod in pods:
            ready = podfacts.condition(pod, "Ready")
            if ready is not None and ready.get("lastTransitionTime", "") > known.get(pod["metadata"]["name"], ""):
                times[pod["metadata"]["name"]] = ready["lastTransitionTime"]
        known.update(times)
        names = {pod["metadata"]["name"] for pod in pods}
        for gone in [name for name in known if name and name not in names]:
            del known[gone]
        return min(times.values(), default="")


class EndpointSliceController(_ServiceController):
    name = "endpoint-slice-controller"
    reads = (SERVICES, PODS, NODES, ENDPOINT_SLICES)

    def subscribe(self) -> None:
        super().subscribe()
        self.on_owned(ENDPOINT_SLICES, SERVICES.kind)

    async def reconcile(self, key: ObjectKey) -> Outcome:
        service = self.cache(SERVICES).get(key)
        if service is None or not selects(service) or service["spec"].get("type") == "ExternalName":
            return None
        seen = self.observe(service)
        slices = tuple(self.cache(ENDPOINT_SLICES).indexed(OWNED, service["metadata"]["uid"]))
        await self.carry_out(*plan_slices(replace(seen, slices=slices)))
        return None


class EndpointsController(_ServiceController):
    name = "endpoint-controller"
    reads = (SERVICES, PODS, NODES, ENDPOINTS)

    def subscribe(self) -> None:
        super().subscribe()
        self.on_own(ENDPOINTS)

    async def reconcile(self, key: ObjectKey) -> Outcome:
        service, held = self.cache(SERVICES).get(key), self.cache(ENDPOINTS).get(key)
        if service is None:
            await self.carry_out(self._abandoned(held))
            return None
        if not selects(service) or service["spec"].get("type") == "ExternalName":
            return None
        seen = self.observe(service)
        await self.carry_out(*plan_endpoints(replace(seen, endpoints=held)))
        return None

    @staticmethod
    def _abandoned(held: Object | None) -> Sequence[Action]:
        """Endpoints of ours go with their Service; those that somebody wrote by hand stay."""
        meta = held["metadata"] if held is not None else {}
        ours = (meta.get("labels") or {}).get("endpoints.kubernetes.io/managed-by") == "endpoint-controller"
        return [Delete(ENDPOINTS, key_of(held), meta["uid"], why="its Service is gone")] if held and ours else []


def _labels(node: Object | None) -> Mapping[str, str]:
    return (node["metadata"].get("labels") or {}) if node is not None else {}


def _selected(selector: Mapping[str, str], pod: Object | None) -> bool:
    return pod is not None and selector.items() <= (pod["metadata"].get("labels") or {}).items()


def _same_endpoint(one: Object, other: Object) -> bool:
    """Whether nothing changed that an endpoint shows."""
    left, right = one.get("status") or {}, other.get("status") or {}
    return (
        left.get("podIP") == right.get("podIP")
        and left.get("phase") == right.get("phase")
        and podfacts.is_ready(one) == podfacts.is_ready(other)
        and one["metadata"].get("labels") == other["metadata"].get("labels")
        and bool(one["metadata"].get("deletionTimestamp")) == bool(other["metadata"].get("deletionTimestamp"))
        and one["spec"].get("nodeName") == other["spec"].get("nodeName")
    )
