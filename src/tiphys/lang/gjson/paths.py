"""How a path is taken apart: one component at a time, from the left, as far as the current value needs.

Objects and arrays read the same component differently (``#`` and queries mean something for arrays only, wildcards for
objects only), so there is a reader for each. None of them ever fails; odd paths just find nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from tiphys.lang.gjson.scanning import balanced, unescape

MODIFIER_NAMES: Final = frozenset(
    (
        *("pretty", "ugly", "reverse", "this", "flatten", "join", "valid", "keys", "values"),
        *("tostr", "fromstr", "group", "dig"),
    )
)


@dataclass(frozen=True, slots=True)
class ObjectStep:
    """The first component for an object. ``rest`` follows when ``has_rest``; ``pipe`` when it is not None."""

    key: str
    rest: str = ""
    has_rest: bool = False
    pipe: str | None = None
    is_wild: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    """``#(path op value)``, with ``#`` behind it for all matches."""

    path: str
    operator: str
    value: str
    all: bool = False


@dataclass(frozen=True, slots=True)
class ArrayStep:
    """The first component for an array. ``each`` is what ``#.`` asks of every element."""

    part: str
    rest: str = ""
    has_rest: bool = False
    pipe: str | None = None
    has_hash: bool = False
    each: str | None = None
    query: Query | None = None


@lru_cache(maxsize=1024)
def object_step(path: str) -> ObjectStep:
    key: list[str] = []
    is_wild = has_escape = False
    at = 0
    while at < len(path):
        character = path[at]
        if character == "\\":
            has_escape = True
            key.append(path[at + 1 : at + 2])
            at += 2
            continue
        if character == "|":
            return ObjectStep("".join(key), pipe=path[at + 1 :], is_wild=is_wild)
        if character == ".":
            rest, pipe = _after_dot(path[at + 1 :])
            return ObjectStep("".join(key), rest, pipe is None, pipe, is_wild)
        is_wild = is_wild or character in "*?"
        key.append(character)
        at += 1
    return ObjectStep("".join(key) if has_escape else path, is_wild=is_wild)


@lru_cache(maxsize=1024)
def array_step(path: str) -> ArrayStep:
    has_hash = False
    each: str | None = None
    query: Query | None = None
    rest = ""
    at = 0
    while at < len(path):
        character = path[at]
        if character == "|":
            return ArrayStep(path[:at], rest, False, path[at + 1 :], has_hash, each, query)
        if character == ".":
            part, after = path[:at], path[at + 1 :]
            if not has_hash:
                following, pipe = _after_dot(after)
                return ArrayStep(part, following, pipe is None, pipe)
            return ArrayStep(part, after, True, None, has_hash, each, query)
        if character == "#":
            has_hash = True
            if at == 0 and path[1:2] == ".":
                each, rest = path[2:], "#"
            elif at == 0 and path[1:2] in ("[", "("):
                parsed = parse_query(path)
                if parsed is None:  # a query that is not closed asks for nothing, and finds the first scalar
                    return ArrayStep(path, has_hash=True, query=Query("", "", ""))
                query, at = parsed
        at += 1
    return ArrayStep(path, "", False, None, has_hash, each, query)


_OPERATOR: Final = re.compile(r"!=|!%|<=|>=|==|[<>=%]?")


def parse_query(text: str) -> tuple[Query, int] | None:
    """The query at the start of ``text`` and the index of its last character; None when it is not closed."""
    end, value_start = _query_end(text)
    if end < 0:
        return None
    is_all = text[end + 1 : end + 2] == "#"
    if not value_start:
        return Query(_trim(text[2:end]), "", "", is_all), end
    path, condition = _trim(text[2:value_start]), _trim(text[value_start:end])
    match = _OPERATOR.match(condition)
    operator = condition[:1] if len(condition) == 1 or match is None else match.group()
    value = _trim(condition[len(operator) :])
    if len(value) >= 2 and value[0] == value[-1] == '"':
        value = unescape(value[1:-1])
    return Query(path, "=" if operator == "==" else operator, value, is_all), end


def _query_end(text: str) -> tuple[int, int]:
    """The index of the closing bracket (-1: none), and that of the first operator outside of inner brackets."""
    depth, value_start = 1, 0
    at = 2
    while at < len(text):
        character = text[at]
        if depth == 1 and not value_start and character in "!=<>%":
            value_start = at
        elif character == "\\":
            at += 1
        elif character in "[(":
            depth += 1
        elif character in "])":
            depth -= 1
            if depth == 0:
                return at, value_start
        elif character == '"':
            at = _string_end(text, at)
        at += 1
    return -1, 0


@dataclass(frozen=True, slots=True)
class Selection:
    """One entry of a multipath; ``name`` is empty where the path names it."""

    name: str
    path: str


def selections(path: str) -> tuple[list[Selection], str] | None:
    """The entries of the multipath that ``path`` starts with, and what follows it; None when it is not closed."""
    found: list[Selection] = []
    depth = 1
    start, colon, in_modifier = 1, 0, False
    at = 1
    while at < len(path):
        character = path[at]
        if character == "\\":
            at += 1
        elif character == "@":
            in_modifier = in_modifier or path[at - 1] in ".|"
        elif character == ":":
            if not in_modifier and not colon and depth == 1:
                colon = at
        elif character == '"':
            at = _string_end(path, at)
        elif character in "[({":
            depth += 1
        elif character in "])}" or (character == "," and depth == 1):
            depth -= character != ","
            if depth == 0 or character == ",":
                name = path[start:colon] if colon else ""
                found.append(Selection(name, path[colon + 1 if colon else start : at]))
                start, colon, in_modifier = at + 1, 0, False
            if depth == 0:
                return found, path[at + 1 :]
        at += 1
    return None


def split_pipe(path: str) -> tuple[str, str] | None:
    """Left and right of the first ``|`` that is in no query and not escaped."""
    if "|" not in path:
        return None
    if path[:1] == "{":
        inside = balanced(path[1:]) if path[1:2] in ("{", "[", "(", '"') else _to_closing(path[1:])
        end = len(inside) + 1
        return (path[:end], path[end + 1 :]) if path[end : end + 1] == "|" else None
    at = 0
    while at < len(path):
        character = path[at]
        if character == "\\":
            at += 1
        elif character == "|":
            return path[:at], path[at + 1 :]
        elif character == ".":
            if at == len(path) - 1:
                return None
            if path[at + 1] == "#":
                at += 2
                if at >= len(path):
                    return None
                if path[at] in "[(":
                    at = _bracket_end(path, at)
        at += 1
    return None


def _to_closing(text: str) -> str:
    """The text up to the bracket that closes what was opened before it."""
    return balanced("{" + text)[1:]


def _bracket_end(path: str, at: int) -> int:
    opening, closing = path[at], "]" if path[at] == "[" else ")"
    depth = 1
    at += 1
    while at < len(path):
        if path[at] == "\\":
            at += 1
        elif path[at] == opening:
            depth += 1
        elif path[at] == closing:
            depth -= 1
            if depth == 0:
                break
        elif path[at] == '"':
            at = _string_end(path, at)
        at += 1
    return at


def _string_end(text: str, at: int) -> int:
    """The index of the quote that closes the one at ``at``, or the text's length."""
    at += 1
    while at < len(text) and text[at] != '"':
        at += 2 if text[at] == "\\" else 1
    return at


def _after_dot(rest: str) -> tuple[str, str | None]:
    """``(rest, None)``, or ``("", pipe)`` where a dot counts as a pipe: before a modifier or a multipath."""
    if rest[:1] in ("[", "{"):
        return "", rest
    if rest[:1] == "@" and re.split(r"[.|:]", rest[1:], maxsplit=1)[0] in MODIFIER_NAMES:
        return "", rest
    return rest, None


def _trim(text: str) -> str:
    start, end = 0, len(text)
    while start < end and text[start] <= " ":
        start += 1
    while end > start and text[end - 1] <= " ":
        end -= 1
    return text[start:end]


def last_name(path: str) -> str:
    """The last component's text, which names an entry of an object multipath."""
    for at in range(len(path) - 1, -1, -1):
        if path[at] in "|." and path[at - 1 : at] != "\\":
            return path[at + 1 :]
    return path


def is_simple_name(name: str) -> bool:
    return not any(character < " " or character in "[]{}()#|!" for character in name)
