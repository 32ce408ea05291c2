"""The StatefulSet controller."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tiphys.cluster.controllers.kit import NAMESPACED, ORPHANS, OWNED, Controller
from tiphys.cluster.controllers.plan import owners, pods, revisions
from tiphys.cluster.controllers.plan.revisions import HASH_LABEL, History
from tiphys.cluster.controllers.plan.stateful_sets import Observed, claim_keys, parent_and_ordinal, plan
from tiphys.cluster.controllers.plan.statuses import status_patch
from tiphys.machinery.hashes import revision_hash
from tiphys.machinery.resources import (
    CONTROLLER_REVISIONS,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    STATEFUL_SETS,
    ObjectKey,
    key_of,
)
from tiphys.machinery.selectors import from_structured
from tiphys.runtime.controller import Outcome

Object = Mapping[str, Any]


class StatefulSetController(Controller):
    name = "statefulset-controller"
    reads = (STATEFUL_SETS, PODS, CONTROLLER_REVISIONS, PERSISTENT_VOLUME_CLAIMS)

    def subscribe(self) -> None:
        self.on_own(STATEFUL_SETS)
        self.on_owned(PODS, STATEFUL_SETS.kind, self._orphan)

    def _orphan(self, pod: Object) -> None:
        for each in self.cache(STATEFUL_SETS).indexed(NAMESPACED, pod["metadata"]["namespace"]):
            if parent_and_ordinal(pod["metadata"]["name"])[0] == each["metadata"]["name"]:
                self.queue.add(key_of(each))

    async def reconcile(self, key: ObjectKey) -> Outcome:
        stateful_set = self.cache(STATEFUL_SETS).get(key)
        if stateful_set is None:
            return None
        history = self._history(stateful_set)
        await self.carry_out(history.actions)
        mine = await self._pods(stateful_set)
        claims = self._claims(stateful_set, mine)
        seen = Observed(stateful_set, mine, self._current(stateful_set, history), history.update, claims)
        step = plan(seen, owners.reference_to(stateful_set, STATEFUL_SETS), self.clock.now())
        outcomes = await self.attempt(*step.actions)
        await self.carry_out(status_patch(STATEFUL_SETS, stateful_set, step.status))
        for outcome in outcomes:
            if outcome.error is not None:
                raise outcome.error
        await self._forget_old(stateful_set, history, seen)
        return step.wake_at

    def _history(self, stateful_set: Object) -> History:
        meta = stateful_set["metadata"]

        def make(data: dict[str, Any], number: int) -> Object:
            collisions = int((stateful_set.get("status") or {}).get("collisionCount") or 0)
            digest = revision_hash(revisions.encoded(data), collisions)
            template = stateful_set["spec"].get("template") or {}
            labels = {**((template.get("metadata") or {}).get("labels") or {}), HASH_LABEL: digest}
            return revisions.new(stateful_set, STATEFUL_SETS, f"{meta['name']}-{digest}", labels, data, number)

        held = self.cache(CONTROLLER_REVISIONS).indexed(OWNED, meta["uid"])
        return revisions.track(stateful_set, STATEFUL_SETS, held, make)

    @staticmethod
    def _current(stateful_set: Object, history: History) -> Object:
        name = (stateful_set.get("status") or {}).get("currentRevision")
        return next((each for each in history.revisions if each["metadata"]["name"] == name), history.update)

    def _claims(self, stateful_set: Object, mine: tuple[Object, ...]) -> dict[str, Object]:
        cached = self.cache(PERSISTENT_VOLUME_CLAIMS)
        found = ((key.name, cached.get(key)) for key in claim_keys(stateful_set, mine))
        return {name: claim for name, claim in found if claim is not None}

    async def _forget_old(self, stateful_set: Object, history: History, seen: Observed) -> None:
        live = {seen.current["metadata"]["name"], seen.update["metadata"]["name"]}
        live |= {(pod["metadata"].get("labels") or {}).get(HASH_LABEL, "") for pod in seen.pods}
        await self.attempt(revisions.surplus(history.revisions, live, stateful_set["spec"].get("revisionHistoryLimit")))

    async def _pods(self, stateful_set: Object) -> tuple[Object, ...]:
        cached, meta = self.cache(PODS), stateful_set["metadata"]
        found = owners.claim(
            stateful_set,
            STATEFUL_SETS,
            PODS,
            cached.indexed(OWNED, meta["uid"]),
            cached.indexed(ORPHANS, meta["namespace"]),
            from_structured(stateful_set["spec"].get("selector")),
            lambda pod: pods.is_active(pod) and parent_and_ordinal(pod["metadata"]["name"])[0] == meta["name"],
        )
        if found.patches:
            await self.carry_out(found.patches)
        return found.owned
