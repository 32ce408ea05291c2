from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

import pytest

from tiphys.runtime.queue import Backoff, WorkQueue
from tiphys.runtime.virtual import VirtualClock

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture
def queue(clock: VirtualClock) -> WorkQueue[str]:
    return WorkQueue(clock, random.Random(0), Backoff(first_seconds=1, cap_seconds=8, jitter=0))


def test_a_key_waits_once(run: Run, queue: WorkQueue[str]) -> None:
    queue.add("a")
    queue.add("b")
    queue.add("a")
    assert len(queue) == 2
    assert [run(queue.get()), run(queue.get())] == ["a", "b"]


def test_a_key_in_work_comes_again_only_after_done(run: Run, queue: WorkQueue[str]) -> None:
    queue.add("a")
    run(queue.get())
    queue.add("a")
    assert len(queue) == 0
    queue.done("a")
    assert run(queue.get()) == "a"


def test_get_waits_for_the_time_that_done_named(run: Run, clock: VirtualClock, queue: WorkQueue[str]) -> None:
    async def job() -> float:
        queue.add("a")
        queue.done(await queue.get(), wake_at=clock.now() + timedelta(hours=2))
        await queue.get()
        return clock.monotonic()

    assert run(job()) == pytest.approx(7200)


def test_failures_in_a_row_wait_longer_up_to_the_cap(run: Run, queue: WorkQueue[str]) -> None:
    async def job() -> list[float]:
        waits = [queue.retry("a") for _ in range(5)]
        queue.forget("a")
        return [*waits, queue.retry("a")]

    assert run(job()) == [1, 2, 4, 8, 8, 1]


def test_forget_voids_the_timer(run: Run, clock: VirtualClock, queue: WorkQueue[str]) -> None:
    async def job() -> None:
        queue.retry("a")
        queue.forget("a")
        await clock.sleep_until(100)

    run(job())
    assert len(queue) == 0


def test_a_cancelled_getter_does_not_swallow_a_key(run: Run, queue: WorkQueue[str]) -> None:
    async def job() -> str:
        first = asyncio.create_task(queue.get())
        second = asyncio.create_task(queue.get())
        await asyncio.sleep(0)
        queue.add("a")  # chooses the first getter, which is cancelled before it can run
        first.cancel()
        return await second

    assert run(job()) == "a"


def test_close_leaves_no_timer(run: Run, clock: VirtualClock, queue: WorkQueue[str]) -> None:
    async def job() -> None:
        queue.add_at("a", clock.now() + timedelta(seconds=5))
        queue.close()
        await clock.sleep_until(10)

    run(job())
    assert len(queue) == 0
