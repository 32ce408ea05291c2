"""The DaemonSet controller."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tiphys.cluster.controllers import telling
from tiphys.cluster.controllers.kit import ORPHANS, OWNED, Controller, Kit
from tiphys.cluster.controllers.plan import owners, pods, revisions
from tiphys.cluster.controllers.plan.daemon_sets import Failures, Observed, plan
from tiphys.cluster.controllers.plan.revisions import HASH_LABEL, History
from tiphys.cluster.controllers.plan.statuses import status_patch
from tiphys.machinery.hashes import pod_template_hash
from tiphys.machinery.resources import CONTROLLER_REVISIONS, DAEMON_SETS, NODES, PODS, ObjectKey, key_of
from tiphys.machinery.selectors import from_structured
from tiphys.runtime.controller import Outcome

Object = Mapping[str, Any]


class DaemonSetController(Controller):
    name = "daemonset-controller"
    reads = (DAEMON_SETS, PODS, NODES, CONTROLLER_REVISIONS)

    def __init__(self, kit: Kit) -> None:
        super().__init__(kit)
        self._failures = Failures()

    def subscribe(self) -> None:
        self.on_own(DAEMON_SETS)
        self.on_owned(PODS, DAEMON_SETS.kind)
        self.on(NODES, self._on_node)

    def _on_node(self, _key: ObjectKey, before: Object | None, after: Object | None) -> None:
        if before is None or after is None or _placing(before) != _placing(after):
            for daemon_set in self.cache(DAEMON_SETS).objects():
                self.queue.add(key_of(daemon_set))

    async def reconcile(self, key: ObjectKey) -> Outcome:
        daemon_set = self.cache(DAEMON_SETS).get(key)
        if daemon_set is None:
            return None
        history = self._history(daemon_set)
        await self.carry_out(history.actions)
        digest = history.update["metadata"]["labels"][HASH_LABEL]
        uid, nodes = daemon_set["metadata"]["uid"], tuple(self.cache(NODES).objects())
        seen = Observed(daemon_set, nodes, await self._pods(daemon_set), digest, self._failures.stays_until(uid))
        step = plan(seen, owners.reference_to(daemon_set, DAEMON_SETS), self.clock.now())
        for node in step.failed_on:
            self._failures.add(uid, node, self.clock.now())
        outcomes = await self.attempt(*step.actions)
        telling.of_pods(self.events, daemon_set, DAEMON_SETS, outcomes)
        await self.carry_out(status_patch(DAEMON_SETS, daemon_set, step.status))
        for outcome in outcomes:
            if outcome.error is not None:
                raise outcome.error
        live = {digest} | {(pod["metadata"].get("labels") or {}).get(HASH_LABEL, "") for pod in seen.pods}
        names = {each["metadata"]["name"] for each in history.revisions if _hash(each) in live}
        await self.attempt(revisions.surplus(history.revisions, names, daemon_set["spec"].get("revisionHistoryLimit")))
        return step.wake_at

    def _history(self, daemon_set: Object) -> History:
        meta, template = daemon_set["metadata"], daemon_set["spec"].get("template") or {}

        def make(data: dict[str, Any], number: int) -> Object:
            digest = pod_template_hash(template, (daemon_set.get("status") or {}).get("collisionCount"))
            labels = {**((template.get("metadata") or {}).get("labels") or {}), HASH_LABEL: digest}
            return revisions.new(daemon_set, DAEMON_SETS, f"{meta['name']}-{digest}", labels, data, number)

        held = self.cache(CONTROLLER_REVISIONS).indexed(OWNED, meta["uid"])
        return revisions.track(daemon_set, DAEMON_SETS, held, make)

    async def _pods(self, daemon_set: Object) -> tuple[Object, ...]:
        cached, meta = self.cache(PODS), daemon_set["metadata"]
        found = owners.claim(
            daemon_set,
            DAEMON_SETS,
            PODS,
            cached.indexed(OWNED, meta["uid"]),
            cached.indexed(ORPHANS, meta["namespace"]),
            from_structured(daemon_set["spec"].get("selector")),
            pods.is_active,
        )
        if found.patches:
            await self.carry_out(found.patches)
        return found.owned


def _hash(revision: Object) -> str:
    return str((revision["metadata"].get("labels") or {}).get(HASH_LABEL))


def _placing(node: Object) -> object:
    spec = node.get("spec") or {}
    return node["metadata"].get("labels"), spec.get("taints"), spec.get("unschedulable")
