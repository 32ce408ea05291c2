"""What a ``targetRevision`` is – commit, version, constraint, reference – and which tag a constraint chooses.

Source of the behaviour: argo-cd util/versions and util/git, go-git's reference names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cmp_to_key

from tiphys.lang.gofmt import quote
from tiphys.lang.govalues import CallError
from tiphys.lang.sprig import semver

_COMMIT = re.compile(r"[0-9A-Fa-f]{40}")
_SHORT_COMMIT = re.compile(r"[0-9A-Fa-f]{7,}")
_FULL_REFERENCE = re.compile(r"refs/\s*\S")


class NoRevision(ValueError):
    """No tag fits, or the revision is neither version, constraint nor tag; the text is the original's."""


def is_commit(revision: str) -> bool:
    """A whole commit id: 40 hexadecimal digits."""
    return _COMMIT.fullmatch(revision) is not None


def is_short_commit(revision: str) -> bool:
    """Seven hexadecimal digits or more."""
    return _SHORT_COMMIT.fullmatch(revision) is not None


def is_short_reference(revision: str) -> bool:
    """Whether it is not written out as ``refs/…``."""
    return _FULL_REFERENCE.match(revision) is None


def is_version(revision: str) -> bool:
    """A version, read loosely: ``v1`` and ``1.2`` are some."""
    try:
        semver.parse(revision)
    except CallError:
        return False
    return True


def is_constraint(revision: str) -> bool:
    """A constraint on versions and not a version itself."""
    return not is_version(revision) and _why_no_constraint(revision) is None


def max_version(revision: str, tags: Iterable[str], tag_prefix: str = "") -> str:
    """The tag that ``revision`` means: itself where it is a version or a tag, else the highest that fits.

    Only tags with the prefix count; it does not take part in the comparison. Raises `NoRevision`.
    """
    if is_version(revision):
        return tag_prefix + revision
    candidates = [tag.removeprefix(tag_prefix) for tag in tags if tag.startswith(tag_prefix)]
    why = _why_no_constraint(revision)
    if why is not None:
        return _as_tag(revision, candidates, tag_prefix, why)
    fitting = [version for version in map(_parsed, candidates) if version and semver.satisfies(revision, version)]
    if not fitting:
        raise NoRevision(f"version matching constraint not found in {len(candidates)} tags")
    return tag_prefix + max(fitting, key=cmp_to_key(semver.compare)).original


def _as_tag(revision: str, candidates: list[str], tag_prefix: str, why: str) -> str:
    if tag_prefix:
        raise NoRevision(
            f"tagPrefix {quote(tag_prefix)} requires targetRevision to be a semver constraint, "
            f"but {quote(revision)} is not a valid constraint"
        )
    if revision in candidates:
        return revision
    raise NoRevision(f"failed to determine semver constraint: {why}")


def _why_no_constraint(text: str) -> str | None:
    try:
        semver.satisfies(text, semver.Version(0, 0, 0))
    except semver.ImproperConstraint as err:
        return f"improper constraint: {err.group}"
    except CallError as err:
        return str(err)
    return None


def _parsed(tag: str) -> semver.Version | None:
    try:
        return semver.parse(tag)
    except CallError:
        return None
