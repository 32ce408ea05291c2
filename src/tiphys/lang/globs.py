"""Three kinds of globs that Argo's manifests use; all are compiled to linear-time expressions and cached.

`matches` – github.com/gobwas/glob, without separators unless some are named (project rules, policies, include lists):

    pattern = { text | "*" | "**" | "?" | range | "{" pattern { "," pattern } "}" }
    range   = "[" [ "!" ] ( character "-" character | characters ) "]"

`path_match` – Go's filepath.Match: a star stays within one path segment, classes may hold several ranges.

`doublestar` – github.com/bmatcuk/doublestar: as filepath.Match, plus ``**`` over whole segments and ``{a,b}``.

A backslash takes the meaning from the character behind it in all three.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from tiphys.lang.goregexp import RegexpError, compile_pattern

PATTERN_LENGTH_MAX = 10_000
"""Characters of a glob; longer ones are refused."""

_CACHED = 10_000
_ANYTHING = r"(?s:.)"


class GlobError(ValueError):
    """A pattern that is none."""


def matches(pattern: str, text: str, separators: str = "") -> bool:
    """Whether the whole text fits a gobwas glob. Raises `GlobError` for a pattern that does not compile."""
    return _compiled(pattern, separators).fullmatch(text) is not None


def fits(pattern: str, text: str) -> bool:
    """`matches` for lists of rules: a pattern that does not compile fits nothing."""
    try:
        return matches(pattern, text)
    except GlobError:
        return False


def path_match(pattern: str, path: str) -> bool:
    """filepath.Match on the whole path. Raises `GlobError`, with Go's words."""
    return _compiled_path(pattern).fullmatch(path) is not None


def doublestar(pattern: str, path: str) -> bool:
    """doublestar.Match on the whole path. Raises `GlobError`."""
    return _compiled_doublestar(pattern).fullmatch(path) is not None


@lru_cache(maxsize=_CACHED)
def _compiled(pattern: str, separators: str) -> Any:
    return _expression(_Gobwas(pattern, separators).expression())


@lru_cache(maxsize=_CACHED)
def _compiled_path(pattern: str) -> Any:
    return _expression("".join(_segments(pattern)))


@lru_cache(maxsize=_CACHED)
def _compiled_doublestar(pattern: str) -> Any:
    return _expression(_doublestar(pattern))


def _expression(text: str) -> Any:
    try:
        return compile_pattern(text)
    except RegexpError as err:
        raise GlobError(str(err)) from None


class _Gobwas:
    """Reads a pattern from left to right; braces may nest and need not be closed."""

    def __init__(self, pattern: str, separators: str) -> None:
        if len(pattern) > PATTERN_LENGTH_MAX:
            raise GlobError(f"pattern is longer than {PATTERN_LENGTH_MAX} characters")
        self.pattern = pattern
        self.at = 0
        self.one = f"[^{re.escape(separators)}]" if separators else _ANYTHING

    def expression(self) -> str:
        found: list[str] = []
        depth = 0
        while self.at < len(self.pattern):
            character = self._next()
            if character == "{":
                depth += 1
                found.append("(?:")
            elif character == "," and depth:
                found.append("|")
            elif character == "}" and depth:
                depth -= 1
                found.append(")")
            else:
                found.append(self._plain(character))
        return "".join(found) + ")" * depth

    def _plain(self, character: str) -> str:
        if character == "*":
            if self.pattern[self.at : self.at + 1] != "*":
                return self.one + "*"
            self.at += 1
            return _ANYTHING + "*"
        if character == "?":
            return self.one
        if character == "[":
            return self._range()
        if character == "\\":
            return re.escape(self._next()) if self.at < len(self.pattern) else ""
        return re.escape(character)

    def _next(self) -> str:
        self.at += 1
        return self.pattern[self.at - 1]

    def _range(self) -> str:
        negated = self.pattern[self.at : self.at + 1] == "!"
        self.at += negated
        body = self._range_body()
        if self.pattern[self.at : self.at + 1] != "]":
            raise GlobError(
                "expected close range character" if self.at < len(self.pattern) else "unexpected end of input"
            )
        self.at += 1
        return f"[{'^' if negated else ''}{body}]"

    def _range_body(self) -> str:
        low, dash, high = (self.pattern[self.at + offset : self.at + offset + 1] for offset in range(3))
        if dash == "-" and high:
            if high < low:
                raise GlobError(f"hi character '{high}' should be greater than lo '{low}'")
            self.at += 3
            return f"{re.escape(low)}-{re.escape(high)}"
        characters = self._list()
        if not characters:
            raise GlobError("could not parse range")
        return "".join(map(re.escape, characters))

    def _list(self) -> str:
        found = ""
        while self.at < len(self.pattern) and self.pattern[self.at] != "]":
            character = self._next()
            if character == "\\" and self.at < len(self.pattern):
                character = self._next()
            found += character
        return found


def _segments(pattern: str) -> list[str]:
    """The parts of a filepath.Match pattern as expressions."""
    if len(pattern) > PATTERN_LENGTH_MAX:
        raise GlobError(f"pattern is longer than {PATTERN_LENGTH_MAX} characters")
    found: list[str] = []
    at = 0
    while at < len(pattern):
        piece, at = _piece(pattern, at)
        found.append(piece)
    return found


def _piece(pattern: str, at: int) -> tuple[str, int]:
    """One star, question mark, class or character, and where the next one starts."""
    character = pattern[at]
    if character == "*":
        return "[^/]*", at + 1
    if character == "?":
        return "[^/]", at + 1
    if character == "[":
        return _class(pattern, at + 1)
    if character == "\\":
        if at + 1 == len(pattern):
            raise GlobError("syntax error in pattern")
        return re.escape(pattern[at + 1]), at + 2
    return re.escape(character), at + 1


def _class(pattern: str, at: int) -> tuple[str, int]:
    negated = pattern[at : at + 1] in ("^", "!")
    at += negated
    found: list[str] = []
    while pattern[at : at + 1] != "]" or not found:
        low, at = _class_character(pattern, at)
        high = low
        if pattern[at : at + 1] == "-":
            high, at = _class_character(pattern, at + 1)
        if low <= high:
            found.append(f"{re.escape(low)}-{re.escape(high)}")
        else:
            found.append("")
    body = "".join(found)
    if not body:
        return ("[^/]" if negated else r"[^\x00-\x{10FFFF}]"), at + 1
    return f"[{'^/' if negated else ''}{body}]", at + 1


def _class_character(pattern: str, at: int) -> tuple[str, int]:
    if at >= len(pattern) or pattern[at] in "-]":
        raise GlobError("syntax error in pattern")
    if pattern[at] == "\\":
        at += 1
    if at + 1 >= len(pattern):
        raise GlobError("syntax error in pattern")
    return pattern[at], at + 1


def _doublestar(pattern: str) -> str:
    if len(pattern) > PATTERN_LENGTH_MAX:
        raise GlobError(f"pattern is longer than {PATTERN_LENGTH_MAX} characters")
    found: list[str] = []
    depth = at = 0
    while at < len(pattern):
        character = pattern[at]
        if character == "*" and _is_whole_segment(pattern, at):
            piece, at = _any_segments(pattern, at)
        elif character == "/" and _rest_may_be_nothing(pattern, at, depth):
            # ``a/**`` fits ``a`` itself, which may be a directory
            piece, at = ("(?:/(?s:.*))?", at + 3) if pattern[at + 3 :] != "/" else ("(?:/(?:[^/]+/)*)?", at + 4)
        elif character == "{":
            depth, piece, at = depth + 1, "(?:", at + 1
        elif character == "}" and depth:
            depth, piece, at = depth - 1, ")", at + 1
        elif character == "," and depth:
            piece, at = "|", at + 1
        else:
            piece, at = _piece(pattern, at)
        found.append(piece)
    if depth:
        raise GlobError("syntax error in pattern")
    return "".join(found)


def _is_whole_segment(pattern: str, at: int) -> bool:
    starts = at == 0 or pattern[at - 1] in "/{,"
    return starts and pattern[at : at + 2] == "**" and pattern[at + 2 : at + 3] in ("", "/", "}", ",")


def _rest_may_be_nothing(pattern: str, at: int, depth: int) -> bool:
    rest = pattern[at + 3 :]
    return pattern[at : at + 3] == "/**" and (rest in ("", "/") or (depth > 0 and rest[0] in "},"))


def _any_segments(pattern: str, at: int) -> tuple[str, int]:
    """``**/`` is any number of segments; at the end ``**`` is all that is left."""
    if pattern[at + 2 : at + 3] == "/":
        return "(?:[^/]+/)*", at + 3
    return "(?s:.*)", at + 2
