"""Commits of hydrated manifests: made in the bare copy without a work tree, so that nothing in a repository, no link
and no attribute, has a say in where things are written; pushed only onto what was seen.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tiphys.cd.rendering import Push
from tiphys.cd.sources.git import GitError, GitStore, Repository

NOTES: Final = "refs/notes/hydrator.metadata"


async def push(git: GitStore, repository: Repository, wanted: Push) -> str:
    """The commit that the branch is at afterwards. Raises `GitError`."""
    for branch in (wanted.branch, wanted.base):
        await git.ready(repository)
        await git.ask(["check-ref-format", f"refs/heads/{branch}"], repository)
    who = {f"GIT_{role}_NAME": wanted.author for role in ("AUTHOR", "COMMITTER")}
    who |= {f"GIT_{role}_EMAIL": wanted.email for role in ("AUTHOR", "COMMITTER")}
    heads = await git.references(repository)
    old = heads.get(f"refs/heads/{wanted.branch}", "")
    base = heads.get(f"refs/heads/{wanted.base}", "")
    for commit in filter(None, {old, base}):
        await git.fetch(repository, commit)
    if not base and wanted.base != wanted.branch:
        base = await _first(git, repository, wanted, who)
    parent = old or base
    made = await _made(git, repository, wanted, parent, who)
    if made != old:
        lease = f"--force-with-lease=refs/heads/{wanted.branch}:{old}"
        target = f"{made}:refs/heads/{wanted.branch}"
        await git.ask(["push", "--quiet", lease, "--", repository.url, target], repository)
    async with git.writing(repository):
        await _note(git, repository, wanted, made, who)
    return made


async def _first(git: GitStore, repository: Repository, wanted: Push, who: Mapping[str, str]) -> str:
    """The branch that is synced must be there, though there is nothing in it yet."""
    empty = (await git.ask(["mktree"], repository, given=b"")).strip()
    first = (await git.ask(["commit-tree", "-m", "Initial commit", empty], repository, who)).strip()
    await git.ask(["push", "--quiet", "--", repository.url, f"{first}:refs/heads/{wanted.base}"], repository)
    return first


async def _made(git: GitStore, repository: Repository, wanted: Push, parent: str, who: Mapping[str, str]) -> str:
    """The new commit, or ``parent`` where nothing that decides has changed."""
    with TemporaryDirectory(prefix="tiphys-index-") as folder:
        index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        rows = []
        for name, text in wanted.files.items():
            blob = await git.ask(["hash-object", "-w", "--stdin"], repository, given=text.encode())
            rows.append((blob.strip(), name))
        if parent:
            held = await git.ask(["ls-tree", "-r", "-z", parent, "--", *wanted.deciding], repository)
            known = {entry.partition("\t")[2]: entry.split()[2] for entry in held.split("\0") if entry}
            if all(known.get(name) == blob for blob, name in rows if name in wanted.deciding):
                return parent
            await git.ask(["read-tree", parent], repository, index)
        listed = "".join(f"100644 {blob} 0\t{name}\0" for blob, name in rows)
        await git.ask(["update-index", "--replace", "-z", "--index-info"], repository, index, given=listed.encode())
        tree = (await git.ask(["write-tree"], repository, index)).strip()
    parents = ["-p", parent] if parent else []
    argv = ["commit-tree", *parents, "-F", "-", tree]
    return (await git.ask(argv, repository, who, given=wanted.message.encode())).strip()


async def _note(git: GitStore, repository: Repository, wanted: Push, commit: str, who: Mapping[str, str]) -> None:
    """Says at the commit which dry one it is of, also where nothing had to be committed."""
    with contextlib.suppress(GitError):  # there are none yet
        await git.ask(["fetch", "--quiet", "--", repository.url, f"+{NOTES}:{NOTES}"], repository)
    text = json.dumps({"drySha": wanted.dry}, separators=(",", ":"))
    with contextlib.suppress(GitError):
        if (await git.ask(["notes", f"--ref={NOTES}", "show", commit], repository)).strip() == text:
            return
    await git.ask(["notes", f"--ref={NOTES}", "add", "-f", "-m", text, commit], repository, who)
    await git.ask(["push", "--quiet", "--", repository.url, f"{NOTES}:{NOTES}"], repository)
