"""Semantic versions and constraints on them (Masterminds/semver v3), which reads loosely: ``1.2`` and ``v1`` will do.

Grammar of a constraint (``||`` binds weakest):

    constraint = group { "||" group }
    group      = [ op ] version { ( " " | "," ) [ op ] version }       | version " - " version
    op         = "=" | "!=" | ">" | "<" | ">=" | "=>" | "<=" | "=<" | "~" | "~>" | "^"
    version    = [ "v" ] ( number | "x" | "X" | "*" ) { "." ( number | "x" | "X" | "*" ) } [ "-" pre ] [ "+" build ]
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from tiphys.lang.gofmt import quote
from tiphys.lang.goregexp import compile_pattern
from tiphys.lang.govalues import CallError, Function, Uint64, functions

VERSION_LENGTH_MAX = 256
CONSTRAINT_LENGTH_MAX = 512
GROUPS_MAX = 32

_UINT64 = 1 << 64
_VERSION = re.compile(
    r"v?([0-9]+)(?:\.([0-9]+))?(?:\.([0-9]+))?(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?"
    r"(?:\+([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?"
)
_PARTS = (
    r"v?([0-9|x|X|\*]+)(\.[0-9|x|X|\*]+)?(\.[0-9|x|X|\*]+)?(-([0-9A-Za-z\-]+(\.[0-9A-Za-z\-]+)*))?"
    r"(\+([0-9A-Za-z\-]+(\.[0-9A-Za-z\-]+)*))?"
)
_OPERATORS = r"=||!=|>|<|>=|=>|<=|=<|~|~>|\^"
_ONE = rf"^\s*({_OPERATORS})\s*({_PARTS})\s*$"
_FIND = rf"({_OPERATORS})\s*({_PARTS})"
_VALID = rf"^(\s*({_OPERATORS})\s*({_PARTS})\s*)((?:\s+|,\s*)({_OPERATORS})\s*({_PARTS})\s*)*$"
_RANGE = rf"\s*({_PARTS})\s+-\s+({_PARTS})\s*"
_ANY = ("x", "X", "*")


@dataclass(frozen=True)
class Version:
    """*semver.Version; numbers are uint64."""

    major: int
    minor: int
    patch: int
    prerelease: str = ""
    metadata: str = ""
    original: str = ""
    go_type = "*semver.Version"

    def go_string(self) -> str:
        text = f"{self.major}.{self.minor}.{self.patch}"
        text += f"-{self.prerelease}" if self.prerelease else ""
        return text + (f"+{self.metadata}" if self.metadata else "")

    @property
    def core(self) -> tuple[int, int, int]:
        return self.major, self.minor, self.patch

    @cached_property
    def go_methods(self) -> dict[str, Function]:
        """What templates and expressions may call on it."""
        return functions(
            {
                "Major": ("-> uint64", lambda: Uint64(self.major)),
                "Minor": ("-> uint64", lambda: Uint64(self.minor)),
                "Patch": ("-> uint64", lambda: Uint64(self.patch)),
                "Prerelease": ("-> string", lambda: self.prerelease),
                "Metadata": ("-> string", lambda: self.metadata),
                "Original": ("-> string", lambda: self.original),
                "String": ("-> string", self.go_string),
                "IncPatch": ("-> semver.Version", self._next_patch),
                "IncMinor": ("-> semver.Version", lambda: self._next(self.major, self.minor + 1, 0)),
                "IncMajor": ("-> semver.Version", lambda: self._next(self.major + 1, 0, 0)),
                "Compare": ("*semver.Version -> int", lambda other: compare(self, other)),
                "Equal": ("*semver.Version -> bool", lambda other: compare(self, other) == 0),
                "LessThan": ("*semver.Version -> bool", lambda other: compare(self, other) < 0),
                "LessThanEqual": ("*semver.Version -> bool", lambda other: compare(self, other) <= 0),
                "GreaterThan": ("*semver.Version -> bool", lambda other: compare(self, other) > 0),
                "GreaterThanEqual": ("*semver.Version -> bool", lambda other: compare(self, other) >= 0),
            }
        )

    def _next_patch(self) -> Version:
        return self._next(self.major, self.minor, self.patch + (not self.prerelease))

    def _next(self, major: int, minor: int, patch: int) -> Version:
        if max(major, minor, patch) >= _UINT64:
            raise CallError("version increment would overflow uint64")
        found = Version(major, minor, patch)
        return replace(found, original=("v" if self.original.startswith("v") else "") + found.go_string())


def parse(text: str) -> Version:
    """Raises CallError with the library's words."""
    if len(text) > VERSION_LENGTH_MAX:
        raise CallError(f"version string is too long (max {VERSION_LENGTH_MAX} bytes)")
    found = _VERSION.fullmatch(text)
    if found is None:
        raise CallError("invalid semantic version")
    numbers = [int(part or 0) for part in found.groups()[:3]]
    for number in numbers:
        if number >= _UINT64:
            what = f'strconv.ParseUint: parsing "{number}": value out of range'
            raise CallError(f"error parsing version segment: {what}")
    for part in (found[4] or "").split("."):
        if part.isdecimal() and len(part) > 1 and part[0] == "0":
            raise CallError("version segment starts with 0")
    return Version(numbers[0], numbers[1], numbers[2], found[4] or "", found[5] or "", text)


def compare(left: Version, right: Version) -> int:
    """-1, 0 or 1; a prerelease comes before its release, build metadata does not count."""
    if left.core != right.core:
        return 1 if left.core > right.core else -1
    if not left.prerelease or not right.prerelease:
        return bool(right.prerelease) - bool(left.prerelease)
    return _compare_prerelease(left.prerelease, right.prerelease)


def _compare_prerelease(left: str, right: str) -> int:
    ours, theirs = left.split("."), right.split(".")
    for index in range(max(len(ours), len(theirs))):
        one = ours[index] if index < len(ours) else ""
        other = theirs[index] if index < len(theirs) else ""
        if one != other:
            return _compare_part(one, other)
    return 0


def _compare_part(one: str, other: str) -> int:
    """Nothing comes first, then numbers by value, then text by bytes."""
    if not one or not other:
        return 1 if one else -1
    if one.isdecimal() and other.isdecimal():
        return 1 if int(one) > int(other) else -1
    if one.isdecimal() or other.isdecimal():
        return 1 if other.isdecimal() else -1
    return 1 if one > other else -1


class ImproperConstraint(CallError):
    """``group`` is the part between ``||`` that is none."""

    def __init__(self, group: str) -> None:
        super().__init__(f"improper constraint: {quote(group)}")
        self.group = group


@dataclass(frozen=True)
class _Constraint:
    operator: str
    version: Version
    any_minor: bool = False
    any_patch: bool = False
    dirty: bool = False
    """Whether some part was left out or is an ``x``."""


def satisfies(constraint: str, version: Version) -> bool:
    """Whether a version fits. Raises CallError for a constraint that is none."""
    return any(_fits_all(group, version) for group in _groups(constraint))


def _fits_all(group: list[_Constraint], version: Version) -> bool:
    """A prerelease fits only where the group itself speaks of prereleases."""
    if version.prerelease and not any(one.version.prerelease for one in group):
        return False
    return all(_CHECKS[one.operator](version, one) for one in group)


def _groups(text: str) -> list[list[_Constraint]]:
    if len(text) > CONSTRAINT_LENGTH_MAX:
        raise CallError(f"constraint string is too long (max {CONSTRAINT_LENGTH_MAX} bytes)")
    for found in compile_pattern(_RANGE).finditer(text) if text.isascii() else ():
        text = text.replace(found[0], f">= {found[1]}, <= {found[11]} ", 1)
    groups = text.split("||")
    if len(groups) > GROUPS_MAX:
        raise CallError(f"too many constraint groups (max {GROUPS_MAX})")
    return [_group(group) for group in groups]


def _group(text: str) -> list[_Constraint]:
    if not text.isascii() or not compile_pattern(_VALID).search(text):
        raise ImproperConstraint(text)
    return [_constraint(found[0]) for found in compile_pattern(_FIND).finditer(text)]


def _constraint(text: str) -> _Constraint:
    found = compile_pattern(_ONE).search(text)
    if found is None:
        raise ImproperConstraint(text)
    operator, whole, major, minor, patch, rest = (found[index] or "" for index in range(1, 7))
    try:
        if major in _ANY or not major:
            return _Constraint(operator, parse(f"0.0.0{rest}"), dirty=True)
        if minor[1:] in _ANY or not minor:
            return _Constraint(operator, parse(f"{major}.0.0{rest}"), any_minor=True, dirty=True)
        if patch[1:] in _ANY or not patch:
            return _Constraint(operator, parse(f"{major}{minor}.0{rest}"), any_patch=True, dirty=True)
        return _Constraint(operator, parse(whole))
    except CallError:
        raise CallError("constraint parser error") from None


def _not_equal(version: Version, one: _Constraint) -> bool:
    if one.any_minor:
        return version.major != one.version.major
    if one.any_patch:
        same = version.core[:2] == one.version.core[:2]
        return not same or version.prerelease != one.version.prerelease
    return compare(version, one.version) != 0


def _greater(version: Version, one: _Constraint) -> bool:
    if one.dirty and version.major != one.version.major:
        return version.major > one.version.major
    if one.any_minor:
        return False
    if one.any_patch:
        return version.minor > one.version.minor
    return compare(version, one.version) > 0


def _less_or_equal(version: Version, one: _Constraint) -> bool:
    if not one.dirty:
        return compare(version, one.version) <= 0
    if version.major != one.version.major:
        return version.major < one.version.major
    return one.any_minor or version.minor <= one.version.minor


def _tilde(version: Version, one: _Constraint) -> bool:
    if compare(version, one.version) < 0:
        return False
    if one.version.core == (0, 0, 0) and not one.any_minor and not one.any_patch:
        return True
    return version.major == one.version.major and (one.any_minor or version.minor == one.version.minor)


def _equal(version: Version, one: _Constraint) -> bool:
    return _tilde(version, one) if one.dirty else compare(version, one.version) == 0


def _caret(version: Version, one: _Constraint) -> bool:
    """The first number that is not 0 must stay."""
    if compare(version, one.version) < 0 or version.major != one.version.major:
        return False
    if one.version.major > 0 or one.any_minor:
        return True
    if version.minor != one.version.minor:
        return False
    return one.version.minor > 0 or one.any_patch or version.patch == one.version.patch


_CHECKS: dict[str, Callable[[Version, _Constraint], bool]] = {
    "": _equal,
    "=": _equal,
    "!=": _not_equal,
    ">": _greater,
    "<": lambda version, one: compare(version, one.version) < 0,
    ">=": lambda version, one: compare(version, one.version) >= 0,
    "=>": lambda version, one: compare(version, one.version) >= 0,
    "<=": _less_or_equal,
    "=<": _less_or_equal,
    "~": _tilde,
    "~>": _tilde,
    "^": _caret,
}


def semver_compare(constraint: str, version: str) -> bool:
    groups = _groups(constraint)
    found = parse(version)
    return any(_fits_all(group, found) for group in groups)


TABLE: dict[str, tuple[str, Callable[..., Any]]] = {
    "semver": ("string -> *semver.Version", parse),
    "semverCompare": ("string, string -> bool", semver_compare),
}
