"""Charts and directories in a real registry."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.unit.cd.sources.places import stores
from tests.unit.cd.sources.test_charts import archive
from tests.unit.cd.sources.test_renderer import MAP, wanted
from tests.unit.cluster.node.images.building import digest
from tests.unit.cluster.node.images.registry_server import docker_registry, push
from tiphys.cd.sources.artifacts import CHART_LAYER, content_layer
from tiphys.cd.sources.credentials import Credentials
from tiphys.cd.sources.renderer import SourceRenderer
from tiphys.cd.sources.request import RenderError
from tiphys.cd.sources.workers import RenderPool
from tiphys.oci.manifests import Descriptor, Manifest
from tiphys.runtime.clock import SystemClock

HTPASSWD = "me:$2b$04$ZRk00C3FYPSVSZfHimejPOQMIz8Vv5n4.dys/Ar2mYAwuGa4Q/NnS"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
CHART_CONFIG = "application/vnd.cncf.helm.config.v1+json"
CHART = {
    "demo/Chart.yaml": "apiVersion: v2\nname: demo\nversion: 1.0.0\n",
    "demo/templates/a.yaml": MAP % "{{ .Chart.Version }}",
}


class Artifact:
    """Like ``ImageFiles``: blobs and the manifest that names them."""

    def __init__(self, data: bytes, layer: str = LAYER, config: str = "application/vnd.oci.empty.v1+json") -> None:
        self.blobs = {digest(b"{}"): b"{}", digest(data): data}
        rows = [{"mediaType": layer, "digest": digest(data), "size": len(data)}]
        about = {"mediaType": config, "digest": digest(b"{}"), "size": 2}
        kind = "application/vnd.oci.image.manifest.v1+json"
        document: dict[str, Any] = {"schemaVersion": 2, "mediaType": kind, "config": about, "layers": rows}
        self.manifest = json.dumps(document).encode()
        self.digest = digest(self.manifest)


def chart(version: str) -> Artifact:
    files = {name: text.replace("1.0.0", version) for name, text in CHART.items()}
    return Artifact(archive(files), CHART_LAYER, CHART_CONFIG)


@pytest.fixture
async def renderer(tmp_path: Path) -> AsyncIterator[SourceRenderer]:
    async with aiohttp.ClientSession() as session:
        pool = RenderPool(SystemClock(), tmp_path / "scratch", deadline=30)
        found = SourceRenderer(stores(tmp_path, session), pool)
        yield found
        await found.close()


async def test_a_directory_in_a_registry(renderer: SourceRenderer, tmp_path: Path) -> None:
    artifact = Artifact(archive({"app/a.yaml": MAP % 1}))
    async with docker_registry(tmp_path) as host:
        await push(host, "team/config", "1.2.0", artifact)
        newer = Artifact(archive({"app/a.yaml": MAP % 2}))
        await push(host, "team/config", "1.3.0_b", newer)
        for revision, expected in {
            "1.2.0": artifact,
            "^1.2": newer,
            "1.3.0+b": newer,
            artifact.digest: artifact,
        }.items():
            source = {"repoURL": f"oci://{host}/team/config", "targetRevision": revision, "path": "app"}
            found = await renderer.render(wanted(source))
            assert (found.problem, found.revisions) == ("", [expected.digest]), revision
            assert found.targets[0]["data"]["v"] == ("1" if expected is artifact else "2")
        source = {"repoURL": f"oci://{host}/team/config", "targetRevision": "nothing", "path": "app"}
        assert 'failed to resolve revision "nothing"' in (await renderer.render(wanted(source))).problem
    # What is here by its digest needs no registry, but only who asks where it is from gets it.
    source = {"repoURL": f"oci://{host}/team/config", "targetRevision": artifact.digest, "path": "app"}
    assert (await renderer.render(wanted(source))).problem == ""
    assert (await renderer.render(wanted({**source, "repoURL": f"oci://{host}/other"}))).problem
    elsewhere = {**source, "targetRevision": f"sha256:../../git/{'0' * 32}"}
    assert "is no digest" in (await renderer.render(wanted(elsewhere))).problem


async def test_a_chart_in_a_registry(renderer: SourceRenderer, tmp_path: Path) -> None:
    pytest.importorskip("helm_python")
    async with docker_registry(tmp_path) as host:
        for version in ("1.0.0", "1.1.0"):
            await push(host, "charts/demo", version, chart(version))
        for source, version in (
            ({"repoURL": f"{host}/charts", "chart": "demo", "targetRevision": "1.0.0"}, "1.0.0"),
            ({"repoURL": f"{host}/charts", "chart": "demo", "targetRevision": "^1.0"}, "1.1.0"),
            ({"repoURL": f"oci://{host}/charts/demo", "targetRevision": "1.1.0", "path": "."}, "1.1.0"),
        ):
            found = await renderer.render(wanted(source))
            assert found.problem == "" and found.types == ["Helm"]
            assert found.targets[0]["data"] == {"v": version}
            if "chart" in source:
                assert found.revisions == [version]
        source = {"repoURL": f"{host}/charts", "chart": "other", "targetRevision": "^1.0"}
        assert "unable to get tags" in (await renderer.render(wanted(source))).problem


async def test_a_registry_that_wants_a_password(renderer: SourceRenderer, tmp_path: Path) -> None:
    artifact = Artifact(archive({"a.yaml": MAP % 1}))
    async with docker_registry(tmp_path, HTPASSWD) as host:
        await push(host, "team/config", "1", artifact, "Basic bWU6c2VjcmV0")
        source = {"repoURL": f"oci://{host}/team/config", "targetRevision": "1", "path": "."}
        assert "pull access denied" in (await renderer.render(wanted(source))).problem
        renderer.fetcher.credentials = lambda url, project, to_write=False: Credentials("me", "secret")
        assert (await renderer.render(wanted(source))).problem == ""


async def test_artifacts_stay_where_they_are_put(renderer: SourceRenderer, tmp_path: Path) -> None:
    async with docker_registry(tmp_path) as host:
        await push(host, "bad", "1", Artifact(archive({"../out": "x"})))
        await push(host, "bad", "2", Artifact(archive({}, link=("a.yaml", "/etc/passwd"))))
        await push(host, "bad", "3", Artifact(b"no archive"))
        problems = await asyncio.gather(*(refused(renderer, f"oci://{host}/bad", tag) for tag in "123"))
    assert "may not be unpacked" in problems[0] and all("could not be unpacked" in one for one in problems[1:])
    assert "out" not in [name for _, folders, files in os.walk(tmp_path) for name in (*folders, *files)]


async def refused(renderer: SourceRenderer, url: str, revision: str) -> str:
    return (await renderer.render(wanted({"repoURL": url, "targetRevision": revision, "path": "."}))).problem


@pytest.mark.parametrize("url", ["oci://", "oci://--x", "oci://HOST/Up", "oci://127.0.0.1:1/x y"])
async def test_urls_that_name_nothing(renderer: SourceRenderer, url: str) -> None:
    assert await refused(renderer, url, "1")


@pytest.mark.parametrize(
    ("config", "types", "words"),
    [
        ("x", [LAYER, LAYER], "expected only a single oci content layer, got 2"),
        ("x", ["application/json"], "expected only a single oci content layer, got 0"),
        ("x", ["application/x.tar"], "oci layer media type application/x.tar is not in the list"),
        ("x", [LAYER] * 11, "expected no more than 10 oci layers, got 11"),
        (CHART_CONFIG, [LAYER], "expected only a single oci content layer, got 0"),
    ],
)
def test_which_layers_are_refused(config: str, types: Sequence[str], words: str) -> None:
    layers = tuple(Descriptor("sha256:0", 1, kind) for kind in types)
    with pytest.raises(RenderError, match=words):
        content_layer(Manifest(Descriptor("sha256:0", 2, config), layers))


def test_a_provenance_layer_beside_a_chart_does_not_count() -> None:
    layers = (Descriptor("a", 1, CHART_LAYER), Descriptor("b", 1, "application/vnd.cncf.helm.chart.provenance.v1.prov"))
    assert content_layer(Manifest(Descriptor("c", 2, CHART_CONFIG), layers)).digest == "a"
