"""What the embedded API server's store tells the cluster's controllers: what exists, and every change.

The one place where they learn of writes without an informer: to start lazily (``once``), and for the garbage
collector, which has to know owners and dependents of every kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tiphys.cluster.apiserver.registry import Registry
from tiphys.cluster.apiserver.store import Change, Store
from tiphys.machinery.resources import Resource

Object = Mapping[str, Any]
Listener = Callable[[Resource, Object, bool], None]
Test = Callable[[Object], bool] | None

# Hints for people: nothing depends on them, and they are many.
_NOT_FED = frozenset(("events",))


class StoreFeed:
    """A ``controllers.manager.Presence`` and a ``controllers.graph.Feed``; also says which kinds there are."""

    def __init__(self, store: Store, registry: Registry) -> None:
        self._store = store
        self._registry = registry
        self._awaited: dict[str, list[tuple[Test, Callable[[], None]]]] = {}
        self._listeners: list[Listener] = []
        self._by_collection: dict[str, list[Callable[[Object, bool], None]]] = {}
        self._resources: dict[str, Resource] = {}
        self._revision = -1
        store.subscribe(self._published)

    # Which kinds there are

    def resource(self, api_version: str, kind: str) -> Resource | None:
        group, _, version = api_version.rpartition("/")
        info = self._registry.by_kind(group, version, kind)
        if info is None:
            info = next((i for i in self._registry if (i.resource.group, i.kind) == (group, kind)), None)
        return None if info is None else info.resource

    def deletable(self) -> Iterable[Resource]:
        """Every namespaced kind that has objects of its own, once."""
        seen: set[str] = set()
        for info in self._registry:
            stored = info.resource.namespaced and {"delete", "list"} <= set(info.verbs)
            if stored and info.collection not in seen:
                seen.add(info.collection)
                yield info.resource

    # What exists

    def once(self, resource: Resource, when: Test, call: Callable[[], None]) -> None:
        collection = self._collection(resource)
        records = self._store.collection(collection).records.values()
        if any(_holds(when, record.view) for record in records):
            call()
        else:
            self._awaited.setdefault(collection, []).append((when, call))

    def subscribe(self, listener: Listener) -> None:
        for collection in self._store.collections():
            resource = self._resource(collection)
            if resource is not None and collection not in _NOT_FED:
                for record in list(self._store.collection(collection).records.values()):
                    listener(resource, record.view, False)
        self._listeners.append(listener)

    def subscribe_to(self, resource: Resource, listener: Callable[[Object, bool], None]) -> None:
        """``listener`` gets every change of one kind from now on: the object, and whether it is gone."""
        self._by_collection.setdefault(self._collection(resource), []).append(listener)

    def _published(self, changes: list[Change]) -> None:
        for change in changes:
            if change.collection in self._awaited and change.type != "DELETED":
                self._arrived(change.collection, change.record.view)
            for each in self._by_collection.get(change.collection, ()):
                each(change.record.view, change.type == "DELETED")
            if self._listeners and change.collection not in _NOT_FED:
                resource = self._resource(change.collection)
                if resource is not None:
                    for listener in self._listeners:
                        listener(resource, change.record.view, change.type == "DELETED")

    def _arrived(self, collection: str, obj: Object) -> None:
        waiting = self._awaited.pop(collection)
        left = [one for one in waiting if not _holds(one[0], obj)]
        if left:
            self._awaited[collection] = left
        for when, call in waiting:
            if _holds(when, obj):
                call()

    def _collection(self, resource: Resource) -> str:
        info = self._registry.find(resource.group, resource.version, resource.plural)
        return resource.key if info is None else info.collection

    def _resource(self, collection: str) -> Resource | None:
        if self._revision != self._registry.revision:
            found: dict[str, Resource] = {}
            for info in self._registry:
                found.setdefault(info.collection, info.resource)
            self._resources, self._revision = found, self._registry.revision
        return self._resources.get(collection)


def _holds(when: Test, obj: Object) -> bool:
    return when is None or when(obj)
