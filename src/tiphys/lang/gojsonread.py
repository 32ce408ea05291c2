"""Reads JSON as Go's encoding/json reads it into interface{}: numbers are float64, and errors have Go's words.

orjson reads; this module finds the words where it refuses, and mends the two places where Go is more patient: lone
surrogates become U+FFFD, and nesting may go deeper. Also ``json.Indent``.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

import orjson

DEPTH_MAX = 10_000
"""Go's own limit."""

_SPACE = " \t\r\n"
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?")
_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"')
_LITERALS = {"t": "true", "f": "false", "n": "null"}


class JsonSyntaxError(ValueError):
    """The text is no JSON; says what Go says: ``invalid character 'b' looking for beginning of value``."""


def loads(text: str) -> Any:
    """The value, numbers as float. Raises `JsonSyntaxError`."""
    try:
        return _floats(orjson.loads(text))
    except (orjson.JSONDecodeError, UnicodeEncodeError, RecursionError):
        check(text)
    try:
        return _floats(json.loads(text, strict=False))
    except (ValueError, RecursionError) as err:
        raise JsonSyntaxError("exceeded max depth") from err


def _floats(value: Any) -> Any:
    if isinstance(value, bool | str) or value is None:
        return value if not isinstance(value, str) or value.isascii() else _mended(value)
    if isinstance(value, int | float):
        return _finite(value)
    if isinstance(value, list):
        return [_floats(item) for item in value]
    return {key: _floats(item) for key, item in value.items()}


def _mended(text: str) -> str:
    """Surrogates that have no partner are U+FFFD in Go."""
    return "".join("\ufffd" if "\ud800" <= character <= "\udfff" else character for character in text)


def _finite(value: int | float) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if math.isinf(number):
        raise JsonSyntaxError(f"json: cannot unmarshal number {value} into Go value of type float64")
    return number


def check(text: str) -> None:
    """Returns if the text is JSON. Raises `JsonSyntaxError` with the words of Go's scanner otherwise."""
    open_brackets: list[str] = []
    position, expects = _skip(text, 0), "value"
    while True:
        if expects == "value":
            position, opened = _value(text, position, bool(open_brackets) and open_brackets[-1] == "first[")
            if opened:
                if len(open_brackets) >= DEPTH_MAX:
                    raise JsonSyntaxError("exceeded max depth")
                open_brackets.append(f"first{opened}")
                position = _skip(text, position)
                if opened == "{":
                    expects = "key"
                continue
        elif expects == "key":
            position, closed = _key(text, position, first=open_brackets[-1] == "first{")
            if not closed:
                expects = "value"
                open_brackets[-1] = "{"
                continue
        # after a value
        if open_brackets and open_brackets[-1].startswith("first"):
            open_brackets[-1] = open_brackets[-1][5:]
        position = _skip(text, position)
        position, expects = _after_value(text, position, open_brackets)
        if not expects:
            return


def _value(text: str, position: int, may_close: bool) -> tuple[int, str]:
    character = text[position : position + 1]
    if character and character in "[{":
        return position + 1, character
    if character == "]" and may_close:
        return position, ""
    if character == '"':
        return _string(text, position), ""
    if character in _LITERALS:
        return _literal(text, position, _LITERALS[character]), ""
    if character and character in "-0123456789":
        return _number(text, position), ""
    _unexpected(text, position, "looking for beginning of value")


def _key(text: str, position: int, *, first: bool) -> tuple[int, bool]:
    """A key with its colon; True where the object ends instead."""
    if first and text[position : position + 1] == "}":
        return position, True
    if text[position : position + 1] != '"':
        _unexpected(text, position, "looking for beginning of object key string")
    position = _skip(text, _string(text, position))
    if text[position : position + 1] != ":":
        _unexpected(text, position, "after object key")
    return _skip(text, position + 1), False


def _after_value(text: str, position: int, open_brackets: list[str]) -> tuple[int, str]:
    if not open_brackets:
        if position < len(text):
            _unexpected(text, position, "after top-level value")
        return position, ""
    inside = open_brackets[-1]
    character = text[position : position + 1]
    if character == ",":
        return _skip(text, position + 1), "value" if inside == "[" else "key"
    if character == ("]" if inside == "[" else "}"):
        open_brackets.pop()
        return _after_value(text, _skip(text, position + 1), open_brackets)
    _unexpected(text, position, "after array element" if inside == "[" else "after object key:value pair")


def _string(text: str, position: int) -> int:
    found = _STRING.match(text, position)
    if found:
        return found.end()
    position += 1
    while position < len(text) and text[position] != '"':
        if text[position] < " ":
            _unexpected(text, position, "in string literal")
        if text[position] == "\\":
            position += 1
            if text[position : position + 1] == "u":
                for offset in range(1, 5):
                    if text[position + offset : position + offset + 1] not in tuple("0123456789abcdefABCDEF"):
                        _unexpected(text, position + offset, "in \\u hexadecimal character escape")
            elif text[position : position + 1] not in tuple('"\\/bfnrt'):
                _unexpected(text, position, "in string escape code")
        position += 1
    _unexpected(text, len(text), "")


def _literal(text: str, position: int, word: str) -> int:
    for offset, wanted in enumerate(word):
        if text[position + offset : position + offset + 1] != wanted:
            _unexpected(text, position + offset, f"in literal {word} (expecting {_quoted(wanted)})")
    return position + len(word)


def _number(text: str, position: int) -> int:
    found = _NUMBER.match(text, position)
    if found is None:
        _unexpected(text, position + 1, "in numeric literal")
    end = found.end()
    if text[end : end + 1] == "." and "." not in found[0] and "e" not in found[0].lower():
        _unexpected(text, end + 1, "after decimal point in numeric literal")
    if text[end : end + 1] in ("e", "E") and "e" not in found[0].lower():
        signed = text[end + 1 : end + 2] in ("+", "-")
        _unexpected(text, end + 1 + signed, "in exponent of numeric literal")
    return end


def _skip(text: str, position: int) -> int:
    while position < len(text) and text[position] in _SPACE:
        position += 1
    return position


def _unexpected(text: str, position: int, where: str) -> NoReturn:
    if position >= len(text):
        raise JsonSyntaxError("unexpected end of JSON input")
    raise JsonSyntaxError(f"invalid character {_quoted(_first_byte(text[position]))} {where}")


def _first_byte(character: str) -> str:
    """Go looks at bytes: what it names is the first byte of a character, taken for a character."""
    return chr(character.encode("utf-8", "surrogateescape")[0]) if not character.isascii() else character


def _quoted(character: str) -> str:
    special = {"'": "'\\''", '"': "'\"'", "\n": "'\\n'", "\t": "'\\t'", "\r": "'\\r'", "\\": "'\\\\'"}
    if character in special:
        return special[character]
    return f"'{character}'" if character.isprintable() else f"'\\x{ord(character):02x}'"


def indent(text: str, step: str) -> str:
    """json.Indent of compact JSON text: one element a line, empty lists and objects on one."""
    parts: list[str] = []
    depth = 0
    for token in re.finditer(r'"(?:[^"\\]|\\.)*"|\[\]|\{\}|[\[\]{}:,]|[^"\[\]{}:,]+', text):
        match token[0]:
            case "[" | "{" as opening:
                depth += 1
                parts.append(f"{opening}\n{step * depth}")
            case "]" | "}" as closing:
                depth -= 1
                parts.append(f"\n{step * depth}{closing}")
            case ",":
                parts.append(f",\n{step * depth}")
            case ":":
                parts.append(": ")
            case other:
                parts.append(other)
    return "".join(parts)
