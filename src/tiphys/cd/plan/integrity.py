"""What a project wants of the signatures of its repositories (``sourceIntegrity``, and before it ``signatureKeys``).

A policy concerns a repository that one of its globs fits and none with ``!`` does. Mode ``head`` is about the commit,
or the annotated tag that was asked for; ``strict`` also about everything before it. More than one policy for a
repository is a mistake that must not turn verification off. Texts are the original's (util/sourceintegrity of argo-cd).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tiphys.lang import globs

CHECK: Final = "GIT/GPG"
PROBLEMS_MAX: Final = 10
GOOD: Final = "G"
RESULTS: Final = {
    GOOD: "signed",
    "B": "bad signature",
    "U": "signed with untrusted key",
    "X": "expired signature",
    "Y": "signed with expired key",
    "R": "signed with revoked key",
    "E": "signed with key not in keyring",
    "N": "unsigned",
}
"""By the letter that git's ``%G?`` gives."""
_KEY_ID: Final = re.compile(r"(?:[0-9A-Fa-f]{24})?([0-9A-Fa-f]{16})")


class IntegrityError(ValueError):
    """A policy that cannot be applied: nothing it concerns may be used."""


@dataclass(frozen=True)
class Policy:
    """``keys`` are the ids that may have signed, 16 digits each."""

    keys: frozenset[str]
    is_strict: bool = False


@dataclass(frozen=True)
class Signature:
    """Of a commit or tag. ``result`` is one of ``RESULTS``; ``key`` is empty where there is no signature."""

    revision: str
    result: str
    key: str
    author: str


def policies_of(project: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The policies of a project's spec."""
    modern = (project.get("sourceIntegrity") or {}).get("git")
    keys = [each.get("keyID") for each in project.get("signatureKeys") or ()]
    if modern is not None or not keys:
        return (modern or {}).get("policies") or ()
    return [{"repos": [{"url": "*"}], "gpg": {"mode": "head", "keys": keys}}]


def policy_for(policies: Sequence[Mapping[str, Any]], url: str) -> Policy | None:
    """The policy for a repository; None where nothing is to be verified. Raises IntegrityError."""
    found = [each for each in policies if _concerns(each, url)]
    if len(found) > 1:
        raise IntegrityError(f"multiple ({len(found)}) git source integrity policies found for repo URL: {url}")
    gpg = found[0].get("gpg") if found else None
    if not gpg or gpg.get("mode") == "none":
        return None
    mode = gpg.get("mode") or ""
    if mode not in ("head", "strict"):
        raise IntegrityError(f'unknown GPG mode "{mode}" configured for GIT source integrity')
    ids = (_KEY_ID.fullmatch(str(key)) for key in gpg.get("keys") or ())
    return Policy(frozenset(each[1].upper() for each in ids if each), mode == "strict")


def _concerns(policy: Mapping[str, Any], url: str) -> bool:
    patterns = [str(each.get("url") or "") for each in policy.get("repos") or ()]
    if any(pattern.startswith("!") and globs.fits(pattern[1:], url) for pattern in patterns):
        return False
    return any(not pattern.startswith("!") and globs.fits(pattern, url) for pattern in patterns)


def problems_of(policy: Policy, signatures: Sequence[Signature]) -> list[str]:
    """What is wrong, the newest first, each key once, ten at most."""
    found: list[str] = []
    told: set[str] = set()
    for each in signatures:
        problem = _problem(policy, each)
        if not problem or each.key in told:
            continue
        if each.key and len(each.revision) == 40:  # a tag is signed by itself
            told.add(each.key)
        found.append(f"{CHECK}: {problem}")
    return found[:PROBLEMS_MAX]


def _problem(policy: Policy, signature: Signature) -> str:
    if signature.result == GOOD and signature.key.upper() in policy.keys:
        return ""
    why = "signed with unallowed key" if signature.result == GOOD else RESULTS.get(signature.result, "bad signature")
    who = f"Failed verifying revision {signature.revision} by '{signature.author}'"
    return f"{who}: {why} (key_id={signature.key})"
