"""What is proxied and stops being HTTP: a WebSocket (or any other protocol) of a pod, byte for byte.

The pod answers 101; from then on whatever one side sends goes to the other, until one of them ends.
"""

from __future__ import annotations

import asyncio
import contextlib

import aiohttp
from aiohttp import web

from tiphys.cluster.apiserver.http.streams.carriers import READ_BYTES, Feeder, Socket, take_over

_OWN = frozenset(("connection", "upgrade"))


async def join(request: web.BaseRequest, answer: aiohttp.ClientResponse) -> web.StreamResponse:
    """Joins the client of ``request`` to who answered 101. Raises ConnectionError."""
    connection = answer.connection
    if connection is None or connection.transport is None or connection.protocol is None:
        raise ConnectionResetError("who answered is gone")
    reader = asyncio.StreamReader(READ_BYTES)
    reader.set_transport(connection.transport)
    connection.protocol.set_parser(Feeder(reader), reader)
    writer = asyncio.StreamWriter(connection.transport, connection.protocol, None, asyncio.get_running_loop())
    kept = {key: value for key, value in answer.headers.items() if key.lower() not in _OWN}
    client = await take_over(request, answer.headers.get("Upgrade", ""), kept)
    try:
        await _exchange(client, reader, writer)
    finally:
        connection.close()
        await client.close()
    return client.response


async def _exchange(client: Socket, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until either side ends."""

    async def sent() -> None:
        async for chunk in client:
            writer.write(chunk)
            await writer.drain()

    async def answered() -> None:
        while chunk := await reader.read(READ_BYTES):
            await client.send(chunk)

    ways = [asyncio.create_task(way(), name="proxied upgrade") for way in (sent, answered)]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        for way in ways:
            with contextlib.suppress(asyncio.CancelledError, OSError, aiohttp.ClientError):
                await way
