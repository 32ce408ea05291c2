"""A connection that stopped being HTTP: bytes both ways, either on the socket itself or inside a WebSocket.

carrier = await take_over(request, "SPDY/3.1", headers)      101, then raw bytes
carrier = await tunnel(request, "SPDY/3.1+portforward.k8s.io")   WebSocket, bytes in binary messages
async with spdy(carrier) as connection: …
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Final, Protocol

from aiohttp import WSMsgType, web

from tiphys.serving.spdy.connection import SpdyConnection
from tiphys.serving.spdy.frames import SpdyError

READ_BYTES: Final = 64 << 10
MESSAGE_BYTES_MAX: Final = 4 << 20
SPDY: Final = "SPDY/3.1"
CLOSE_SECONDS_MAX: Final = 1.0


class Carrier(Protocol):
    """Bytes both ways."""

    @property
    def response(self) -> web.StreamResponse:
        """What the HTTP handler returns when the conversation is over."""
        ...

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def send(self, data: bytes) -> None:
        """Waits while the wire is full. Raises ConnectionError when it is gone."""
        ...

    async def close(self) -> None: ...


class _Upgrade(web.StreamResponse):
    """101, after which the body is whatever the two sides agreed on."""

    _length_check = False


class Socket:
    """The raw connection of a request."""

    def __init__(self, response: web.StreamResponse, reader: asyncio.StreamReader) -> None:
        self.response = response
        self._reader = reader

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while chunk := await self._reader.read(READ_BYTES):
            yield chunk

    async def send(self, data: bytes) -> None:
        await self.response.write(data)

    async def close(self) -> None:
        with contextlib.suppress(ConnectionError):
            await self.response.write_eof()


async def take_over(request: web.BaseRequest, protocol: str, headers: Mapping[str, str]) -> Socket:
    """Answers 101 and takes the connection. Raises ConnectionError."""
    transport = request.transport
    if transport is None:
        raise ConnectionResetError("the client is gone")
    reader = asyncio.StreamReader(READ_BYTES)
    reader.set_transport(transport)
    response = _Upgrade(status=101, headers={"Connection": "Upgrade", "Upgrade": protocol, **headers})
    response.force_close()
    # Everything that comes from now on is the new protocol's; what HTTP has read already comes first.
    request.protocol.set_parser(Feeder(reader))  # type: ignore[arg-type]  # declared for WebSockets only, open to all
    request.protocol.keep_alive(False)
    await response.prepare(request)
    return Socket(response, reader)


class Feeder:
    """What aiohttp calls a payload parser: hands the bytes on."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self._reader.feed_data(data)
        return False, b""

    def feed_eof(self) -> None:
        self._reader.feed_eof()


class Tunnel:
    """A byte stream inside the binary messages of a WebSocket; where one ends means nothing."""

    def __init__(self, response: web.WebSocketResponse) -> None:
        self.response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            message = await self.response.receive()
            if message.type is not WSMsgType.BINARY:
                return
            yield message.data

    async def send(self, data: bytes) -> None:
        await self.response.send_bytes(data)

    async def close(self) -> None:
        await close_socket(self.response)


async def tunnel(request: web.BaseRequest, protocol: str) -> Tunnel:
    """Opens the WebSocket of a tunnel."""
    response = web_socket([protocol])
    await response.prepare(request)
    return Tunnel(response)


def web_socket(protocols: list[str]) -> web.WebSocketResponse:
    return web.WebSocketResponse(
        protocols=protocols, compress=False, max_msg_size=MESSAGE_BYTES_MAX, timeout=CLOSE_SECONDS_MAX
    )


async def close_socket(response: web.WebSocketResponse) -> None:
    with contextlib.suppress(ConnectionError):
        await response.close()


def wants_web_socket(request: web.BaseRequest) -> bool:
    return request.headers.get("Upgrade", "").lower() == "websocket"


def wants_spdy(request: web.BaseRequest) -> bool:
    return request.headers.get("Upgrade", "").lower() == SPDY.lower()


def offered(request: web.BaseRequest, header: str) -> list[str]:
    """The protocols of a header that may be repeated and hold several."""
    return [word.strip() for line in request.headers.getall(header, []) for word in line.split(",") if word.strip()]


@contextlib.asynccontextmanager
async def spdy(carrier: Carrier) -> AsyncIterator[SpdyConnection]:
    """SPDY over a carrier, read by a task of its own; closed at the end, whichever side began to."""
    connection = SpdyConnection(carrier.send)
    reading = asyncio.create_task(_read(carrier, connection))
    try:
        yield connection
        with contextlib.suppress(ConnectionError):
            await connection.close()
            await carrier.send(b"")
    finally:
        reading.cancel()
        connection.lost()
        await asyncio.wait([reading])
        await carrier.close()


async def _read(carrier: Carrier, connection: SpdyConnection) -> None:
    try:
        async for chunk in carrier:
            await connection.feed(chunk)
    except (ConnectionError, SpdyError):
        return
    finally:
        connection.lost()
