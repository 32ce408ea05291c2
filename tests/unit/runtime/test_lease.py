from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from tiphys.client.client import Client
from tiphys.cluster.apiserver.server import ApiServer
from tiphys.cluster.apiserver.store import Store
from tiphys.machinery.resources import LEASES, ObjectKey
from tiphys.runtime.ids import SeededIds
from tiphys.runtime.lease import Leader
from tiphys.runtime.virtual import VirtualClock

Run = Callable[[Coroutine[Any, Any, Any]], Any]
KEY = ObjectKey("default", "controller")


@asynccontextmanager
async def server(clock: VirtualClock) -> AsyncIterator[Client]:
    started = await ApiServer.start(Store(), clock, SeededIds(random.Random(1)))
    try:
        yield Client(started.transport())
    finally:
        await started.close()


class Contest:
    """Who works when; more than one at a time fails the test."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self.working: set[str] = set()
        self.log: list[tuple[str, str, int]] = []

    def work(self, name: str) -> Callable[[], Awaitable[None]]:
        async def for_ever() -> None:
            assert not self.working, f"{self.working} and {name} work at the same time"
            self.working.add(name)
            self.log.append((name, "begins", round(self._clock.monotonic())))
            try:
                await self._clock.sleep_until(1e9)
            finally:
                self.working.discard(name)

        return for_ever


async def stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


def test_one_leads_and_the_other_follows_when_it_dies(run: Run, clock: VirtualClock) -> None:
    async def job() -> list[tuple[str, str, int]]:
        contest = Contest(clock)
        async with server(clock) as client:
            first = asyncio.create_task(Leader(client, clock, KEY, "first").run(contest.work("first")))
            await clock.sleep_until(1)
            second = asyncio.create_task(Leader(client, clock, KEY, "second").run(contest.work("second")))
            await clock.sleep_until(100)
            await stop(first)
            await clock.sleep_until(200)
            await stop(second)
        return contest.log

    (_, _, began), (name, _, took_over) = run(job())
    assert (began, name) == (0, "second")
    assert 115 <= took_over <= 120  # fifteen seconds after the last renewal, looked at every two


def test_a_leader_whose_lease_was_taken_stops(run: Run, clock: VirtualClock) -> None:
    async def job() -> set[str]:
        contest = Contest(clock)
        async with server(clock) as client:
            leading = asyncio.create_task(Leader(client, clock, KEY, "first").run(contest.work("first")))
            await clock.sleep_until(5)
            lease = await client.get(LEASES, KEY)
            await client.replace(LEASES, dict(lease, spec=dict(lease["spec"], holderIdentity="thief")))
            await clock.sleep_until(10)
            working = set(contest.working)
            await stop(leading)
            return working

    assert run(job()) == set()


def test_a_leader_that_is_done_lets_go_at_once(run: Run, clock: VirtualClock) -> None:
    async def nothing() -> None:
        return None

    async def job() -> float:
        async with server(clock) as client:
            await Leader(client, clock, KEY, "first").run(nothing)
            await Leader(client, clock, KEY, "second").run(nothing)
            return clock.monotonic()

    assert run(job()) < 1
