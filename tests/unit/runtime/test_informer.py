"""The informer against the real API server, over a transport that can be cut."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tiphys.client.client import Client
from tiphys.client.transport import Request, Transport, WatchEvent
from tiphys.cluster.apiserver.server import ApiServer
from tiphys.cluster.apiserver.store import Store
from tiphys.machinery.errors import ApiError, Expired, ServiceUnavailable
from tiphys.machinery.resources import CONFIG_MAPS, ObjectKey
from tiphys.runtime.ids import SeededIds
from tiphys.runtime.informer import Informer, Object, by_label
from tiphys.runtime.virtual import VirtualClock

Run = Callable[[Coroutine[Any, Any, Any]], Any]
A, B = ObjectKey("default", "a"), ObjectKey("default", "b")


@dataclass
class Cable:
    """Passes everything on until it is cut: then open watches end with ``error`` and events are lost till repaired."""

    inner: Transport
    lists: int = 0
    _cuts: list[asyncio.Future[ApiError]] = field(default_factory=list)

    def cut(self, error: ApiError) -> None:
        for waiting in self._cuts:
            waiting.set_result(error)
        self._cuts.clear()

    async def call(self, request: Request) -> Mapping[str, Any]:
        self.lists += request.verb == "list"
        return await self.inner.call(request)

    @asynccontextmanager
    async def watch(self, request: Request) -> AsyncIterator[AsyncIterator[WatchEvent]]:
        broken: asyncio.Future[ApiError] = asyncio.get_running_loop().create_future()
        self._cuts.append(broken)
        async with self.inner.watch(request) as events:
            yield self._until(events, broken)

    async def _until(
        self, events: AsyncIterator[WatchEvent], broken: asyncio.Future[ApiError]
    ) -> AsyncIterator[WatchEvent]:
        while True:
            following = asyncio.create_task(_next(events))
            waiting: set[asyncio.Future[Any]] = {following, broken}
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if broken.done():
                following.cancel()
                raise broken.result()
            yield await following

    def stream(self, request: Request) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        return self.inner.stream(request)

    async def close(self) -> None:
        await self.inner.close()


async def _next(events: AsyncIterator[WatchEvent]) -> WatchEvent:
    return await anext(events)


@dataclass
class Bench:
    """A server, an informer on its config maps, and what the informer's handler was told."""

    clock: VirtualClock
    client: Client
    cable: Cable
    informer: Informer
    told: list[tuple[str, str | None, str | None]] = field(default_factory=list)

    async def settle(self) -> None:
        await self.clock.sleep_until(self.clock.monotonic() + 60)

    async def put(self, key: ObjectKey, value: str, **labels: str) -> Object:
        body = {"metadata": {"namespace": key.namespace, "name": key.name, "labels": labels}, "data": {"v": value}}
        if self.informer.get(key) is None:
            return await self.client.create(CONFIG_MAPS, body)
        return await self.client.patch(CONFIG_MAPS, key, body)


@asynccontextmanager
async def bench(clock: VirtualClock) -> AsyncIterator[Bench]:
    rng = random.Random(1)
    server = await ApiServer.start(Store(), clock, SeededIds(rng))
    client = Client(server.transport())
    cable = Cable(server.transport())
    informer = Informer(Client(cable), CONFIG_MAPS, clock=clock, rng=rng, indexes={"team": by_label("team")})
    made = Bench(clock, client, cable, informer)

    def value(obj: Object | None) -> str | None:
        return None if obj is None else obj["data"]["v"]

    informer.subscribe(lambda key, before, after: made.told.append((key.name, value(before), value(after))))
    running = asyncio.create_task(informer.run())
    await informer.synced.wait()
    try:
        yield made
    finally:
        running.cancel()
        await asyncio.wait([running])
        await server.close()


def test_it_tells_what_was_there_and_what_changed(run: Run, clock: VirtualClock) -> None:
    async def job() -> list[tuple[str, str | None, str | None]]:
        async with bench(clock) as made:
            await made.put(A, "1")
            await made.settle()
            await made.put(A, "2")
            await made.client.delete(CONFIG_MAPS, A)
            await made.settle()
            return made.told

    assert run(job()) == [("a", None, "1"), ("a", "1", "2"), ("a", "2", None)]


def test_a_late_subscriber_sees_what_is_known(run: Run, clock: VirtualClock) -> None:
    async def job() -> list[ObjectKey]:
        async with bench(clock) as made:
            await made.put(A, "1")
            await made.settle()
            seen: list[ObjectKey] = []
            made.informer.subscribe(lambda key, before, after: seen.append(key))
            return seen

    assert run(job()) == [A]


def test_a_cut_watch_goes_on_where_it_was(run: Run, clock: VirtualClock) -> None:
    async def job() -> tuple[int, list[tuple[str, str | None, str | None]]]:
        async with bench(clock) as made:
            made.cable.cut(ServiceUnavailable("cut"))
            await made.put(A, "1")
            await made.settle()
            return made.cable.lists, made.told

    assert run(job()) == (1, [("a", None, "1")])


def test_too_far_behind_lists_again_and_finds_what_went_unseen(run: Run, clock: VirtualClock) -> None:
    async def job() -> tuple[int, list[tuple[str, str | None, str | None]]]:
        async with bench(clock) as made:
            await made.put(A, "1")
            await made.settle()
            made.cable.cut(Expired("too old"))
            await made.client.delete(CONFIG_MAPS, A)
            await made.put(B, "2")
            await made.settle()
            return made.cable.lists, made.told[1:]

    assert run(job()) == (2, [("a", "1", None), ("b", None, "2")])


def test_an_index_follows_changes(run: Run, clock: VirtualClock) -> None:
    async def job() -> list[list[str]]:
        async with bench(clock) as made:

            def names(team: str) -> list[str]:
                return sorted(obj["metadata"]["name"] for obj in made.informer.indexed("team", f"default/{team}"))

            await made.put(A, "1", team="red")
            await made.put(B, "1", team="red")
            await made.settle()
            found = [names("red"), names("blue")]
            await made.put(A, "2", team="blue")
            await made.settle()
            return [*found, names("red"), names("blue")]

    assert run(job()) == [["a", "b"], [], ["b"], ["a"]]


def test_a_learned_write_is_there_at_once_and_told_once(run: Run, clock: VirtualClock) -> None:
    async def job() -> list[tuple[str, str | None, str | None]]:
        async with bench(clock) as made:
            made.informer.learn(await made.put(A, "1"))
            assert made.informer.get(A) is not None
            await made.settle()
            return made.told

    assert run(job()) == [("a", None, "1")]


def test_what_was_learned_late_does_not_bring_back_the_dead(run: Run, clock: VirtualClock) -> None:
    async def job() -> Object | None:
        async with bench(clock) as made:
            written = await made.put(A, "1")
            await made.settle()
            await made.client.delete(CONFIG_MAPS, A)
            await made.settle()
            made.informer.learn(written)
            return made.informer.get(A)

    assert run(job()) is None
