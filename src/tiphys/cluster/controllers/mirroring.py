"""The controller that mirrors Endpoints written by hand into EndpointSlices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tiphys.cluster.controllers import telling
from tiphys.cluster.controllers.kit import NAMESPACED, Controller
from tiphys.cluster.controllers.plan.endpoints import MANAGED_BY, SERVICE_NAME
from tiphys.cluster.controllers.plan.mirroring import (
    MIRRORED_MAX,
    MIRRORER,
    Observed,
    is_mirrored,
    plan_mirror,
    skipped,
)
from tiphys.machinery.resources import ENDPOINT_SLICES, ENDPOINTS, SERVICES, ObjectKey
from tiphys.runtime.controller import Outcome

Object = Mapping[str, Any]


class EndpointSliceMirroringController(Controller):
    """Keys are those of Endpoints, and so of their Service."""

    name = "endpoint-slice-mirroring-controller"
    reads = (SERVICES, ENDPOINTS, ENDPOINT_SLICES)

    def subscribe(self) -> None:
        self.on_own(ENDPOINTS)
        self.on_own(SERVICES)
        self.on(ENDPOINT_SLICES, self._on_slice)

    def _on_slice(self, key: ObjectKey, before: Object | None, after: Object | None) -> None:
        for piece in (before, after):
            if piece is not None and _mirrors(piece):
                self.queue.add(ObjectKey(key.namespace, _service_of(piece)))

    async def reconcile(self, key: ObjectKey) -> Outcome:
        pieces = self.cache(ENDPOINT_SLICES).indexed(NAMESPACED, key.namespace)
        mine = tuple(each for each in pieces if _mirrors(each) and _service_of(each) == key.name)
        endpoints = self.cache(ENDPOINTS).get(key)
        service = self.cache(SERVICES).get(key)
        done = await self.carry_out(*plan_mirror(Observed(endpoints, service, mine)))
        if done and endpoints is not None and is_mirrored(endpoints) and skipped(endpoints):
            text = (
                f"A max of {MIRRORED_MAX} addresses can be mirrored to EndpointSlices per Endpoints subset. "
                f"{skipped(endpoints)} addresses were skipped"
            )
            telling.warning(self.events, endpoints, ENDPOINTS, "TooManyAddressesToMirror", text)
        return None


def _mirrors(piece: Object) -> bool:
    return bool((piece["metadata"].get("labels") or {}).get(MANAGED_BY) == MIRRORER)


def _service_of(piece: Object) -> str:
    return str((piece["metadata"].get("labels") or {}).get(SERVICE_NAME) or "")
