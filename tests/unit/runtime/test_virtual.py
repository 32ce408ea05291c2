from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

from tiphys.runtime.virtual import EPOCH, VirtualClock, VirtualLoop

Run = Callable[[Coroutine[Any, Any, Any]], Any]


def test_a_day_passes_in_no_time(run: Run, clock: VirtualClock) -> None:
    began = time.monotonic()
    run(clock.sleep_until(86_400))
    assert clock.now() == EPOCH + timedelta(days=1)
    assert time.monotonic() - began < 60


def test_timers_fire_in_order_of_time(run: Run, clock: VirtualClock) -> None:
    fired: list[tuple[str, float]] = []

    async def job() -> None:
        for name, when in (("late", 30.0), ("early", 10.0), ("middle", 20.0)):
            clock.call_at(when, lambda name=name: fired.append((name, clock.monotonic())))  # type: ignore[misc]
        await clock.sleep_until(40)

    run(job())
    assert fired == [("early", 10.0), ("middle", 20.0), ("late", 30.0)]


def test_a_thread_at_work_stops_the_clock(run: Run, clock: VirtualClock) -> None:
    async def job() -> float:
        clock.call_at(3600.0, lambda: None)
        await asyncio.to_thread(lambda: sum(range(10_000)))
        return clock.monotonic()

    assert run(job()) == 0.0


def order_of_tasks(seed: int) -> list[int]:
    seen: list[int] = []

    async def note(number: int) -> None:
        seen.append(number)

    async def job() -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(20):
                group.create_task(note(number))

    clock = VirtualClock()
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(clock, random.Random(seed))) as runner:
        runner.run(job())
    return seen


def test_a_seed_chooses_the_order_of_tasks() -> None:
    assert order_of_tasks(1) == order_of_tasks(1)
    assert order_of_tasks(1) != order_of_tasks(2)
    assert sorted(order_of_tasks(3)) == list(range(20))
