"""Writes that nobody waits for: gathered for a moment and carried out together, off the path of what is urgent.

For what must happen but not now (labels of pods that are done with, deletions by a garbage collector). In process they
share one commit with whatever else is written then. What fails is handed to ``on_failure``, whose business it is to
see to it that the writes are asked for again; what is lost in a crash must follow again from the state.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic

from tiphys.machinery.actions import Action, Plan
from tiphys.machinery.errors import ApiError, NotFound
from tiphys.runtime.act import Actor
from tiphys.runtime.clock import Clock, Timer
from tiphys.runtime.queue import K

_GATHER_SECONDS = 0.05
_AT_ONCE = 256


class Later(Generic[K]):
    """``add`` with the key of whatever the actions belong to; ``run`` carries them out until cancelled."""

    def __init__(self, actor: Actor, clock: Clock, on_failure: Callable[[K, ApiError], None]) -> None:
        self._actor = actor
        self._clock = clock
        self._on_failure = on_failure
        self._waiting: deque[tuple[K, Action]] = deque()
        self._due = asyncio.Event()
        self._timer: Timer | None = None

    def add(self, key: K, *actions: Action) -> None:
        self._waiting.extend((key, action) for action in actions)
        self._plan()

    async def run(self) -> None:
        while True:
            await self._due.wait()
            self._due.clear()
            await self._carry_out([self._waiting.popleft() for _ in range(min(_AT_ONCE, len(self._waiting)))])
            self._plan()

    def _plan(self) -> None:
        """A moment is waited for few; a full batch goes now, or a busy loop would let them pile up without end."""
        if len(self._waiting) >= _AT_ONCE:
            self._due.set()
        elif self._waiting and self._timer is None:
            self._timer = self._clock.call_at(self._clock.monotonic() + _GATHER_SECONDS, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._due.set()

    async def _carry_out(self, batch: list[tuple[K, Action]]) -> None:
        outcomes = await self._actor.carry_out(Plan((tuple(action for _, action in batch),)))
        for (key, _), outcome in zip(batch, outcomes, strict=True):
            # What is gone needs no more care.
            if outcome.error is not None and not isinstance(outcome.error, NotFound):
                self._on_failure(key, outcome.error)
