"""What becomes of events that come again and again, in the store of a real API server and in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any

from tests.unit.cluster.controllers.world import World, in_world
from tiphys.machinery.actions import Emit
from tiphys.machinery.resources import EVENTS, key_of
from tiphys.runtime.correlation import Correlator
from tiphys.runtime.events import EventRecorder
from tiphys.runtime.virtual import EPOCH

Object = Mapping[str, Any]
ABOUT = {"apiVersion": "v1", "kind": "Pod", "namespace": "default", "name": "p", "uid": "1"}


def event(message: str = "why", reason: str = "BackOff", **about: str) -> Emit:
    return Emit(ABOUT | about, "Warning", reason, message)


def recording(
    test: Callable[[World, EventRecorder], Awaitable[None]], actions: Mapping[str, str] | None = None
) -> None:
    async def live(world: World) -> None:
        recorder = EventRecorder(world.client, world.clock, "tester", actions)
        running = asyncio.create_task(recorder.run())
        try:
            await test(world, recorder)
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running

    in_world(live, nodes=0)


async def told(world: World, recorder: EventRecorder, *events: Emit) -> list[Object]:
    """All events there are about pods after these."""
    for each in events:
        recorder.emit(each)
    await recorder.drain()
    return [each for each in await world.all(EVENTS) if each["involvedObject"]["kind"] == "Pod"]


def test_the_same_event_is_counted() -> None:
    async def test(world: World, recorder: EventRecorder) -> None:
        (first,) = await told(world, recorder, event())
        await asyncio.sleep(60)
        (again,) = await told(world, recorder, event(), event())
        assert (first["count"], again["count"]) == (1, 3)
        assert again["firstTimestamp"] == first["firstTimestamp"] < again["lastTimestamp"]
        assert again["metadata"]["name"] == first["metadata"]["name"]

    recording(test)


def test_different_things_are_told_apart() -> None:
    async def test(world: World, recorder: EventRecorder) -> None:
        others = [event("other"), event(reason="Other"), event(fieldPath="spec.containers{c}"), event(name="q")]
        assert len(await told(world, recorder, event(), *others)) == 5

    recording(test)


def test_one_that_expired_comes_back_with_its_count() -> None:
    async def test(world: World, recorder: EventRecorder) -> None:
        (first,) = await told(world, recorder, event())
        await world.client.delete(EVENTS, key_of(first))
        (again,) = await told(world, recorder, event())
        assert (again["count"], again["firstTimestamp"]) == (2, first["firstTimestamp"])

    recording(test)


def test_the_tenth_message_stands_for_all_that_follow() -> None:
    async def test(world: World, recorder: EventRecorder) -> None:
        found = await told(world, recorder, *(event(f"{n}") for n in range(12)))
        assert sorted(each["message"] for each in found) == sorted(
            [*(f"{n}" for n in range(9)), "(combined from similar events): 11"]
        )
        assert next(each["count"] for each in found if "combined" in each["message"]) == 3

    recording(test)


def test_similar_events_of_long_ago_do_not_count() -> None:
    correlator = Correlator()
    for number in range(9):
        assert correlator.identify(event(f"{number}"), EPOCH)[1] == f"{number}"
    assert correlator.identify(event("9"), EPOCH)[1] == "(combined from similar events): 9"
    assert correlator.identify(event("9"), EPOCH + timedelta(minutes=11))[1] == "9"


def test_too_many_about_one_object_are_dropped_but_for_one_every_five_minutes() -> None:
    correlator = Correlator()
    passed = [correlator.passes(event(), EPOCH) for _ in range(30)]
    assert (sum(passed), passed[-1]) == (25, False)
    assert correlator.passes(event(name="q"), EPOCH)
    later = EPOCH + timedelta(minutes=5)
    assert [correlator.passes(event(), later) for _ in range(2)] == [True, False]


def test_a_series_has_one_event_whatever_it_says() -> None:
    async def test(world: World, recorder: EventRecorder) -> None:
        (first,) = await told(world, recorder, event("a"))
        assert "series" not in first
        (again,) = await told(world, recorder, event("b"))
        assert (again["message"], again["series"]["count"]) == ("a", 2)
        (silent,) = await told(world, recorder, event("c"))
        assert silent["metadata"]["resourceVersion"] == again["metadata"]["resourceVersion"]
        await asyncio.sleep(400)
        assert len(await told(world, recorder, event("d"))) == 2

    recording(test, {"BackOff": "Waiting"})
