"""Events do not stay: each goes an hour after its last write (``--event-ttl`` of the original), the oldest sooner
where there are too many.

What a restart finds counts from the restart, as etcd's leases do. Deletions are writes like any other, so watchers see
them. There is one timer, for the next event to go; a write of an event costs one entry in an ordered dict.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from tiphys.cluster.apiserver.store import Change, Store
from tiphys.machinery.errors import ServiceUnavailable
from tiphys.runtime.clock import Clock, Timer

COLLECTION: Final = "events"
# Those that expire within this of each other go together: a busy cluster's timer does not go off for each event.
TOGETHER_SECONDS: Final = 1.0
RETRY_SECONDS: Final = 5.0
BATCH_MAX: Final = 500


@dataclass(frozen=True, slots=True)
class EventLimits:
    """``seconds`` that an event is kept after its last write, and how many at most; 0: no limit."""

    seconds: float = 3600.0
    count: int = 10_000


class EventExpiry:
    """Listens to a store from its making on, and takes away what is to go."""

    def __init__(self, store: Store, clock: Clock, limits: EventLimits) -> None:
        self._store = store
        self._clock = clock
        self._limits = limits
        self._expires: OrderedDict[str, float] = OrderedDict()
        self._timer: Timer | None = None
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        until = clock.monotonic() + limits.seconds
        found = store.collection(COLLECTION).records.values()
        for record in sorted(found, key=lambda record: record.version):
            self._expires[record.key] = until
        store.subscribe(self._heard)
        self._plan()

    async def close(self) -> None:
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def _heard(self, changes: list[Change]) -> None:
        touched = False
        for change in changes:
            if change.collection != COLLECTION:
                continue
            touched = True
            key = change.record.key
            if change.type == "DELETED":
                self._expires.pop(key, None)
            else:
                self._expires[key] = self._clock.monotonic() + self._limits.seconds
                self._expires.move_to_end(key)
        if touched:
            self._plan()

    def _plan(self) -> None:
        """Sees to it that the next one to go will go."""
        if self._closed or not self._expires or (self._task is not None and not self._task.done()):
            return
        if self._excess():
            self._sweep_now()
        elif self._limits.seconds and self._timer is None:
            first = next(iter(self._expires.values()))
            self._timer = self._clock.call_at(first + TOGETHER_SECONDS, self._ring)

    def _excess(self) -> int:
        return max(0, len(self._expires) - self._limits.count) if self._limits.count else 0

    def _ring(self) -> None:
        self._timer = None
        self._sweep_now()

    def _sweep_now(self) -> None:
        """Not in the midst of a publication, which others are still to hear of."""
        if not self._closed and (self._task is None or self._task.done()):
            self._task = asyncio.get_running_loop().create_task(self._sweep())

    async def _sweep(self) -> None:
        try:
            while due := self._due():
                if not any(await asyncio.gather(*map(self._remove, due))):
                    self._wait(TOGETHER_SECONDS)
                    return
        except ServiceUnavailable:  # the disk refuses: they stay until it does not
            self._wait(RETRY_SECONDS)
            return
        self._task = None
        self._plan()

    def _wait(self, seconds: float) -> None:
        if self._timer is None:
            self._timer = self._clock.call_at(self._clock.monotonic() + seconds, self._ring)

    def _due(self) -> list[str]:
        """The next ones to go, oldest first."""
        now, excess = self._clock.monotonic(), self._excess()
        due: list[str] = []
        for key, until in self._expires.items():
            if len(due) == BATCH_MAX or (len(due) >= excess and not (self._limits.seconds and until <= now)):
                break
            due.append(key)
        return due

    async def _remove(self, key: str) -> bool:
        """False where a write of it is under way, of which we shall hear."""
        record = self._store.get(COLLECTION, key)
        latest = self._store.latest(COLLECTION, key)
        if record is not None and latest is record:
            await self._store.remove(COLLECTION, record)
            return True
        if record is None:
            self._expires.pop(key, None)
        return False
