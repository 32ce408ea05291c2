"""Git artifacts, from repositories made here: over files, HTTP with a password, submodules, hostile words."""

from __future__ import annotations

import base64
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.workflows.drivers import stores
from tiphys.workflows.drivers.artifacts.git import GitDriver
from tiphys.workflows.executor.errors import ExecutorError
from tiphys.workflows.executor.trees import Place

ENV = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    **{f"GIT_{who}_{what}": "t@example" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    "GIT_ALLOW_PROTOCOL": "file",
}


def git(place: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=place, env=ENV, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    place = tmp_path / "repo"
    place.mkdir()
    git(place, "init", "-q", "-b", "main")
    for number in (1, 2, 3):
        (place / "f").write_text(f"{number}")
        git(place, "add", ".")
        git(place, "commit", "-qm", f"c{number}")
        if number == 2:
            git(place, "tag", "v2")
            git(place, "branch", "side")
    return place


def load(repository: Path | str, target: Path, **body: Any) -> None:
    secrets = {("s", "user"): "me", ("s", "word"): "pass word"}
    GitDriver(lambda name, key: secrets[name, key]).load(
        {"name": "a", "git": {"repo": str(repository), **body}}, target
    )


@pytest.mark.parametrize(
    ("body", "content"),
    [
        ({}, "3"),
        ({"revision": "v2"}, "2"),
        ({"revision": "side"}, "2"),
        ({"depth": 1}, "3"),
        ({"depth": 1, "revision": "v2"}, "2"),
        ({"singleBranch": True, "branch": "side"}, "2"),
        ({"fetch": ["refs/heads/side:refs/heads/other"], "revision": "other"}, "2"),
    ],
)
def test_revisions(repository: Path, tmp_path: Path, body: dict[str, Any], content: str) -> None:
    load(f"file://{repository}", tmp_path / "clone", **body)
    assert (tmp_path / "clone" / "f").read_text() == content


def test_a_commit_by_its_hash(repository: Path, tmp_path: Path) -> None:
    first = git(repository, "rev-list", "--max-parents=0", "HEAD")
    load(f"file://{repository}", tmp_path / "clone", revision=first, depth=1)
    assert (tmp_path / "clone" / "f").read_text() == "1"


def test_submodules_are_brought_along_unless_they_are_not_wanted(repository: Path, tmp_path: Path) -> None:
    outer = tmp_path / "outer"
    outer.mkdir()
    git(outer, "init", "-q", "-b", "main")
    git(outer, "-c", "protocol.file.allow=always", "submodule", "add", "-q", f"file://{repository}", "inner")
    git(outer, "commit", "-qm", "c")
    load(f"file://{outer}", tmp_path / "with")
    assert (tmp_path / "with" / "inner" / "f").read_text() == "3"
    load(f"file://{outer}", tmp_path / "without", disableSubmodules=True)
    assert not (tmp_path / "without" / "inner" / "f").exists()


def test_an_empty_repository(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    git(tmp_path / "empty", "init", "-q")
    load(f"file://{tmp_path}/empty", tmp_path / "clone", revision="main")
    assert (tmp_path / "clone" / ".git").is_dir()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"revision": "no-such"}, "failed to get resolve revision: reference not found"),
        ({"singleBranch": True}, "single branch mode without a branch specified"),
        ({"singleBranch": True, "branch": "no"}, "failed to clone"),
        ({"revision": "--upload-pack=touch /tmp/x"}, "is no name"),
    ],
)
def test_what_is_refused(repository: Path, tmp_path: Path, body: dict[str, Any], said: str) -> None:
    with pytest.raises(ExecutorError, match=said):
        load(f"file://{repository}", tmp_path / "clone", **body)


@pytest.mark.parametrize("repo", ["--upload-pack=x", "ext::sh -c touch% /tmp/hacked", "/no/such/repository"])
def test_addresses_that_are_none(tmp_path: Path, repo: str) -> None:
    with pytest.raises(ExecutorError):
        load(repo, tmp_path / "clone")


def test_outputs_are_not_kept_in_git(tmp_path: Path) -> None:
    with pytest.raises(ExecutorError, match="git output artifacts unsupported"):
        GitDriver(lambda n, k: "").save(Place(tmp_path, "/x"), {})


class Dumb(stores.Handler):
    """A bare repository's files over HTTP, for those who know the password."""

    root: Path

    def serve(self, path: str, query: dict[str, str], body: bytes) -> None:
        if self.headers.get("Authorization") != "Basic " + base64.b64encode(b"me:pass word").decode():
            self.answer(401, WWW_Authenticate='Basic realm="r"')
            return
        file = self.root / path.lstrip("/").partition("/")[2]
        if file.is_file():
            self.answer(200, file.read_bytes())
        else:
            self.answer(404)


@pytest.fixture
def dumb(repository: Path, tmp_path: Path) -> Iterator[stores.Store]:
    git(tmp_path, "clone", "-q", "--bare", str(repository), "bare.git")
    git(tmp_path / "bare.git", "update-server-info")
    with stores.serving(type("Here", (Dumb,), {"root": tmp_path / "bare.git"})) as server:
        yield server


def test_a_password_that_nobody_sees(dumb: stores.Store, tmp_path: Path) -> None:
    known = {"usernameSecret": {"name": "s", "key": "user"}, "passwordSecret": {"name": "s", "key": "word"}}
    load(f"http://{dumb.endpoint}/bare.git", tmp_path / "clone", **known)
    assert (tmp_path / "clone" / "f").read_text() == "3"
    assert "pass" not in (tmp_path / "clone" / ".git" / "config").read_text()
    with pytest.raises(ExecutorError) as caught:
        load(f"http://{dumb.endpoint}/bare.git", tmp_path / "other")
    assert "failed to clone" in str(caught.value)
