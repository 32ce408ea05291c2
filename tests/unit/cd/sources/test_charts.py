"""A Helm repository served here."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from tiphys.cd.sources.charts import ChartRepository, ChartStore
from tiphys.cd.sources.credentials import Credentials
from tiphys.cd.sources.request import RenderError


def archive(files: dict[str, str], *, link: tuple[str, str] | None = None) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
        if link:
            member = tarfile.TarInfo(link[0])
            member.type, member.linkname = tarfile.SYMTYPE, link[1]
            tar.addfile(member)
    return out.getvalue()


class Served:
    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.seen: list[str] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.seen.append(request.headers.get("Authorization", ""))
        body = self.files.get(request.path.lstrip("/"))
        return web.Response(status=404) if body is None else web.Response(body=body)

    def chart(self, version: str, data: bytes, digest: str = "") -> None:
        self.files[f"demo-{version}.tgz"] = data
        digest = digest or hashlib.sha256(data).hexdigest()
        line = f"  - {{version: {version}, urls: [demo-{version}.tgz], digest: '{digest}'}}\n"
        known = self.files.get("index.yaml", b"entries:\n  demo:\n").decode()
        self.files["index.yaml"] = (known + line).encode()


@pytest.fixture
async def served() -> AsyncIterator[tuple[Served, str]]:
    holder = Served()
    app = web.Application()
    app.router.add_get("/{path:.*}", holder.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield holder, site.name
    await runner.cleanup()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[ChartStore]:
    async with aiohttp.ClientSession() as session:
        yield ChartStore(tmp_path, session)


async def test_a_constraint_finds_a_version_and_its_files(served: tuple[Served, str], store: ChartStore) -> None:
    holder, url = served
    for version in ("1.0.0", "1.2.0", "2.0.0"):
        holder.chart(version, archive({"demo/Chart.yaml": f"version: {version}"}))
    repository = ChartRepository(url, Credentials(username="u", password="p"))
    version = await store.resolve(repository, "demo", "^1.0")
    assert version == "1.2.0"
    place = await store.checkout(repository, "demo", version)
    assert (place / "Chart.yaml").read_text() == "version: 1.2.0"
    assert set(holder.seen) == {"Basic " + base64.b64encode(b"u:p").decode()}


async def test_what_is_wrong_with_a_repository_is_said(served: tuple[Served, str], store: ChartStore) -> None:
    holder, url = served
    repository = ChartRepository(url)
    with pytest.raises(RenderError, match=r"^http\S+/index.yaml answered 404"):
        await store.resolve(repository, "demo", "^1")
    holder.chart("1.0.0", archive({"demo/Chart.yaml": ""}), digest="0" * 64)
    with pytest.raises(RenderError, match="the index says 0000"):
        await store.checkout(repository, "demo", "1.0.0")
    with pytest.raises(RenderError, match="chart other is not in the index"):
        await store.resolve(repository, "other", "^1")


@pytest.mark.parametrize(
    "index",
    [
        "[]",
        "entries: [demo]",
        "entries: {demo: x}",
        "entries: {demo: [x]}",
        "entries: {demo: [{version: 1.0.0, urls: {a: b}}]}",
    ],
)
async def test_an_index_of_the_wrong_shape_holds_no_chart(
    served: tuple[Served, str], store: ChartStore, index: str
) -> None:
    holder, url = served
    holder.files["index.yaml"] = index.encode()
    with pytest.raises(RenderError, match="is not in"):
        await store.checkout(ChartRepository(url), "demo", "1.0.0")


@pytest.mark.parametrize(
    "link", ["http://[::1/demo.tgz", "http://localhost:x/demo.tgz", "http://localhost:99999/demo.tgz"]
)
async def test_an_archive_whose_url_is_none_is_said(served: tuple[Served, str], store: ChartStore, link: str) -> None:
    holder, url = served
    holder.files["index.yaml"] = f"entries: {{demo: [{{version: 1.0.0, urls: ['{link}']}}]}}".encode()
    with pytest.raises(RenderError):
        await store.checkout(ChartRepository(url), "demo", "1.0.0")


async def test_an_archive_with_a_known_digest_is_fetched_once(served: tuple[Served, str], store: ChartStore) -> None:
    holder, url = served
    holder.chart("1.0.0", archive({"demo/Chart.yaml": "version: 1.0.0"}))
    first = await store.checkout(ChartRepository(url), "demo", "1.0.0")
    del holder.files["demo-1.0.0.tgz"]
    assert await store.checkout(ChartRepository(url), "demo", "1.0.0") == first


@pytest.mark.parametrize("name", ["../out", "/etc/out", "demo/../../out"])
async def test_archives_stay_where_they_are_put(served: tuple[Served, str], store: ChartStore, name: str) -> None:
    holder, url = served
    holder.chart("1.0.0", archive({"demo/Chart.yaml": "", name: "x"}))
    with pytest.raises(RenderError, match="may not be unpacked"):
        await store.checkout(ChartRepository(url), "demo", "1.0.0")
    assert not any(path.name.endswith("out") for path in store.place.parent.rglob("*"))


async def test_links_out_of_an_archive_are_refused(served: tuple[Served, str], store: ChartStore) -> None:
    holder, url = served
    holder.chart("1.0.0", archive({"demo/Chart.yaml": ""}, link=("demo/link", "/etc/passwd")))
    with pytest.raises(RenderError, match="could not be unpacked"):
        await store.checkout(ChartRepository(url), "demo", "1.0.0")
