"""The WebSocket protocols that kubectl does not speak any more, and what clients may not do."""

from __future__ import annotations

import asyncio
import base64
import os
import ssl
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import orjson
import pytest
import yaml

from tests.unit.cluster.node.test_runtime_contract import until
from tests.unit.cluster.streams.harness import DEADLINE, Cluster, cluster
from tiphys.machinery.resources import ObjectKey

POD = "/api/v1/namespaces/default/pods/p"


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with cluster("process", tmp_path) as made:
        await made.pod("p")
        yield made


@pytest.fixture
async def http(running: Cluster, tmp_path: Path) -> AsyncIterator[aiohttp.ClientSession]:
    """A session with the administrator's certificate."""
    document = yaml.safe_load(running.kubeconfig.read_text())
    user = document["users"][0]["user"]
    for name in ("client-certificate-data", "client-key-data"):
        (tmp_path / name).write_bytes(base64.b64decode(user[name]))
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(tmp_path / "client-certificate-data", tmp_path / "client-key-data")
    connector = aiohttp.TCPConnector(ssl=context)
    url = document["clusters"][0]["cluster"]["server"]
    async with aiohttp.ClientSession(url, connector=connector) as session:
        yield session


async def messages(socket: aiohttp.ClientWebSocketResponse) -> list[bytes | str]:
    async with asyncio.timeout(DEADLINE):
        return [message.data async for message in socket]


def path(*command: str, **flags: str) -> str:
    words = [("command", word) for word in command] + list(flags.items())
    return f"{POD}/exec?" + "&".join(f"{key}={value}" for key, value in words)


@pytest.mark.parametrize("protocol", ["v5.channel.k8s.io", "v4.channel.k8s.io"])
async def test_binary_channels(http: aiohttp.ClientSession, protocol: str) -> None:
    async with http.ws_connect(path("echo", "hei", stdout="true", stderr="true"), protocols=[protocol]) as socket:
        assert socket.protocol == protocol
        got = await messages(socket)
    assert got == [b"\1", b"\1hei\n", b'\3{"metadata":{},"status":"Success"}']


async def test_text_is_taken_for_bytes(http: aiohttp.ClientSession) -> None:
    """The protocol says what a message holds, not its type: kubernetes' Python client sends stdin as text."""
    where = path("sh", "-c", "read%20x;echo%20got-$x", stdin="true", stdout="true")
    async with http.ws_connect(where, protocols=["v4.channel.k8s.io"]) as socket:
        await socket.send_str("\0you\n")
        got = await messages(socket)
    assert got[:2] == [b"\1", b"\1got-you\n"]


async def test_base64_channels(http: aiohttp.ClientSession) -> None:
    where = path("sh", "-c", "read%20x;echo%20got-$x", stdin="true", stdout="true")
    async with http.ws_connect(where, protocols=["v4.base64.channel.k8s.io"]) as socket:
        await socket.send_str("0" + base64.b64encode(b"you\n").decode())
        got = await messages(socket)
    assert got[:2] == ["1", "1" + base64.b64encode(b"got-you\n").decode()]


async def test_the_first_protocol_tells_success_by_silence(http: aiohttp.ClientSession) -> None:
    async with http.ws_connect(path("true", stdout="1"), protocols=["channel.k8s.io"]) as socket:
        assert await messages(socket) == [b"\1"]
    async with http.ws_connect(path("false", stdout="1")) as socket:
        said = await messages(socket)
    assert said[1].startswith(b"\3command terminated with non-zero exit code")  # type: ignore[arg-type]


async def test_standard_input_closed_with_version_five(http: aiohttp.ClientSession) -> None:
    async with http.ws_connect(
        path("cat", stdin="true", stdout="true"), protocols=["v5.channel.k8s.io", "v4.channel.k8s.io"]
    ) as socket:
        await socket.send_bytes(b"\0all of it")
        await socket.send_bytes(b"\xff\0")
        got = await messages(socket)
    assert got[1] == b"\1all of it"
    assert orjson.loads(got[2][1:])["status"] == "Success"


async def test_a_client_that_leaves_takes_the_command_along(running: Cluster, http: aiohttp.ClientSession) -> None:
    async with http.ws_connect(path("sh", "-c", "echo%20$$;exec%20sleep%201000", stdout="1")) as socket:
        await socket.receive()
        pid = int((await socket.receive()).data[1:])
    await until(lambda: not os.path.exists(f"/proc/{pid}"))


async def test_ports_over_channels(http: aiohttp.ClientSession) -> None:
    async def upper(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.read(100)).upper())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(upper, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with http.ws_connect(f"{POD}/portforward?ports={port},9", protocols=["v4.channel.k8s.io"]) as socket:
        got = [(await socket.receive()).data for _ in range(4)]
        assert got == [bytes((n,)) + struct.pack("<H", port if n < 2 else 9) for n in range(4)]
        await socket.send_bytes(b"\0hei")
        said = sorted([(await socket.receive()).data, (await socket.receive()).data])
    server.close()
    assert said[0] == b"\0HEI"
    assert said[1].startswith(b"\3error forwarding port 9 to pod p, uid ")


@pytest.mark.parametrize(
    ("where", "code", "message"),
    [
        (path("true"), 400, "you must specify at least 1 of stdin, stdout, stderr"),
        (path(stdout="1"), 400, "you must specify at least one command for the container"),
        (path("true", stdout="1"), 400, "Upgrade request required"),
        (f"{POD}/portforward", 400, "Upgrade request required"),
        (path("true", stdout="1", container="x"), 400, "container x is not valid for pod p"),
        ("/api/v1/namespaces/default/services/s/exec", 404, "the server could not find the requested resource"),
    ],
)
async def test_refusals_before_any_upgrade(http: aiohttp.ClientSession, where: str, code: int, message: str) -> None:
    async with http.get(where) as answer:
        body = await answer.json()
    assert (answer.status, body["message"]) == (code, message)


async def test_a_container_that_has_ended(running: Cluster, http: aiohttp.ClientSession) -> None:
    await running.node.run(
        {
            "metadata": {"name": "over", "namespace": "default"},
            "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox", "command": ["true"]}]},
        }
    )
    await running.node.ended(ObjectKey("default", "over"))
    async with http.get(path("true", stdout="1").replace("/p/", "/over/")) as answer:
        body = await answer.json()
    text = 'unable to upgrade connection: container not found ("c")'
    assert (answer.status, body["message"]) == (500, f"Internal error occurred: {text}")
