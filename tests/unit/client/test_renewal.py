"""Credentials that run out, and those that cannot be had."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from tiphys.client.client import Client
from tiphys.client.http import HttpTransport
from tiphys.client.kubeconfig import Cluster, Credentials, ExecPlugin
from tiphys.machinery.errors import ServiceUnavailable
from tiphys.machinery.resources import CONFIG_MAPS, ObjectKey

FRAME = b'{"type": "ADDED", "object": {"metadata": {"name": "m", "resourceVersion": "2"}}}\n'


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """A server that takes each token once."""
    seen: set[str] = set()

    async def answer(request: web.Request) -> web.Response:
        token = request.headers.get("Authorization", "")
        if token in seen:
            return web.json_response({"kind": "Status", "code": 401, "reason": "Unauthorized"}, status=401)
        seen.add(token)
        return web.Response(body=FRAME)

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield site.name
    await runner.cleanup()


async def test_a_watch_renews_credentials_that_ran_out(url: str, tmp_path: Path) -> None:
    script = tmp_path / "plugin"
    count = tmp_path / "count"
    script.write_text(
        f'#!/bin/sh\necho x >> {count}\necho "{{\\"status\\": {{\\"token\\": \\"t$(wc -l < {count})\\"}}}}"\n'
    )
    script.chmod(0o700)
    client = Client(HttpTransport(Cluster(url, credentials=Credentials(exec=ExecPlugin(str(script), (), {}, "v1")))))
    try:
        for _ in range(2):
            async with client.watch(CONFIG_MAPS, None) as events:
                assert [event.type async for event in events] == ["ADDED"]
    finally:
        await client.transport.close()


@pytest.mark.parametrize(
    "cluster",
    [
        Cluster("https://127.0.0.1:1", ca=b"no certificate"),
        Cluster("https://127.0.0.1:1", ca=b"\xff"),
        Cluster("http://127.0.0.1:1", credentials=Credentials(exec=ExecPlugin("/nonexistent/plugin", (), {}, "v1"))),
        Cluster("http://127.0.0.1:1", credentials=Credentials(token_file=Path("/nonexistent/token"))),
    ],
)
async def test_no_credentials_are_a_server_out_of_reach(cluster: Cluster) -> None:
    client = Client(HttpTransport(cluster))
    try:
        with pytest.raises(ServiceUnavailable, match="no credentials"):
            await client.get(CONFIG_MAPS, ObjectKey("default", "m"))
    finally:
        await client.transport.close()
