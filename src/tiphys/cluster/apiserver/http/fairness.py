"""Requests in flight: how many at once, and whose turn it is. One user's flood holds up that user, nobody else.

    request ─► seat free, and its user not over the share? ─► served
            └► waits in its user's queue (bounded, at most ``WAIT_SECONDS_MAX``) ─► served in turn, users one by one
            └► 429 with Retry-After

Simpler than the original's API priority and fairness: flows are users, there is one level, administrators are exempt.
What lasts (watches, logs that are followed, exec …) gives its seat back once it is under way.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from tiphys.cluster.apiserver.users import User
from tiphys.machinery.errors import TooManyRequests

SEATS: Final = 600
SEATS_PER_USER: Final = 150
WAITING_PER_USER: Final = 200
USERS_MAX: Final = 2048
WAIT_SECONDS_MAX: Final = 15.0
RETRY_SECONDS: Final = 1


class Seat:
    """A place in service; ``give_back`` as soon as what follows costs next to nothing. Idempotent."""

    def __init__(self, fairness: Fairness | None, flow: str) -> None:
        self._fairness = fairness
        self._flow = flow

    def give_back(self) -> None:
        fairness, self._fairness = self._fairness, None
        if fairness is not None:
            fairness.release(self._flow)


class Fairness:
    """Belongs to one server."""

    def __init__(self, seats: int = SEATS, per_user: int = SEATS_PER_USER, waiting: int = WAITING_PER_USER) -> None:
        self._free = seats
        self._per_user = per_user
        self._waiting_max = waiting
        self._serving: dict[str, int] = {}
        self._queues: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @asynccontextmanager
    async def seat(self, user: User) -> AsyncIterator[Seat]:
        """Waits for a turn. Raises TooManyRequests."""
        if user.is_master:
            yield Seat(None, "")
            return
        await self._take(user.name)
        seat = Seat(self, user.name)
        try:
            yield seat
        finally:
            seat.give_back()

    def release(self, flow: str) -> None:
        self._free += 1
        left = self._serving[flow] - 1
        if left:
            self._serving[flow] = left
        else:
            del self._serving[flow]
        self._serve_next()

    async def _take(self, flow: str) -> None:
        if self._free > 0 and self._serving.get(flow, 0) < self._per_user and flow not in self._queues:
            self._begin(flow)
            return
        queue = self._queues.get(flow)
        if (queue is not None and len(queue) >= self._waiting_max) or (
            queue is None and len(self._queues) >= USERS_MAX
        ):
            raise _too_many()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queues.setdefault(flow, deque()).append(turn)
        try:
            async with asyncio.timeout(WAIT_SECONDS_MAX):
                await turn
        except (TimeoutError, asyncio.CancelledError) as err:
            self._give_up(flow, turn)
            if isinstance(err, TimeoutError):
                raise _too_many() from None
            raise

    def _give_up(self, flow: str, turn: asyncio.Future[None]) -> None:
        """A turn that nobody waits for any more, or one that came in the same moment."""
        if turn.done() and not turn.cancelled():
            self.release(flow)
            return
        queue = self._queues.get(flow)
        if queue is not None and turn in queue:
            queue.remove(turn)
            if not queue:
                del self._queues[flow]

    def _serve_next(self) -> None:
        """Users take turns; one that has its share is passed over."""
        for flow in list(self._queues):
            if self._free <= 0:
                return
            if self._serving.get(flow, 0) >= self._per_user:
                continue
            queue = self._queues[flow]
            turn = queue.popleft()
            if queue:
                self._queues.move_to_end(flow)
            else:
                del self._queues[flow]
            if not turn.done():
                self._begin(flow)
                turn.set_result(None)

    def _begin(self, flow: str) -> None:
        self._free -= 1
        self._serving[flow] = self._serving.get(flow, 0) + 1


def _too_many() -> TooManyRequests:
    text = "too many requests, please try again later"
    return TooManyRequests(text, {"retryAfterSeconds": RETRY_SECONDS})
