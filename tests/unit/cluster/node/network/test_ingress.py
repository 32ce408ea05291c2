"""The router of Ingresses, with real sockets."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tiphys.cluster.node.network.ingress import IngressRouter
from tiphys.cluster.node.network.ingress_rules import Routes
from tiphys.cluster.node.network.routes import Endpoint
from tiphys.serving.certificates import Authority

INGRESS = {
    "metadata": {"name": "i", "namespace": "n"},
    "spec": {
        "rules": [
            {
                "host": "web.test",
                "http": {
                    "paths": [
                        {
                            "path": "/",
                            "pathType": "Prefix",
                            "backend": {"service": {"name": "web", "port": {"number": 80}}},
                        }
                    ]
                },
            }
        ]
    },
}


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers with the head that it got."""
    head = await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(head) + head)
    await writer.drain()
    writer.close()


@asynccontextmanager
async def router(*endpoints: Endpoint) -> AsyncIterator[IngressRouter]:
    made = IngressRouter(lambda: Routes([INGRESS]), lambda _: list(endpoints), random.Random(1))
    await made.start("127.0.0.1", datetime.now(UTC), 0, 0)
    try:
        yield made
    finally:
        await made.stop()


async def asked(port: int, request: bytes, context: ssl.SSLContext | None = None, name: str | None = None) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    return answer.decode()


@asynccontextmanager
async def back_end() -> AsyncIterator[Endpoint]:
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server:
        yield Endpoint("127.0.0.1", server.sockets[0].getsockname()[1])


GET = b"GET /x HTTP/1.1\r\nHost: web.test\r\nConnection: keep-alive\r\nX-Forwarded-For: 9.9.9.9\r\n"
GET += b"X-Real-IP: 9.9.9.9\r\nX-Forwarded-Host: 9.9.9.9\r\n\r\n"


async def test_a_request_reaches_the_back_end_and_says_who_asks() -> None:
    async with back_end() as place, router(place) as made:
        answer = await asked(made.ports()[0], GET)
    assert answer.startswith("HTTP/1.1 200")
    assert "X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http" in answer
    assert "X-Real-IP: 127.0.0.1\r\nX-Forwarded-Host: web.test\r\n" in answer
    assert "9.9.9.9" not in answer and "keep-alive" not in answer


async def test_an_endpoint_that_does_not_listen_is_passed_over() -> None:
    async with back_end() as place, router(Endpoint("127.0.0.1", 1), place) as made:
        assert (await asked(made.ports()[0], GET)).startswith("HTTP/1.1 200")


@pytest.mark.parametrize(
    ("request_head", "code"),
    [
        (b"GET / HTTP/1.1\r\nHost: other\r\n\r\n", "404"),
        (b"GET / HTTP/1.1\r\nHost: web.test\r\n\r\n", "503"),
        (b"nonsense\r\n\r\n", "400"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 200_000 + b"\r\n\r\n", "431"),
    ],
)
async def test_what_cannot_be_served_is_refused(request_head: bytes, code: str) -> None:
    async with router() as made:
        assert (await asked(made.ports()[0], request_head)).startswith(f"HTTP/1.1 {code} ")


async def test_certificates_are_chosen_by_name(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.ensure(datetime.now(UTC))
    pair = authority.server(["web.test"], datetime.now(UTC))
    context = ssl.create_default_context(cafile=str(authority.ca.certificate))
    async with back_end() as place, router(place) as made:
        made.certify({"web.test": (pair.certificate.read_bytes(), pair.key.read_bytes()), "bad": (b"x", b"y")})
        answer = await asked(made.ports()[1], GET, context, "web.test")
        assert "X-Forwarded-Proto: https" in answer
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asked(made.ports()[1], GET, context, "other.test")


async def test_a_host_without_a_certificate_is_served_with_one_that_nobody_trusts() -> None:
    context = ssl._create_unverified_context()
    async with back_end() as place, router(place) as made:
        assert "X-Forwarded-Proto: https" in await asked(made.ports()[1], GET, context, "web.test")
        with pytest.raises(ssl.SSLCertVerificationError):
            await asked(made.ports()[1], GET, ssl.create_default_context(), "web.test")
