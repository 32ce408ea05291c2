"""Floods: bounded per user, everybody in turn, refused with a hint when there is no room to wait."""

from __future__ import annotations

import asyncio

import pytest

from tiphys.cluster.apiserver.http import fairness
from tiphys.cluster.apiserver.http.fairness import Fairness
from tiphys.cluster.apiserver.users import MASTERS, User
from tiphys.machinery.errors import TooManyRequests

FLOOD, OTHER, ADMIN = User("flood"), User("other"), User("admin", (MASTERS,))


class Crowd:
    """Requests that are served until they are told to end."""

    def __init__(self, fair: Fairness) -> None:
        self.fair = fair
        self.served: list[str] = []
        self.end = asyncio.Event()

    def ask(self, user: User) -> asyncio.Task[None]:
        async def request() -> None:
            async with self.fair.seat(user):
                self.served.append(user.name)
                await self.end.wait()

        return asyncio.create_task(request())


async def test_a_flood_leaves_room_for_others() -> None:
    crowd = Crowd(Fairness(seats=4, per_user=2, waiting=3))
    asked = [crowd.ask(FLOOD) for _ in range(6)]
    await asyncio.sleep(0)
    assert crowd.served == ["flood"] * 2
    refused = [task for task in asked if task.done()]
    assert [type(task.exception()) for task in refused] == [TooManyRequests]
    asked += [crowd.ask(OTHER), crowd.ask(ADMIN)]
    await asyncio.sleep(0)
    assert crowd.served == ["flood", "flood", "other", "admin"]
    crowd.end.set()
    await asyncio.gather(*asked, return_exceptions=True)
    assert crowd.served.count("flood") == 5


async def test_users_take_turns() -> None:
    fair = Fairness(seats=1, per_user=1, waiting=9)
    served: list[str] = []

    async def request(user: User) -> None:
        async with fair.seat(user):
            served.append(user.name)
            await asyncio.sleep(0)

    await asyncio.gather(*(request(FLOOD) for _ in range(4)), *(request(OTHER) for _ in range(2)))
    assert served == ["flood", "flood", "other", "flood", "other", "flood"]


async def test_a_seat_given_back_early_counts_once() -> None:
    fair = Fairness(seats=1, per_user=1)
    async with fair.seat(FLOOD) as seat:
        seat.give_back()
        async with fair.seat(OTHER):
            pass
    async with fair.seat(FLOOD), fair.seat(ADMIN):
        pass


async def test_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fairness, "WAIT_SECONDS_MAX", 0.01)
    fair = Fairness(seats=1, per_user=1)
    async with fair.seat(FLOOD):
        with pytest.raises(TooManyRequests) as caught:
            async with fair.seat(OTHER):
                pass
    assert caught.value.details == {"retryAfterSeconds": 1}
    async with fair.seat(OTHER):
        pass


async def test_who_leaves_gives_up_the_place() -> None:
    crowd = Crowd(Fairness(seats=1, per_user=1, waiting=1))
    first, second = crowd.ask(FLOOD), crowd.ask(FLOOD)
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.wait([second])
    third = crowd.ask(FLOOD)
    crowd.end.set()
    await asyncio.gather(first, third)
    assert crowd.served == ["flood", "flood"]
