"""port-forward: connections to ports of a pod, each a pair of streams of the client's one connection.

    SPDY     a stream with ``streamType: error`` and one with ``streamType: data``, both with ``port`` and ``requestID``
    WebSocket v4 (``?ports=8080,9090``)    channels 2n (data) and 2n + 1 (error), each beginning with its port

What goes wrong with one connection is said on its error stream; the others live on.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from tiphys.cluster.apiserver.http.streams import carriers
from tiphys.cluster.apiserver.http.streams.channels import Channels, open_channels
from tiphys.machinery.errors import BadRequest, DriverError
from tiphys.serving.spdy import frames
from tiphys.serving.spdy.connection import SpdyStream

PROTOCOL: Final = "portforward.k8s.io"
TUNNEL: Final = f"{carriers.SPDY}+{PROTOCOL}"
HALVES_MAX: Final = 128
PORTS_MAX: Final = 128
CHUNK_BYTES: Final = 64 << 10

Dial = Callable[[int], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]
"""Connects to a port of the pod; raises DriverError."""


async def serve(request: web.BaseRequest, pod: str, uid: str, dial: Dial) -> web.StreamResponse:
    """Forwards until the client goes. Raises BadRequest for no known upgrade, or ports that are none."""
    forwarder = Forwarder(pod, uid, dial)
    if carriers.wants_web_socket(request):
        if TUNNEL in carriers.offered(request, "Sec-WebSocket-Protocol"):
            return await _over_spdy(await carriers.tunnel(request, TUNNEL), forwarder)
        return await _over_channels(request, _ports(request), forwarder)
    if not carriers.wants_spdy(request):
        raise BadRequest("Upgrade request required")
    asked = carriers.offered(request, "X-Stream-Protocol-Version")
    if asked and PROTOCOL not in asked:
        text = f"unable to upgrade: unable to negotiate protocol: client supports {asked}, server accepts [{PROTOCOL}]"
        return web.Response(status=403, text=text, headers={"X-Accepted-Stream-Protocol-Versions": PROTOCOL})
    headers = {"X-Stream-Protocol-Version": PROTOCOL} if asked else {}
    return await _over_spdy(await carriers.take_over(request, carriers.SPDY, headers), forwarder)


@dataclass(frozen=True)
class Forwarder:
    """Opens connections into one pod."""

    pod: str
    uid: str
    dial: Dial

    async def forward(
        self,
        port: int,
        read: Callable[[], Awaitable[bytes]],
        write: Callable[[bytes], Awaitable[None]],
        end: Callable[[], Awaitable[None]],
    ) -> str:
        """Carries bytes both ways until the pod's side has ended; why not, "" if all went well."""
        try:
            reader, writer = await self.dial(port)
        except DriverError as err:
            return f"error forwarding port {port} to pod {self.pod}, uid {self.uid}: {err}"
        feeding = asyncio.create_task(_feed(read, writer))
        try:
            with contextlib.suppress(ConnectionError):
                while chunk := await reader.read(CHUNK_BYTES):
                    await write(chunk)
                await end()
        finally:
            feeding.cancel()
            writer.close()
        return ""


async def _feed(read: Callable[[], Awaitable[bytes]], writer: asyncio.StreamWriter) -> None:
    try:
        while chunk := await read():
            writer.write(chunk)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except ConnectionError:
        writer.close()  # the client has given it up: the pod's side ends too


# SPDY


async def _over_spdy(carrier: carriers.Carrier, forwarder: Forwarder) -> web.StreamResponse:
    pairs = Pairs()
    async with carriers.spdy(carrier) as connection, asyncio.TaskGroup() as tasks:
        running: set[asyncio.Task[None]] = set()
        while (stream := await connection.accept()) is not None:
            pair = await pairs.join(stream)
            if pair is not None:
                task = tasks.create_task(_forward(*pair, forwarder))
                running.add(task)
                task.add_done_callback(running.discard)
        for task in running:
            task.cancel()
    return carrier.response


class Pairs:
    """Finds the two streams of a connection; halves beyond a bound are given up, oldest first."""

    def __init__(self) -> None:
        self._halves: dict[str, dict[str, SpdyStream]] = {}

    async def join(self, stream: SpdyStream) -> tuple[SpdyStream, SpdyStream] | None:
        """The data and the error stream, once both are there. Streams that are neither are reset."""
        kind, port = stream.headers.get("streamtype", ""), stream.headers.get("port", "")
        if kind not in ("data", "error") or not port.isdigit() or not 0 < int(port) < 65536:
            await stream.reset(frames.PROTOCOL_ERROR)
            return None
        # Clients from before request ids opened the error stream first, and the data stream right after it.
        first = stream.identifier - (2 if kind == "data" else 0)
        name = stream.headers.get("requestid") or f"#{first}"
        pair = self._halves.setdefault(name, {})
        if kind in pair:
            await stream.reset(frames.PROTOCOL_ERROR)
            return None
        pair[kind] = stream
        if len(pair) == 2:
            del self._halves[name]
            return pair["data"], pair["error"]
        if len(self._halves) > HALVES_MAX:
            for half in self._halves.pop(next(iter(self._halves))).values():
                await half.reset()
        return None


async def _forward(data: SpdyStream, error: SpdyStream, forwarder: Forwarder) -> None:
    with contextlib.suppress(ConnectionError):
        failure = await forwarder.forward(int(data.headers["port"]), data.read, data.write, data.end)
        await error.write(failure.encode())
        await error.end()
        if failure:
            await data.reset()


# WebSocket channels


def _ports(request: web.BaseRequest) -> list[int]:
    """The query's ports, repeated or with commas between them. Raises BadRequest."""
    words = [word for text in request.query.getall("ports", []) for word in text.split(",")]
    if not words:
        raise BadRequest('query parameter "ports" is required')
    for word in words:
        if not word.isdigit() or not 0 < int(word) < 65536:
            raise BadRequest(f'unable to parse "{word}" as a port')
    if len(words) > PORTS_MAX:
        raise BadRequest(f"at most {PORTS_MAX} ports can be forwarded at once")
    return [int(word) for word in words]


async def _over_channels(request: web.BaseRequest, ports: list[int], forwarder: Forwarder) -> web.StreamResponse:
    channels = await open_channels(request, frozenset(range(0, 2 * len(ports), 2)))
    for number, port in enumerate(ports):
        for channel in (2 * number, 2 * number + 1):
            await channels.write(channel, struct.pack("<H", port))
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(_carry(channels, n, port, forwarder)) for n, port in enumerate(ports)]
        await channels.receive()
        for task in running:
            task.cancel()
    await channels.close()
    return channels.response


async def _carry(channels: Channels, number: int, port: int, forwarder: Forwarder) -> None:
    async def nothing() -> None:
        return

    with contextlib.suppress(ConnectionError):
        failure = await forwarder.forward(
            port, lambda: channels.read(2 * number), lambda data: channels.write(2 * number, data), nothing
        )
        if failure:
            await channels.write(2 * number + 1, failure.encode())
