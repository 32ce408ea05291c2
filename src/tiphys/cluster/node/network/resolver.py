"""The DNS server of a cluster, over UDP and TCP: its own names, and for all others the machine's resolvers.

Questions to other resolvers go out from a socket of their own with a fresh number each, so that answers cannot be mixed
up or easily forged; at most `PENDING_MAX` wait at once, each for a bounded time.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

from tiphys.cluster.node.network.dns_messages import (
    NOT_IMPLEMENTED,
    SERVER_FAILURE,
    Answer,
    DnsError,
    Query,
    read_query,
    write_answer,
)
from tiphys.cluster.node.network.names import Names

PORT = 53
PENDING_MAX = 512
UPSTREAM_SECONDS = 2.0
TCP_IDLE_SECONDS = 10.0
MESSAGE_BYTES_MAX = 4096
_INTERNET = 1


class Resolver:
    """``names`` gives the present names; ``upstreams`` are ``(address, port)`` of other resolvers, in their order."""

    def __init__(self, names: Callable[[], Names], upstreams: Sequence[tuple[str, int]]) -> None:
        self.names = names
        self.upstreams = upstreams
        self._pending = asyncio.Semaphore(PENDING_MAX)
        self._transport: asyncio.DatagramTransport | None = None
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, address: str, port: int = PORT) -> int:
        """Listens on both protocols and returns the port. Raises OSError where it is taken."""
        loop = asyncio.get_running_loop()
        self._server = await asyncio.start_server(self._serve_stream, address, port)
        port = int(self._server.sockets[0].getsockname()[1])
        transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self), local_addr=(address, port))
        self._transport = transport
        return port

    async def stop(self) -> None:
        if self._transport is not None:
            self._transport.close()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def answer(self, message: bytes, *, over_udp: bool) -> bytes | None:
        """The response to one message; None where there is nothing to say to it."""
        try:
            query = read_query(message)
        except DnsError:
            return None
        size = query.size if over_udp else None
        if query.question.klass != _INTERNET:
            return write_answer(query, Answer(NOT_IMPLEMENTED), size=size)
        found = self.names().answer(query.question)
        if found is not None:
            return write_answer(query, found, size=size)
        return await self._forwarded(message, query, over_udp=over_udp)

    def received(self, message: bytes, reply: Callable[[bytes], None]) -> None:
        """Answers a datagram: at once where the cluster knows the answer."""

        async def work() -> None:
            found = await self.answer(message, over_udp=True)
            if found is not None:
                reply(found)

        task = asyncio.get_running_loop().create_task(work())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _forwarded(self, message: bytes, query: Query, *, over_udp: bool) -> bytes:
        if not self._pending.locked():
            async with self._pending:
                for upstream in self.upstreams:
                    try:
                        async with asyncio.timeout(UPSTREAM_SECONDS):
                            return await (_ask_udp if over_udp else _ask_tcp)(upstream, message)
                    except (OSError, TimeoutError, asyncio.IncompleteReadError):
                        continue
        return write_answer(query, Answer(SERVER_FAILURE))

    async def _serve_stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                async with asyncio.timeout(TCP_IDLE_SECONDS):
                    message = await _read_framed(reader)
                found = await self.answer(message, over_udp=False)
                if found is None:
                    return
                writer.write(struct.pack(">H", len(found)) + found)
                await writer.drain()
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, resolver: Resolver) -> None:
        self.resolver = resolver
        self.transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        transport = self.transport
        if transport is not None and len(data) <= MESSAGE_BYTES_MAX:
            self.resolver.received(data, lambda reply: transport.sendto(reply, addr))


class _OneAnswer(asyncio.DatagramProtocol):
    def __init__(self, identity: bytes) -> None:
        self.identity = identity
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if data[:2] == self.identity and not self.answer.done():
            self.answer.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(exc)


async def _ask_udp(upstream: tuple[str, int], message: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(lambda: _OneAnswer(message[:2]), remote_addr=upstream)
    try:
        transport.sendto(message)
        return await protocol.answer
    finally:
        transport.close()


async def _ask_tcp(upstream: tuple[str, int], message: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*upstream)
    try:
        writer.write(struct.pack(">H", len(message)) + message)
        return await _read_framed(reader)
    finally:
        writer.close()


async def _read_framed(reader: asyncio.StreamReader) -> bytes:
    (length,) = struct.unpack(">H", await reader.readexactly(2))
    return await reader.readexactly(length)


def machine_resolvers(path: Path = Path("/etc/resolv.conf")) -> list[tuple[str, int]]:
    """The resolvers that the machine uses, in their order."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    words = [line.split() for line in text.splitlines()]
    return [(line[1], PORT) for line in words if len(line) > 1 and line[0] == "nameserver" and _is_address(line[1])]


def _is_address(text: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, text)
        except OSError:
            continue
        return True
    return False
