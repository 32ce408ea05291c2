"""Watches: every change, in order, to everybody who asked, from any recent version on.

    store ──published groups──> Hub ──┬─ ring per collection (resume from a version; older is 410 Expired)
                                      └─ Watcher per watch: filter, bounded queue, async iterator

A watch with a selector sees objects enter and leave it: ADDED and DELETED are synthesised. A watcher that does not keep
up is cut off (410: it lists again), never waited for. Bookmarks are sent once a minute, while somebody wants them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal, NamedTuple

from tiphys.cluster.apiserver.record import Record
from tiphys.cluster.apiserver.store import Change, Store
from tiphys.machinery.errors import ApiError, Expired
from tiphys.runtime.clock import Clock, Timer

RING_CHANGES_MAX = 2_048
"""Of a collection; those of objects with many parts (a workflow's nodes) count as more."""
RING_CHANGES_MIN = 50
"""Kept whatever they count, so that whoever has just listed can watch from there."""
PARTS_PER_CHANGE = 64
QUEUE_EVENTS_MAX = 4_096
QUEUE_BYTES_MAX = 32 << 20
BOOKMARK_SECONDS = 60.0

Filter = Callable[[Record], bool]
EventType = Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]


class Event(NamedTuple):
    """What a watcher gets. ``record`` of a BOOKMARK carries only kind, apiVersion and metadata."""

    type: EventType
    record: Record


@dataclass
class _Ring:
    """The newest changes of a collection: all those with a version above ``floor``."""

    floor: int
    changes: deque[Change] = field(default_factory=deque)
    watchers: list[Watcher] = field(default_factory=list)
    weight: int = 0
    _weights: deque[int] = field(default_factory=deque)

    def add(self, change: Change, parts: int) -> None:
        """``parts``: how many entries the object's map has that is kept entry by entry."""
        weight = 1 + parts // PARTS_PER_CHANGE
        self.changes.append(change)
        self._weights.append(weight)
        self.weight += weight
        while self.weight > RING_CHANGES_MAX and len(self.changes) > RING_CHANGES_MIN:
            self.floor = self.changes.popleft().record.version
            self.weight -= self._weights.popleft()

    def since(self, version: int) -> Iterable[Change]:
        """The changes after ``version``, oldest first."""
        newer = 0
        for change in reversed(self.changes):
            if change.record.version <= version:
                break
            newer += 1
        return islice(self.changes, len(self.changes) - newer, None)


class Watcher:
    """One watch: ``async for event in watcher``. Ends after ``close``; raises the ApiError that cut it off."""

    def __init__(self, ring: _Ring, matches: Filter | None, bookmark: Callable[[int], Record] | None) -> None:
        self.bookmark = bookmark
        self._ring = ring
        self._matches = matches
        self._events: deque[Event] = deque()
        self._initial = 0
        self._bytes: int | None = None
        self._waiting: asyncio.Future[None] | None = None
        self._closed = False
        self._error: ApiError | None = None
        self._timer: Timer | None = None
        self._convert: Callable[[Record], Record] | None = None
        self._convert_all: Callable[[Sequence[Record]], Awaitable[Sequence[Record]]] | None = None
        self._converted: deque[Event] = deque()

    def offer(self, change: Change) -> None:
        """Takes a change if it concerns this watch."""
        event = self._translate(change)
        if event is not None:
            self.push(event)

    def push(self, event: Event) -> None:
        if self._bytes is not None:
            self._bytes += len(event.record.bytes)
        if len(self._events) - self._initial >= QUEUE_EVENTS_MAX or (self._bytes or 0) > QUEUE_BYTES_MAX:
            self.close(Expired("The watch did not keep up and was cut off; list again"))
            return
        self._events.append(event)
        self._wake()

    def count_bytes(self) -> None:
        """From now on the queue is bounded by what it weighs as well: for readers to whom bytes are sent (others share
        what the store holds in memory)."""
        self._bytes = 0

    def show_as(self, convert: Callable[[Record], Record]) -> None:
        """Every record is delivered as ``convert`` shows it (another API version)."""
        self._convert = convert

    def show_by(self, convert: Callable[[Sequence[Record]], Awaitable[Sequence[Record]]]) -> None:
        """As ``show_as`` for what takes its time: all that is queued is shown at once."""
        self._convert_all = convert

    def push_initial(self, event: Event) -> None:
        """Queues a part of the state that the watch starts from, which the queue's bound does not count."""
        self._events.append(event)
        self._initial += 1

    def _translate(self, change: Change) -> Event | None:
        matches = self._matches
        if matches is None:
            return Event(change.type, change.record)
        before = change.previous is not None and matches(change.previous)
        if change.type == "DELETED":
            return Event("DELETED", change.record) if before else None
        now = matches(change.record)
        if now:
            return Event("MODIFIED" if before else "ADDED", change.record)
        if before and change.previous is not None:
            return Event("DELETED", change.previous.at_version(change.record.version))
        return None

    def end_at(self, clock: Clock, when: float) -> None:
        self._timer = clock.call_at(when, self.close)

    def close(self, error: ApiError | None = None) -> None:
        """No further events; those queued are still delivered, unless it was cut off."""
        if self._closed:
            return
        self._closed, self._error = True, error
        if error is not None:
            self._events.clear()
        if self._timer is not None:
            self._timer.cancel()
        if self in self._ring.watchers:
            self._ring.watchers.remove(self)
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def __aiter__(self) -> Watcher:
        return self

    async def __anext__(self) -> Event:
        if self._convert_all is not None:
            if not self._converted:
                self._converted.extend(await self._next_shown(self._convert_all))
            return self._converted.popleft()
        await self._filled()
        event = self._events.popleft()
        if self._initial:
            self._initial -= 1
        elif self._bytes is not None:
            self._bytes = max(0, self._bytes - len(event.record.bytes))
        return self._shown(event)

    async def _next_shown(self, convert: Callable[[Sequence[Record]], Awaitable[Sequence[Record]]]) -> list[Event]:
        """All that is queued, as the version that is watched shows it."""
        await self._filled()
        events = self._taken()
        shown = iter(await convert([event.record for event in events if event.type != "BOOKMARK"]))
        return [event if event.type == "BOOKMARK" else Event(event.type, next(shown)) for event in events]

    async def _filled(self) -> None:
        """Waits until something is queued; raises what ends the watch."""
        while not self._events:
            if self._error is not None:
                raise self._error
            if self._closed:
                raise StopAsyncIteration
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting

    def take(self) -> list[Event]:
        """Everything that is queued and can be shown now, for transports that write many frames at once."""
        if self._convert_all is not None:
            events = list(self._converted)
            self._converted.clear()
            return events
        return [self._shown(event) for event in self._taken()]

    def _taken(self) -> list[Event]:
        events, self._initial = list(self._events), 0
        self._bytes = None if self._bytes is None else 0
        self._events.clear()
        return events

    def _shown(self, event: Event) -> Event:
        if self._convert is None or event.type == "BOOKMARK":
            return event
        return Event(event.type, self._convert(event.record))


class Hub:
    """All watches on a store."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._start = store.version
        self._rings: dict[str, _Ring] = {}
        self._bookmarks: Timer | None = None
        store.subscribe(self._published)

    def watch(
        self,
        collection: str,
        since: int,
        matches: Filter | None = None,
        bookmark: Callable[[int], Record] | None = None,
        seconds: float | None = None,
    ) -> Watcher:
        """Opens a watch of the changes after ``since``; raises Expired where they are not all kept any more.

        ``bookmark`` makes the bookmark record of a version; None for a watch without them.
        """
        ring = self._ring(collection)
        if since < ring.floor:
            raise Expired(f"too old resource version: {since} ({ring.floor})")
        watcher = Watcher(ring, matches, bookmark)
        for change in ring.since(since):
            watcher.offer(change)
        ring.watchers.append(watcher)
        if seconds is not None:
            watcher.end_at(self._clock, self._clock.monotonic() + seconds)
        if bookmark is not None and self._bookmarks is None:
            self._schedule_bookmarks()
        return watcher

    def since(self, collection: str, version: int) -> list[Change] | None:
        """The changes of a collection after ``version``, oldest first; None where they are not all kept."""
        ring = self._ring(collection)
        return None if version < ring.floor else list(ring.since(version))

    def close(self) -> None:
        """Ends every watch."""
        if self._bookmarks is not None:
            self._bookmarks.cancel()
            self._bookmarks = None
        for ring in self._rings.values():
            for watcher in list(ring.watchers):
                watcher.close()

    def _ring(self, collection: str) -> _Ring:
        return self._rings.setdefault(collection, _Ring(self._start))

    def _published(self, changes: list[Change]) -> None:
        for change in changes:
            ring = self._ring(change.collection)
            ring.add(change, self._store.parts_of(change))
            for watcher in tuple(ring.watchers):
                watcher.offer(change)

    def _schedule_bookmarks(self) -> None:
        self._bookmarks = self._clock.call_at(self._clock.monotonic() + BOOKMARK_SECONDS, self._send_bookmarks)

    def _send_bookmarks(self) -> None:
        self._bookmarks = None
        wanting = [watcher for ring in self._rings.values() for watcher in ring.watchers if watcher.bookmark]
        for watcher in wanting:
            if watcher.bookmark is not None:
                watcher.push(Event("BOOKMARK", watcher.bookmark(self._store.version)))
        if wanting:
            self._schedule_bookmarks()
