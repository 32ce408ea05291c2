"""A local copy of one kind of object, kept up to date by list and watch.

Reads are dictionary look-ups; objects are the ones the transport handed over, read-only and shared. Handlers get the
key with the object before and after (None: absent); they run synchronously, in order, and only put keys into queues.

    list ──► watch from its resourceVersion ──► connection ends ──► watch from the last one seen
      ▲                                                                        │
      └──────────────── 410 Expired: too far behind ──────────────────────────┘   (the list is compared with the copy)

Not a history: what happened between two looks is lost, on purpose (decide from the state, not from events).
Source of the protocol: Kubernetes' "efficient detection of changes"; client-go's reflector.
"""

from __future__ import annotations

import logging
import random
from asyncio import Event
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tiphys.client.client import Client
from tiphys.client.transport import WatchEvent
from tiphys.machinery.errors import ApiError, Expired
from tiphys.machinery.resources import ObjectKey, Resource, key_of
from tiphys.runtime.clock import Clock
from tiphys.runtime.queue import Backoff

Object = Mapping[str, Any]
Handler = Callable[[ObjectKey, Object | None, Object | None], None]
# The values under which an object is found in an index: a workflow's name, a phase …
IndexBy = Callable[[Object], Iterable[str]]

logger = logging.getLogger(__name__)

_LIST_LIMIT = 500
_EMPTY: Mapping[ObjectKey, Object] = {}


def by_label(label: str) -> IndexBy:
    """Indexes by ``namespace/value`` of a label."""

    def values(obj: Object) -> Iterable[str]:
        meta = obj["metadata"]
        value = (meta.get("labels") or {}).get(label)
        return (f"{meta.get('namespace') or ''}/{value}",) if value else ()

    return values


class Informer:
    def __init__(
        self,
        client: Client,
        resource: Resource,
        *,
        clock: Clock,
        rng: random.Random,
        namespace: str | None = None,
        indexes: Mapping[str, IndexBy] | None = None,
        keep: Callable[[Object], Object] | None = None,
        **query: str,
    ) -> None:
        """``query`` narrows both list and watch (labelSelector, fieldSelector).

        ``keep`` says what of an object is worth its memory (metadata.name, namespace and resourceVersion always are);
        handlers see it like that too. It is client-go's TransformFunc.
        """
        self.resource = resource
        self.synced = Event()
        self._client = client
        self._clock = clock
        self._rng = rng
        self._namespace = namespace
        self._query = query
        self._objects: dict[ObjectKey, Object] = {}
        self._index_by = dict(indexes or {})
        self._indexes: dict[str, dict[str, dict[ObjectKey, Object]]] = {name: {} for name in self._index_by}
        self._keep = keep
        self._handlers: list[Handler] = []
        self._version = ""
        self._backoff = Backoff(first_seconds=0.05, cap_seconds=30.0, jitter=0.5)

    def get(self, key: ObjectKey) -> Object | None:
        return self._objects.get(key)

    def objects(self) -> Iterable[Object]:
        return self._objects.values()

    def __len__(self) -> int:
        return len(self._objects)

    def indexed(self, index: str, value: str) -> Iterable[Object]:
        """The objects that ``index`` files under ``value``."""
        return self._indexes[index].get(value, _EMPTY).values()

    def subscribe(self, handler: Handler) -> None:
        """``handler`` sees every change from now on, and what is known already as added."""
        self._handlers.append(handler)
        for key, obj in list(self._objects.items()):
            handler(key, None, obj)

    def learn(self, obj: Object) -> None:
        """Takes over what a write of ours answered, without waiting for its event (read your own writes).

        Only ever forward: what the watch has told already, or told more of, is not changed.
        """
        key, version = key_of(obj), _version(obj)
        if _newer(version, self._version) and _newer(version, _version(self._objects.get(key))):
            self._put(key, obj)

    async def run(self) -> None:
        """Keeps the copy up to date until cancelled. API failures are waited out with a growing back-off."""
        failures = 0
        while True:
            try:
                if not self._version:
                    await self._relist()
                failures = 0
                await self._follow()
            except Expired:
                self._version = ""
            except ApiError as err:
                failures += 1
                seconds = self._backoff.seconds(failures, self._rng)
                logger.debug("%s: %s: %s; again in %.2f s", self.resource.key, err.reason, err, seconds)
                await self._clock.sleep_until(self._clock.monotonic() + seconds)

    async def _relist(self) -> None:
        found: dict[ObjectKey, Object] = {}
        query = dict(self._query, limit=str(_LIST_LIMIT))
        while True:
            page = await self._client.list(self.resource, self._namespace, **query)
            found.update((key_of(item), self._kept(item)) for item in page.get("items") or ())
            token = page["metadata"].get("continue")
            if not token:
                break
            query["continue"] = token
        listed_at = page["metadata"]["resourceVersion"]
        for key, obj in list(self._objects.items()):
            # What was learned from a write may be younger than the list.
            if key not in found and not (listed_at and _newer(_version(obj), listed_at)):
                self._put(key, None)
        for key, obj in found.items():
            if _newer(_version(obj), _version(self._objects.get(key))):
                self._put(key, obj)
        self._version = listed_at
        self.synced.set()

    async def _follow(self) -> None:
        query = dict(self._query, resourceVersion=self._version, allowWatchBookmarks="true")
        async with self._client.watch(self.resource, self._namespace, **query) as events:
            async for event in events:
                self._apply(event)

    def _apply(self, event: WatchEvent) -> None:
        version = _version(event.object)
        if not _newer(version, self._version):
            return  # sent again after a reconnect
        self._version = version
        if event.type == "BOOKMARK":
            return
        key = key_of(event.object)
        known = _version(self._objects.get(key))
        # A write of ours may have told us of something younger already (``learn``).
        if event.type == "DELETED":
            if not _newer(known, version):
                self._put(key, None)
        elif _newer(version, known):
            self._put(key, event.object)

    def _put(self, key: ObjectKey, obj: Object | None) -> None:
        before = self._objects.get(key)
        if obj is None:
            if before is None:
                return
            del self._objects[key]
        else:
            obj = self._kept(obj)
            self._objects[key] = obj
        if self._index_by:
            self._reindex(key, before, obj)
        for handler in self._handlers:
            handler(key, before, obj)

    def _kept(self, obj: Object) -> Object:
        return obj if self._keep is None else self._keep(obj)

    def _reindex(self, key: ObjectKey, before: Object | None, after: Object | None) -> None:
        for name, values_of in self._index_by.items():
            index = self._indexes[name]
            if before is not None:
                for value in values_of(before):
                    entries = index.get(value)
                    if entries is not None:
                        entries.pop(key, None)
                        if not entries:
                            del index[value]
            if after is not None:
                for value in values_of(after):
                    index.setdefault(value, {})[key] = after


def _version(obj: Object | None) -> str:
    return "" if obj is None else obj["metadata"].get("resourceVersion", "")


def _newer(version: str, than: str) -> bool:
    """Versions are numbers that grow, by the API's promise since Kubernetes 1.35; others are newer if different."""
    if version.isdecimal() and than.isdecimal():
        return int(version) > int(than)
    return version != than
