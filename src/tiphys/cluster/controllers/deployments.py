"""The Deployment controller: observes its ReplicaSets, takes one step (``plan/deployments.py``), says what it did."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tiphys.cluster.controllers import telling
from tiphys.cluster.controllers.kit import NAMESPACED, ORPHANS, OWNED, Controller, owners_of
from tiphys.cluster.controllers.plan import owners
from tiphys.cluster.controllers.plan.deployments import Observed, Step, failed_creation, plan
from tiphys.cluster.controllers.plan.statuses import status_patch
from tiphys.machinery.actions import Create
from tiphys.machinery.errors import AlreadyExists, ApiError
from tiphys.machinery.resources import DEPLOYMENTS, PODS, REPLICA_SETS, ObjectKey, key_of
from tiphys.machinery.selectors import from_structured
from tiphys.runtime.act import Done
from tiphys.runtime.controller import Outcome

Object = Mapping[str, Any]


class DeploymentController(Controller):
    name = "deployment-controller"
    reads = (DEPLOYMENTS, REPLICA_SETS, PODS)

    def subscribe(self) -> None:
        self.on_own(DEPLOYMENTS)
        self.on_owned(REPLICA_SETS, DEPLOYMENTS.kind, self._orphan)
        self.on(PODS, self._pod_gone)

    def _orphan(self, replica_set: Object) -> None:
        labels = replica_set["metadata"].get("labels") or {}
        for deployment in self.cache(DEPLOYMENTS).indexed(NAMESPACED, replica_set["metadata"]["namespace"]):
            if from_structured(deployment["spec"].get("selector")).matches(labels):
                self.queue.add(key_of(deployment))

    def _pod_gone(self, key: ObjectKey, before: Object | None, after: Object | None) -> None:
        """A Deployment that recreates waits for the last old pod."""
        if after is not None or before is None:
            return
        for name in owners_of(before, None, REPLICA_SETS.kind):
            replica_set = self.cache(REPLICA_SETS).get(ObjectKey(key.namespace, name))
            owner = owners.controller_of(replica_set) if replica_set is not None else None
            if owner is not None and owner["kind"] == DEPLOYMENTS.kind:
                deployment = self.cache(DEPLOYMENTS).get(ObjectKey(key.namespace, owner["name"]))
                if deployment is not None and _recreates(deployment):
                    self.queue.add(key_of(deployment))

    async def reconcile(self, key: ObjectKey) -> Outcome:
        deployment = self.cache(DEPLOYMENTS).get(key)
        if deployment is None:
            return None
        if deployment["spec"].get("selector") == {}:
            text = "This deployment is selecting all pods. A non-empty selector is required."
            telling.warning(self.events, deployment, DEPLOYMENTS, "SelectingAll", text)
            return None
        step = plan(await self._observe(deployment), self.clock.now())
        outcomes = await self.attempt(*step.actions)
        refused = next((outcome for outcome in outcomes if outcome.error is not None), None)
        if refused is not None:
            await self._refused(deployment, refused)
        await self._say(deployment, step)
        return step.wake_at

    async def _observe(self, deployment: Object) -> Observed:
        cached, meta = self.cache(REPLICA_SETS), deployment["metadata"]
        found = owners.claim(
            deployment,
            DEPLOYMENTS,
            REPLICA_SETS,
            cached.indexed(OWNED, meta["uid"]),
            cached.indexed(ORPHANS, meta["namespace"]),
            from_structured(deployment["spec"].get("selector")),
        )
        if found.patches:
            await self.carry_out(found.patches)
        if not _recreates(deployment):
            return Observed(deployment, found.owned)
        pods = self.cache(PODS)
        theirs = tuple(pod for each in found.owned for pod in pods.indexed(OWNED, each["metadata"]["uid"]))
        return Observed(deployment, found.owned, theirs)

    async def _say(self, deployment: Object, step: Step) -> None:
        status = step.status if step.status is not None else deployment.get("status") or {}
        await self.carry_out(status_patch(DEPLOYMENTS, deployment, status, step.annotations))

    async def _refused(self, deployment: Object, outcome: Done) -> None:
        """A hash that another ReplicaSet has already is counted and tried again; else it is said and raised."""
        error = outcome.error
        assert isinstance(error, ApiError)
        if isinstance(outcome.action, Create):
            if isinstance(error, AlreadyExists):
                collisions = int((deployment.get("status") or {}).get("collisionCount") or 0) + 1
                status = {**(deployment.get("status") or {}), "collisionCount": collisions}
            else:
                status = failed_creation(deployment, str(error), self.clock.now())
            await self.carry_out(status_patch(DEPLOYMENTS, deployment, status))
        raise error


def _recreates(deployment: Object) -> bool:
    return bool((deployment["spec"].get("strategy") or {}).get("type") == "Recreate")
