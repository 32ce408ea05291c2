"""Events go after their time, the oldest sooner where there are too many; watchers see them go."""

import asyncio
from pathlib import Path

from tiphys.cluster.apiserver.expiry import EventExpiry, EventLimits
from tiphys.cluster.apiserver.store import Change, Store
from tiphys.runtime.virtual import VirtualClock, VirtualLoop


def event(name: str) -> dict:
    return {"kind": "Event", "apiVersion": "v1", "metadata": {"name": name, "namespace": "ns"}}


def names(store: Store) -> list[str]:
    return [key.removeprefix("ns/") for key in store.collection("events").order]


def in_virtual_time(scenario) -> None:
    clock = VirtualClock()
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(clock)) as runner:
        runner.run(scenario(clock))


def test_an_event_goes_an_hour_after_its_last_write() -> None:
    async def scenario(clock: VirtualClock) -> None:
        store, seen = Store(), []
        store.subscribe(lambda changes: seen.extend((c.type, c.record.key, clock.monotonic()) for c in changes))
        expiry = EventExpiry(store, clock, EventLimits(3600))
        await store.put("events", "ns/a", event("a"))
        await store.put("events", "ns/b", event("b"))
        await store.put("pods", "ns/a", event("a"))
        await clock.sleep_until(1800)
        await store.put("events", "ns/a", event("a") | {"count": 2})
        await clock.sleep_until(3599)
        assert names(store) == ["a", "b"]
        await clock.sleep_until(3602)
        assert names(store) == ["a"]
        await clock.sleep_until(5399)
        assert names(store) == ["a"]
        await clock.sleep_until(5402)
        assert names(store) == []
        assert store.get("pods", "ns/a") is not None
        gone = [(key, round(when)) for type, key, when in seen if type == "DELETED"]
        assert gone == [("ns/b", 3601), ("ns/a", 5401)]
        await expiry.close()

    in_virtual_time(scenario)


def test_the_oldest_go_where_there_are_too_many() -> None:
    async def scenario(clock: VirtualClock) -> None:
        store = Store()
        expiry = EventExpiry(store, clock, EventLimits(3600, 3))
        for name in "cab":
            await store.put("events", f"ns/{name}", event(name))
        await store.put("events", "ns/c", event("c") | {"count": 2})
        await store.put("events", "ns/d", event("d"))
        await clock.sleep_until(1)
        assert names(store) == ["b", "c", "d"]
        await expiry.close()

    in_virtual_time(scenario)


def test_no_limits_keep_everything_and_set_no_timer() -> None:
    async def scenario(clock: VirtualClock) -> None:
        store = Store()
        expiry = EventExpiry(store, clock, EventLimits(0, 0))
        for number in range(50):
            await store.put("events", f"ns/{number}", event(str(number)))
        await clock.sleep_until(1_000_000)
        assert len(names(store)) == 50
        await expiry.close()

    in_virtual_time(scenario)


def test_a_deleted_event_is_forgotten_and_may_come_again() -> None:
    async def scenario(clock: VirtualClock) -> None:
        store = Store()
        expiry = EventExpiry(store, clock, EventLimits(100))
        record = await store.put("events", "ns/a", event("a"))
        await store.remove("events", record)
        await clock.sleep_until(50)
        await store.put("events", "ns/a", event("a"))
        await clock.sleep_until(120)
        assert names(store) == ["a"]
        await clock.sleep_until(152)
        assert names(store) == []
        await expiry.close()

    in_virtual_time(scenario)


async def test_with_a_journal_the_excess_is_gone_for_good(tmp_path: Path) -> None:
    store, clock = Store.open(tmp_path / "s.db"), VirtualClock()
    expiry = EventExpiry(store, clock, EventLimits(3600, 10))
    await asyncio.gather(*(store.put("events", f"ns/{n:04}", event(f"{n:04}")) for n in range(1_200)))
    await left(store, 10)
    await expiry.close()
    await store.close()
    again = Store.open(tmp_path / "s.db")
    assert names(again) == [f"{n:04}" for n in range(1_190, 1_200)]
    restarted = EventExpiry(again, clock, EventLimits(3600, 4))
    await left(again, 4)
    assert names(again) == [f"{n:04}" for n in range(1_196, 1_200)]
    await restarted.close()
    await again.close()


async def left(store: Store, count: int) -> None:
    """Waits until so many events are left."""
    reached = asyncio.Event()

    def heard(changes: list[Change]) -> None:
        if len(store.collection("events").records) <= count:
            reached.set()

    store.subscribe(heard)
    heard([])
    async with asyncio.timeout(20):
        await reached.wait()
