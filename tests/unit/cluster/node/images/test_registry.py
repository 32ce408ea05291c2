"""The registry client against registries written for the purpose: moody, demanding, lying."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from tests.unit.cluster.node.images.building import ImageFiles, digest, layer, member
from tiphys.cluster.node.images.pulling import fetch
from tiphys.cluster.node.images.store import Store
from tiphys.machinery.errors import SpecError
from tiphys.oci.credentials import Credential, Keyring, read_config, read_secret
from tiphys.oci.manifests import ImageError, Missing, Unreachable
from tiphys.oci.reference import parse
from tiphys.oci.registries import Registries, read_registries
from tiphys.oci.registry import RegistryClient, ask_helper
from tiphys.runtime.clock import SystemClock

FILES = ImageFiles([layer(member("f", b"x" * 300_000))], {"Cmd": ["sh"]}, "")
LAYER = next(key for key, data in FILES.blobs.items() if data != FILES.config)
INDEX = {
    "manifests": [
        {"digest": digest(b"?"), "size": 1, "platform": {"os": "linux", "architecture": "s390x"}},
        {"digest": FILES.digest, "size": len(FILES.manifest), "platform": {"os": "linux", "architecture": "amd64"}},
    ]
}


class Registry:
    """``wants``: none, basic or bearer. ``cuts``: how many times a layer's download is broken off half way."""

    def __init__(self, wants: str = "", cuts: int = 0, failures: int = 0, lies: bool = False) -> None:
        self.wants, self.cuts, self.failures, self.lies = wants, cuts, failures, lies
        self.asked: list[str] = []
        self.ranges: list[str] = []
        self.port = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(f"{request.method} {request.path}")
        if request.path == "/token":
            return self.token(request)
        refused = self.refusal(request)
        if refused is not None:
            return refused
        kind, _, name = request.path.rpartition("/")
        if kind.endswith("/manifests"):
            return self.manifest(name)
        return await self.blob(request, name)

    def refusal(self, request: web.Request) -> web.Response | None:
        given = request.headers.get("Authorization", "")
        wanted = {"": "", "basic": "Basic " + base64.b64encode(b"me:secret").decode(), "bearer": "Bearer T0K"}[
            self.wants
        ]
        if not self.wants or given == wanted:
            return None
        realm = f"http://127.0.0.1:{self.port}/token"
        scope = "repository:team/app:pull"
        challenge = {
            "basic": 'Basic realm="r"',
            "bearer": f'Bearer realm="{realm}",service="registry",scope="{scope}"',
        }[self.wants]
        return web.Response(status=401, headers={"WWW-Authenticate": challenge})

    def token(self, request: web.Request) -> web.Response:
        assert request.query["scope"] == "repository:team/app:pull" and request.query["service"] == "registry"
        given = request.headers.get("Authorization", "")
        if given != "Basic " + base64.b64encode(b"me:secret").decode():
            return web.Response(status=401)
        return web.json_response({"access_token": "T0K"})

    def manifest(self, name: str) -> web.Response:
        texts = {"1": FILES.manifest, "multi": json.dumps(INDEX).encode(), FILES.digest: FILES.manifest}
        if name not in texts:
            return web.Response(status=404)
        text = texts[name]
        headers = {"Docker-Content-Digest": digest(b"a lie") if self.lies else digest(text)}
        return web.Response(body=text, headers=headers)

    async def blob(self, request: web.Request, name: str) -> web.StreamResponse:
        data = FILES.blobs[name]
        if name == LAYER and self.failures:
            self.failures -= 1
            return web.Response(status=503, headers={"Retry-After": "0"})
        begin = 0
        if "Range" in request.headers:
            self.ranges.append(request.headers["Range"])
            begin = int(request.headers["Range"].removeprefix("bytes=").rstrip("-"))
        answer = web.StreamResponse(status=206 if begin else 200)
        answer.content_length = len(data) - begin
        await answer.prepare(request)
        if name == LAYER and self.cuts:
            self.cuts -= 1
            await answer.write(data[begin : begin + 100_000])
            assert request.transport is not None
            request.transport.close()
            return answer
        await answer.write(data[begin:])
        return answer


@asynccontextmanager
async def serving(registry: Registry) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", registry.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    registry.port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    try:
        yield f"127.0.0.1:{registry.port}"
    finally:
        await runner.cleanup()


async def pull(name: str, store: Store, keyring: Keyring | None = None, registries: Registries | None = None) -> None:
    async with RegistryClient(SystemClock(), registries, keyring) as client:
        await fetch(client, parse(name), store, lambda blob, here: None)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.mark.parametrize("name", ["team/app:1", "team/app:multi", f"team/app@{FILES.digest}"])
async def test_by_tag_through_an_index_and_by_digest(store: Store, name: str) -> None:
    async with serving(Registry()) as host:
        await pull(f"{host}/{name}", store)
        entry = store.find(str(parse(f"{host}/{name}")))
        assert entry is not None and entry.manifest == FILES.digest
        assert entry.image_id.startswith(f"{host}/team/app@sha256:")
        assert (store.root(entry) / "f").stat().st_size == 300_000


async def test_a_download_that_breaks_off_is_gone_on_with(store: Store) -> None:
    registry = Registry(cuts=2)
    async with serving(registry) as host:
        await pull(f"{host}/team/app:1", store)
    assert len(registry.ranges) == 2 and registry.ranges[0] != "bytes=0-"


async def test_a_manifest_that_breaks_off_is_a_failure_of_the_pull(store: Store) -> None:
    async def broken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nConnection: close\r\n\r\n")
        writer.write(b"{" if asked.startswith(b"GET") else b"")
        writer.close()

    async with await asyncio.start_server(broken, "127.0.0.1", 0) as made:
        with pytest.raises(Unreachable, match="failed to copy"):
            await pull(f"127.0.0.1:{made.sockets[0].getsockname()[1]}/team/app:1", store)


@pytest.mark.parametrize("script", ["echo '[1]'", "exec sleep 1000"])
async def test_a_credential_helper_that_is_of_no_help(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    helper = tmp_path / "docker-credential-odd"
    helper.write_text(f"#!/bin/sh\necho $$ >{tmp_path}/pid\n{script}\n")
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr("tiphys.oci.registry.CONNECT_SECONDS", 0.5)
    assert await ask_helper("odd", "registry.example") is None
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


async def test_failures_that_pass(store: Store) -> None:
    async with serving(Registry(failures=2)) as host:
        await pull(f"{host}/team/app:1", store)


@pytest.mark.parametrize("wants", ["basic", "bearer"])
async def test_credentials(store: Store, tmp_path: Path, wants: str) -> None:
    registry = Registry(wants)
    async with serving(registry) as host:
        with pytest.raises(ImageError, match=r"authorization failed|failed to authorize") as caught:
            await pull(f"{host}/team/app:1", store)
        assert "secret" not in str(caught.value)
        auth = base64.b64encode(b"me:secret").decode()
        config = tmp_path / "config.json"
        config.write_text(json.dumps({"auths": {f"http://{host}/": {"auth": auth}}}))
        await pull(f"{host}/team/app:1", store, read_config(config))
    assert sum(asked.endswith("/token") for asked in registry.asked) == (2 if wants == "bearer" else 0)


async def test_what_it_says_when_there_is_none(store: Store) -> None:
    async with serving(Registry()) as host:
        with pytest.raises(Missing, match=f"failed to resolve image: {host}/team/app:nope: not found"):
            await pull(f"{host}/team/app:nope", store)
    with pytest.raises(Unreachable) as caught:
        await pull(f"{host}/x:1", store)
    assert str(caught.value) == (
        f'failed to resolve image: failed to do request: Head "http://{host}/v2/x/manifests/1":'
        f" dial tcp {host}: connect: connection refused"
    )


async def test_a_registry_that_lies(store: Store) -> None:
    async with serving(Registry(lies=True)) as host:
        with pytest.raises(ImageError, match="not what it is called"):
            await pull(f"{host}/team/app:1", store)
    assert store.entries() == []


async def test_mirrors_come_first_and_the_registry_last(store: Store) -> None:
    async with serving(Registry()) as host:
        mirrors = Registries({"registry.example:1": ("http://127.0.0.1:9", f"http://{host}")})
        await pull("registry.example:1/team/app:1", store, registries=mirrors)
    entry = store.find("registry.example:1/team/app:1")
    assert entry is not None and entry.image_id == f"registry.example:1/team/app@{FILES.digest}"


async def test_pulls_at_once_do_not_spoil_each_other(store: Store) -> None:
    async with serving(Registry()) as host:
        await asyncio.gather(*(pull(f"{host}/team/app:1", store) for _ in range(4)))
    assert store.find(str(parse(f"{host}/team/app:1"))) is not None


def test_registries_file(tmp_path: Path) -> None:
    file = tmp_path / "registries.toml"
    assert read_registries(file) == Registries()
    file.write_text('[registry."docker.io"]\nmirrors = ["https://mirror.example"]\ninsecure = true\n')
    hosts = read_registries(file).hosts("docker.io")
    assert [h.url for h in hosts] == ["https://mirror.example", "https://registry-1.docker.io"]
    assert not hosts[0].verify
    file.write_text('[registry."a"]\nmirror = []\n')
    with pytest.raises(SpecError, match=r"registry\.a\.mirror"):
        read_registries(file)


def test_keyring_prefers_the_more_specific() -> None:
    rows = [(n, Credential(n)) for n in ("*.example.com", "r.example.com", "r.example.com/team", "other.com")]
    found = Keyring(rows).find(parse("r.example.com/team/app"))
    assert [c.username for c in found] == ["r.example.com/team", "*.example.com", "r.example.com"]
    hub = Keyring([("https://index.docker.io/v1/", Credential("hub"))])
    assert [c.username for c in hub.find(parse("busybox"))] == ["hub"]


def test_pull_secrets() -> None:
    document = {"auths": {"r.io": {"username": "u", "password": "p"}}}
    data = base64.b64encode(json.dumps(document).encode()).decode()
    secret = {"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": data}}
    (found,) = read_secret(secret).find(parse("r.io/x"))
    assert (found.username, found.password) == ("u", "p") and "p" not in repr(found).replace("Credential", "")[14:]
    assert read_secret({"type": "Opaque", "data": {".dockerconfigjson": data}}).find(parse("r.io/x")) == []
