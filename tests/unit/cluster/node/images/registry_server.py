"""Debian's docker-registry on a free port, and pushing to it: for tests that want a real registry."""

from __future__ import annotations

import asyncio
import io
import json
import shutil
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import aiohttp
import pytest

from tests.unit.cluster.node.images.building import OCI

CONFIG = """\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {root}}}}}
http: {{addr: "127.0.0.1:{port}"}}
{auth}
"""


class Pushed(Protocol):
    """What a registry takes: blobs by digest, and a manifest."""

    @property
    def blobs(self) -> Mapping[str, bytes]: ...

    @property
    def manifest(self) -> bytes: ...


@asynccontextmanager
async def docker_registry(place: Path, htpasswd: str = "") -> AsyncIterator[str]:
    """``host:port`` of a running registry. Skips the test where the program is not installed."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("docker-registry is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    auth = ""
    if htpasswd:
        (place / "htpasswd").write_text(htpasswd)
        auth = f"auth: {{htpasswd: {{realm: r, path: {place / 'htpasswd'}}}}}"
    (place / "registry.yml").write_text(CONFIG.format(root=place / "registry", port=port, auth=auth))
    with (place / "registry.log").open("wb") as log:
        server = await asyncio.create_subprocess_exec(program, "serve", place / "registry.yml", stdout=log, stderr=log)
    try:
        await answering(port)
        yield f"127.0.0.1:{port}"
    finally:
        server.kill()
        await server.wait()


async def answering(port: int) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return


async def push(host: str, name: str, tag: str, image: Pushed, authorization: str = "") -> None:
    base = f"http://{host}/v2/{name}"
    async with aiohttp.ClientSession(headers={"Authorization": authorization} if authorization else {}) as session:
        for digest, data in image.blobs.items():
            async with session.post(f"{base}/blobs/uploads/") as begun:
                assert begun.status == 202, await begun.text()
                place = begun.headers["Location"]
            more = "&" if "?" in place else "?"
            async with session.put(f"{place}{more}digest={digest}", data=io.BytesIO(data)) as done:
                assert done.status == 201, await done.text()
        kind = {"Content-Type": f"{OCI}.manifest.v1+json"}
        async with session.put(f"{base}/manifests/{tag}", data=image.manifest, headers=kind) as done:
            assert done.status == 201, await done.text()


def pull_secret(host: str, user: str, password: str) -> dict[str, object]:
    document = {"auths": {host: {"username": user, "password": password}}}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "creds", "namespace": "default"},
        "type": "kubernetes.io/dockerconfigjson",
        "stringData": {".dockerconfigjson": json.dumps(document)},
    }
