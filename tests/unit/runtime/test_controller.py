from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

import pytest

from tiphys.machinery.errors import ServiceUnavailable
from tiphys.runtime.controller import Controller, Outcome, Reconcile, Stuck
from tiphys.runtime.queue import Backoff, WorkQueue
from tiphys.runtime.virtual import VirtualClock

Run = Callable[[Coroutine[Any, Any, Any]], Any]


async def work_for(clock: VirtualClock, seconds: float, reconcile: Reconcile[str], *keys: str) -> Controller[str]:
    queue = WorkQueue[str](clock, random.Random(0), Backoff(first_seconds=1, jitter=0))
    controller = Controller("test", queue, reconcile, workers=2)
    for key in keys:
        queue.add(key)
    working = asyncio.create_task(controller.run())
    await clock.sleep_until(clock.monotonic() + seconds)
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    return controller


def test_a_reconcile_that_names_a_time_is_looked_at_then(run: Run, clock: VirtualClock) -> None:
    looks: list[float] = []

    async def reconcile(key: str) -> Outcome:
        looks.append(clock.monotonic())
        return clock.now() + timedelta(seconds=60) if len(looks) < 3 else None

    run(work_for(clock, 1000, reconcile, "a"))
    assert looks == pytest.approx([0, 60, 120])


def test_a_bug_of_one_key_is_logged_tried_again_and_stops_nobody(
    run: Run, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    looks: list[tuple[str, float]] = []

    async def reconcile(key: str) -> Outcome:
        looks.append((key, clock.monotonic()))
        if key == "bad" and len(looks) < 4:
            raise ZeroDivisionError("a bug")
        return None

    controller = run(work_for(clock, 100, reconcile, "bad", "good"))
    assert sorted(looks) == [("bad", 0.0), ("bad", 1.0), ("bad", 3.0), ("good", 0.0)]
    assert controller.bugs == 2
    assert "ZeroDivisionError: a bug" in caplog.text


def test_a_failed_call_is_no_bug(run: Run, clock: VirtualClock, caplog: pytest.LogCaptureFixture) -> None:
    looks: list[float] = []

    async def reconcile(key: str) -> Outcome:
        looks.append(clock.monotonic())
        if len(looks) < 3:
            raise ServiceUnavailable("not now")
        return None

    controller = run(work_for(clock, 100, reconcile, "a"))
    assert looks == [0.0, 1.0, 3.0]
    assert controller.bugs == 0
    assert not caplog.records


def test_stuck_is_said_once(run: Run, clock: VirtualClock, caplog: pytest.LogCaptureFixture) -> None:
    async def reconcile(key: str) -> Outcome:
        return Stuck("spec.entrypoint names no template")

    async def job() -> None:
        controller = await work_for(clock, 1, reconcile, "a")
        controller.queue.add("a")
        await controller._one(await controller.queue.get())

    with caplog.at_level(logging.WARNING):
        run(job())
    assert [record.getMessage() for record in caplog.records] == ["test: a is stuck: spec.entrypoint names no template"]
