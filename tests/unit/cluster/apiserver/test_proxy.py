"""Other protocols through ``/proxy`` of pods and Services. Plain requests are tested with kubectl."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import WSMsgType, web

from tests.unit.cluster.apiserver.test_http import Caller, calling
from tiphys.client.client import Client
from tiphys.machinery.resources import PODS, SERVICES

ADMIN = {"Authorization": "Bearer admin"}
SECONDS_MAX = 60


@pytest.fixture
async def call() -> AsyncIterator[Caller]:
    async with calling() as caller:
        yield caller


@pytest.fixture
async def port(call: Caller) -> AsyncIterator[int]:
    """A WebSocket server, which is a pod of the cluster and behind a Service of it."""
    runner = web.ServerRunner(web.Server(echo))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    number = runner.addresses[0][1]
    client = Client(call.server.transport())
    meta = {"name": "p", "namespace": "default", "labels": {"app": "p"}}
    made = await client.create(PODS, {"metadata": meta, "spec": {"containers": [{"name": "c", "image": "i"}]}})
    ready = {"podIP": "127.0.0.1", "phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    await client.replace(PODS, {**made, "status": {**made["status"], **ready}}, "status")
    spec = {"selector": {"app": "p"}, "ports": [{"port": 80, "targetPort": number}]}
    await client.create(SERVICES, {"metadata": meta, "spec": spec})
    yield number
    await runner.cleanup()


async def echo(request: web.BaseRequest) -> web.StreamResponse:
    assert "Authorization" not in request.headers
    if request.path == "/refused":
        return web.Response(status=418, text="no sockets here")
    socket = web.WebSocketResponse(protocols=["loud"])
    await socket.prepare(request)
    async for message in socket:
        if message.data == "bye":
            break
        await socket.send_str(f"{request.path_qs} {message.data.upper()}")
    await socket.close(code=4000, message=b"as asked")
    return socket


@pytest.mark.parametrize("place", ["pods/p:{port}", "services/p:80"])
async def test_a_web_socket(call: Caller, port: int, place: str) -> None:
    url = f"{call.url}/api/v1/namespaces/default/{place.format(port=port)}/proxy/chat?x=1"
    async with (
        asyncio.timeout(SECONDS_MAX),
        aiohttp.ClientSession() as session,
        session.ws_connect(url, headers=ADMIN, protocols=["loud"]) as socket,
    ):
        assert socket.protocol == "loud"
        await socket.send_str("hello")
        assert await socket.receive_str() == "/chat?x=1 HELLO"
        await socket.send_str("x" * 300_000)
        assert len(await socket.receive_str()) == len("/chat?x=1 ") + 300_000
        await socket.send_str("bye")
        assert (await socket.receive()).type is WSMsgType.CLOSE
        assert socket.close_code == 4000


async def test_who_may_not_proxy_opens_no_web_socket(call: Caller, port: int) -> None:
    url = f"{call.url}/api/v1/namespaces/default/pods/p:{port}/proxy/chat"
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await session.ws_connect(url, headers={"Authorization": "Bearer alice"})
    assert caught.value.status == 403


async def test_a_pod_that_does_not_agree_answers_as_ever(call: Caller, port: int) -> None:
    path = f"/api/v1/namespaces/default/pods/p:{port}/proxy/refused"
    assert await call(path, Connection="Upgrade", Upgrade="websocket") == (418, "no sockets here")


async def test_an_offer_of_another_protocol_changes_nothing(call: Caller, port: int) -> None:
    """Nor does it cut short an answer that goes on until its connection ends."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n" + (b"upgraded" if b"upgrade" in head.lower() else b"hello"))
        await writer.drain()
        writer.close()

    pod = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with asyncio.timeout(SECONDS_MAX), pod, aiohttp.ClientSession() as session:
        place = f"{call.url}/api/v1/namespaces/default/pods/p:{pod.sockets[0].getsockname()[1]}/proxy/x"
        async with session.get(place, headers={**ADMIN, "Upgrade": "h2c"}) as response:
            assert (response.status, await response.text()) == (200, "hello")
