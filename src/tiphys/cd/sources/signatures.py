"""Who signed a commit, the tag that was asked for, and for a strict policy all that came before.

git asks gpg, which knows only the keys of ``argocd-gpg-keys-cm`` and trusts them all; which of them may sign for whom
is the policy's business. A strict look back ends at commits with the trailer ``Argocd-gpg-seal:`` whose signature is
good: somebody vouches for what is before them.
"""

from __future__ import annotations

import asyncio
import re
import shutil
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tiphys.cd.plan.integrity import Policy, Signature, problems_of
from tiphys.cd.sources.git import GitError, GitStore, Repository
from tiphys.cd.sources.request import RenderError

KNOWN_MAX: Final = 1_000
_SEAL: Final = "--grep=Argocd-gpg-seal:"
_FIELDS: Final = "--pretty=format:%H%x00%G?%x00%GK%x00%an <%ae>"
_STATUS: Final = re.compile(r"\[GNUPG:\] (GOODSIG|BADSIG|EXPSIG|EXPKEYSIG|REVKEYSIG|ERRSIG) ([0-9A-F]+) ")
_LETTERS: Final = {"GOODSIG": "G", "BADSIG": "B", "EXPSIG": "X", "EXPKEYSIG": "Y", "REVKEYSIG": "R", "ERRSIG": "E"}
_CONFIGURATION: Final = "trust-model always\nno-autostart\nno-auto-key-retrieve\nbatch\n"


class Signatures:
    """Verifies what a `GitStore` has. What was found good is not verified again."""

    def __init__(self, git: GitStore) -> None:
        self._git = git
        self._good: OrderedDict[tuple[object, ...], None] = OrderedDict()

    async def problems(
        self, repository: Repository, commit: str, revision: str, policy: Policy, keys: Mapping[str, str]
    ) -> list[str]:
        """What the policy finds wrong with a commit that ``revision`` meant: a tag with its prefix, or anything else
        that means a commit. Raises `RenderError` without gpg."""
        asked = (repository.url, commit, revision, policy, tuple(sorted(keys.items())))
        if asked in self._good:
            return []
        found = problems_of(policy, await self._signatures(repository, commit, revision, policy, keys))
        if not found:
            self._good[asked] = None
            if len(self._good) > KNOWN_MAX:
                self._good.popitem(last=False)
        return found

    async def _signatures(
        self, repository: Repository, commit: str, revision: str, policy: Policy, keys: Mapping[str, str]
    ) -> list[Signature]:
        if shutil.which("gpg") is None:
            raise RenderError("the project wants signatures to be verified, for which gpg has to be on the PATH")
        with _keyring() as home:
            environment = {"GNUPGHOME": str(home)}
            await self._import(home, keys)
            tag = await self._tag(repository, revision, environment)
            if tag is not None and not policy.is_strict:
                return [tag]
            which = await self._until(repository, commit, environment) if policy.is_strict else [commit, "-1", "--"]
            text = await self._git.ask(["rev-list", _FIELDS, "--no-commit-header", *which], repository, environment)
            rows = (line.split("\0") for line in text.splitlines())
            return [*([tag] if tag else []), *(Signature(*row) for row in rows if len(row) == 4)]

    async def _import(self, home: Path, keys: Mapping[str, str]) -> None:
        """Keys that are none are left out: what they signed is signed by nobody we know."""
        for text in keys.values():
            process = await asyncio.create_subprocess_exec(
                "gpg", "--homedir", str(home), "--import",
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
            await process.communicate(text.encode())

    async def _tag(self, repository: Repository, revision: str, environment: Mapping[str, str]) -> Signature | None:
        """The signature of an annotated tag; None where the revision is none."""
        name = f"refs/tags/{revision.removeprefix('refs/tags/')}"
        try:
            await self._git.ask(["fetch", "--quiet", "--no-tags", "--", repository.url, f"+{name}:{name}"], repository)
            kind = await self._git.ask(["cat-file", "-t", name], repository)
        except GitError:
            return None
        if kind.strip() != "tag":
            return None
        tagger = await self._git.ask(["for-each-ref", "--format=%(taggername) %(taggeremail)", name], repository)
        try:
            said = await self._git.ask(["verify-tag", "--raw", name], repository, environment, with_errors=True)
        except GitError as err:
            said = str(err)
        found = _STATUS.search(said)
        result, key = (_LETTERS[found[1]], found[2]) if found else ("N", "")
        return Signature(revision, result, key, tagger.strip())

    async def _until(self, repository: Repository, commit: str, environment: Mapping[str, str]) -> Sequence[str]:
        """The arguments of ``git rev-list`` for all before a commit, up to good seals."""
        search = ["rev-list", "--pretty=format:%G?%H", "--no-commit-header", _SEAL, "--regexp-ignore-case", commit]
        found = (await self._git.ask(search, repository, environment)).splitlines()
        seals = [line[1:] for line in found if line.startswith("G")]
        if not seals:
            return [commit, "--"]
        return [commit, "-1", "--"] if seals[0] == commit else ["--boundary", commit, "--not", *seals]


@contextmanager
def _keyring() -> Iterator[Path]:
    with TemporaryDirectory(prefix="tiphys-gpg-") as folder:
        home = Path(folder)
        home.chmod(0o700)
        (home / "gpg.conf").write_text(_CONFIGURATION)
        yield home
