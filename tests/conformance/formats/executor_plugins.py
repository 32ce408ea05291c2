"""Golden rows of plugin templates: what the executor plugins receive, and the results of the node.

Recognised by rows with ``in.plugin`` and ``out.results``. Left out: rows of ``agent init`` (``in.init``: a token for
each plugin's own directory; ours is made by the node and shared by the plugins of one agent), ``exit`` and ``patches``
(the agent is no process), ``Content-Length`` (the body is compared as JSON), and the order of headers.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from tests.conformance.formats.executor_http import GO_USER_AGENT
from tests.conformance.formats.executor_resource import AtOnce, Server
from tests.conformance.golden import Format, Row, Sample
from tiphys.client.client import Client
from tiphys.machinery.resources import ObjectKey
from tiphys.workflows.executor.agent import TaskAgent
from tiphys.workflows.executor.plugins import Plugin

# The placeholders' servers: the key of their replies, the port that the recording shows, the token.
SERVERS = (("plugin", "$PLUGINHOST", 8002, "tok-hello"), ("second", "$PLUGINHOST2", 8003, "tok-second"))


def recognises(sample: Sample) -> bool:
    return any("plugin" in row.get("in", {}) and "results" in row.get("out", {}) for row in sample.rows)


def judge(sample: Sample) -> Iterable[Row]:
    for row in sample.rows:
        if "init" in row["in"]:
            continue
        requests = [plain(request) for request in row["out"]["requests"]]
        expected = {"requests": requests, "results": row["out"]["results"]}
        got = asyncio.run(run(row["in"]))
        yield Row(row["name"], got == expected, expected, got)


def plain(request: Mapping[str, Any]) -> dict[str, Any]:
    headers = sorted(header for header in request["headers"] if header[0] != "Content-Length")
    return {**request, "headers": headers, "body": json.loads(request["body"])}


async def run(given: Mapping[str, Any]) -> dict[str, Any]:
    seen: list[dict[str, Any]] = []
    async with contextlib.AsyncExitStack() as stack:
        plugins = []
        for replies, host, port, token in SERVERS:
            if replies in given:
                played = Played(list(given[replies]), host, port, seen)
                plugins.append(Plugin(await stack.enter_async_context(serving(played)), token))
        agent = TaskAgent(Client(Server(given)), AtOnce(), GO_USER_AGENT)
        results = await agent.results(ObjectKey("argo", "wf"), given["template"], uid="wf-uid", plugins=plugins)
    return {"requests": seen, "results": results}


@dataclass
class Played:
    """A plugin that gives the recorded replies, the last one again and again."""

    replies: list[dict[str, Any]]
    host: str
    port: int
    seen: list[dict[str, Any]] = field(default_factory=list)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = [line.split(": ", 1) for line in head[1:] if line]
        body = await reader.readexactly(int(dict(headers).get("Content-Length", "0")))
        shown = [[name, self.host if name == "Host" else value] for name, value in headers]
        request = {"method": method, "path": path, "server": self.port, "headers": shown, "body": body.decode()}
        self.seen.append(plain(request))
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        status, text = HTTPStatus(reply.get("status", 200)), str(reply.get("body", "")).encode()
        start = f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Length: {len(text)}\r\nConnection: close\r\n\r\n"
        writer.write(start.encode() + text)
        await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def serving(played: Played) -> AsyncIterator[str]:
    """Yields the plugin's address."""
    server = await asyncio.start_server(played.answer, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


FORMATS = [Format("executor-plugins", recognises, judge)]
