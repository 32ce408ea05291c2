"""The live state of one cluster: informers of the kinds that applications use, indexed by the applications.

A comparison so costs in proportion to its application, not to the cluster. A kind is watched from the first application
on that names it in its targets or its status, in every version that is named.

    target kinds ─► watch() ─► informers of each kind ─► index by tracking ─► managed(application)
                                      └─ changes ─► on_change(application)
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from tiphys.cd.kinds import KindTable
from tiphys.cd.plan.objects import Gvk, Object, ResourceKey, gvk_of, key_of, metadata_of, name_of, namespace_of
from tiphys.cd.plan.settings import Settings
from tiphys.cd.plan.tracking import application_of
from tiphys.client.client import Client
from tiphys.lang.gofmt import quote
from tiphys.machinery.errors import Forbidden, ServiceUnavailable
from tiphys.machinery.resources import ObjectKey, Resource
from tiphys.runtime.clock import Clock
from tiphys.runtime.informer import Informer

_APPLICATION: Final = "application"
_SYNC_SECONDS_MAX: Final = 15.0

OnChange = Callable[[str], None]
"""Called with an application's name as tracking has it."""


@dataclass(frozen=True)
class Scope:
    """What of a cluster is looked at: all, or some namespaces, and then cluster-wide objects only if wanted."""

    namespaces: tuple[str, ...] = ()
    cluster_resources: bool = False

    def watched(self, resource: Resource) -> tuple[str | None, ...]:
        """The namespaces to watch a kind in; None is all of them, or none where it has none."""
        if not self.namespaces or (not resource.namespaced and self.cluster_resources):
            return (None,)
        return self.namespaces if resource.namespaced else ()

    def check(self, obj: Object) -> None:
        """Raises Forbidden for an object that is not looked at, in the original's words."""
        namespace = namespace_of(obj)
        if not self.namespaces or namespace in self.namespaces:
            return
        kind, name = gvk_of(obj).kind, quote(name_of(obj))
        if namespace:
            raise Forbidden(f"namespace {quote(namespace)} for {kind} {name} is not managed")
        if not self.cluster_resources:
            raise Forbidden(f"cluster level {kind} {name} can not be managed when in namespaced mode")


class LiveCluster:
    """``run`` keeps it up to date; until then nothing is watched."""

    def __init__(
        self,
        server: str,
        client: Client,
        kinds: KindTable,
        settings: Settings,
        on_change: OnChange,
        *,
        scope: Scope = Scope(),
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self.server = server
        self.client = client
        self.kinds = kinds
        self.scope = scope
        self._settings = settings
        self._on_change = on_change
        self._clock = clock
        self._rng = rng
        self._informers: dict[Gvk, dict[str | None, Informer]] = {}
        """By kind and namespace; None is everywhere."""
        self._wanted_by: dict[ResourceKey, set[str]] = {}
        self._wants: dict[str, frozenset[ResourceKey]] = {}
        self._writer = ""
        self._new: asyncio.Queue[Informer] = asyncio.Queue()

    async def run(self) -> None:
        """Watches until cancelled."""
        async with asyncio.TaskGroup() as group:
            for informer in self._all():
                group.create_task(informer.run(), name=f"live-{informer.resource.key}")
            while not self._new.empty():
                self._new.get_nowait()  # it was among those above
            while True:
                informer = await self._new.get()
                group.create_task(informer.run(), name=f"live-{informer.resource.key}")

    async def watch(self, gvks: Iterable[Gvk]) -> None:
        """Sees to it that these kinds are watched and known. Raises ApiError where the cluster does not answer.

        Kinds that are not served are left out: there are no objects of them.
        """
        wanted = [gvk for gvk in dict.fromkeys(gvks) if gvk not in self._informers]
        if any(self.kinds.resource(gvk) is None for gvk in wanted):
            await self.kinds.refresh()
        for gvk in wanted:
            resource = self.kinds.resource(gvk)
            if resource is not None:
                self._start(gvk, resource)
        behind = [each for each in self._all() if not each.synced.is_set()]
        if behind:
            await self._synced(behind)

    async def _synced(self, informers: Iterable[Informer]) -> None:
        try:
            async with asyncio.timeout(_SYNC_SECONDS_MAX):
                for informer in informers:
                    await informer.synced.wait()
        except TimeoutError:
            raise ServiceUnavailable(f"cluster {self.server} does not answer") from None

    def _start(self, gvk: Gvk, resource: Resource) -> None:
        started = self._informers[gvk] = {}
        for namespace in self.scope.watched(resource):
            started[namespace] = informer = Informer(
                self.client, resource, clock=self._clock, rng=self._rng, namespace=namespace,
                indexes={_APPLICATION: self._applications},
            )  # fmt: skip
            informer.subscribe(self._changed)
            self._new.put_nowait(informer)

    def _all(self) -> Iterable[Informer]:
        return (informer for informers in self._informers.values() for informer in informers.values())

    def _informer(self, gvk: Gvk, namespace: str) -> Informer | None:
        """The one that sees objects of a kind in a namespace."""
        informers = self._informers.get(gvk)
        return None if informers is None else informers.get(None, informers.get(namespace))

    def _applications(self, obj: Object) -> Iterable[str]:
        settings = self._settings
        owner = application_of(obj, settings.tracking_method, settings.instance_label, settings.installation_id)
        return (owner,) if owner else ()

    # Questions

    def of_application(self, instance: str) -> dict[ResourceKey, Object]:
        """The objects that carry the application's mark and belong to no other object."""
        return {
            key_of(obj): obj
            for informer in self._all()
            for obj in informer.indexed(_APPLICATION, instance)
            if not metadata_of(obj).get("ownerReferences")
        }

    def managed(self, instance: str, targets: Iterable[Object]) -> dict[ResourceKey, Object]:
        """Those, and whatever lives under the name of a target, in the target's version where that is watched.

        Raises Forbidden for a target outside the cluster's scope.
        """
        found = self.of_application(instance)
        wanted = []
        for target in targets:
            self.scope.check(target)
            wanted.append((gvk_of(target), key_of(target)))
        for gvk, key in wanted:
            live = self.get(gvk, key)
            if live is not None:
                found[key_of(live)] = live
        self._want(instance, frozenset(key for _gvk, key in wanted))
        return found

    def get(self, gvk: Gvk, key: ResourceKey) -> Object | None:
        """The live object as the cache has it; also where a kind without namespaces was asked for with one."""
        informer = self._informer(gvk, key.namespace)
        if informer is None:
            return None
        namespace = key.namespace if informer.resource.namespaced else ""
        return informer.get(ObjectKey(namespace, key.name))

    def resource_of(self, gvk: Gvk) -> Resource | None:
        return self.kinds.resource(gvk)

    def is_watched(self, gvk: Gvk) -> bool:
        informers = self._informers.get(gvk)
        return informers is not None and all(each.synced.is_set() for each in informers.values())

    def learn(self, obj: Object, writer: str = "") -> None:
        """Takes over what a write of an application answered; it is not told, others that the object concerns are."""
        informer = self._informer(gvk_of(obj), namespace_of(obj))
        if informer is not None:
            self._writer = writer
            informer.learn(obj)
            self._writer = ""

    def forget(self, instance: str) -> None:
        self._want(instance, frozenset())

    # Changes

    def _want(self, instance: str, keys: frozenset[ResourceKey]) -> None:
        """Remembers whom a change of an object without a mark concerns."""
        before = self._wants.get(instance, frozenset())
        if before == keys:
            return
        for key in before - keys:
            wanting = self._wanted_by.get(key, set())
            wanting.discard(instance)
            if not wanting:
                self._wanted_by.pop(key, None)
        for key in keys - before:
            self._wanted_by.setdefault(key, set()).add(instance)
        if keys:
            self._wants[instance] = keys
        else:
            self._wants.pop(instance, None)

    def _changed(self, _key: ObjectKey, before: Object | None, after: Object | None) -> None:
        obj = after if after is not None else before
        if obj is None or (before is not None and after is not None and not _differ(before, after)):
            return
        concerned = set(self._wanted_by.get(key_of(obj), ()))
        for each in (before, after):
            if each is not None and not metadata_of(each).get("ownerReferences"):
                concerned.update(self._applications(each))
        for instance in concerned - {self._writer}:
            self._on_change(instance)


_NOISE: Final = frozenset(("resourceVersion", "managedFields", "generation"))


def _differ(before: Object, after: Object) -> bool:
    """Whether a change is more than book-keeping of the server."""
    if any(before.get(name) != after.get(name) for name in {*before, *after} if name != "metadata"):
        return True
    old, new = metadata_of(before), metadata_of(after)
    return any(old.get(name) != new.get(name) for name in {*old, *new} if name not in _NOISE)
