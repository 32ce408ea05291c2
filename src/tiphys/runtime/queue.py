"""The work queue of a controller: keys that want a look, each at most once, never two looks at one key at a time.

    add ──► waiting ──get──► in work ──done──► (gone)
                ▲                │
                └── added again ─┘          meanwhile: waits until done, then once more

A key has at most one timer: ``done(key, wake_at)`` sets the time of the next look if nothing happens before,
``retry`` one that grows with each failure in a row. Everything is deduplicated by key, which bounds the memory.
The semantics are client-go's util/workqueue, without its second clock-driven heap.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from tiphys.runtime.clock import Clock, Timer

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential: ``first_seconds`` doubled per failure up to ``cap_seconds``, plus up to ``jitter`` of itself."""

    first_seconds: float = 0.005
    cap_seconds: float = 60.0
    jitter: float = 0.1

    def seconds(self, failures: int, rng: random.Random) -> float:
        """The wait after the n-th failure in a row (1-based)."""
        plain = min(self.cap_seconds, self.first_seconds * 2.0 ** min(failures - 1, 60))
        return plain * (1.0 + self.jitter * rng.random())


class WorkQueue(Generic[K]):
    def __init__(self, clock: Clock, rng: random.Random, backoff: Backoff | None = None) -> None:
        self._clock = clock
        self._rng = rng
        self._backoff = backoff or Backoff()
        self._ready: deque[K] = deque()
        self._dirty: set[K] = set()
        self._in_work: set[K] = set()
        self._timers: dict[K, Timer] = {}
        self._failures: dict[K, int] = {}
        self._getters: deque[asyncio.Future[None]] = deque()

    def __len__(self) -> int:
        return len(self._ready)

    @property
    def idle(self) -> bool:
        """Nothing waits and nothing is in work (timers do not count)."""
        return not self._ready and not self._in_work

    def add(self, key: K) -> None:
        """Wants a look at ``key`` as soon as a worker is free."""
        if key in self._dirty:
            return
        self._dirty.add(key)
        if key not in self._in_work:
            self._make_ready(key)

    def add_at(self, key: K, when: datetime) -> None:
        """Wants a look at ``key`` at ``when``; replaces an earlier wish of this kind."""
        seconds = (when - self._clock.now()).total_seconds()
        if seconds <= 0:
            self.add(key)
        else:
            self._set_timer(key, seconds)

    def retry(self, key: K) -> float:
        """Wants a look after a back-off that grows with each call until ``forget``; the seconds it chose."""
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        seconds = self._backoff.seconds(failures, self._rng)
        self._set_timer(key, seconds)
        return seconds

    def failures(self, key: K) -> int:
        return self._failures.get(key, 0)

    def forget(self, key: K) -> None:
        """The last look went well: the next failure is the first one again, and old timers are void."""
        self._failures.pop(key, None)
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()

    async def get(self) -> K:
        """The next key; the caller must call ``done`` with it."""
        while not self._ready:
            getter = asyncio.get_running_loop().create_future()
            self._getters.append(getter)
            try:
                await getter
            except asyncio.CancelledError:
                self._give_way(getter)
                raise
        key = self._ready.popleft()
        self._dirty.discard(key)
        self._in_work.add(key)
        return key

    def done(self, key: K, wake_at: datetime | None = None) -> None:
        """The look at ``key`` ended; the next one is at ``wake_at`` unless it was added meanwhile."""
        self._in_work.discard(key)
        if key in self._dirty:
            self._make_ready(key)
        elif wake_at is not None:
            self.add_at(key, wake_at)

    def close(self) -> None:
        """Voids all timers."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _make_ready(self, key: K) -> None:
        self._ready.append(key)
        self._wake_one()

    def _wake_one(self) -> None:
        while self._getters:
            getter = self._getters.popleft()
            if not getter.done():
                getter.set_result(None)
                return

    def _give_way(self, getter: asyncio.Future[None]) -> None:
        # A cancelled getter that was already chosen passes its turn on, or the key would wait for the next add.
        if getter.done() and not getter.cancelled():
            self._wake_one()
        elif getter in self._getters:
            self._getters.remove(getter)

    def _set_timer(self, key: K, seconds: float) -> None:
        old = self._timers.pop(key, None)
        if old is not None:
            old.cancel()
        self._timers[key] = self._clock.call_at(self._clock.monotonic() + seconds, lambda: self._fire(key))

    def _fire(self, key: K) -> None:
        self._timers.pop(key, None)
        self.add(key)
