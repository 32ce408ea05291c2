"""From the text of a path to its steps.

Splitting and reading are two passes over plain text, as in the original, whose idea of where a step ends (quotes and
parentheses are only counted) decides what odd paths mean. Length and nesting are bounded.
"""

from __future__ import annotations

from tiphys.lang.expr.jsonpath import scripts
from tiphys.lang.expr.jsonpath.errors import JsonPathError
from tiphys.lang.expr.jsonpath.steps import (
    Argument,
    Current,
    Evaluate,
    Filter,
    Index,
    Key,
    Length,
    Range,
    Recursive,
    Root,
    Script,
    Step,
    Union,
    Wildcard,
    as_expression_problem,
)
from tiphys.lang.gotext import TRIMMED, utf8
from tiphys.lang.govalues import parse_int

PATH_LENGTH_MAX = 4_000
STEPS_OF_PATH_MAX = 100


def parse(path: str, depth: int = 0) -> tuple[Step, ...]:
    """The steps of ``path``, at least one. Raises JsonPathError."""
    if len(path) > PATH_LENGTH_MAX:
        raise JsonPathError(f"is longer than {PATH_LENGTH_MAX} characters")
    parts = split(path)
    if len(parts) > STEPS_OF_PATH_MAX:
        raise JsonPathError(f"has more than {STEPS_OF_PATH_MAX} steps")
    return tuple(_step(part.strip(TRIMMED), depth) for part in parts)


def split(path: str) -> list[str]:
    """The texts of the steps: names without their dot, subscripts with their brackets, ``..`` alone."""
    first = path[:1]
    if first not in ("$", "@") or not first:
        raise JsonPathError(f"unexpected token '{first}' at index 0")
    if len(path) > 1 and path[1] not in ".[":
        raise JsonPathError(f"unexpected token '{chr(utf8(path[1])[0])}' at index 1")  # the original shows a byte
    splitter = _Splitter()
    for character in path[1:]:
        splitter.take(character)
    return [first, *splitter.finish()]


class _Splitter:
    """Gathers characters into steps."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.text = ""
        self.quotes = self.parentheses = 0
        self.brackets = 0  # never forgotten between steps, as in the original

    def take(self, character: str) -> None:
        if not self.text:
            self.quotes = self.parentheses = 0
        self.quotes += character == "'"
        self.parentheses += (character == "(") - (character == ")")
        self.brackets += (character == "[") - (character == "]")
        self.text += character
        if self.text == "..":
            self._end(self.text, "")
        elif self.text != ".":
            self._decide(character)

    def _decide(self, character: str) -> None:
        inside = self.quotes % 2 == 1 or self.parentheses != 0
        if character == "[" and self.text not in ("[", ".["):
            if self.text.count("[") == 1:
                self._end(self.text[1:-1] if self.text[0] == "." else self.text[:-1], "[")
        elif "[" in self.text:
            if not inside and character == "]" and self.brackets == 0:
                self._end(self.text.removeprefix("."), "")
        elif character == "." and not inside:
            self._end(self.text[1:-1] if self.text[0] == "." else self.text[:-1], ".")

    def _end(self, part: str, following: str) -> None:
        self.parts.append(part)
        self.text = following

    def finish(self) -> list[str]:
        return [*self.parts, self.text.removeprefix(".")] if self.text else self.parts


def _step(text: str, depth: int) -> Step:
    plain: dict[str, Step] = {
        "$": Root(),
        "@": Current(),
        "*": Wildcard(),
        "..": Recursive(),
        "length": Length(),
    }
    if not text:
        raise JsonPathError("invalid token. token string is empty")
    if not text.startswith("["):
        return plain.get(text) or Key(text)
    inner = text[1:-1].strip(TRIMMED) if text.endswith("]") else ""
    if not inner:
        raise _no_format(text)
    if inner == "*":
        return Wildcard()
    if inner.startswith("?"):
        if not (inner.startswith("?(") and inner.endswith(")")):
            raise _no_format(text)
        return Filter(_compiled(inner[2:-1].strip(TRIMMED), depth))
    return _subscript(text, _Arguments(text, inner).read(), depth)


def _no_format(text: str) -> JsonPathError:
    return JsonPathError(f"invalid token. '{text}' does not match any token format")


def _compiled(expression: str, depth: int) -> Evaluate | None:
    return scripts.compile(expression, depth + 1) if expression else None


def _is_script(text: str) -> bool:
    return len(text) > 2 and text.startswith("(") and text.endswith(")")


def _is_key(text: str) -> bool:
    return len(text) > 1 and text[0] == text[-1] and text[0] in "'\""


def _integer(text: str) -> int | None:
    try:
        return parse_int(text)
    except ValueError:
        return None


COLON, COMMA = object(), object()


class _Arguments:
    """Reads what stands between the brackets into numbers, texts, colons and commas."""

    def __init__(self, text: str, inner: str) -> None:
        self.text = text
        self.inner = inner
        self.found: list[object] = []
        self.buffer = ""
        self.opened = self.closed = 0
        self.quote = ""

    def read(self) -> list[object]:
        for place, character in enumerate(self.inner):
            self.buffer += character
            if character in "'\"":
                self._quote(character)
            elif character == ")":
                self._close()
            elif not self.quote:
                self._plain(character, place)
        if self.buffer:
            number = _integer(self.buffer)
            self.found.append(self.buffer if number is None else number)
        return self.found

    def _plain(self, character: str, place: int) -> None:
        outside = self.opened == self.closed
        if character == "(":
            self.opened += 1
        elif character == " " and outside:
            self.buffer = self.buffer.strip(TRIMMED)
        elif character == ":" and outside:
            self._colon(place)
        elif character == "," and outside:
            self._comma()

    def _close(self) -> None:
        self.closed += 1
        if self.opened == self.closed:
            if not _is_script(self.buffer):
                raise JsonPathError(f"invalid expression. invalid format '{self.buffer}'")
            self.found.append(self.buffer)
            self.buffer = ""

    def _quote(self, mark: str) -> None:
        if (self.quote and self.quote != mark) or self.opened != self.closed:
            return
        if self.buffer[-2:-1] == "\\":
            self.buffer = self.buffer[:-2] + mark
            return
        self.quote = "" if self.quote else mark
        if self.quote:
            if self.buffer != mark:
                raise _no_format(self.text)
            return
        if not _is_key(self.buffer):
            raise _no_format(self.text)
        self.found.append(self.buffer)
        self.buffer = ""

    def _colon(self, place: int) -> None:
        before = self.buffer[:-1]
        if before:
            number = _integer(before)
            if number is None:
                raise _no_format(self.text)
            self.found.append(number)
        elif place == 0:
            self.found.append(None)
        self.found.append(COLON)
        self.buffer = ""

    def _comma(self) -> None:
        before = self.buffer[:-1]
        if before:
            number = _integer(before)
            self.found.append(before if number is None else number)
        self.found.append(COMMA)
        self.buffer = ""


def _subscript(text: str, found: list[object], depth: int) -> Step:
    if len(found) == 1:
        return _single(text, found[0], depth)
    colons, commas = found.count(COLON), found.count(COMMA)
    arguments: list[object] = []
    for before, one in zip([None, *found], found, strict=False):
        if one is COLON and before is COLON:
            arguments.append(None)
        elif one is not COLON and one is not COMMA:
            arguments.append(one)
    if (colons and commas) or (not colons and not commas) or colons > 2:
        raise _no_format(text)
    return _union(text, arguments, commas, depth) if commas else _range(text, arguments, colons, depth)


def _single(text: str, one: object, depth: int) -> Step:
    if isinstance(one, int):
        return Index(one)
    if isinstance(one, str) and _is_key(one):
        return Key(one[1:-1])
    if isinstance(one, str) and _is_script(one):
        return Script(_compiled(one[1:-1], depth))
    raise _no_format(text)


def _union(text: str, arguments: list[object], commas: int, depth: int) -> Step:
    if commas >= len(arguments):
        raise _no_format(text)
    return Union(tuple(_union_argument(text, one, depth) for one in arguments))


def _union_argument(text: str, one: object, depth: int) -> Argument:
    if isinstance(one, int):
        return one
    if isinstance(one, str) and _is_script(one):
        return _expression(one, depth)
    if isinstance(one, str) and _is_key(one):
        return one[1:-1]
    raise _no_format(text)


def _range(text: str, arguments: list[object], colons: int, depth: int) -> Step:
    if colons == 1 and len(arguments) == 1:
        arguments = [*arguments, None]
    if len(arguments) < 2:
        raise _no_format(text)
    start, stop, stride = [_range_argument(one, depth) for one in [*arguments, None][:3]]
    return Range(start, stop, stride)


def _range_argument(one: object, depth: int) -> Argument:
    if isinstance(one, str):
        if not _is_script(one):
            raise JsonPathError(f"invalid expression. invalid format '{one}'")
        return _expression(one, depth)
    return one if isinstance(one, int) else None


def _expression(text: str, depth: int) -> Argument:
    try:
        return _compiled(text[1:-1], depth) or _empty
    except JsonPathError as err:
        raise JsonPathError(as_expression_problem(str(err))) from None


def _empty(run: object, value: object) -> None:
    raise JsonPathError("invalid expression. is empty")
