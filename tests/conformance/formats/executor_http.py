"""Golden rows of http templates: what the server receives, and the result of the node.

Recognised by ``out.results`` beside rows with ``in.template`` and ``in.reply``. Left out: ``exit`` and ``patches``
(the agent's process and its requests to the API server; ours is no process), ``secretReads`` (which is reading), the
order of a request's headers, in which nothing lies, and the length 0 of an empty body (Go's client leaves it out for
some methods, ours for others).
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import ssl
import tempfile
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.conformance.formats.executor_resource import AtOnce, Server
from tests.conformance.formats.executor_world import World, shown
from tests.conformance.golden import Format, Row, Sample
from tiphys.client.client import Client
from tiphys.machinery.resources import ObjectKey
from tiphys.runtime.clock import SystemClock
from tiphys.serving.certificates import Authority, server_context
from tiphys.workflows.executor.agent import TaskAgent

GO_USER_AGENT = "Go-http-client/1.1"
GZIP_AS_TEXT = "<gzip bytes as text>"
TLS_PORT_SHOWN = 8443


def recognises(sample: Sample) -> bool:
    given, out = sample.head.get("in"), sample.head.get("out")
    return isinstance(given, dict) and isinstance(out, dict) and "reply" in given and "results" in out


def judge(sample: Sample) -> Iterable[Row]:
    for row in sample.rows:
        out = row["out"]
        requests = [r | {"headers": plain(r["headers"])} for r in out["requests"]]
        expected = {"requests": requests, "results": out["results"]}
        if "error" in out:
            expected["error"] = out["error"]
        got = asyncio.run(run(row["in"]))
        yield Row(row["name"], got == expected, expected, got)


async def run(given: Mapping[str, Any]) -> dict[str, Any]:
    seen = Seen(given)
    with tempfile.TemporaryDirectory() as folder:
        async with serving(seen, None) as clear, serving(seen, _unknown_authority(Path(folder))) as secure:
            names = {
                "$TLSURL": f"https://{secure}",
                "$URL": f"http://{clear}",
                "$TLSHOST": secure,
                "$HOST": clear,
            }
            world = World(Path(folder), names)
            template = world.fill_in(given["template"])
            agent = TaskAgent(Client(Server(given)), AtOnce(), GO_USER_AGENT)
            (result,) = await agent.results(ObjectKey("argo", "wf"), template)
            if "�" in ((result.get("outputs") or {}).get("result") or ""):
                result["outputs"] = {"result": GZIP_AS_TEXT}
            answer = {"requests": seen.requests, "results": [result]}
            made: dict[str, Any] = world.take_out(answer)
    for request in made["requests"]:
        request["headers"] = plain(request["headers"])
    return made


def plain(headers: list[list[str]]) -> list[list[str]]:
    return sorted(header for header in headers if header != ["Content-Length", "0"])


@dataclass
class Seen:
    """What the row's server answers, and what it was asked."""

    given: Mapping[str, Any]
    requests: list[dict[str, Any]] = field(default_factory=list)

    def reply(self, path: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.given.get("landed" if path == "/landed" else "reply") or {}
        return found


@contextlib.asynccontextmanager
async def serving(seen: Seen, tls: ssl.SSLContext | None) -> AsyncIterator[str]:
    """Yields the server's host:port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            await _answer(seen, reader, writer, secure=tls is not None)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=tls)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def _answer(seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, secure: bool) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    method, path, _ = head[0].split(" ")
    headers = [line.split(": ", 1) for line in head[1:] if line]
    length = next((int(value) for name, value in headers if name == "Content-Length"), 0)
    request: dict[str, Any] = {"method": method, "path": path, "headers": headers}
    if length:
        request["body"] = shown(await reader.readexactly(length))
    if secure:
        request["server"] = TLS_PORT_SHOWN
    seen.requests.append(request)
    reply = seen.reply(path)
    await asyncio.sleep(reply.get("delay", 0))
    if reply.get("close"):
        return
    body = gzip.compress(reply["gz"].encode()) if "gz" in reply else str(reply.get("body", "")).encode()
    lines = [f"HTTP/1.1 {reply.get('status', 200)} X", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in (reply.get("headers") or {}).items()]
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
    await writer.drain()
    await asyncio.sleep(reply.get("slowBody", 0))
    if method != "HEAD":
        writer.write(body)
        await writer.drain()


def _unknown_authority(folder: Path) -> ssl.SSLContext:
    """A server's context with a certificate that nobody has reason to trust."""
    authority, now = Authority(folder), SystemClock().now()
    authority.ensure(now)
    return server_context(authority, authority.server(["127.0.0.1"], now))


FORMATS = [Format("executor-http", recognises, judge)]
