"""Renders in processes that can be killed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tiphys.cd.sources.request import RenderError, Request
from tiphys.cd.sources.workers import RenderPool
from tiphys.runtime.clock import SystemClock

MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\n"


@pytest.fixture
async def pool(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RenderPool]:
    found = RenderPool(SystemClock(), tmp_path_factory.mktemp("scratch"), size=1, deadline=10)
    yield found
    await found.close()


def request_for(place: Path, **files: str) -> Request:
    for name, text in files.items():
        (place / name.replace("_", ".")).write_text(text)
    return Request(app="web", source={"path": "."}, root=place)


async def test_one_process_renders_one_after_the_other(tmp_path: Path, pool: RenderPool) -> None:
    asked = request_for(tmp_path, a_yaml=MAP)
    first = await pool.render(asked)
    process = pool._idle[0].process.pid
    assert (await pool.render(asked)).manifests == first.manifests
    assert pool._idle[0].process.pid == process
    assert first.source_type == "Directory"


async def test_a_render_without_end_is_stopped_and_the_next_works(tmp_path: Path, pool: RenderPool) -> None:
    endless = tmp_path / "endless"
    endless.mkdir()
    asked = request_for(endless, a_jsonnet="local f(n) = if n == 0 then 1 else f(n - 1) + f(n - 1); {a: f(60)}")
    pool.deadline = 1.5
    with pytest.raises(RenderError, match="took longer than"):
        await pool.render(asked)
    pool.deadline = 10
    good = tmp_path / "good"
    good.mkdir()
    assert len((await pool.render(request_for(good, a_yaml=MAP))).manifests) == 1


async def test_a_render_that_eats_memory_is_no_danger(tmp_path: Path, pool: RenderPool) -> None:
    asked = request_for(tmp_path, a_jsonnet="{a: std.repeat(std.repeat('x', 100000000), 1000)}")
    with pytest.raises(RenderError):
        await pool.render(asked)


async def test_errors_come_across(tmp_path: Path, pool: RenderPool) -> None:
    with pytest.raises(RenderError, match="app path does not exist"):
        await pool.render(Request(app="web", source={"path": "missing"}, root=tmp_path))


async def test_edits_never_touch_the_shared_checkout(tmp_path: Path, pool: RenderPool) -> None:
    asked = request_for(tmp_path, kustomization_yaml="resources: [map.yaml]\n", map_yaml=MAP)
    kustomize = {"path": ".", "kustomize": {"namePrefix": "p-"}}
    found = await pool.render(Request(app="web", source=kustomize, root=asked.root))
    assert found.manifests[0]["metadata"]["name"] == "p-m"
    assert found.commands[-1] == "kustomize build ./." or found.commands[-1] == "kustomize build ."
    assert (tmp_path / "kustomization.yaml").read_text() == "resources: [map.yaml]\n"
    assert not list(pool.scratch.glob("*/*"))


async def test_a_plugin_with_its_environment(tmp_path: Path, pool: RenderPool) -> None:
    script = 'printf "apiVersion: v1\\nkind: ConfigMap\\nmetadata: {name: $ARGOCD_ENV_X-$PARAM_P}\\n"; touch written'
    plugin = {
        "kind": "ConfigManagementPlugin",
        "metadata": {"name": "mine"},
        "spec": {"version": "v1", "generate": {"command": ["sh", "-c", script]}},
    }
    wanted = {
        "name": "mine-v1",
        "env": [{"name": "X", "value": "$ARGOCD_APP_NAME"}],
        "parameters": [{"name": "p", "string": "q"}],
    }
    found = await pool.render(
        Request(app="web", source={"path": ".", "plugin": wanted}, root=tmp_path, plugins=[plugin])
    )
    assert found.source_type == "Plugin" and found.manifests[0]["metadata"]["name"] == "web-q"
    assert not (tmp_path / "written").exists()


async def test_a_plugin_that_discovers_takes_the_source(tmp_path: Path, pool: RenderPool) -> None:
    generate = {"command": ["cat"], "args": ["x.special"]}
    plugin = {
        "kind": "ConfigManagementPlugin",
        "metadata": {"name": "mine"},
        "spec": {"discover": {"find": {"glob": "**/*.special"}}, "generate": generate},
    }
    request_for(tmp_path, x_special=MAP)
    found = await pool.render(Request(app="web", source={"path": "."}, root=tmp_path, plugins=[plugin]))
    assert found.source_type == "Plugin"
