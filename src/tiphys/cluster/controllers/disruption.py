"""The controller of PodDisruptionBudgets: counts healthy pods, so that evictions know how many may go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tiphys.cluster.controllers import telling
from tiphys.cluster.controllers.kit import NAMESPACED, Controller
from tiphys.cluster.controllers.plan import pods as podfacts
from tiphys.cluster.controllers.plan.disruption import covers, status
from tiphys.cluster.controllers.plan.owners import controller_of
from tiphys.cluster.controllers.plan.statuses import status_patch
from tiphys.machinery.actions import Patch
from tiphys.machinery.resources import (
    DEPLOYMENTS,
    POD_DISRUPTION_BUDGETS,
    PODS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    STATEFUL_SETS,
    ObjectKey,
    Resource,
    key_of,
)
from tiphys.runtime.controller import Outcome

Object = Mapping[str, Any]
_SCALED = {kind.kind: kind for kind in (REPLICA_SETS, STATEFUL_SETS, REPLICATION_CONTROLLERS)}


class DisruptionController(Controller):
    name = "controllermanager"
    reads = (POD_DISRUPTION_BUDGETS, PODS, REPLICA_SETS, STATEFUL_SETS, REPLICATION_CONTROLLERS, DEPLOYMENTS)

    def subscribe(self) -> None:
        self.on_own(POD_DISRUPTION_BUDGETS)
        self.on(PODS, self._on_pod)
        for kind in (*_SCALED.values(), DEPLOYMENTS):
            self.on(kind, self._on_scale)

    def _on_pod(self, key: ObjectKey, before: Object | None, after: Object | None) -> None:
        if before is not None and after is not None and _alike(before, after):
            return
        self._wake(key.namespace, [pod["metadata"].get("labels") for pod in (before, after) if pod is not None])

    def _on_scale(self, key: ObjectKey, before: Object | None, after: Object | None) -> None:
        if before is None or after is None or before["spec"].get("replicas") != after["spec"].get("replicas"):
            for budget in self.cache(POD_DISRUPTION_BUDGETS).indexed(NAMESPACED, key.namespace):
                self.queue.add(key_of(budget))

    def _wake(self, namespace: str, labels: Iterable[Mapping[str, str] | None]) -> None:
        wanted = list(labels)
        for budget in self.cache(POD_DISRUPTION_BUDGETS).indexed(NAMESPACED, namespace):
            if any(covers(budget, each) for each in wanted):
                self.queue.add(key_of(budget))

    async def reconcile(self, key: ObjectKey) -> Outcome:
        budget = self.cache(POD_DISRUPTION_BUDGETS).get(key)
        if budget is None:
            return None
        pods = [
            pod
            for pod in self.cache(PODS).indexed(NAMESPACED, key.namespace)
            if covers(budget, pod["metadata"].get("labels")) and not podfacts.is_terminated(pod)
        ]
        if not pods:
            telling.normal(self.events, budget, POD_DISRUPTION_BUDGETS, "NoPods", "No matching pods found")
        wanted, wake_at = status(budget, pods, self._expected(pods), self.clock.now())
        version = budget["metadata"]["resourceVersion"]
        patches = [self._at_version(patch, version) for patch in status_patch(POD_DISRUPTION_BUDGETS, budget, wanted)]
        await self.carry_out(patches)
        return wake_at

    @staticmethod
    def _at_version(patch: Patch, version: str) -> Patch:
        """An eviction writes the same status: who comes second decides again."""
        body = {**patch.patch, "metadata": {**patch.patch["metadata"], "resourceVersion": version}}
        return Patch(patch.resource, patch.key, body, patch.kind, patch.subresource, patch.why)

    def _expected(self, pods: Iterable[Object]) -> int:
        """How many pods their controllers want in all; a pod that nobody controls counts itself."""
        scales: dict[str, int] = {}
        for pod in pods:
            owner = controller_of(pod)
            uid = owner["uid"] if owner is not None else pod["metadata"]["uid"]
            if uid not in scales:
                scales[uid] = self._scale(pod["metadata"]["namespace"], owner)
        return sum(scales.values())

    def _scale(self, namespace: str, owner: Mapping[str, Any] | None) -> int:
        kind: Resource | None = _SCALED.get(owner["kind"]) if owner is not None else None
        found = self.cache(kind).get(ObjectKey(namespace, owner["name"])) if kind is not None and owner else None
        if found is None:
            return 1
        above = controller_of(found)
        if above is not None and above["kind"] == DEPLOYMENTS.kind:
            found = self.cache(DEPLOYMENTS).get(ObjectKey(namespace, above["name"])) or found
        replicas = found["spec"].get("replicas")
        return 1 if replicas is None else int(replicas)


def _alike(one: Object, other: Object) -> bool:
    return (
        podfacts.is_ready(one) == podfacts.is_ready(other)
        and podfacts.phase(one) == podfacts.phase(other)
        and one["metadata"].get("labels") == other["metadata"].get("labels")
        and bool(one["metadata"].get("deletionTimestamp")) == bool(other["metadata"].get("deletionTimestamp"))
    )
