"""Finding the ends of JSON values in text that may be no JSON at all.

gjson never parses a document, it skips through its text, and what it says about broken documents is part of its
behaviour: an unclosed container reaches to the end of the text, and characters that start no value are passed over.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final, Literal

from tiphys.lang import gofmt


class GjsonError(ValueError):
    """A path or document is beyond a limit. Nothing else is an error in this language."""


Kind = Literal["Null", "False", "Number", "String", "True", "JSON"]


@dataclass(slots=True)
class Value:
    """A value as text (``raw``) and, for strings and numbers, decoded. Null with empty ``raw`` means: nothing there."""

    kind: Kind = "Null"
    raw: str = ""
    text: str = ""
    number: float = 0.0

    @property
    def exists(self) -> bool:
        return self.kind != "Null" or self.raw != ""

    @property
    def is_object(self) -> bool:
        return self.kind == "JSON" and self.raw[:1] == "{"

    @property
    def is_array(self) -> bool:
        return self.kind == "JSON" and self.raw[:1] == "["


NUMBER_STARTS: Final = frozenset("+-0123456789iIN")
# The first character of anything that can be a value; everything else between values is passed over.
VALUE_START: Final = re.compile(r'["{\[ntf+\-0-9iIN]')
ELEMENT_START: Final = re.compile(r'["{\[ntf+\-0-9iIN\]]')

_STRING: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_NESTING: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)|[\[{(\]})]', re.DOTALL)
_NUMBER: Final = re.compile(r".[^\0- ,\]}]*", re.DOTALL)
_LITERAL: Final = re.compile(r".[a-z]*", re.DOTALL)


def value_at(json: str, at: int) -> tuple[Value, int] | None:
    """The value that starts at ``at`` (a `VALUE_START`) and its end; None for a string without an end."""
    start = json[at]
    if start == '"':
        string = _STRING.match(json, at)
        return None if string is None else (string_value(string.group()), string.end())
    if start in "{[":
        raw, end = _balanced(json, at)
        return Value("JSON", raw), end
    if start in NUMBER_STARTS or (start == "n" and json[at + 1 : at + 2] not in ("", "u")):
        number = _NUMBER.match(json, at)
        assert number is not None
        return Value("Number", number.group(), number=parse_float(number.group())), number.end()
    literal = _LITERAL.match(json, at)
    assert literal is not None
    return Value(_LITERAL_KINDS[start], literal.group()), literal.end()


_LITERAL_KINDS: Final[dict[str, Kind]] = {"n": "Null", "t": "True", "f": "False"}


def string_value(raw: str) -> Value:
    return Value("String", raw, unescape(raw[1:-1]))


def balanced(text: str, at: int = 0) -> str:
    """From the bracket or quote at ``at`` to its partner, or to the end; all kinds of brackets count alike."""
    return _balanced(text, at)[0]


def _balanced(text: str, at: int) -> tuple[str, int]:
    """The text and where to go on: past the end of everything when a string inside does not end."""
    depth = 0
    for match in _NESTING.finditer(text, at):
        mark = match.group()[0]
        if mark in "[{(":
            depth += 1
        elif mark != '"':
            depth -= 1
        if depth == 0:
            return text[at : match.end()], match.end()
        if mark == '"' and match.end() == len(text) and not _STRING.fullmatch(match.group()):
            return text[at:], len(text) + 1
    return text[at:], len(text)


def string_end(json: str, at: int) -> int:
    """The index after the string that starts at ``at``; -1 when it has no end."""
    match = _STRING.match(json, at)
    return -1 if match is None else match.end()


def parse(json: str) -> Value:
    """The value at the start of a text; a container takes all the rest."""
    for at, character in enumerate(json):
        if character in "{[":
            return Value("JSON", json[at:])
        if character > " ":
            if not VALUE_START.match(character):
                return Value()
            found = value_at(json, at)
            # a string that does not end takes all the rest, too
            return Value("String", json[at:], unescape(json[at + 1 :])) if found is None else found[0]
    return Value()


def printed(value: Value) -> str:
    """gjson's String(): decoded strings, JSON as it is, numbers without an exponent, "" for null."""
    if value.kind == "Number":
        return value.raw if re.fullmatch("-?[0-9]*", value.raw) and value.raw else format_f(value.number)
    return {"String": value.text, "JSON": value.raw, "True": "true", "False": "false"}.get(value.kind, "")


def format_f(number: float) -> str:
    """strconv.FormatFloat(number, 'f', -1, 64)."""
    if not math.isfinite(number):
        return gofmt.format_float(number)
    sign, digits, exponent = gofmt.shortest_digits(number)
    return sign + gofmt.plain_decimal(digits, exponent)


_ESCAPES: Final = {"\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", '"': '"'}


def unescape(text: str) -> str:
    """A string's content with its escapes resolved; cut off at a control character or a wrong escape."""
    if "\\" not in text:
        return text
    out: list[str] = []
    at = 0
    while at < len(text):
        character = text[at]
        if character < " ":
            break
        if character != "\\":
            out.append(character)
            at += 1
            continue
        escape = text[at + 1 : at + 2]
        if escape in _ESCAPES:
            out.append(_ESCAPES[escape])
            at += 2
        elif escape == "u" and at + 6 <= len(text):
            decoded, at = _unicode_escape(text, at)
            out.append(decoded)
        else:
            break
    return "".join(out)


def _unicode_escape(text: str, at: int) -> tuple[str, int]:
    code = _hex4(text[at + 2 : at + 6])
    at += 6
    if not 0xD800 <= code < 0xE000:
        return chr(code), at
    if text[at : at + 2] != "\\u" or at + 6 > len(text):
        return "\ufffd", at
    low = _hex4(text[at + 2 : at + 6])
    if code < 0xDC00 <= low < 0xE000:
        return chr(0x10000 + ((code - 0xD800) << 10) + low - 0xDC00), at + 6
    return "\ufffd", at + 6


def _hex4(text: str) -> int:
    return int(text, 16) if re.fullmatch("[0-9a-fA-F]{4}", text) else 0


_DECIMAL: Final = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_HEX: Final = re.compile(r"[+-]?0[xX](?:[0-9a-fA-F]+(?:\.[0-9a-fA-F]*)?|\.[0-9a-fA-F]+)[pP][+-]?[0-9]+")


def parse_float(text: str) -> float:
    """strconv.ParseFloat with its error ignored: 0 for what is no number, an infinity for what is too large."""
    if _DECIMAL.fullmatch(text):
        return float(text)
    lowered = text.lstrip("+-").lower()
    if len(text) - len(lowered) <= 1:
        if lowered in ("inf", "infinity"):
            return -math.inf if text[0] == "-" else math.inf
        if lowered == "nan" and text.lower() == lowered:
            return math.nan
    if _HEX.fullmatch(text):
        try:
            return float.fromhex(text)
        except OverflowError:
            return -math.inf if text[0] == "-" else math.inf
    return 0.0
