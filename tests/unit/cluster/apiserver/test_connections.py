"""Connections that send their request a byte at a time, or none at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from tiphys.cluster.apiserver.http import connections
from tiphys.cluster.apiserver.http.connections import Connection, Connections

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async def handle(request: web.BaseRequest) -> web.Response:
        assert isinstance(request.protocol, Connection)
        request.protocol.begin()
        try:
            await asyncio.sleep(0.3)
            return web.Response(text="ok")
        finally:
            request.protocol.finish()

    runner = web.ServerRunner(Connections(handle, head_seconds=0.1, handler_cancellation=True, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield int(runner.addresses[0][1])
    await runner.cleanup()


async def talk(port: int, *sent: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(5):
            for part in sent:
                writer.write(part)
                await writer.drain()
                if part is not sent[-1]:
                    await asyncio.sleep(0.03)
            return await reader.read(1 << 16)
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_who_says_nothing_or_dawdles_is_cut(port: int) -> None:
    dawdling = [bytes((byte,)) for byte in REQUEST[:-2]]
    assert await asyncio.gather(talk(port, b""), talk(port, *dawdling)) == [b"", b""]


async def test_who_asks_is_served_however_long_it_takes(port: int) -> None:
    assert b"200 OK" in await talk(port, REQUEST)


async def test_there_is_a_most(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "CONNECTIONS_MAX", 2)
    answers: list[Any] = await asyncio.gather(*(talk(port, REQUEST) for _ in range(5)))
    assert sum(b"200 OK" in answer for answer in answers) == 2
    assert b"200 OK" in await talk(port, REQUEST)
