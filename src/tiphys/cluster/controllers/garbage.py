"""The garbage collector: deletes what its owners left behind, in the way that their deletion asked for.

Fed by every write (``graph.py``), not by an informer per kind: it knows dependents of any kind, custom ones too, and
costs nothing while nothing with owners goes. What it does about one object is decided from the API's own answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Protocol

from tiphys.cluster.controllers.graph import Feed, Graph, Item
from tiphys.cluster.controllers.kit import Kit
from tiphys.cluster.controllers.plan.garbage import FOREGROUND, ORPHAN, Observed, plan
from tiphys.cluster.controllers.plan.owners import reference_to
from tiphys.machinery.actions import Emit, Plan
from tiphys.machinery.errors import Conflict, NotFound
from tiphys.machinery.resources import ObjectKey, Resource
from tiphys.runtime.act import Actor
from tiphys.runtime.controller import Controller as WorkLoop
from tiphys.runtime.controller import Outcome
from tiphys.runtime.queue import WorkQueue

Object = Mapping[str, Any]

_WORKERS = 20


class Kinds(Protocol):
    def resource(self, api_version: str, kind: str) -> Resource | None:
        """The resource that has this kind; None where the server does not (or no longer) has it."""
        ...


class GarbageCollector:
    name = "garbage-collector-controller"

    def __init__(self, kit: Kit, kinds: Kinds, feed: Feed) -> None:
        self._kit = kit
        self._kinds = kinds
        self._feed = feed
        self._queue: WorkQueue[Item] = WorkQueue(kit.clock, kit.rng)
        self._client = kit.writer("kube-controller-manager")
        self.graph = Graph(self._queue.add)

    async def run(self) -> None:
        self._feed.subscribe(self.graph.changed)
        await WorkLoop(self.name, self._queue, self._reconcile, _WORKERS).run()

    async def _reconcile(self, item: Item) -> Outcome:
        seen = await self._observe(item)
        if seen is None:
            return None
        for outcome in await self._actor().carry_out(Plan(tuple(map(tuple, plan(seen))))):
            if isinstance(outcome.error, Conflict):
                self._queue.add(item)
            elif outcome.error is not None and not isinstance(outcome.error, NotFound):
                raise outcome.error
        if self._waits(seen.obj):
            for dependent, _ in seen.dependents:
                self._queue.add(dependent)
        return None

    def _actor(self) -> Actor:
        return Actor(self._client, self._kit.sinks.of(self.name))

    @staticmethod
    def _waits(obj: Object) -> bool:
        meta = obj["metadata"]
        return bool(meta.get("deletionTimestamp")) and FOREGROUND in (meta.get("finalizers") or ())

    async def _observe(self, item: Item) -> Observed | None:
        obj = await self._get(item)
        if obj is None:
            return None
        meta = obj["metadata"]
        held = set(meta.get("finalizers") or ()) & {FOREGROUND, ORPHAN}
        references = meta.get("ownerReferences") or ()
        if not references and not (held and meta.get("deletionTimestamp")):
            return None
        owners: dict[str, Object | None] = {}
        for reference in references:
            owner = await self._owner(item, obj, reference)
            if owner is _UNKNOWN:
                return None
            owners[reference["uid"]] = owner
        found = await asyncio.gather(*map(self._dependent, self.graph.dependents(meta["uid"])))
        return Observed(item, obj, owners, tuple((one, live) for one, live in found if live is not None))

    async def _dependent(self, item: Item) -> tuple[Item, Object | None]:
        return item, await self._get(item)

    async def _owner(self, item: Item, obj: Object, reference: Mapping[str, Any]) -> Object | None:
        """The owner; None where it is gone, ``_UNKNOWN`` where that cannot be told."""
        resource = self._kinds.resource(reference["apiVersion"], reference["kind"])
        if resource is None:
            return _UNKNOWN
        if resource.namespaced and not item.key.namespace:
            self._complain(item, obj, reference)
            return _UNKNOWN
        owner = await self._get(
            Item(resource, ObjectKey(item.key.namespace if resource.namespaced else "", reference["name"]))
        )
        return owner if owner is not None and owner["metadata"]["uid"] == reference["uid"] else None

    def _complain(self, item: Item, obj: Object, reference: Mapping[str, Any]) -> None:
        described = ", ".join(f"{field}: {reference.get(field)}" for field in ("name", "uid"))
        text = f"cluster-scoped resource with namespaced owner: {reference['kind']} ({described})"
        about = reference_to(obj, item.resource)
        self._kit.sinks.of(self.name).emit(Emit(about, "Warning", "OwnerRefInvalidNamespace", text))

    async def _get(self, item: Item) -> Object | None:
        try:
            return await self._client.get(item.resource, item.key)
        except NotFound:
            return None


_UNKNOWN: Object = {}
