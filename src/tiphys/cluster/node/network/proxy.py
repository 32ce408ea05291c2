"""The user-space proxy: a listener per forward, and bytes copied between client and back end. Works without rights.

What listens follows the forwards: unchanged ones keep their listener and their connections, those that are gone close
theirs, and back ends that change matter to the next connection only. Where a back end refuses the next one is tried; a
forward without back ends closes connections at once.

UDP has no connections: a client's packets go to one back end until it was silent for `UDP_SECONDS`.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import random
import socket
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import cast

from tiphys.cluster.node.network.routes import Endpoint, Forward
from tiphys.runtime.clock import Clock

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 5.0
BACKLOG = 1024
CHUNK = 256 * 1024
UDP_SECONDS = 60.0
UDP_CLIENTS_MAX = 4096
AFFINITY_CLIENTS_MAX = 10_000

Key = tuple[str, int, str]


class Proxy:
    """``node_addresses`` are where node ports listen: loopback unless the user wants more."""

    def __init__(self, clock: Clock, node_addresses: Iterable[str] = ("127.0.0.1",), seed: int = 0) -> None:
        self.clock = clock
        self.node_addresses = tuple(node_addresses)
        self._random = random.Random(seed)
        self._listeners: dict[Key, _Tcp | _Udp] = {}
        self.problems: dict[Key, str] = {}
        """Why a forward has no listener: usually a port that something else has taken."""

    async def update(self, forwards: Iterable[Forward]) -> None:
        """Makes what listens equal to the forwards."""
        wanted = {key: one for one in forwards for key in self._keys(one)}
        for key in [key for key in self._listeners if key not in wanted]:
            await self._listeners.pop(key).close()
        self.problems = {}
        for key, one in wanted.items():
            listener = self._listeners.get(key)
            if listener is not None:
                listener.balancer.change(one)
            else:
                await self._open(key, one)

    async def close(self) -> None:
        await self.update(())

    def _keys(self, one: Forward) -> list[Key]:
        addresses = (one.address,) if one.address else self.node_addresses
        return [(address, one.port, one.protocol) for address in addresses if one.protocol in ("TCP", "UDP")]

    async def _open(self, key: Key, one: Forward) -> None:
        balancer = Balancer(one, self._random, self.clock)
        listener: _Tcp | _Udp = _Tcp(balancer) if one.protocol == "TCP" else _Udp(balancer, self.clock)
        try:
            await listener.open(key[0], key[1])
        except OSError as err:
            self.problems[key] = f"{one.name}: cannot listen on {key[0]}:{key[1]}: {err.strerror}"
            logger.warning(self.problems[key])
        else:
            self._listeners[key] = listener


@dataclass
class Balancer:
    """Chooses back ends for one forward."""

    forward: Forward
    random: random.Random
    clock: Clock
    _clients: OrderedDict[str, tuple[Endpoint, float]] = field(default_factory=OrderedDict)

    def change(self, forward: Forward) -> None:
        self.forward = forward

    def candidates(self, client: str) -> list[Endpoint]:
        """The back ends in the order in which they are to be tried; the client's own first where it has one."""
        found = list(self.forward.endpoints)
        self.random.shuffle(found)
        kept = self._kept(client)
        if kept in found:
            found.remove(kept)
            found.insert(0, kept)
        return found

    def chosen(self, client: str, endpoint: Endpoint) -> None:
        """Remembers a client's back end where the service wants that."""
        if self.forward.affinity:
            self._clients[client] = (endpoint, self.clock.monotonic() + self.forward.affinity)
            self._clients.move_to_end(client)
            if len(self._clients) > AFFINITY_CLIENTS_MAX:
                self._clients.popitem(last=False)

    def _kept(self, client: str) -> Endpoint | None:
        endpoint, until = self._clients.get(client, (None, 0.0))
        return endpoint if until > self.clock.monotonic() else None


class _Tcp:
    def __init__(self, balancer: Balancer) -> None:
        self.balancer = balancer
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.fronts: set[_Front] = set()

    async def open(self, address: str, port: int) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Front(self), address, port, backlog=BACKLOG, reuse_address=True
        )

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for front in list(self.fronts):
            front.abort()

    def accepted(self, front: _Front) -> None:
        task = asyncio.get_running_loop().create_task(self._connect(front))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, front: _Front) -> None:
        loop = asyncio.get_running_loop()
        for endpoint in self.balancer.candidates(front.client):
            try:
                reached = await _reach(endpoint)
            except (OSError, TimeoutError):
                continue
            await loop.create_connection(lambda: _Back(front), sock=reached)
            self.balancer.chosen(front.client, endpoint)
            return
        front.abort()


async def _reach(endpoint: Endpoint) -> socket.socket:
    """A connection to a back end. Raises OSError, TimeoutError."""
    found = socket.socket(socket.AF_INET6 if ":" in endpoint.address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        found.setblocking(False)
        target = (endpoint.address, endpoint.port)
        found.connect_ex(target)
        # a program on this machine has answered by now: the second try knows, without a round of the loop
        state = found.connect_ex(target)
        if state in (errno.EALREADY, errno.EINPROGRESS):
            async with asyncio.timeout(CONNECT_SECONDS):
                await asyncio.get_running_loop().sock_connect(found, target)
        elif state not in (0, errno.EISCONN):
            raise OSError(state, os.strerror(state))
    except BaseException:
        found.close()
        raise
    return found


class _Half(asyncio.Protocol):
    """One side of a connection: what it receives the other side sends; a slow side pauses the other."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.peer: _Half | None = None
        self._waiting: list[bytes] = []
        self._has_ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        if self.peer is not None and self.peer.transport is not None:
            self.peer.transport.write(data)
        else:
            self._waiting.append(data)

    def eof_received(self) -> bool:
        """Half a close is passed on, the other direction goes on; after both nothing is left to do."""
        self._has_ended = True
        if self.peer is not None and self.peer.transport is not None and self.transport is not None:
            if self.peer._has_ended:
                self.peer.transport.close()
                self.transport.close()
            elif self.peer.transport.can_write_eof():
                self.peer.transport.write_eof()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        if self.peer is not None and self.peer.transport is not None:
            self.peer.transport.close()

    def pause_writing(self) -> None:
        if self.peer is not None and self.peer.transport is not None:
            self.peer.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.peer is not None and self.peer.transport is not None:
            self.peer.transport.resume_reading()

    def joined(self, peer: _Half) -> None:
        """Sends on what came before the other side was there."""
        self.peer = peer
        assert peer.transport is not None
        for data in self._waiting:
            peer.transport.write(data)
        self._waiting.clear()
        if self._has_ended:
            peer.transport.write_eof()

    def abort(self) -> None:
        for half in (self, self.peer):
            if half is not None and half.transport is not None:
                half.transport.abort()


class _Front(_Half):
    def __init__(self, listener: _Tcp) -> None:
        super().__init__()
        self.listener = listener
        self.client = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.client = str((transport.get_extra_info("peername") or ("",))[0])
        self.listener.fronts.add(self)
        self.listener.accepted(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.listener.fronts.discard(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.peer is None and self.transport is not None and sum(map(len, self._waiting)) > CHUNK:
            self.transport.pause_reading()


class _Back(_Half):
    def __init__(self, front: _Front) -> None:
        super().__init__()
        self.front = front

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self.front.transport is None or self.front.transport.is_closing():
            self.abort()
            return
        self.peer = self.front
        self.front.joined(self)
        self.front.transport.resume_reading()


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, balancer: Balancer, clock: Clock) -> None:
        self.balancer = balancer
        self.clock = clock
        self.transport: asyncio.DatagramTransport | None = None
        self._clients: OrderedDict[tuple[str, int], _UdpClient] = OrderedDict()

    async def open(self, address: str, port: int) -> None:
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(lambda: self, local_addr=(address, port))

    async def close(self) -> None:
        for client in self._clients.values():
            client.close()
        self._clients.clear()
        if self.transport is not None:
            self.transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._forget_silent()
        client = self._clients.get(addr)
        if client is None or client.endpoint not in self.balancer.forward.endpoints:
            endpoints = self.balancer.candidates(addr[0])
            if not endpoints:
                return
            if client is not None:
                client.close()
            client = self._clients[addr] = _UdpClient(self, addr, endpoints[0])
            self.balancer.chosen(addr[0], endpoints[0])
        self._clients.move_to_end(addr)
        client.send(data)

    def _forget_silent(self) -> None:
        now = self.clock.monotonic()
        while self._clients:
            addr, client = next(iter(self._clients.items()))
            if now - client.seen < UDP_SECONDS and len(self._clients) < UDP_CLIENTS_MAX:
                return
            client.close()
            del self._clients[addr]


class _UdpClient:
    """A client's socket towards its back end."""

    def __init__(self, front: _Udp, addr: tuple[str, int], endpoint: Endpoint) -> None:
        self.front = front
        self.addr = addr
        self.endpoint = endpoint
        self.seen = front.clock.monotonic()
        family = socket.AF_INET6 if ":" in endpoint.address else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.connect((endpoint.address, endpoint.port))
        asyncio.get_running_loop().add_reader(self._socket, self._readable)

    def send(self, data: bytes) -> None:
        self.seen = self.front.clock.monotonic()
        # a full buffer or a back end that refuses: the packet is lost, as packets are
        with contextlib.suppress(OSError):
            self._socket.send(data)

    def _readable(self) -> None:
        try:
            data = self._socket.recv(65535)
        except OSError:
            return
        if self.front.transport is not None:
            self.front.transport.sendto(data, self.addr)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()
