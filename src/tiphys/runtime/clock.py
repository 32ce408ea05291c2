"""The only place that reads the time, the only place that waits for it.

``VirtualClock`` is for simulations and the stage runtime: time stands still until every task waits for it, then jumps
to the next timer (idea: trio's autojump clock).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Wall time in UTC and waiting. ``monotonic`` is in seconds and never goes back."""

    def now(self) -> datetime: ...

    def monotonic(self) -> float: ...

    def call_at(self, when: float, call: Callable[[], None]) -> Timer:
        """Calls back once ``monotonic()`` has reached ``when``."""
        ...

    async def sleep_until(self, when: float) -> None: ...


class Timer(Protocol):
    def cancel(self) -> None: ...


@dataclass(frozen=True)
class SystemClock:
    """The machine's clock, on the running asyncio loop."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def call_at(self, when: float, call: Callable[[], None]) -> Timer:
        delay = max(0.0, when - time.monotonic())
        return asyncio.get_running_loop().call_later(delay, call)

    async def sleep_until(self, when: float) -> None:
        await asyncio.sleep(max(0.0, when - time.monotonic()))
