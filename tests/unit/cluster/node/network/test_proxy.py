"""The user-space proxy and the resolver on real sockets of the loopback interface."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from typing import cast

import pytest

from tiphys.cluster.node.network.dns_messages import A, Answer, Query, Question, Record, read_query, write_answer
from tiphys.cluster.node.network.names import Names
from tiphys.cluster.node.network.proxy import Proxy
from tiphys.cluster.node.network.resolver import Resolver
from tiphys.cluster.node.network.routes import Endpoint, Forward
from tiphys.runtime.clock import SystemClock


class Backend:
    """Answers every line with its own name and the line; at the end of input with the number of bytes."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.endpoint = Endpoint("127.0.0.1", 0)
        self.server: asyncio.Server | None = None

    async def start(self) -> None:
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.endpoint = Endpoint("127.0.0.1", self.server.sockets[0].getsockname()[1])

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        count = 0
        while data := await reader.read(1 << 16):
            count += len(data)
            if data.endswith(b"?\n"):
                writer.write(f"{self.name}\n".encode())
        writer.write(f"{count}\n".encode())
        writer.close()


@pytest.fixture
async def backends() -> AsyncIterator[list[Backend]]:
    found = [Backend("a"), Backend("b")]
    for one in found:
        await one.start()
    yield found
    for one in found:
        assert one.server is not None
        one.server.close()


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    found = Proxy(SystemClock())
    yield found
    await found.close()


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


async def who(port: int) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"who?\n")
    try:
        name = (await reader.readline()).decode().strip()
    except ConnectionResetError:
        name = ""
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return name


async def test_connections_spread_and_follow_the_back_ends(backends: list[Backend], proxy: Proxy) -> None:
    port = free_port()
    both = tuple(one.endpoint for one in backends)
    await proxy.update([Forward("127.0.0.1", port, "TCP", both)])
    assert {await who(port) for _ in range(20)} == {"a", "b"}
    await proxy.update([Forward("127.0.0.1", port, "TCP", both[1:])])
    assert {await who(port) for _ in range(5)} == {"b"}
    await proxy.update([Forward("127.0.0.1", port, "TCP", ())])
    assert await who(port) == ""
    await proxy.update([])
    with pytest.raises(ConnectionRefusedError):
        await who(port)


async def test_a_dead_back_end_costs_no_request(backends: list[Backend], proxy: Proxy) -> None:
    port = free_port()
    await proxy.update([Forward("127.0.0.1", port, "TCP", (backends[0].endpoint, Endpoint("127.0.0.1", free_port())))])
    assert {await who(port) for _ in range(10)} == {"a"}


async def test_a_client_stays_where_it_was(backends: list[Backend], proxy: Proxy) -> None:
    port = free_port()
    await proxy.update([Forward("127.0.0.1", port, "TCP", tuple(one.endpoint for one in backends), affinity=60)])
    assert len({await who(port) for _ in range(10)}) == 1


async def test_much_data_and_half_a_close(backends: list[Backend], proxy: Proxy) -> None:
    port = free_port()
    await proxy.update([Forward("127.0.0.1", port, "TCP", (backends[0].endpoint,))])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"x" * 20_000_000)
    writer.write_eof()
    assert await reader.read() == b"20000000\n"
    writer.close()
    await writer.wait_closed()


async def test_a_port_that_is_taken_is_a_problem_not_a_failure(backends: list[Backend], proxy: Proxy) -> None:
    taken = Forward("127.0.0.1", backends[0].endpoint.port, "TCP", (), name="n/s:1")
    await proxy.update([taken])
    assert "cannot listen" in proxy.problems["127.0.0.1", taken.port, "TCP"]


class Echo(asyncio.DatagramProtocol):
    transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.transport.sendto(data.upper(), addr)


class Heard(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.answer.set_result(data)


async def asked(port: int, message: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    transport, heard = await loop.create_datagram_endpoint(Heard, remote_addr=("127.0.0.1", port))
    transport.sendto(message)
    try:
        async with asyncio.timeout(5):
            return await heard.answer
    finally:
        transport.close()


async def test_datagrams_come_back(proxy: Proxy) -> None:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
    port = free_port()
    back = Endpoint("127.0.0.1", transport.get_extra_info("sockname")[1])
    await proxy.update([Forward("127.0.0.1", port, "UDP", (back,))])
    assert await asked(port, b"hello") == b"HELLO"
    transport.close()


def question(name: str) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack(">6H", 7, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">2H", A, 1)


async def test_the_resolver_knows_its_own_and_asks_for_the_rest() -> None:
    spec = {"clusterIP": "10.96.0.5", "ports": [{"port": 80}]}
    names = Names([{"metadata": {"name": "web", "namespace": "ns"}, "spec": spec}], [])
    elsewhere = Resolver(lambda: Names([], []), [])
    ours = Resolver(lambda: names, [("127.0.0.1", await elsewhere.start("127.0.0.1", 0))])
    port = await ours.start("127.0.0.1", 0)
    found = await asked(port, question("WEB.ns.svc.cluster.local"))
    assert found[-4:] == bytes([10, 96, 0, 5]) and found[:2] == b"\0\7"
    assert (await asked(port, question("example.com")))[3] & 15 == 2
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    message = question("none.ns.svc.cluster.local")
    writer.write(struct.pack(">H", len(message)) + message)
    head = await reader.readexactly(2)
    assert (await reader.readexactly(struct.unpack(">H", head)[0]))[3] & 15 == 3
    writer.close()
    await ours.stop()
    await elsewhere.stop()


def test_answers_that_do_not_fit_say_so() -> None:
    query = Query(1, Question("a.b", A), True)
    many = [Record("a.b", A, 5, f"10.0.0.{number}") for number in range(100)]
    small = write_answer(query, Answer(records=many), size=512)
    assert small[2] & 2 and len(small) < 512
    assert read_query(question("a.b")).question == Question("a.b", A)
