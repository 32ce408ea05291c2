"""Git repositories: which commit a revision is, the files of a commit, what changed between two.

One bare copy per repository, to which commits are fetched as they are needed, and one directory per commit that was
asked for; the directories that were not used for longest are removed. Everything runs the git program, which knows
every protocol and way to authenticate; it gets no shell, no prompts, no hooks, no configuration of the machine, and
only the transports named in `PROTOCOLS` – ``ext::`` and friends would run commands.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from weakref import WeakValueDictionary

from tiphys.cd.sources import revisions, urls
from tiphys.cd.sources.credentials import Credentials
from tiphys.cd.sources.request import RenderError
from tiphys.cd.sources.shelf import PLACES_MAX, Shelf

PROTOCOLS = "file:git:http:https:ssh"
DEADLINE_SECONDS = 90.0
FILES_MAX = 100_000
BYTES_MAX = 4 * 1024 * 1024 * 1024
"""Of the files of one commit: a few kilobytes of a packed repository may be any number of them."""

NESTING_MAX = 10
POINTER_BYTES_MAX = 1024
"""Of the text that stands for a large file (git-lfs docs/spec.md)."""

_SETTINGS = {
    "core.hooksPath": "/dev/null",
    "protocol.ext.allow": "never",
    "fetch.recurseSubmodules": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",  # a process of its own after every fetch, also if there is nothing to do
    "safe.directory": "*",
    "advice.detachedHead": "false",
    "filter.lfs.smudge": "git-lfs smudge --skip -- %f",
    "filter.lfs.required": "false",
}
_KEPT = ("LANG", "PATH", "SSH_AUTH_SOCK", "SSL_CERT_FILE", "TMPDIR")


class GitError(RenderError):
    """git said no; credentials are taken out of the text."""


@dataclass(frozen=True)
class Repository:
    """A repository and how to get at it. ``credentials`` do not take part in what is cached."""

    url: str
    credentials: Credentials = field(default=Credentials(), compare=False)
    submodules: bool = True
    depth: int = 0


class GitStore:
    """The repositories below one directory. One fetch per repository at a time; everything else runs side by side."""

    def __init__(self, place: Path, *, deadline: float = DEADLINE_SECONDS, checkouts_max: int = PLACES_MAX) -> None:
        self.place = place
        self.deadline = deadline
        self.shelf = Shelf(place, "*/commits/*", checkouts_max)
        self.files_max = FILES_MAX
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def references(self, repository: Repository) -> dict[str, str]:
        """Every reference of the remote and its commit; HEAD is among them. Raises `GitError`."""
        _check_url(repository.url)
        text = await self._git(["ls-remote", "--", repository.url], repository)
        found: dict[str, str] = {}
        for line in text.splitlines():
            commit, _, name = line.partition("\t")
            found[name.removesuffix("^{}")] = commit  # a peeled tag comes after the tag and is the commit
        return found

    async def resolve(self, repository: Repository, revision: str, tag_prefix: str = "") -> str:
        """The commit that a revision means: a commit, tag, branch, full reference or constraint on tags; empty is HEAD.

        Raises `GitError` in the original's words.
        """
        if revisions.is_commit(revision):
            return revision
        return self.chosen(await self.references(repository), revision, tag_prefix)

    @staticmethod
    def chosen(references: Mapping[str, str], revision: str, tag_prefix: str = "") -> str:
        """`resolve` among known references."""
        revision = GitStore.named(references, revision, tag_prefix)
        for name in (revision, f"refs/tags/{revision}", f"refs/heads/{revision}", f"refs/remotes/{revision}"):
            if name in references:
                return references[name]
        if revisions.is_short_commit(revision):
            return revision
        raise GitError(f"unable to resolve '{revision}' to a commit SHA: revision not found")

    @staticmethod
    def named(references: Mapping[str, str], revision: str, tag_prefix: str = "") -> str:
        """The tag that a version or a constraint means; any other revision as it is."""
        tags = [name.removeprefix("refs/tags/") for name in references if name.startswith("refs/tags/")]
        with contextlib.suppress(revisions.NoRevision):
            return revisions.max_version(revision or "HEAD", tags, tag_prefix)
        return revision or "HEAD"

    async def checkout(self, repository: Repository, commit: str, *, nesting: int = 0) -> Path:
        """A directory with the files of a commit, not to be changed: other renders read it too. Raises `GitError`.

        ``nesting``: how deep a submodule it is.
        """
        if nesting > NESTING_MAX:
            raise GitError(f"submodules are nested more than {NESTING_MAX} deep")
        _check_url(repository.url)
        if not revisions.is_short_commit(commit):
            raise GitError(f"{commit} is no commit")
        key = _key(repository.url)
        target = self.place / key / "commits" / commit
        # By commit: a repository may be its own submodule, but no commit can be.
        async with self._lock(str(target)):
            if not target.exists():
                async with self._lock(key):
                    await self._fetch(repository, commit)
                await self._write(repository, commit, target, nesting)
        self.shelf.used(target)
        return target

    async def changed_files(self, repository: Repository, old: str, new: str) -> list[str]:
        """The paths that differ between two commits. Raises `GitError`."""
        bare = self._bare(repository)
        async with self._lock(_key(repository.url)):
            for commit in (old, new):
                if not await self._has(repository, commit):
                    await self._fetch(repository, commit)
        text = await self._git(["diff", "--name-only", "-z", "--no-renames", old, new, "--"], repository, bare)
        return [name for name in text.split("\0") if name]

    async def tree(self, repository: Repository, commit: str, path: str) -> str:
        """The id of a directory's content at a commit, equal while nothing below it changed. Raises `GitError`."""
        text = await self._git(["rev-parse", f"{commit}:{path.strip('/')}"], repository, self._bare(repository))
        return text.strip()

    async def ask(
        self,
        arguments: Iterable[str],
        repository: Repository,
        environment: Mapping[str, str] | None = None,
        *,
        given: bytes | None = None,
        with_errors: bool = False,
    ) -> str:
        """What git says of the copy of a repository; ``with_errors``: also on standard error. ``given`` is its
        standard input. Raises `GitError`."""
        bare = self._bare(repository)
        found = await self._run(list(arguments), repository, bare, environment or {}, given, with_errors=with_errors)
        return found.decode("utf-8", "surrogateescape")

    async def metadata(self, repository: Repository, commit: str) -> dict[str, str]:
        """``author``, ``date`` (ISO 8601), ``message`` and ``signature`` (git's verdict letter). Raises `GitError`."""
        shown = await self._git(
            ["show", "-s", "--format=%an <%ae>%n%aI%n%G?%n%B", commit, "--"], repository, self._bare(repository)
        )
        author, date, signature, message = shown.split("\n", 3)
        return {"author": author, "date": date, "signature": signature, "message": message.strip()}

    def _lock(self, name: str) -> asyncio.Lock:
        found = self._locks.get(name)
        if found is None:
            found = self._locks[name] = asyncio.Lock()
        return found

    def _bare(self, repository: Repository) -> Path:
        return self.place / _key(repository.url) / "repository.git"

    async def ready(self, repository: Repository) -> None:
        """Sees to it that there is a copy, be it an empty one. Raises `GitError`."""
        async with self._lock(_key(repository.url)):
            await self._begin(repository)

    def writing(self, repository: Repository) -> asyncio.Lock:
        """Whose turn it is to change what all branches of a repository share."""
        return self._lock(f"{_key(repository.url)}/writing")

    async def fetch(self, repository: Repository, commit: str) -> None:
        """Brings a commit into the copy. Raises `GitError`."""
        async with self._lock(_key(repository.url)):
            await self._fetch(repository, commit)

    async def _begin(self, repository: Repository) -> None:
        bare = self._bare(repository)
        if not bare.exists():
            bare.parent.mkdir(parents=True, exist_ok=True)
            await self._git(["init", "--bare", "--quiet", str(bare)], repository)

    async def _fetch(self, repository: Repository, commit: str) -> None:
        bare = self._bare(repository)
        await self._begin(repository)
        depth = [f"--depth={repository.depth}"] if repository.depth > 0 else []
        options = ["fetch", "--quiet", "--force", "--no-tags", "--no-write-fetch-head", *depth, "--", repository.url]
        if len(commit) == 40:
            try:
                await self._git([*options, commit], repository, bare)
            except GitError:
                pass  # servers may refuse to give out commits by their ids, or be gone
            else:
                return
        if not await self._has(repository, commit):
            await self._git([*options, "+refs/*:refs/*"], repository, bare)

    async def _has(self, repository: Repository, commit: str) -> bool:
        try:
            await self._git(["cat-file", "-e", f"{commit}^{{commit}}"], repository, self._bare(repository))
        except GitError:
            return False
        return True

    async def _write(self, repository: Repository, commit: str, target: Path, nesting: int) -> None:
        """Writes beside and renames, so that a directory that exists is whole."""
        partial = target.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        bare, index = self._bare(repository), partial.with_suffix(".index")
        try:
            listing = await self._git(["ls-tree", "-r", "-l", "-z", commit], repository, bare)
            room = _Room(self.files_max)
            room.take(*_extent(listing))
            environment = {"GIT_INDEX_FILE": str(index), "GIT_WORK_TREE": str(partial)}
            await self._git(["read-tree", "--reset", "-u", commit], repository, bare, environment)
            if repository.submodules and (partial / ".gitmodules").is_file():
                await self._submodules(repository, listing, partial, room, nesting)
            if repository.credentials.enable_lfs:
                await self._large_files(repository, commit, partial, room)
            partial.rename(target)
        finally:
            index.unlink(missing_ok=True)
            shutil.rmtree(partial, ignore_errors=True)

    async def _submodules(self, repository: Repository, listing: str, place: Path, room: _Room, nesting: int) -> None:
        """Checks out each submodule at the commit that the tree pins; nested ones follow."""
        bare = self._bare(repository)
        pinned = dict(_gitlinks(listing))
        config = ["config", "--file", str(place / ".gitmodules"), "--get-regexp", "-z", r"^submodule\..*\.(path|url)$"]
        listed = await self._git(config, repository, bare)
        for path, url in _submodule_urls(listed, repository.url):
            if path in pinned and _is_plain(path):
                inner = await self.checkout(_submodule(repository, url), pinned[path], nesting=nesting + 1)
                with self.shelf.held(inner):
                    room.take(*await asyncio.to_thread(_measured, inner))
                    await asyncio.to_thread(_copied, inner, place, path)

    async def _large_files(self, repository: Repository, commit: str, place: Path, room: _Room) -> None:
        bare = self._bare(repository)
        listed = await self._git(["lfs", "ls-files", "--name-only", commit], repository, bare)
        names = [name for name in listed.splitlines() if _is_plain(name)]
        pointers = {name: _content(place, name) for name in names if (place / name).is_file()}
        for pointer in pointers.values():
            room.take(0, _pointed_size(pointer))
        await self._git(["lfs", "fetch", repository.url, commit], repository, bare)
        for name, pointer in pointers.items():
            content = await self._run(["lfs", "smudge"], repository, bare, {}, pointer)
            (place / name).write_bytes(content)

    async def _git(
        self,
        arguments: Iterable[str],
        repository: Repository,
        bare: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> str:
        output = await self._run(list(arguments), repository, bare, environment or {}, None)
        return output.decode("utf-8", "surrogateescape")

    async def _run(
        self,
        arguments: list[str],
        repository: Repository,
        bare: Path | None,
        more: Mapping[str, str],
        given: bytes | None,
        *,
        with_errors: bool = False,
    ) -> bytes:
        with repository.credentials.environment(repository.url) as secrets:
            settings = [word for name, value in _SETTINGS.items() for word in ("-c", f"{name}={value}")]
            process = await asyncio.create_subprocess_exec(
                "git",
                *settings,
                *([f"--git-dir={bare}"] if bare else []),
                *arguments,
                stdin=asyncio.subprocess.PIPE if given is not None else asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env={**_environment(), **secrets, **more},
                start_new_session=True,
            )
            output, errors = await _finished(process, given, self.deadline, arguments[0])
        if process.returncode:
            said = errors.decode("utf-8", "replace").strip().replace(repository.url, urls.sanitized(repository.url))
            raise GitError(f"`git {arguments[0]}` failed exit status {process.returncode}: {said}")
        return output + errors if with_errors else output


class _Room:
    """How much more of a commit may be written, with all its submodules and large files."""

    def __init__(self, files_max: int) -> None:
        self._files_max = files_max
        self._files = self._size = 0

    def take(self, files: int, size: int) -> None:
        """Raises `GitError` where it is more than is good for us."""
        self._files += files
        self._size += size
        if self._files > self._files_max:
            raise GitError(f"the commit has more than {self._files_max} files")
        if self._size > BYTES_MAX:
            raise GitError(f"the files of the commit are more than {BYTES_MAX} bytes")


def _extent(listing: str) -> tuple[int, int]:
    """How many files and bytes ``git ls-tree`` lists."""
    heads = [entry.partition("\t")[0].rpartition(" ")[2] for entry in listing.split("\0") if entry]
    return len(heads), sum(int(size) for size in heads if size.isdecimal())


def _measured(place: Path) -> tuple[int, int]:
    """How many files and bytes are below a directory."""
    found = [os.lstat(os.path.join(at, name)) for at, _, names in os.walk(place) for name in names]
    return len(found), sum(each.st_size for each in found)


def _copied(inner: Path, place: Path, path: str) -> None:
    """Raises `GitError` where a link leads out of ``place``."""
    if not (place / path).resolve().is_relative_to(place.resolve()):
        raise GitError(f"submodule path {path!r} leads out of the repository")
    shutil.copytree(inner, place / path, symlinks=True, dirs_exist_ok=True)


def _content(place: Path, name: str) -> bytes:
    """Raises `GitError` for a link, which no large file is."""
    if not (place / name).resolve().is_relative_to(place.resolve()):
        raise GitError(f"{name!r} leads out of the repository")
    with (place / name).open("rb") as file:
        return file.read(POINTER_BYTES_MAX)


def _pointed_size(pointer: bytes) -> int:
    found = re.search(rb"^size ([0-9]{1,18})$", pointer, re.MULTILINE)
    return int(found[1]) if found else 0


async def _finished(
    process: asyncio.subprocess.Process, given: bytes | None, deadline: float, name: str
) -> tuple[bytes, bytes]:
    try:
        async with asyncio.timeout(deadline):
            return await process.communicate(given)
    except TimeoutError:
        raise GitError(f"`git {name}` failed timeout after {deadline:g}s") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
            await process.wait()


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {
        **kept,
        "GIT_ALLOW_PROTOCOL": PROTOCOLS,
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "HOME": "/nonexistent",
    }


def _check_url(url: str) -> None:
    """A URL that git would take for an option or for the name of a remote helper is refused."""
    if not url or url.startswith("-") or "::" in url.partition("/")[0] or any(ord(c) < 32 for c in url):
        raise GitError(f"repository URL {url!r} is not allowed")


def _key(url: str) -> str:
    return hashlib.sha256(urls.normalized_or_as_is(url).encode()).hexdigest()[:32]


def _is_plain(path: str) -> bool:
    """Whether a path stays where it is put."""
    return not path.startswith("/") and ".." not in path.split("/") and ".git" not in path.split("/")


def _gitlinks(listing: str) -> Iterable[tuple[str, str]]:
    for entry in listing.split("\0"):
        head, _, path = entry.partition("\t")
        words = head.split(" ")
        if words[0] == "160000":
            yield path, words[2]


def _submodule_urls(listing: str, base: str) -> list[tuple[str, str]]:
    """Path and URL of each submodule; relative URLs count from the repository's."""
    found: dict[str, dict[str, str]] = {}
    for entry in filter(None, listing.split("\0")):
        key, _, value = entry.partition("\n")
        name, _, what = key.removeprefix("submodule.").rpartition(".")
        found.setdefault(name, {})[what] = value
    return [(one["path"], _absolute(one["url"], base)) for one in found.values() if {"path", "url"} <= set(one)]


def _submodule(parent: Repository, url: str) -> Repository:
    """Raises `GitError`: only a repository on this machine may take another one from it.

    Passwords go to the parent's own host only: a submodule may be anywhere. A key does not leave with its use.
    """
    if _is_local(url) and not _is_local(parent.url):
        raise GitError(f"submodule URL {url!r}: transport 'file' not allowed")
    is_trusted = urls.is_ssh(url) or _host(url) == _host(parent.url)
    return Repository(url, parent.credentials if is_trusted else Credentials(), True, parent.depth)


def _is_local(url: str) -> bool:
    """As git tells a path from ``host:path``."""
    return url.startswith("file://") or ("://" not in url and (":" not in url or "/" in url.partition(":")[0]))


def _host(url: str) -> tuple[str, str]:
    scheme, _, rest = url.partition("://")
    return scheme, rest.partition("/")[0].rpartition("@")[2].lower()


def _absolute(url: str, base: str) -> str:
    """Raises `GitError` for one that climbs out of the repository's own URL."""
    if not url.startswith(("./", "../")):
        return url
    parts = base.rstrip("/").split("/")
    for step in url.split("/"):
        if step == ".." and len(parts) == 1:
            raise GitError(f"submodule URL {url!r} leads out of {urls.sanitized(base)}")
        if step == "..":
            parts.pop()
        elif step != ".":
            parts.append(step)
    return "/".join(parts)
