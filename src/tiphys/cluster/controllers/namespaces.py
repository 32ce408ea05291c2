"""The controller of namespaces that are going: deletes what is in them, pods first, and says what is left.

    Terminating ──5 s──► pods deleted ──gone──► everything else deleted ──gone──► finalizer removed, namespace gone
                              └── left: NamespaceContentRemaining, NamespaceFinalizersRemaining; looked at again

The five seconds are the original's: in a cluster of several API servers all of them know by then.
Source: pkg/controller/namespace/deletion.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from tiphys.client.transport import Request
from tiphys.cluster.controllers.kit import Controller
from tiphys.cluster.controllers.plan.namespaces import Remaining, conditions
from tiphys.cluster.controllers.plan.statuses import status_patch
from tiphys.cluster.controllers.wakes import is_leaving
from tiphys.machinery.errors import ApiError, MethodNotAllowed, NotFound
from tiphys.machinery.resources import NAMESPACES, PODS, ObjectKey, Resource
from tiphys.machinery.times import parse_time
from tiphys.runtime.controller import Outcome

Object = Mapping[str, Any]
_DELAY: Final = timedelta(seconds=5)
_SETTLE_SECONDS: Final = 0.1
_AGAIN: Final = timedelta(seconds=5)
FINALIZER: Final = "kubernetes"


class NamespaceController(Controller):
    name = "namespace-controller"
    reads = (NAMESPACES,)

    def subscribe(self) -> None:
        self.on_own(NAMESPACES)

    async def reconcile(self, key: ObjectKey) -> Outcome:
        namespace = self.cache(NAMESPACES).get(key)
        if namespace is None or not is_leaving(namespace):
            return None
        begins = parse_time(namespace["metadata"]["deletionTimestamp"]) + _DELAY
        if self.clock.now() < begins:
            return begins
        if FINALIZER not in (namespace["spec"].get("finalizers") or ()):
            return None
        return await self._empty(key, namespace)

    async def _empty(self, key: ObjectKey, namespace: Object) -> datetime | None:
        left = await self._delete_all((PODS,), key.name)
        if not left.counts:
            left = left | await self._delete_all((kind for kind in self.kit.kinds() if kind != PODS), key.name)
        now = self.clock.now()
        status = {**(namespace.get("status") or {}), "conditions": conditions(namespace, left, now)}
        await self.carry_out(status_patch(NAMESPACES, namespace, status))
        if left.counts or left.failures:
            return now + _AGAIN
        await self._finalize(key)
        return None

    async def _delete_all(self, kinds: Iterable[Resource], namespace: str) -> Remaining:
        found = list(kinds)
        failures = []
        for kind in found:
            try:
                await self.client.transport.call(Request("deletecollection", kind, namespace))
            except (MethodNotAllowed, NotFound):
                continue
            except ApiError as err:
                failures.append(str(err))
        counts: Counter[str] = Counter()
        finalizers: Counter[str] = Counter()
        # What ends at once is given the moment to do so.
        await self.clock.sleep_until(self.clock.monotonic() + _SETTLE_SECONDS)
        for kind in found:
            for obj in await self._left(kind, namespace):
                counts[kind.key if kind.group else f"{kind.plural}."] += 1
                finalizers.update(obj["metadata"].get("finalizers") or ())
        return Remaining(dict(counts), dict(finalizers), tuple(failures))

    async def _left(self, kind: Resource, namespace: str) -> Iterable[Object]:
        try:
            page = await self.client.list(kind, namespace)
        except (MethodNotAllowed, NotFound):
            return ()
        items: Iterable[Object] = page.get("items") or ()
        return items

    async def _finalize(self, key: ObjectKey) -> None:
        held = await self.client.get(NAMESPACES, key)
        kept = [each for each in held["spec"].get("finalizers") or () if each != FINALIZER]
        body = {**held, "spec": {**held["spec"], "finalizers": kept}}
        await self.client.replace(NAMESPACES, body, "finalize")
