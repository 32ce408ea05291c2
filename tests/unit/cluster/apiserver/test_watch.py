"""Watches that fall behind, and how much they may."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.unit.client.servers import api_server
from tests.unit.cluster.apiserver.test_http import calling
from tiphys.client.client import Client
from tiphys.client.transport import Request
from tiphys.cluster.apiserver import watch
from tiphys.cluster.apiserver.http import handler
from tiphys.cluster.apiserver.server import ApiServer
from tiphys.cluster.apiserver.store import Change
from tiphys.cluster.apiserver.streams import LogOptions
from tiphys.cluster.apiserver.watch import Watcher
from tiphys.machinery.errors import ApiError, Expired
from tiphys.machinery.resources import CONFIG_MAPS, PODS, ObjectKey

MAPS = "/api/v1/namespaces/default/configmaps"


@pytest.fixture(autouse=True)
def short_queues(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "QUEUE_EVENTS_MAX", 2)


async def make(server: ApiServer, *names: str) -> None:
    for name in names:
        await Client(server.transport()).create(CONFIG_MAPS, {"metadata": {"name": name, "namespace": "default"}})


def opened(server: ApiServer) -> Watcher:
    return server.open_watch(Request("watch", CONFIG_MAPS, "default"))


async def names_of(watcher: Watcher) -> list[str]:
    watcher.close()
    return [event.record.key.rpartition("/")[2] async for event in watcher]


async def test_who_does_not_keep_up_is_cut_off() -> None:
    async with api_server() as server:
        watcher = opened(server)
        await make(server, "a", "b", "c")
        with pytest.raises(Expired, match="did not keep up"):
            await anext(watcher)
        assert server.hub.since(CONFIG_MAPS.key, server.store.version) == []


async def test_a_pod_that_goes_at_once_is_seen_to_end_first() -> None:
    async with api_server() as server:
        client = Client(server.transport())
        pod = {"metadata": {"name": "p", "namespace": "default"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
        made = await client.create(PODS, pod)
        since = {"resourceVersion": made["metadata"]["resourceVersion"]}
        watcher = server.open_watch(Request("watch", PODS, "default", query=since))
        await client.delete(PODS, ObjectKey("default", "p"))
        first, second = watcher.take()
        assert (first.type, second.type) == ("MODIFIED", "DELETED")
        assert first.record.view["metadata"]["deletionGracePeriodSeconds"] == 0
        assert second.record.version == first.record.version + 1


async def test_who_falls_behind_by_many_bytes_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "QUEUE_EVENTS_MAX", 100)
    monkeypatch.setattr(watch, "QUEUE_BYTES_MAX", 1_000)
    async with api_server() as server:
        watcher = opened(server)
        watcher.count_bytes()
        for name in "abcdefghij":  # read in time: what was read no longer counts
            await make(server, name)
            assert (await anext(watcher)).record.key == f"default/{name}"
        await make(server, *"klmnopq")
        with pytest.raises(Expired, match="did not keep up"):
            await anext(watcher)


async def test_the_state_at_the_start_does_not_count() -> None:
    async with api_server() as server:
        await make(server, "a", "b", "c")
        watcher = opened(server)
        await make(server, "d")
        assert (await anext(watcher)).record.key == "default/a"
        await make(server, "e")
        assert await names_of(watcher) == ["b", "c", "d", "e"]


async def test_a_connection_that_nobody_reads_from_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    ended, close = asyncio.Event(), Watcher.close

    def told(watcher: Watcher, error: ApiError | None = None) -> None:
        close(watcher, error)
        ended.set()

    monkeypatch.setattr(Watcher, "close", told)
    monkeypatch.setattr(handler, "WRITE_SECONDS_MAX", 0.1)
    async with calling() as call:
        for n in range(24):  # more than sockets hold
            await call(MAPS, {"metadata": {"name": f"c{n}"}, "data": {"a": "x" * 900_000}})
        _, writer = await asyncio.open_connection("127.0.0.1", int(call.url.rpartition(":")[2]))
        writer.transport.pause_reading()
        writer.write(f"GET {MAPS}?watch=1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer admin\r\n\r\n".encode())
        async with asyncio.timeout(60):
            await ended.wait()
        writer.transport.abort()


async def test_of_objects_with_many_parts_fewer_versions_are_kept() -> None:
    async with api_server() as server:
        ring = watch._Ring(0)
        await make(server, "a")
        record = server.store.get(CONFIG_MAPS.key, "default/a")
        assert record is not None
        change = Change(CONFIG_MAPS.key, "MODIFIED", record, None)
        for _ in range(2 * watch.RING_CHANGES_MIN):
            ring.add(change, parts=100_000)
        assert len(ring.changes) == watch.RING_CHANGES_MIN
        assert ring.floor == record.version
        for _ in range(2 * watch.RING_CHANGES_MAX):
            ring.add(change, parts=0)
        assert len(ring.changes) == watch.RING_CHANGES_MAX


class EndlessLog:
    """A container that never stops talking; ``closed`` tells when its log is let go."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()

    @asynccontextmanager
    async def logs(self, pod: Mapping[str, Any], options: LogOptions) -> AsyncIterator[AsyncIterator[bytes]]:
        async def lines() -> AsyncIterator[bytes]:
            while True:
                yield b"x" * 65_536
                await asyncio.sleep(0)

        try:
            yield lines()
        finally:
            self.closed.set()


async def test_a_followed_log_that_nobody_reads_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handler, "WRITE_SECONDS_MAX", 0.1)
    source = EndlessLog()
    async with calling() as call:
        call.server.register_log_source(source)
        pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
        await call("/api/v1/namespaces/default/pods", pod)
        _, writer = await asyncio.open_connection("127.0.0.1", int(call.url.rpartition(":")[2]))
        writer.transport.pause_reading()
        path = "/api/v1/namespaces/default/pods/p/log?follow=true"
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer admin\r\n\r\n".encode())
        async with asyncio.timeout(60):
            await source.closed.wait()
        writer.transport.abort()
