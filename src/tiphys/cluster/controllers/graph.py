"""Who depends on whom: for each owner's uid its dependents, kept up to date by every write of the API server.

An index only: what an object says now is read from the API when something is to be done about it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Protocol

from tiphys.machinery.resources import ObjectKey, Resource, key_of

Object = Mapping[str, Any]


class Item(NamedTuple):
    """An object of any kind."""

    resource: Resource
    key: ObjectKey

    def __str__(self) -> str:
        return f"{self.resource.key} {self.key}"


class Feed(Protocol):
    """Every object that is there, then every change of one, in order, as they become visible."""

    def subscribe(self, listener: Callable[[Resource, Object, bool], None]) -> None:
        """``listener`` gets the kind, the object after the change (or its last state) and whether it is gone."""
        ...


class Graph:
    """``touched`` hears of what may want collecting: see ``garbage.py``."""

    def __init__(self, touched: Callable[[Item], None]) -> None:
        self._touched = touched
        self._alive: set[str] = set()
        self._dependents: dict[str, set[Item]] = {}
        self._owners: dict[Item, tuple[str, ...]] = {}
        self._waiting: dict[str, Item] = {}

    def dependents(self, uid: str) -> Iterable[Item]:
        return tuple(self._dependents.get(uid, ()))

    def changed(self, resource: Resource, obj: Object, gone: bool) -> None:
        """A listener of the feed."""
        meta = obj["metadata"]
        uid, item = meta["uid"], Item(resource, key_of(obj))
        if gone:
            self._gone(uid, item)
            return
        is_new = uid not in self._alive
        self._alive.add(uid)
        references = meta.get("ownerReferences")
        if references or item in self._owners:
            owners = tuple(reference["uid"] for reference in references or ())
            self._link(item, owners)
            if is_new and any(owner not in self._alive for owner in owners):
                self._touched(item)
        if meta.get("deletionTimestamp") and meta.get("finalizers"):
            self._waiting[uid] = item
            self._touched(item)

    def _gone(self, uid: str, item: Item) -> None:
        self._alive.discard(uid)
        self._waiting.pop(uid, None)
        if item in self._owners:
            self._link(item, ())
        for dependent in self.dependents(uid):
            self._touched(dependent)

    def _link(self, item: Item, owners: tuple[str, ...]) -> None:
        before = self._owners.get(item, ())
        if owners == before:
            return
        for uid in before:
            found = self._dependents.get(uid, set())
            found.discard(item)
            if not found:
                self._dependents.pop(uid, None)
            if uid in self._waiting:  # it may have waited for this one
                self._touched(self._waiting[uid])
        for uid in owners:
            self._dependents.setdefault(uid, set()).add(item)
        if owners:
            self._owners[item] = owners
        else:
            self._owners.pop(item, None)
