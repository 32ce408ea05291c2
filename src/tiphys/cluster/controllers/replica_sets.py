"""The ReplicaSet controller, and the ReplicationController's, which is the same for an older kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from tiphys.cluster.controllers import telling
from tiphys.cluster.controllers.kit import NAMESPACED, ORPHANS, OWNED, Controller, Kit
from tiphys.cluster.controllers.plan import owners, pods
from tiphys.cluster.controllers.plan.replica_sets import Failure, Observed, manage, status, wanted
from tiphys.cluster.controllers.plan.statuses import status_patch
from tiphys.machinery.actions import Create
from tiphys.machinery.resources import PODS, REPLICA_SETS, REPLICATION_CONTROLLERS, ObjectKey, Resource, key_of
from tiphys.machinery.selectors import LabelSelector, from_labels, from_structured
from tiphys.runtime.act import Done
from tiphys.runtime.controller import Outcome

Object = Mapping[str, Any]


class ReplicaSetController(Controller):
    name = "replicaset-controller"
    reads = (REPLICA_SETS, PODS)
    kind: ClassVar[Resource] = REPLICA_SETS

    def __init__(self, kit: Kit) -> None:
        super().__init__(kit)
        self._selectors: dict[str, tuple[object, LabelSelector]] = {}

    def subscribe(self) -> None:
        self.on(self.kind, self._on_set)
        self.on_owned(PODS, self.kind.kind, self._orphan)

    def _on_set(self, key: ObjectKey, before: Object | None, after: Object | None) -> None:
        gone = after or before
        if after is None and gone is not None:
            self._selectors.pop(gone["metadata"]["uid"], None)
        self.queue.add(key)

    def _orphan(self, pod: Object) -> None:
        labels = pod["metadata"].get("labels")
        if labels:
            for replica_set in self.cache(self.kind).indexed(NAMESPACED, pod["metadata"]["namespace"]):
                if self._selector(replica_set).matches(labels):
                    self.queue.add(key_of(replica_set))

    async def reconcile(self, key: ObjectKey) -> Outcome:
        replica_set = self.cache(self.kind).get(key)
        if replica_set is None:
            return None
        seen = await self._observe(replica_set)
        now = self.clock.now()
        outcomes = await self.attempt(*manage(seen, now))
        telling.of_pods(self.events, replica_set, self.kind, outcomes)
        failure = _failure(outcomes)
        await self.carry_out(status_patch(self.kind, replica_set, status(seen, failure, now)))
        for outcome in outcomes:
            if outcome.error is not None:
                raise outcome.error
        min_ready = int(replica_set["spec"].get("minReadySeconds") or 0)
        return pods.next_available(seen.pods, min_ready, now) if min_ready else None

    async def _observe(self, replica_set: Object) -> Observed:
        cached = self.cache(PODS)
        meta = replica_set["metadata"]
        found = owners.claim(
            replica_set,
            self.kind,
            PODS,
            cached.indexed(OWNED, meta["uid"]),
            cached.indexed(ORPHANS, meta["namespace"]),
            self._selector(replica_set),
            pods.is_active,
        )
        if found.patches:
            await self.carry_out(found.patches)
        active = sum(map(pods.is_active, found.owned))
        related = self._related(replica_set) if active > wanted(replica_set) else ()
        return Observed(replica_set, self.kind, found.owned, related)

    def _related(self, replica_set: Object) -> tuple[Object, ...]:
        """The pods of all sets of the same controller: where they crowd, one is missed less."""
        owner = owners.controller_of(replica_set)
        cached = self.cache(PODS)
        sets = [replica_set] if owner is None else list(self.cache(self.kind).indexed(OWNED, owner["uid"]))
        return tuple(pod for each in sets for pod in cached.indexed(OWNED, each["metadata"]["uid"]))

    def _selector(self, replica_set: Object) -> LabelSelector:
        """Parsed once for each state of the selector."""
        uid, written = replica_set["metadata"]["uid"], replica_set["spec"].get("selector")
        known = self._selectors.get(uid)
        if known is None or known[0] != written:
            known = self._selectors[uid] = (written, self.parse_selector(written))
        return known[1]

    def parse_selector(self, written: Mapping[str, Any] | None) -> LabelSelector:
        return from_structured(written)


class ReplicationControllerController(ReplicaSetController):
    name = "replication-controller"
    reads = (REPLICATION_CONTROLLERS, PODS)
    kind = REPLICATION_CONTROLLERS

    def parse_selector(self, written: Mapping[str, Any] | None) -> LabelSelector:
        return from_labels(written or {})


def _failure(outcomes: list[Done]) -> Failure | None:
    for outcome in outcomes:
        if outcome.error is not None:
            reason = "FailedCreate" if isinstance(outcome.action, Create) else "FailedDelete"
            return Failure(reason, str(outcome.error))
    return None
