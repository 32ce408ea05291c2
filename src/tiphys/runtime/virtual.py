"""Time that nobody waits for: a clock and an event loop that jump to the next timer when nothing else can go on.

For simulations, the stage runtime and tests of workflows. While a task can run, time stands still; when every task
waits, the loop would sleep until its next timer, and moves the clock there instead. Work in threads counts as running.
Idea: trio's autojump clock. Not for programs that talk to other processes: they would find time flying.

    with asyncio.Runner(loop_factory=lambda: VirtualLoop(clock)) as runner: ...
"""

from __future__ import annotations

import asyncio
import random
import selectors
from collections.abc import Callable
from concurrent.futures import Executor
from datetime import UTC, datetime, timedelta
from typing import Any

from tiphys.runtime.clock import Timer

# Where virtual time begins when nobody says otherwise; the recorded traces of the original begin here too.
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class VirtualClock:
    """A clock that moves only by ``advance``: by hand in a unit test, by ``VirtualLoop`` elsewhere."""

    def __init__(self, start: datetime = EPOCH) -> None:
        self._start = start
        self._seconds = 0.0

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._seconds)

    def monotonic(self) -> float:
        return self._seconds

    def advance(self, seconds: float) -> None:
        self._seconds += seconds

    def call_at(self, when: float, call: Callable[[], None]) -> Timer:
        return asyncio.get_running_loop().call_at(when, call)

    async def sleep_until(self, when: float) -> None:
        await asyncio.sleep(max(0.0, when - self._seconds))


class VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio loop on a ``VirtualClock``; with ``rng`` the tasks that are ready run in an order chosen by it."""

    def __init__(self, clock: VirtualClock, rng: random.Random | None = None) -> None:
        self._virtual = clock
        self._rng = rng
        self._in_threads = 0
        super().__init__(_JumpingSelector(clock, self))

    def time(self) -> float:
        return self._virtual.monotonic()

    def run_in_executor(  # type: ignore[override]  # the stub spells the same with TypeVarTuple
        self, executor: Executor | None, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        future = super().run_in_executor(executor, func, *args)
        self._in_threads += 1
        future.add_done_callback(self._thread_done)
        return future

    def _thread_done(self, _future: asyncio.Future[Any]) -> None:
        self._in_threads -= 1

    @property
    def busy_in_threads(self) -> bool:
        return self._in_threads > 0

    def _run_once(self) -> None:
        # Tasks do not promise an order to each other, so any order of one round is a legal one. The round's own
        # timers are added after this shuffle and stay last.
        ready = self._ready  # type: ignore[attr-defined]
        if self._rng is not None and len(ready) > 1:
            handles = list(ready)
            self._rng.shuffle(handles)
            ready.clear()
            ready.extend(handles)
        super()._run_once()  # type: ignore[misc]


class _JumpingSelector(selectors.DefaultSelector):
    """Instead of waiting for a timeout it moves the clock by it."""

    def __init__(self, clock: VirtualClock, loop: VirtualLoop) -> None:
        super().__init__()
        self._clock = clock
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or self._loop.busy_in_threads:
            return super().select(None if timeout else timeout)
        ready = super().select(0)
        if not ready and timeout > 0:
            self._clock.advance(timeout)
        return ready
