"""A transport that breaks the way real ones do, as a seed says: late, refused, lost and repeated.

    call      waits a while; may be refused before it did anything, or done with its answer lost
    watch     events come late; the connection is cut; a new one sends again what was seen, or is told 410
    crash     a call after which (or instead of which) the component that made it is dead

What it never does is what an API server promises not to: answer wrongly, or leave out an event of a watch that goes on.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from tiphys.client.transport import Request, Transport, WatchEvent
from tiphys.machinery.errors import ApiError, Expired, InternalError, ServiceUnavailable, Timeout, TooManyRequests
from tiphys.runtime.clock import Clock

_REFUSALS: tuple[type[ApiError], ...] = (ServiceUnavailable, TooManyRequests, InternalError, Timeout)
_REMEMBERED_EVENTS = 8


@dataclass(frozen=True, slots=True)
class Faults:
    """How often what happens: probabilities per call or per event, delays in virtual seconds."""

    delay_seconds: float = 0.2
    refused: float = 0.03
    answer_lost: float = 0.03
    watch_cut: float = 0.03
    event_repeated: float = 0.3
    expired: float = 0.1
    crash: float = 0.01


NO_FAULTS = Faults(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


class FaultyTransport:
    """Stands between one component and the API; ``on_crash`` must cancel the component (it is called inside it)."""

    def __init__(
        self, inner: Transport, faults: Faults, rng: random.Random, clock: Clock, on_crash: Callable[[], None]
    ) -> None:
        self._inner = inner
        self._faults = faults
        self._rng = rng
        self._clock = clock
        self._on_crash = on_crash

    async def call(self, request: Request) -> Mapping[str, Any]:
        await self._wait()
        if self._happens(self._faults.crash):
            await self._crash()
        if self._happens(self._faults.refused):
            raise self._rng.choice(_REFUSALS)("refused by the simulation")
        answer = await self._inner.call(request)
        await self._wait()
        if self._happens(self._faults.crash):
            await self._crash()
        if self._happens(self._faults.answer_lost):
            raise Timeout("the answer was lost by the simulation")
        return answer

    @asynccontextmanager
    async def watch(self, request: Request) -> AsyncIterator[AsyncIterator[WatchEvent]]:
        await self._wait()
        if self._happens(self._faults.refused):
            raise ServiceUnavailable("refused by the simulation")
        if self._happens(self._faults.expired):
            raise Expired("too old resource version, says the simulation")
        async with self._inner.watch(request) as events:
            yield self._disturbed(events)

    async def _disturbed(self, events: AsyncIterator[WatchEvent]) -> AsyncIterator[WatchEvent]:
        seen: deque[WatchEvent] = deque(maxlen=_REMEMBERED_EVENTS)
        async for event in events:
            await self._wait()
            if self._happens(self._faults.watch_cut):
                raise ServiceUnavailable("cut by the simulation")
            yield event
            seen.append(event)
            if self._happens(self._faults.event_repeated):
                yield self._rng.choice(seen)

    def stream(self, request: Request) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        return self._inner.stream(request)

    async def close(self) -> None:
        await self._inner.close()

    def _happens(self, probability: float) -> bool:
        return self._rng.random() < probability

    async def _wait(self) -> None:
        if self._faults.delay_seconds:
            await self._clock.sleep_until(
                self._clock.monotonic() + self._rng.expovariate(1 / self._faults.delay_seconds)
            )

    async def _crash(self) -> None:
        self._on_crash()
        await asyncio.get_running_loop().create_future()  # the dead do not go on; the cancellation ends this
