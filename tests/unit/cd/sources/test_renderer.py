"""The renderer as the controller uses it, on real repositories."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.unit.cd.sources.places import stores
from tests.unit.cd.sources.test_git import Origin
from tiphys.cd.rendering import Wanted
from tiphys.cd.sources.credentials import Credentials
from tiphys.cd.sources.git import GitStore, Repository
from tiphys.cd.sources.renderer import SourceRenderer
from tiphys.cd.sources.workers import RenderPool
from tiphys.runtime.clock import SystemClock

MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\ndata: {v: '%s'}\n"


class CountingGit(GitStore):
    asked = 0

    async def references(self, repository: Repository) -> dict[str, str]:
        self.asked += 1
        return await super().references(repository)


@pytest.fixture
def origin(tmp_path: Path) -> Origin:
    return Origin(tmp_path / "origin")


@pytest.fixture
async def renderer(tmp_path: Path) -> AsyncIterator[SourceRenderer]:
    async with aiohttp.ClientSession() as session:
        pool = RenderPool(SystemClock(), tmp_path / "scratch", deadline=30)
        found = SourceRenderer(stores(tmp_path, session, CountingGit(tmp_path / "git")), pool)
        yield found
        await found.close()


def wanted(*sources: dict[str, Any], **more: Any) -> Wanted:
    return Wanted(
        instance="web",
        namespace="prod",
        project="default",
        sources=sources,
        **more,
    )


async def test_objects_come_back_marked_with_their_revision(origin: Origin, renderer: SourceRenderer) -> None:
    commit = origin.commit({"app/a.yaml": MAP % 1})
    found = await renderer.render(wanted({"repoURL": origin.repository.url, "path": "app", "targetRevision": "main"}))
    assert (found.problem, found.revisions, found.types) == ("", [commit], ["Directory"])
    annotations = found.targets[0]["metadata"]["annotations"]
    assert annotations == {"argocd.argoproj.io/tracking-id": "web:/ConfigMap:prod/m"}


async def test_a_new_commit_is_seen_when_asked_for(origin: Origin, renderer: SourceRenderer) -> None:
    source = {"repoURL": origin.repository.url, "path": "app"}
    origin.commit({"app/a.yaml": MAP % 1})
    await renderer.render(wanted(source))
    origin.commit({"app/a.yaml": MAP % 2})
    old = await renderer.render(wanted(source, resolve=False))
    new = await renderer.render(wanted(source))
    assert [found.targets[0]["data"]["v"] for found in (old, new)] == ["1", "2"]


async def test_a_commit_elsewhere_costs_no_render(origin: Origin, renderer: SourceRenderer) -> None:
    source = {"repoURL": origin.repository.url, "path": "app"}
    annotations = {"argocd.argoproj.io/manifest-generate-paths": "."}
    origin.commit({"app/a.yaml": MAP % 1})
    await renderer.render(wanted(source, annotations=annotations))
    kept = list(renderer._kept._entries)
    commit = origin.commit({"other/b.yaml": MAP % 2})
    found = await renderer.render(wanted(source, annotations=annotations))
    assert found.revisions == [commit] and list(renderer._kept._entries) == kept
    origin.commit({"app/a.yaml": MAP % 3})
    assert (await renderer.render(wanted(source, annotations=annotations))).targets[0]["data"]["v"] == "3"


async def test_values_from_another_repository(origin: Origin, renderer: SourceRenderer, tmp_path: Path) -> None:
    values = Origin(tmp_path / "values")
    values.commit({"env/prod.yaml": "v: there\n"})
    template = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\ndata: {v: {{ .Values.v }}}\n"
    origin.commit({"chart/Chart.yaml": "apiVersion: v2\nname: c\nversion: 1.0.0\n", "chart/templates/m.yaml": template})
    chart = {
        "repoURL": origin.repository.url,
        "path": "chart",
        "helm": {"valueFiles": ["$values/env/prod.yaml"]},
    }
    found = await renderer.render(wanted(chart, {"repoURL": values.repository.url, "ref": "values"}))
    assert found.problem == ""
    assert found.targets[0]["data"] == {"v": "there"}
    assert found.types == ["Helm", ""] and len(found.revisions) == 2


async def test_files_of_the_first_source_stay_until_the_last_is_rendered(
    origin: Origin, renderer: SourceRenderer, tmp_path: Path
) -> None:
    renderer.fetcher.stores.git.shelf.size_max = 1
    other = Origin(tmp_path / "other")
    origin.commit({"app/a.yaml": MAP % 1})
    other.commit({"app/b.yaml": MAP % 2})
    sources = [{"repoURL": each.repository.url, "path": "app"} for each in (origin, other)]
    found = await renderer.render(wanted(*sources))
    assert found.problem == "" and [one["data"]["v"] for one in found.targets] == ["1", "2"]


async def test_many_who_ask_at_once_are_one_question(origin: Origin, renderer: SourceRenderer) -> None:
    origin.commit({"app/a.yaml": MAP % 1})
    source = {"repoURL": origin.repository.url, "path": "app"}
    found = await asyncio.gather(*(renderer.render(wanted(source)) for _ in range(20)))
    assert all(one.problem == "" for one in found)
    git = renderer.fetcher.stores.git
    assert isinstance(git, CountingGit) and git.asked == 1


async def test_a_question_is_shared_with_the_same_credentials_only(origin: Origin, renderer: SourceRenderer) -> None:
    origin.commit({"app/a.yaml": MAP % 1})
    renderer.fetcher.credentials = lambda url, project, to_write=False: Credentials(username=project)
    source = {"repoURL": origin.repository.url, "path": "app"}
    asking = [replace(wanted(source), project=project) for project in ("one", "one", "other")]
    await asyncio.gather(*map(renderer.render, asking))
    git = renderer.fetcher.stores.git
    assert isinstance(git, CountingGit) and git.asked == 2


async def test_problems_say_what_and_where(origin: Origin, renderer: SourceRenderer, tmp_path: Path) -> None:
    origin.commit({"app/a.yaml": MAP % 1})
    url = origin.repository.url
    for source, words in (
        (
            {"repoURL": url, "path": "none"},
            "source 1 of 1: rpc error: code = Unknown desc = none: app path does not exist",
        ),
        ({"repoURL": url, "path": "app", "targetRevision": "x/y"}, "unable to resolve 'x/y' to a commit SHA"),
        ({"repoURL": f"file://{tmp_path}/missing", "path": "app"}, "does not appear to be a git repository"),
    ):
        assert words in (await renderer.render(wanted(source))).problem, words


async def test_a_link_out_of_the_repository_stops_everything(origin: Origin, renderer: SourceRenderer) -> None:
    (origin.place / "app").mkdir()
    (origin.place / "app/link.yaml").symlink_to("/etc/hostname")
    origin.commit({"app/a.yaml": MAP % 1})
    found = await renderer.render(wanted({"repoURL": origin.repository.url, "path": "app"}))
    assert "repository contains out-of-bounds symlinks. file: app/link.yaml" in found.problem
