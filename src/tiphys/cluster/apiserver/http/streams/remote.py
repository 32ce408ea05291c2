"""exec and attach: a session of the node (``node.runtime.Session``) joined to a client's streams.

    client ── stdin, sizes ──► session          pumps of their own, each waiting for the slower side
           ◄─ stdout, stderr ─
           ◄─ status ───────── exit code        the last word; then the connection is closed

A client that goes away takes the command with it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from secrets import token_hex
from typing import Any, Final, Protocol

import orjson
from aiohttp import web

from tiphys.cluster.apiserver.http.streams import carriers
from tiphys.cluster.apiserver.http.streams.channels import Channels, open_channels
from tiphys.cluster.apiserver.streams import RemoteOptions
from tiphys.cluster.node.runtime import STDERR, STDOUT, Session
from tiphys.machinery.errors import BadRequest, InternalError
from tiphys.serving.spdy.connection import SpdyConnection, SpdyStream

STDIN, ERROR, RESIZE = 0, 3, 4
SPDY_PROTOCOLS: Final = ("v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io")
STREAMS_SECONDS_MAX: Final = 30.0
SIZE_BYTES_MAX: Final = 1024
_NAMES: Final = {STDIN: "stdin", STDOUT: "stdout", STDERR: "stderr", RESIZE: "resize", ERROR: "error"}


class Client(Protocol):
    """The other side, whatever it speaks."""

    async def read(self, channel: int) -> bytes:
        """b"" once it has nothing more to say on that channel."""
        ...

    async def write(self, channel: int, data: bytes) -> None: ...

    async def finish(self, status: dict[str, Any]) -> None:
        """The status of the end."""
        ...


Run = Callable[[Client], Awaitable[None]]


async def serve(request: web.BaseRequest, options: RemoteOptions, run: Run) -> web.StreamResponse:
    """Joins the client of ``request`` to what ``run`` does with it. Raises BadRequest for no known upgrade."""
    if carriers.wants_web_socket(request):
        return await _over_web_socket(request, options, run)
    if carriers.wants_spdy(request):
        return await _over_spdy(request, options, run)
    raise BadRequest("Upgrade request required")


async def converse(client: Client, options: RemoteOptions, session: Session, what: str) -> None:
    """Until the session is over and the client knows how it ended. ``what`` names the command for the status."""
    pumps = [asyncio.create_task(_feed(client, session))] if options.stdin else []
    pumps += [asyncio.create_task(_resize(client, session))] if options.tty else []
    try:
        wanted = [number for number in (STDOUT, STDERR) if number in options.streams]
        await asyncio.gather(*(_deliver(client, session, number) for number in wanted))
        await client.finish(ended(await asyncio.shield(session.ended), what))
    finally:
        session.close()
        for pump in pumps:
            pump.cancel()


def ended(code: int, what: str) -> dict[str, Any]:
    """How a command's exit code is told (what exec calls a status)."""
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    message = f"command terminated with non-zero exit code: error executing command {what}, exit code {code}"
    return {
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


def failed(verb: str, why: str) -> dict[str, Any]:
    """The status of a command that did not begin: as a node words it, with an identifier nobody can look up."""
    if verb == "exec":
        begun = f'failed to exec in container: failed to start exec "{token_hex(32)}"'
        why = f"error executing command in container: {begun}: {why}"
    else:
        why = f"error attaching to container: {why}"
    status = InternalError(f"Internal error occurred: {why}", {"causes": [{"message": why}]}).status()
    return {key: value for key, value in status.items() if key not in ("kind", "apiVersion")}


async def _feed(client: Client, session: Session) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await client.read(STDIN):
            await session.write(data)
    session.close_input()


async def _resize(client: Client, session: Session) -> None:
    """Sizes are JSON documents one after the other; a message may hold parts of them over SPDY."""
    held = b""
    with contextlib.suppress(ConnectionError):
        while data := await client.read(RESIZE):
            *whole, held = (held + data)[-SIZE_BYTES_MAX:].replace(b"}", b"}\n").split(b"\n")
            for text in whole:
                _apply_size(text, session)


def _apply_size(text: bytes, session: Session) -> None:
    """Half a size, or none at all, changes nothing."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        size = orjson.loads(text)
        session.resize(int(size["Width"]), int(size["Height"]))


async def _deliver(client: Client, session: Session, stream: int) -> None:
    while data := await session.read(stream):
        await client.write(stream, data)


# WebSocket


class WebSocketClient:
    """A ``Client`` behind channels."""

    def __init__(self, channels: Channels) -> None:
        self._channels = channels

    async def read(self, channel: int) -> bytes:
        return await self._channels.read(channel)

    async def write(self, channel: int, data: bytes) -> None:
        await self._channels.write(channel, data)

    async def finish(self, status: dict[str, Any]) -> None:
        if self._channels.has_json_status:
            await self._channels.write(ERROR, orjson.dumps(status))
        elif status["status"] != "Success":
            await self._channels.write(ERROR, str(status["message"]).encode())


async def _over_web_socket(request: web.BaseRequest, options: RemoteOptions, run: Run) -> web.StreamResponse:
    inputs = {STDIN} if options.stdin else set()
    channels = await open_channels(request, frozenset(inputs | ({RESIZE} if options.tty else set())))
    # An empty message on the lowest channel says that the streams are there.
    await channels.write(min(options.streams - {STDIN}, default=ERROR), b"")
    await _until_either(run(WebSocketClient(channels)), channels.receive())
    await channels.close()
    return channels.response


async def _until_either(work: Awaitable[None], gone: Awaitable[None]) -> None:
    """Runs both until one ends; the other is cancelled and waited for."""
    tasks = [asyncio.ensure_future(work), asyncio.ensure_future(gone)]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception) and not isinstance(result, ConnectionError):
            raise result


# SPDY


class SpdyClient:
    """A ``Client`` whose channels are streams of their own, found by their ``streamType``."""

    def __init__(self, streams: dict[str, SpdyStream], protocol: str) -> None:
        self._streams = streams
        self._has_json_status = protocol.startswith("v4.")

    async def read(self, channel: int) -> bytes:
        stream = self._streams.get(_NAMES[channel])
        return b"" if stream is None else await stream.read()

    async def write(self, channel: int, data: bytes) -> None:
        stream = self._streams.get(_NAMES[channel])
        if stream is not None:
            await stream.write(data)

    async def finish(self, status: dict[str, Any]) -> None:
        if self._has_json_status:
            await self.write(ERROR, orjson.dumps(status))
        elif status["status"] != "Success":
            await self.write(ERROR, str(status["message"]).encode())
        for stream in self._streams.values():
            await stream.end()


async def _over_spdy(request: web.BaseRequest, options: RemoteOptions, run: Run) -> web.StreamResponse:
    asked = carriers.offered(request, "X-Stream-Protocol-Version")
    protocol = next((each for each in SPDY_PROTOCOLS if each in asked), "")
    if asked and not protocol:
        headers = {"X-Accepted-Stream-Protocol-Versions": ",".join(SPDY_PROTOCOLS)}
        text = f"unable to negotiate protocol: client supports {asked}, server accepts {list(SPDY_PROTOCOLS)}"
        return web.Response(status=403, text=text, headers=headers)
    socket = await carriers.take_over(
        request, carriers.SPDY, {"X-Stream-Protocol-Version": protocol} if protocol else {}
    )
    async with carriers.spdy(socket) as connection:
        wanted = {_NAMES[number] for number in options.streams} | {"error"}
        if options.tty and protocol.startswith(("v4.", "v3.")):
            wanted.add("resize")
        streams = await _expected(connection, wanted)
        if streams is not None:
            await _until_either(run(SpdyClient(streams, protocol)), _until_lost(connection))
    return socket.response


async def _expected(connection: SpdyConnection, wanted: set[str]) -> dict[str, SpdyStream] | None:
    """The streams that the options promise; None if the client does not open them in time."""
    found: dict[str, SpdyStream] = {}
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(STREAMS_SECONDS_MAX):
            while wanted - found.keys():
                stream = await connection.accept()
                if stream is None:
                    return None
                found[stream.headers.get("streamtype", "").lower()] = stream
            return found
    return None


async def _until_lost(connection: SpdyConnection) -> None:
    while (stream := await connection.accept()) is not None:
        await stream.reset()
