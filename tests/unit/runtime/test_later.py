"""Writes that nobody waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from tests.unit.runtime.test_act import actor, config_map
from tiphys.machinery.actions import Create
from tiphys.machinery.errors import ApiError
from tiphys.machinery.resources import CONFIG_MAPS, ObjectKey
from tiphys.runtime import later
from tiphys.runtime.later import Later
from tiphys.runtime.virtual import VirtualClock

Run = Callable[[Coroutine[Any, Any, Any]], Any]


def unexpected(key: str, error: ApiError) -> None:
    raise AssertionError(f"{key}: {error}")


async def written_at(clock: VirtualClock, count: int) -> float:
    """The virtual time at which the last of ``count`` writes, added one by one, is done."""
    async with actor(clock) as (act, _):
        rest: Later[str] = Later(act, clock, unexpected)
        running = asyncio.create_task(rest.run())
        began = clock.monotonic()
        for number in range(count):
            rest.add("key", Create(CONFIG_MAPS, config_map(f"m{number}")))
        last = ObjectKey("default", f"m{count - 1}")
        async with act.client.watch(CONFIG_MAPS, resourceVersion="0") as events:
            async for event in events:
                if event.object["metadata"]["name"] == last.name:
                    break
        running.cancel()
        return clock.monotonic() - began


def test_a_few_are_gathered_for_a_moment(clock: VirtualClock, run: Run) -> None:
    assert run(written_at(clock, 3)) == later._GATHER_SECONDS


def test_a_full_batch_waits_for_no_moment(clock: VirtualClock, run: Run) -> None:
    assert run(written_at(clock, later._AT_ONCE)) == 0.0
