"""Semantic versions in CEL; with ``true`` as second argument a looser text is put in order first (v1.0, 01.2)."""

from __future__ import annotations

import re
from itertools import zip_longest

from tiphys.lang.cel.declarations import Functions, member, plain
from tiphys.lang.cel.types import BOOL, INT, STRING, struct
from tiphys.lang.cel.values import Failure, Opaque

TYPE = struct("kubernetes.Semver")
_SHAPE = re.compile(
    r"(0|[1-9]\d{0,18})\.(0|[1-9]\d{0,18})\.(0|[1-9]\d{0,18})(?:-([0-9A-Za-z.-]+))?(?:\+([0-9A-Za-z.-]+))?", re.ASCII
)


class Version(Opaque):
    """Build data does not count when two are compared."""

    __slots__ = ("numbers", "pre")
    cel_type = TYPE

    def __init__(self, numbers: tuple[int, int, int], pre: tuple[str, ...]) -> None:
        self.numbers, self.pre = numbers, pre

    def compare(self, other: Version) -> int:
        if self.numbers != other.numbers:
            return 1 if self.numbers > other.numbers else -1
        if not self.pre or not other.pre:
            return (not self.pre) - (not other.pre)
        for one, another in zip_longest(self.pre, other.pre):
            if one != another:
                return 1 if _rank(one) > _rank(another) else -1
        return 0

    def equal_to(self, other: object) -> bool:
        return isinstance(other, Version) and self.compare(other) == 0


def _rank(part: str | None) -> tuple[int, int, str]:
    """Absent before numbers before words."""
    if part is None:
        return 0, 0, ""
    return (1, int(part), "") if part.isdecimal() else (2, 0, part)


def _parse(text: str, is_loose: bool = False) -> Version | Failure:
    text = _normalized(text) if is_loose else text
    if not text:
        return Failure("Version string empty")
    match = _SHAPE.fullmatch(text)
    if match is None:
        return Failure(_refusal(text))
    pre, build = (tuple(part.split(".")) if part else () for part in match.groups()[3:])
    for part in pre:
        if not part:
            return Failure("Prerelease is empty")
        if part.isdecimal() and len(part) > 1 and part[0] == "0":
            return Failure(f'Numeric PreRelease version must not contain leading zeroes "{part}"')
    if "" in build:
        return Failure("Build meta data is empty")
    return Version((int(match[1]), int(match[2]), int(match[3])), pre)


def _refusal(text: str) -> str:
    parts = text.split(".", 2)
    if len(parts) != 3:
        return "No Major.Minor.Patch elements found"
    for name, part in zip(("major", "minor", "patch"), (*parts[:2], re.split(r"[+-]", parts[2])[0]), strict=True):
        title = name.capitalize()
        if not re.fullmatch(r"[0-9]+", part, re.ASCII):
            return f'Invalid character(s) found in {name} number "{part}"'
        if len(part) > 1 and part[0] == "0":
            return f'{title} number must not contain leading zeroes "{part}"'
    return f'Invalid character(s) found in prerelease "{text}"'


def _normalized(text: str) -> str:
    """Without a leading v, with three numbers, without leading zeroes."""
    text = text.removeprefix("v")
    parts = text.split(".", 2)
    for at, part in enumerate(parts):
        if len(part) > 1:
            stripped = part.lstrip("0")
            parts[at] = stripped if stripped and stripped[0].isdecimal() else f"0{stripped}"
    if len(parts) < 3:
        if any(c in parts[-1] for c in "+-"):
            return text
        parts += ["0"] * (3 - len(parts))
    return ".".join(parts)


def _is_version(text: str, is_loose: bool = False) -> bool:
    return not isinstance(_parse(text, is_loose), Failure)


FUNCTIONS: Functions = {
    "semver": (
        plain("string_to_semver", (STRING,), TYPE, _parse),
        plain("string_bool_to_semver", (STRING, BOOL), TYPE, _parse),
    ),
    "isSemver": (
        plain("is_semver_string", (STRING,), BOOL, _is_version),
        plain("is_semver_string_bool", (STRING, BOOL), BOOL, _is_version),
    ),
    "isGreaterThan": (member("semver_is_greater_than", (TYPE, TYPE), BOOL, lambda a, b: a.compare(b) > 0),),
    "isLessThan": (member("semver_is_less_than", (TYPE, TYPE), BOOL, lambda a, b: a.compare(b) < 0),),
    "compareTo": (member("semver_compare_to", (TYPE, TYPE), INT, Version.compare),),
    "major": (member("semver_major", (TYPE,), INT, lambda version: version.numbers[0]),),
    "minor": (member("semver_minor", (TYPE,), INT, lambda version: version.numbers[1]),),
    "patch": (member("semver_patch", (TYPE,), INT, lambda version: version.numbers[2]),),
}
