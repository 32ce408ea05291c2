"""Policies on signatures, with a real gpg."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.unit.cd.sources.places import stores
from tests.unit.cd.sources.test_git import IDENTITY, Origin
from tests.unit.cd.sources.test_renderer import MAP, wanted
from tiphys.cd.plan.integrity import IntegrityError, Policy, Signature, policies_of, policy_for, problems_of
from tiphys.cd.sources.renderer import SourceRenderer
from tiphys.cd.sources.workers import RenderPool
from tiphys.runtime.clock import SystemClock

needs_gpg = pytest.mark.skipif(shutil.which("gpg") is None, reason="gpg is not on this machine")


class Signer:
    """A key in a home of its own."""

    def __init__(self, home: Path, name: str) -> None:
        home.mkdir(mode=0o700)
        self.environment = {**os.environ, **IDENTITY, "GNUPGHOME": str(home)}
        who = f"{name} <{name}@example.com>"
        self._gpg(
            "--batch", "--pinentry-mode", "loopback", "--passphrase", "", "--quick-gen-key", who, "ed25519", "sign"
        )
        rows = [line.split(":") for line in self._gpg("--list-keys", "--with-colons").splitlines()]
        self.id = next(row[4] for row in rows if row[0] == "pub")
        self.public = self._gpg("--armor", "--export")

    def _gpg(self, *arguments: str) -> str:
        argv = ["gpg", *arguments]
        return subprocess.run(argv, env=self.environment, check=True, capture_output=True, text=True).stdout

    def git(self, origin: Origin, *arguments: str) -> str:
        argv = ["git", "-C", str(origin.place), "-c", f"user.signingkey={self.id}", *arguments]
        return subprocess.run(argv, env=self.environment, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, origin: Origin, message: str = "signed") -> str:
        self.git(origin, "commit", "-q", "--allow-empty", "-S", "-m", message)
        return self.git(origin, "rev-parse", "HEAD")

    def close(self) -> None:
        subprocess.run(["gpgconf", "--kill", "all"], env=self.environment, check=True)


@pytest.fixture
async def renderer(tmp_path: Path) -> AsyncIterator[SourceRenderer]:
    async with aiohttp.ClientSession() as session:
        found = SourceRenderer(stores(tmp_path, session), RenderPool(SystemClock(), tmp_path / "scratch"))
        yield found
        await found.close()


def policies(mode: str, *keys: str) -> Sequence[Mapping[str, Any]]:
    return [{"repos": [{"url": "*"}], "gpg": {"mode": mode, "keys": list(keys)}}]


@needs_gpg
async def test_who_signed_what(tmp_path: Path, renderer: SourceRenderer) -> None:
    origin = Origin(tmp_path / "origin")
    ann, bob = Signer(tmp_path / "a", "ann"), Signer(tmp_path / "b", "bob")
    fetcher = renderer.fetcher
    fetcher.stores = replace(fetcher.stores, keys=lambda: {"a": ann.public, "b": "no key"})
    try:
        unsigned = origin.commit({"a.yaml": MAP % 1})
        by_bob = bob.commit(origin)
        bob.git(origin, "tag", "-m", "unsigned", "v0")
        by_ann = ann.commit(origin)
        ann.git(origin, "tag", "-s", "-m", "signed", "v1.0.0", unsigned)
        sealed = ann.commit(origin, "Argocd-gpg-seal: all is well")
        after = ann.commit(origin)

        async def problems(revision: str, mode: str, *keys: str) -> str:
            source = {"repoURL": origin.repository.url, "path": ".", "targetRevision": revision}
            found = await renderer.render(wanted(source, integrity=policies(mode, *keys)))
            assert found.problem == "" and len(found.targets) == 1
            return "\n".join(found.untrusted)

        failed = "GIT/GPG: Failed verifying revision"
        author = "A <a@example.com>"
        assert await problems(by_ann, "head", ann.id) == ""
        assert await problems(by_ann, "none", "") == ""
        said = f"{failed} {by_ann} by '{author}': signed with unallowed key (key_id={ann.id})"
        assert await problems(by_ann, "head", bob.id) == said
        said = f"{failed} {by_bob} by '{author}': signed with key not in keyring (key_id={bob.id})"
        assert await problems(by_bob, "head", bob.id) == said
        assert await problems(unsigned, "head", ann.id) == f"{failed} {unsigned} by '{author}': unsigned (key_id=)"
        assert await problems("v1.0.0", "head", ann.id) == await problems(">=1", "head", ann.id) == ""
        assert f"{unsigned} by '{author}': unsigned" in await problems("v1.0.0", "strict", ann.id)
        assert "revision v0 by" in await problems("v0", "head", ann.id)
        assert len((await problems(by_ann, "strict", ann.id)).splitlines()) == 2
        assert await problems(sealed, "strict", ann.id) == await problems(after, "strict", ann.id) == ""
    finally:
        ann.close()
        bob.close()


async def test_without_gpg_nothing_that_should_be_verified_is_used(
    tmp_path: Path, renderer: SourceRenderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin = Origin(tmp_path / "origin")
    origin.commit({"a.yaml": MAP % 1})
    monkeypatch.setattr("tiphys.cd.sources.signatures.shutil.which", lambda _name: None)
    source = {"repoURL": origin.repository.url, "path": "."}
    found = await renderer.render(wanted(source, integrity=policies("head", "0" * 16)))
    assert "gpg has to be on the PATH" in found.problem and not found.targets


def test_which_policy_a_repository_has() -> None:
    repos = [{"url": "https://git.example.com/*"}, {"url": "!https://git.example.com/free"}]
    one = {"repos": repos, "gpg": {"mode": "strict", "keys": ["D56C4FCA57A46444", "F" * 40, "no id"]}}
    assert policy_for([one], "https://git.example.com/a") == Policy(frozenset(("D56C4FCA57A46444", "F" * 16)), True)
    assert policy_for([one], "https://git.example.com/free") is None
    assert policy_for([one], "https://other.example.com/a") is None
    with pytest.raises(IntegrityError, match="multiple"):
        policy_for([one, *policies("head")], "https://git.example.com/a")
    with pytest.raises(IntegrityError, match='unknown GPG mode "deep"'):
        policy_for(policies("deep"), "x")


def test_keys_of_before_there_were_policies() -> None:
    assert policies_of({"signatureKeys": [{"keyID": "A" * 16}]}) == policies("head", "A" * 16)
    modern = {"sourceIntegrity": {"git": {"policies": policies("none")}}}
    assert policies_of(modern | {"signatureKeys": [{"keyID": "A" * 16}]}) == policies("none")
    assert policies_of({}) == ()


def test_a_key_is_told_of_once_and_ten_problems_are_enough() -> None:
    bad = [Signature(f"{n:040x}", "B", "K" * 16, "a") for n in range(3)]
    assert len(problems_of(Policy(frozenset()), bad)) == 1
    assert len(problems_of(Policy(frozenset()), [Signature(f"{n:040x}", "N", "", "a") for n in range(20)])) == 10
