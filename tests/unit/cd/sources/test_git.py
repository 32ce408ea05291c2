"""Real repositories in temporary directories."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

import pytest

from tiphys.cd.sources.credentials import Credentials
from tiphys.cd.sources.git import GitError, GitStore, Repository, _submodule

IDENTITY = {
    "GIT_AUTHOR_NAME": "A",
    "GIT_AUTHOR_EMAIL": "a@example.com",
    "GIT_COMMITTER_NAME": "A",
    "GIT_COMMITTER_EMAIL": "a@example.com",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_ALLOW_PROTOCOL": "file",
}


def git(place: Path, *arguments: str) -> str:
    run = subprocess.run(
        ["git", *arguments], cwd=place, env={**os.environ, **IDENTITY}, check=True, capture_output=True, text=True
    )
    return run.stdout.strip()


class Origin:
    """A repository with commits to make."""

    def __init__(self, place: Path) -> None:
        place.mkdir()
        self.place = place
        self.repository = Repository(f"file://{place}")
        git(place, "init", "-q", "-b", "main")

    def commit(self, files: dict[str, str], message: str = "change") -> str:
        for name, text in files.items():
            (self.place / name).parent.mkdir(parents=True, exist_ok=True)
            (self.place / name).write_text(text)
        git(self.place, "add", "-A")
        git(self.place, "commit", "-qm", message)
        return git(self.place, "rev-parse", "HEAD")


@pytest.fixture
def origin(tmp_path: Path) -> Origin:
    return Origin(tmp_path / "origin")


@pytest.fixture
def store(tmp_path: Path) -> GitStore:
    return GitStore(tmp_path / "store", checkouts_max=2)


async def test_revisions_of_every_kind(origin: Origin, store: GitStore) -> None:
    first = origin.commit({"a": "1"})
    git(origin.place, "tag", "-a", "v1.0.0", "-m", "one")
    second = origin.commit({"a": "2"})
    git(origin.place, "tag", "v1.1.0-rc.1")
    git(origin.place, "branch", "feature/x", first)
    for revision, commit in {
        "": second,
        "HEAD": second,
        "main": second,
        "refs/heads/main": second,
        "feature/x": first,
        "v1.0.0": first,
        ">=1.0.0": first,
        ">=1.0.0-0": second,
        first: first,
        first[:8]: first[:8],
    }.items():
        assert await store.resolve(origin.repository, revision) == commit, revision
    with pytest.raises(GitError, match="unable to resolve 'nothing' to a commit SHA"):
        await store.resolve(origin.repository, "nothing")


async def test_checkouts_are_whole_and_the_oldest_go(origin: Origin, store: GitStore) -> None:
    commits = [origin.commit({"dir/a": str(number)}) for number in range(3)]
    places = [await store.checkout(origin.repository, commit) for commit in commits]
    assert not places[0].exists()
    assert (places[2] / "dir/a").read_text() == "2"
    assert (await store.checkout(origin.repository, commits[0]) / "dir/a").read_text() == "0"


async def test_checkouts_of_the_process_before_go_too(origin: Origin, store: GitStore) -> None:
    commits = [origin.commit({"a": str(number)}) for number in range(4)]
    old = [await store.checkout(origin.repository, commit) for commit in commits[:2]]
    again = GitStore(store.place, checkouts_max=2)
    for commit in commits[2:]:
        await again.checkout(origin.repository, commit)
    assert not any(place.exists() for place in old)


async def test_a_checkout_that_is_read_stays(origin: Origin, store: GitStore) -> None:
    commits = [origin.commit({"a": str(number)}) for number in range(4)]
    read = await store.checkout(origin.repository, commits[0])
    with store.shelf.held(read):
        for commit in commits[1:]:
            await store.checkout(origin.repository, commit)
        assert (read / "a").read_text() == "0"
    await store.checkout(origin.repository, commits[1])
    assert not read.exists()


async def test_what_changed(origin: Origin, store: GitStore) -> None:
    old = origin.commit({"a/x": "1", "b/y": "1"})
    new = origin.commit({"b/y": "2", "b/ö z": "3"})
    await store.checkout(origin.repository, new)
    assert sorted(await store.changed_files(origin.repository, old, new)) == ["b/y", "b/ö z"]
    assert await store.tree(origin.repository, old, "a") == await store.tree(origin.repository, new, "a")
    assert (await store.metadata(origin.repository, new))["message"] == "change"


async def test_submodules_come_at_the_commit_that_is_pinned(origin: Origin, store: GitStore, tmp_path: Path) -> None:
    inner = Origin(tmp_path / "inner")
    inner.commit({"in": "pinned"})
    origin.commit({"a": "1"})
    git(origin.place, "-c", "protocol.file.allow=always", "submodule", "add", "-q", "../inner", "sub")
    commit = origin.commit({})
    inner.commit({"in": "later"})
    place = await store.checkout(origin.repository, commit)
    assert (place / "sub/in").read_text() == "pinned"


async def test_a_repository_may_be_its_own_submodule(origin: Origin, store: GitStore) -> None:
    before = origin.commit({"a": "1"})
    (origin.place / ".gitmodules").write_text(f'[submodule "s"]\n\tpath = sub\n\turl = {origin.repository.url}\n')
    git(origin.place, "update-index", "--add", "--cacheinfo", f"160000,{before},sub")
    git(origin.place, "add", ".gitmodules")
    git(origin.place, "commit", "-qm", "itself")
    commit = git(origin.place, "rev-parse", "HEAD")
    place = await asyncio.wait_for(store.checkout(origin.repository, commit), 20)
    assert (place / "sub/a").read_text() == "1"


async def test_a_submodule_that_climbs_out_of_the_url_is_refused(origin: Origin, store: GitStore) -> None:
    before = origin.commit({"a": "1", ".gitmodules": f'[submodule "s"]\n\tpath = sub\n\turl = {"../" * 40}x\n'})
    git(origin.place, "update-index", "--add", "--cacheinfo", f"160000,{before},sub")
    git(origin.place, "commit", "-qm", "climbs")
    with pytest.raises(GitError, match="leads out of"):
        await store.checkout(origin.repository, git(origin.place, "rev-parse", "HEAD"))


def doubled(origin: Origin, before: str) -> str:
    """A commit that has another one of the same repository in it twice."""
    modules = "".join(
        f'[submodule "{name}"]\n\tpath = {name}\n\turl = {origin.repository.url}\n' for name in ("x", "y")
    )
    (origin.place / ".gitmodules").write_text(modules)
    git(origin.place, "add", ".gitmodules")
    for name in ("x", "y"):
        git(origin.place, "update-index", "--add", "--cacheinfo", f"160000,{before},{name}")
    git(origin.place, "commit", "-qm", "doubled")
    return git(origin.place, "rev-parse", "HEAD")


async def test_submodules_that_double_are_stopped(origin: Origin, store: GitStore) -> None:
    commit = origin.commit({"a": "1"})
    for _ in range(5):
        commit = doubled(origin, commit)
    store.files_max = 50
    with pytest.raises(GitError, match="has more than 50 files"):
        await store.checkout(origin.repository, commit)


async def test_submodules_in_submodules_come_to_an_end(
    origin: Origin, store: GitStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tiphys.cd.sources.git.NESTING_MAX", 2)
    commit = origin.commit({"a": "1"})
    for _ in range(2):
        commit = doubled(origin, commit)
    assert (await store.checkout(origin.repository, commit) / "x/y/a").read_text() == "1"
    commit = doubled(origin, commit)
    with pytest.raises(GitError, match="nested more than 2 deep"):
        await GitStore(store.place / "other").checkout(origin.repository, commit)


@pytest.mark.parametrize(
    ("parent", "url", "password"),
    [
        ("https://git.example.com/a", "https://git.example.com/b", "p"),
        ("https://u@git.example.com/a", "https://git.example.com/b", "p"),
        ("https://git.example.com/a", "https://evil.example.com/b", ""),
        ("https://git.example.com/a", "https://evil.example.com/@git.example.com/b", ""),
        ("https://git.example.com/a", "http://git.example.com/b", ""),
        ("https://git.example.com/a", "git@other.example.com:b", "p"),
    ],
)
def test_a_password_goes_to_submodules_of_the_same_host_only(parent: str, url: str, password: str) -> None:
    assert _submodule(Repository(parent, Credentials(password="p")), url).credentials.password == password


@pytest.mark.parametrize("url", ["file:///srv/secret", "/srv/secret", "./x:y", "secret"])
def test_a_remote_repository_has_no_submodules_on_this_machine(url: str) -> None:
    with pytest.raises(GitError, match="transport 'file' not allowed"):
        _submodule(Repository("https://git.example.com/a"), url)


@pytest.mark.parametrize(
    "url", ["--upload-pack=touch /tmp/x", "ext::sh -c touch% /tmp/x", "fd::17", "", "https://x/\n--y", "-x"]
)
async def test_urls_that_are_options_or_commands_are_refused(store: GitStore, url: str) -> None:
    with pytest.raises(GitError, match="not allowed"):
        await store.references(Repository(url))


async def test_a_revision_is_never_an_option(origin: Origin, store: GitStore) -> None:
    origin.commit({"a": "1"})
    with pytest.raises(GitError, match="unable to resolve"):
        await store.resolve(origin.repository, "--upload-pack=touch x")
    with pytest.raises(GitError, match="is no commit"):
        await store.checkout(origin.repository, "--all")


async def test_a_server_that_does_not_answer_is_left(tmp_path: Path) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(GitError, match="timeout"):
            await GitStore(tmp_path, deadline=0.3).references(Repository(f"git://127.0.0.1:{port}/x"))


async def test_a_token_does_not_show_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(GitError) as caught:
        await GitStore(tmp_path).references(Repository("https://user:s3cret@127.0.0.1:1/x"))
    assert "s3cret" not in str(caught.value)
    assert "s3cret" not in repr(Credentials(password="s3cret"))
