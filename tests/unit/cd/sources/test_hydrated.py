"""Hydrated manifests are pushed to real repositories."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.cd.sources.test_git import Origin, git
from tiphys.cd.rendering import Push
from tiphys.cd.sources.git import GitError, GitStore, Repository
from tiphys.cd.sources.hydrated import push


@pytest.fixture
def origin(tmp_path: Path) -> Origin:
    found = Origin(tmp_path / "origin")
    found.commit({"dry.yaml": "a: 1"})
    return found


@pytest.fixture
def store(tmp_path: Path) -> GitStore:
    return GitStore(tmp_path / "store")


def commit(**changes: str) -> Push:
    files = {"app/manifest.yaml": "a: 1\n", "app/README.md": "how", "hydrator.metadata": "{}\n"}
    found = Push("", "", "env/prod", "env/prod", files, ["app/manifest.yaml"], "hydrated", "Argo", "a@b", "d" * 40)
    return replace(found, **changes)  # type: ignore[arg-type]


def shown(origin: Origin, what: str) -> str:
    return git(origin.place, "show", what)


async def test_a_branch_that_is_not_there_is_made(origin: Origin, store: GitStore) -> None:
    made = await push(store, origin.repository, commit())
    assert git(origin.place, "rev-parse", "env/prod") == made
    assert git(origin.place, "ls-tree", "-r", "--name-only", "env/prod").split() == [
        "app/README.md",
        "app/manifest.yaml",
        "hydrator.metadata",
    ]
    assert git(origin.place, "log", "-1", "--format=%an <%ae> %s", "env/prod") == "Argo <a@b> hydrated"
    assert json.loads(git(origin.place, "notes", "--ref=hydrator.metadata", "show", made)) == {"drySha": "d" * 40}


async def test_only_a_change_of_manifests_is_a_commit(origin: Origin, store: GitStore) -> None:
    first = await push(store, origin.repository, commit())
    files = {**commit().files, "app/README.md": "how else"}
    same = await push(store, origin.repository, replace(commit(dry="e" * 40), files=files))
    assert same == first == git(origin.place, "rev-parse", "env/prod")
    assert json.loads(git(origin.place, "notes", "--ref=hydrator.metadata", "show", first)) == {"drySha": "e" * 40}
    files["app/manifest.yaml"] = "a: 2\n"
    second = await push(store, origin.repository, replace(commit(), files=files))
    assert git(origin.place, "rev-parse", f"{second}^") == first
    assert (shown(origin, "env/prod:app/manifest.yaml"), shown(origin, "env/prod:app/README.md")) == (
        "a: 2",
        "how else",
    )


async def test_a_branch_for_review_begins_at_the_one_that_is_synced(origin: Origin, store: GitStore) -> None:
    made = await push(store, origin.repository, commit(branch="env/prod-next"))
    base = git(origin.place, "rev-parse", "env/prod")
    assert git(origin.place, "rev-parse", f"{made}^") == base
    assert git(origin.place, "ls-tree", base) == ""


async def test_branches_that_are_hydrated_at_once_all_get_their_notes(origin: Origin, store: GitStore) -> None:
    names = [f"env/{number}" for number in range(4)]
    wanted = [commit(branch=name, base=name, message=name, dry=f"{n:040x}") for n, name in enumerate(names)]
    made = await asyncio.gather(*[push(store, origin.repository, each) for each in wanted])
    for done, each in zip(made, wanted, strict=True):
        note = json.loads(git(origin.place, "notes", "--ref=hydrator.metadata", "show", done))
        assert (git(origin.place, "rev-parse", each.branch), note) == (done, {"drySha": each.dry})


async def test_what_others_put_into_the_branch_stays(origin: Origin, store: GitStore) -> None:
    await push(store, origin.repository, commit())
    git(origin.place, "checkout", "-q", "env/prod")
    (origin.place / "link").symlink_to("/etc")
    origin.commit({"other/manifest.yaml": "b: 1"})
    git(origin.place, "checkout", "-q", "main")
    files = {"link/manifest.yaml": "a: 3\n"}
    await push(store, origin.repository, replace(commit(), files=files, deciding=["link/manifest.yaml"]))
    assert shown(origin, "env/prod:other/manifest.yaml") == "b: 1"
    assert shown(origin, "env/prod:link/manifest.yaml") == "a: 3"  # in the repository, and nowhere else


@pytest.mark.parametrize("branch", ["--all", "a:refs/heads/main", "a..b", "*", ""])
async def test_branches_that_are_none(origin: Origin, store: GitStore, branch: str) -> None:
    before = git(origin.place, "for-each-ref")
    if branch == "--all":  # a name like any other where it cannot be an option
        await push(store, origin.repository, commit(branch=branch, base=branch))
        assert git(origin.place, "rev-parse", "refs/heads/--all")
        return
    with pytest.raises(GitError):
        await push(store, origin.repository, commit(branch=branch, base=branch))
    assert git(origin.place, "for-each-ref") == before


async def test_a_repository_that_is_not_there(tmp_path: Path, store: GitStore) -> None:
    with pytest.raises(GitError):
        await push(store, Repository(f"file://{tmp_path}/none"), commit())
