"""The controller of aggregated ClusterRoles: their rules are those of the roles that they select."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tiphys.cluster.controllers.kit import Controller
from tiphys.cluster.controllers.wakes import aggregates
from tiphys.machinery.actions import PatchType
from tiphys.machinery.equality import same
from tiphys.machinery.resources import CLUSTER_ROLES, ObjectKey, key_of
from tiphys.machinery.selectors import from_structured
from tiphys.runtime.controller import Outcome

Object = Mapping[str, Any]


class ClusterRoleController(Controller):
    name = "clusterrole-aggregation-controller"
    reads = (CLUSTER_ROLES,)
    manager = "clusterrole-aggregation-controller"

    def subscribe(self) -> None:
        self.on(CLUSTER_ROLES, self._on_role)

    def _on_role(self, _key: ObjectKey, _before: Object | None, _after: Object | None) -> None:
        for role in self.cache(CLUSTER_ROLES).objects():
            if aggregates(role):
                self.queue.add(key_of(role))

    async def reconcile(self, key: ObjectKey) -> Outcome:
        role = self.cache(CLUSTER_ROLES).get(key)
        if role is None or not aggregates(role):
            return None
        rules = self._rules(role)
        if not same(role.get("rules") or [], rules):
            applied: dict[str, Any] = {
                "apiVersion": CLUSTER_ROLES.api_version,
                "kind": CLUSTER_ROLES.kind,
                "metadata": {"name": key.name},
            }
            applied |= {"rules": rules} if rules else {}
            await self.client.patch(CLUSTER_ROLES, key, applied, PatchType.APPLY, force="true")
        return None

    def _rules(self, role: Object) -> list[Any]:
        found: list[Any] = []
        roles = sorted(self.cache(CLUSTER_ROLES).objects(), key=lambda each: str(each["metadata"]["name"]))
        for written in role["aggregationRule"].get("clusterRoleSelectors") or ():
            selector = from_structured(written)
            for other in roles:
                if other is not role and selector.matches(other["metadata"].get("labels")):
                    found += [rule for rule in other.get("rules") or () if rule not in found]
        return found
