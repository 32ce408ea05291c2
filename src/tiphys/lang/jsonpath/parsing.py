"""Reads JSONPath templates as client-go v0.35 does; see the package for the grammar.

The original's parser has no grammar, only habits, and they are kept: an action is a run of steps with spaces anywhere
between them, brackets end at the first ``]`` whatever is inside, a filter is cut into left, operator and right at the
first run of comparison characters.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from tiphys.lang import gotext

LENGTH_MAX: Final = 64 * 1024
DEPTH_MAX: Final = 50
"""Filters and unions nested in each other."""


class JsonPathError(ValueError):
    """Anything wrong with a template or with applying it; ``is_syntax`` tells which."""

    is_syntax = False


class JsonPathSyntaxError(JsonPathError):
    """The template cannot be read."""

    is_syntax = True


@dataclass(frozen=True)
class Text:
    """Literal text, outside of actions or quoted inside of one."""

    text: str


@dataclass(frozen=True)
class Field:
    name: str


@dataclass(frozen=True)
class Wildcard:
    pass


@dataclass(frozen=True)
class Recursive:
    pass


class Literal(int):
    """An integer of the template: Go's int, while those of the data are int64. Only messages tell."""

    go_type = "int"


@dataclass(frozen=True)
class Number:
    value: int | float | bool


@dataclass(frozen=True)
class Identifier:
    """``range``, ``end``, or a word that means nothing (refused when it is reached)."""

    name: str


@dataclass(frozen=True)
class Slice:
    """``[start:end:step]``. A single index has ``end_is_derived``: it is start + 1 and wraps around at -1."""

    start: int | None
    end: int | None
    step: int | None
    end_is_derived: bool = False


@dataclass(frozen=True)
class Union:
    paths: tuple[Path, ...]


@dataclass(frozen=True)
class Filter:
    """``[?(left operator right)]``; operator "exists" has no right side."""

    left: Path
    operator: str
    right: Path


@dataclass(frozen=True)
class Path:
    """The steps of one action."""

    steps: tuple[Step, ...] = ()


Step = Text | Field | Wildcard | Recursive | Number | Identifier | Slice | Union | Filter
Part = Text | Path


@lru_cache(maxsize=512)
def parse(template: str) -> tuple[Part, ...]:
    """The texts and actions of a template. Raises `JsonPathSyntaxError`."""
    if len(template) > LENGTH_MAX:
        raise JsonPathSyntaxError(f"template of {len(template)} characters is longer than {LENGTH_MAX}")
    return _Parser(template, 0).parts()


def _action(text: str, depth: int) -> Path:
    """Text between braces, read as a template of its own (which ends at the first brace in it)."""
    if depth > DEPTH_MAX:
        raise JsonPathSyntaxError(f"nested deeper than {DEPTH_MAX}")
    first = _Parser("{" + text + "}", depth).parts()[0]
    assert isinstance(first, Path)
    return first


_SLICE: Final = re.compile(r"(-?[0-9]*)(:-?[0-9]*)?(:-?[0-9]*)?")
_DICT_KEY: Final = re.compile(r"'([^']*)'")
_COMPARISON: Final = re.compile(r"([^!<>=]+)([!<>=]+)([^\n]+)")
_TERMINATORS: Final = frozenset(" \t\r\n.,[]$@{}")
_EOF: Final = ""


class _Parser:
    def __init__(self, text: str, depth: int) -> None:
        self._text = text
        self._depth = depth
        self._position = 0

    def parts(self) -> tuple[Part, ...]:
        parts: list[Part] = []
        while self._position < len(self._text):
            brace = self._text.find("{", self._position)
            if brace != self._position:
                end = len(self._text) if brace < 0 else brace
                parts.append(Text(self._text[self._position : end]))
                self._position = end
            else:
                self._position += 1
                parts.append(self._path())
        return tuple(parts)

    def _next(self) -> str:
        character = self._text[self._position : self._position + 1]
        self._position += len(character)
        return character

    def _path(self) -> Path:
        """The rest of an action, with its closing brace."""
        steps: list[Step] = []
        while True:
            if self._text.startswith("[?(", self._position):
                steps.append(self._filter())
            elif self._text.startswith("..", self._position):
                self._recursive(steps)
            else:
                character = self._next()
                if character == "}":
                    return Path(tuple(steps))
                self._step(character, steps)

    def _step(self, character: str, steps: list[Step]) -> None:
        if character in (_EOF, "\r", "\n"):
            raise JsonPathSyntaxError("unclosed action")
        if character in " @$":
            return
        if character == "[":
            steps.extend(self._brackets())
        elif character in "\"'":
            steps.append(self._quoted(character))
        elif character == ".":
            steps.append(self._field())
        elif character in "+-" or gotext.is_digit(character):
            self._position -= 1
            steps.append(self._number())
        elif character == "_" or gotext.is_letter(character):
            self._position -= 1
            steps.append(self._word())
        else:
            shown = f" '{character}'" if character.isprintable() else ""
            raise JsonPathSyntaxError(f"unrecognized character in action: U+{ord(character):04X}{shown}")

    def _recursive(self, steps: list[Step]) -> None:
        if steps and isinstance(steps[-1], Recursive):
            raise JsonPathSyntaxError("invalid multiple recursive descent")
        self._position += 2
        steps.append(Recursive())
        following = self._text[self._position : self._position + 1]
        if following == "_" or (following and (gotext.is_letter(following) or gotext.is_digit(following))):
            steps.append(self._field())

    def _field(self) -> Field | Wildcard:
        start = self._position
        while (character := self._next()) not in _TERMINATORS and character != _EOF:
            if character == "\\":
                self._next()
        if character != _EOF:
            self._position -= 1
        name = self._text[start : self._position]
        return Wildcard() if name == "*" else Field(name.replace("\\", ""))

    def _word(self) -> Number | Identifier:
        start = self._position
        while self._text[self._position : self._position + 1] not in (_EOF, *_TERMINATORS):
            self._position += 1
        name = self._text[start : self._position]
        return Number(name == "true") if name in ("true", "false") else Identifier(name)

    def _number(self) -> Number:
        start = self._position
        if self._text[start] in "+-":
            self._position += 1
        while (character := self._text[self._position : self._position + 1]) and (
            character == "." or gotext.is_digit(character)
        ):
            self._position += 1
        text = self._text[start : self._position]
        if re.fullmatch(r"[+-]?[0-9]{1,18}", text):
            return Number(Literal(text))
        if re.fullmatch(r"[+-]?([0-9]+(?:\.[0-9]*)?|\.[0-9]+)", text):
            return Number(float(text))
        raise JsonPathSyntaxError(f"cannot parse number {text}")

    def _quoted(self, quote: str) -> Text:
        start = self._position
        while (character := self._next()) not in (_EOF, "\n"):
            if character == quote and self._text[self._position - 2] != "\\":
                return Text(_unquote(self._text[start : self._position - 1], quote))
        raise JsonPathSyntaxError("unterminated quoted string")

    def _brackets(self) -> tuple[Step, ...]:
        start = self._position
        while (character := self._next()) != "]":
            if character in (_EOF, "\n"):
                raise JsonPathSyntaxError("unterminated array")
        text = self._text[start : self._position - 1]
        if "," in text:
            return (Union(tuple(_action(f"[{part.strip(' ')}]", self._depth + 1) for part in text.split(","))),)
        if (key := _DICT_KEY.fullmatch(text)) is not None:
            return _action(f".{key[1]}", self._depth + 1).steps
        return (_slice(":" if text == "*" else text),)

    def _filter(self) -> Filter:
        self._position += len("[?(")
        start = self._position
        self._skip_to_parenthesis()
        if self._next() != "]":
            raise JsonPathSyntaxError("unclosed array expect ]")
        text = self._text[start : self._position - 2]
        comparison = _COMPARISON.fullmatch(text)
        if comparison is None:
            return Filter(_action(text, self._depth + 1), "exists", Path())
        left, operator, right = comparison.groups()
        return Filter(_action(left, self._depth + 1), operator, _action(right, self._depth + 1))

    def _skip_to_parenthesis(self) -> None:
        """To the first ``)`` that is not in the filter's first string; later strings are not respected."""
        quote = ""
        is_closed = True
        while (character := self._next()) not in (_EOF, "\n"):
            if character in "\"'" and not quote:
                quote, is_closed = character, False
            elif character == quote and self._text[self._position - 2] != "\\":
                is_closed = True
            elif character == ")" and is_closed:
                return
        raise JsonPathSyntaxError("unterminated filter")


def _slice(text: str) -> Slice:
    match = _SLICE.fullmatch(text)
    if match is None:
        raise JsonPathSyntaxError(f"invalid array index {text}")
    start = _index(match[1]) if match[1] else None
    if match[2] is None:
        return Slice(start, (start or 0) + 1, _index_after_colon(match[3]), end_is_derived=True)
    return Slice(start, _index_after_colon(match[2]), _index_after_colon(match[3]))


def _index_after_colon(text: str | None) -> int | None:
    return _index(text[1:]) if text and text != ":" else None


def _index(text: str) -> int:
    if not re.fullmatch("-?[0-9]{1,18}", text):
        raise JsonPathSyntaxError(f"array index {text} is not a number")
    return int(text)


_ESCAPE: Final = re.compile(
    r"\\(?:x(?P<x>[0-9a-fA-F]{2})|u(?P<u>[0-9a-fA-F]{4})|U(?P<U>[0-9a-fA-F]{8})|(?P<o>[0-7]{3})|(?P<c>.?))|[^\\]+",
    re.DOTALL,
)
_SIMPLE: Final = {"a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11, "\\": 92}


def _unquote(text: str, quote: str) -> str:
    """The content of a string literal, Go's escapes resolved; ``\\x`` and octal ones make bytes."""
    if "\\" not in text:
        return text
    return b"".join(_unescaped(match, text, quote) for match in _ESCAPE.finditer(text)).decode("utf-8", "replace")


def _unescaped(match: re.Match[str], text: str, quote: str) -> bytes:
    piece = match.group()
    if piece[0] != "\\":
        return piece.encode()
    if match["x"]:
        return bytes([int(match["x"], 16)])
    if match["u"] or match["U"]:
        code = int(match["u"] or match["U"], 16)
        if code <= 0x10FFFF and not 0xD800 <= code < 0xE000:
            return chr(code).encode()
    elif match["o"] and int(match["o"], 8) < 256:
        return bytes([int(match["o"], 8)])
    elif match["c"] in _SIMPLE:
        return bytes([_SIMPLE[match["c"]]])
    elif match["c"] == quote:
        return quote.encode()
    raise JsonPathSyntaxError(f"unquote string {quote}{text}{quote} error invalid syntax")
