"""Repositories that want more than to be rendered: each is stopped, said to be, and what comes next works."""

from __future__ import annotations

import gzip
import io
import re
import shutil
import tarfile
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.unit.cd.sources.places import stores
from tests.unit.cd.sources.test_git import Origin
from tests.unit.cd.sources.test_renderer import MAP, wanted
from tiphys.cd.plan.health.custom import CustomHealth
from tiphys.cd.plan.health.verdict import HealthError
from tiphys.cd.sources import archives
from tiphys.cd.sources.renderer import SourceRenderer
from tiphys.cd.sources.request import RenderError
from tiphys.cd.sources.workers import RenderPool
from tiphys.runtime.clock import SystemClock

needs_kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not on this machine")

_LOOP = '{{- define "x" }}{{ include "x" . }}{{ include "x" . }}{{ end }}{{ include "x" . }}'
_LAUGHS = "a0: &a0 x\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
_LONG = "{{ range until 100000 }}{{ range until 100000 }}{{ end }}{{ end }}"


@pytest.fixture
def origin(tmp_path: Path) -> Origin:
    return Origin(tmp_path / "origin")


@pytest.fixture
async def renderer(tmp_path: Path) -> AsyncIterator[SourceRenderer]:
    async with aiohttp.ClientSession() as session:
        pool = RenderPool(SystemClock(), tmp_path / "scratch", size=1, deadline=3)
        found = SourceRenderer(stores(tmp_path, session), pool)
        yield found
        await found.close()


async def refused(origin: Origin, renderer: SourceRenderer, files: Mapping[str, str], **source: Any) -> str:
    """The problem of a source; a good one renders after it."""
    origin.commit({**files, "good/a.yaml": MAP % 1})
    url = origin.repository.url
    problem = (await renderer.render(wanted({"repoURL": url, "path": "bad", **source}))).problem
    good = await renderer.render(wanted({"repoURL": url, "path": "good", "directory": {"jsonnet": {}}}))
    assert good.problem == "" and len(good.targets) == 1
    return problem


def _left_by_command(place: Path) -> list[Path]:
    return [path for below in (place, Path()) for path in below.glob("**/PWNED")]


CHART = "apiVersion: v2\nname: bad\nversion: 1.0.0\n"


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"bad/Chart.yaml": CHART, "bad/templates/a.yaml": _LOOP}, "."),
        ({"bad/Chart.yaml": CHART, "bad/templates/a.yaml": _LONG}, "took longer than"),
        ({"bad/Chart.yaml": CHART, "bad/templates/a.yaml": MAP % '{{ .Files.Get "../good/a.yaml" | required "no" }}'},
         "no"),
        ({"bad/Chart.yaml": CHART, "bad/templates/a.yaml": MAP % '{{ env "PATH" }}'}, "env"),
        ({"bad/a.jsonnet": "local f(x) = f(x) + f(x); f(1)"}, "."),
        ({"bad/a.jsonnet": "importstr '/etc/hostname'"}, "out of the repository"),
        ({"bad/a.jsonnet": "import 'a.jsonnet'"}, "."),
        ({"bad/a.yaml": MAP % 1 + _LAUGHS}, "."),
        ({"bad/a.yaml": "apiVersion: v1\nkind: A\nmetadata: " + "[" * 100_000}, "took longer than"),
        ({"bad/a.json": "[" * 100_000}, "nesting"),
    ],
)  # fmt: skip
async def test_what_does_not_end_or_reads_what_it_should_not(
    origin: Origin, renderer: SourceRenderer, files: dict[str, str], words: str
) -> None:
    if any("Chart" in name for name in files):
        pytest.importorskip("helm_python")
    problem = await refused(origin, renderer, files)
    assert re.search(words, problem)


@needs_kubectl
@pytest.mark.parametrize(
    "resource", ["/etc/hostname", "../../../outside.yaml", "https://127.0.0.1:1/a.yaml", "../bad", "ext::sh -c id"]
)
async def test_kustomizations_out_of_the_repository_and_in_circles(
    origin: Origin, renderer: SourceRenderer, tmp_path: Path, resource: str
) -> None:
    (tmp_path / "outside.yaml").write_text(MAP % 1)
    assert await refused(origin, renderer, {"bad/kustomization.yaml": f"resources: ['{resource}']\n"})


@pytest.mark.parametrize("path", ["../outside", "good/../../outside", "/etc", "bad"])
async def test_paths_out_of_the_repository(origin: Origin, renderer: SourceRenderer, tmp_path: Path, path: str) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/a.yaml").write_text(MAP % 1)
    assert await refused(origin, renderer, {}, path=path)


@pytest.mark.parametrize(
    "revision", ["--upload-pack=touch PWNED", "-x", "a..b", "HEAD^{/x}", "x\nrefs/heads/main", ":/x"]
)
async def test_revisions_that_are_options(
    origin: Origin, renderer: SourceRenderer, tmp_path: Path, revision: str
) -> None:
    assert "unable to resolve" in await refused(origin, renderer, {"bad/a.yaml": MAP % 1}, targetRevision=revision)
    assert not _left_by_command(tmp_path)


@pytest.mark.parametrize("url", ["--upload-pack=touch PWNED", "ext::sh -c 'touch PWNED'", "file://-oProxyCommand=x/y",
                                 "ssh://-oProxyCommand=touch%20PWNED/x"])  # fmt: skip
async def test_urls_that_are_commands(origin: Origin, renderer: SourceRenderer, tmp_path: Path, url: str) -> None:
    assert await refused(origin, renderer, {"bad/a.yaml": MAP % 1}, repoURL=url)
    assert not _left_by_command(tmp_path)


async def test_very_many_files_are_refused(
    origin: Origin, renderer: SourceRenderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    renderer.fetcher.stores.git.files_max = 100
    origin.commit({f"bad/{number}.yaml": MAP % number for number in range(101)})
    problem = (await renderer.render(wanted({"repoURL": origin.repository.url, "path": "bad"}))).problem
    assert "has more than 100 files" in problem


def bomb(name: str, size: int, *, kind: bytes = tarfile.REGTYPE) -> bytes:
    """A gzipped tar whose one member is that many zeros."""
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    out = io.BytesIO()
    with gzip.open(out, "wb", compresslevel=1) as packed:
        packed.write(member.tobuf(tarfile.USTAR_FORMAT))
        for _ in range(size >> 20):
            packed.write(bytes(1 << 20))
    return out.getvalue()


def test_an_archive_that_grows_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "UNPACKED_BYTES_MAX", 1 << 20)
    (tmp_path / "a.tgz").write_bytes(bomb("demo/zeros", 8 << 20))
    with pytest.raises(RenderError, match="larger than"):
        archives.unpack(tmp_path / "a.tgz", tmp_path / "to")
    assert not (tmp_path / "to" / "demo" / "zeros").exists()


def test_a_header_that_grows_is_stopped(tmp_path: Path) -> None:
    (tmp_path / "a.tgz").write_bytes(bomb("header", 64 << 20, kind=tarfile.XHDTYPE))
    with pytest.raises(RenderError, match="header"):
        archives.unpack(tmp_path / "a.tgz", tmp_path / "to")


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("while true do end", "."),
        ("local s = 'x' while true do s = s .. s end", "."),
        ("return {status = os.getenv('HOME')}", "."),
        ("return {status = io.open('/etc/hostname'):read()}", "."),
        ("local function f() return f() + f() end return f()", "."),
    ],
)
def test_lua_that_does_not_end_or_reads_what_it_should_not(script: str, words: str) -> None:
    check = CustomHealth({"ConfigMap": {"health.lua": script}}, datetime(2026, 1, 1, tzinfo=UTC))
    with pytest.raises(HealthError, match=words):
        check({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}})
