"""Reading JSON as Go's encoding/json reads it into an interface{}: numbers are float64, and errors say what Go says.

The C readers of Python do the work; only when they refuse a text does a scanner walk it to find Go's words for what is
wrong. Nesting is bounded by what those readers take (about a thousand levels; Go's limit is ten thousand).
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

import orjson

from tiphys.lang.gofmt import quote_inner

_SPACES = frozenset(b" \t\n\r")
_DIGITS = frozenset(b"0123456789")
_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_SURROGATE = re.compile("[\ud800-\udfff]")


class JsonSyntaxError(ValueError):
    """A text that is not JSON; the message is that of Go's json.SyntaxError."""


def loads(text: str) -> Any:
    """The value of ``text``: dict, list, str, float, bool or None. Raises JsonSyntaxError."""
    try:
        value = json.loads(text, parse_int=_float, parse_float=_float, parse_constant=_refuse)
    except (ValueError, RecursionError) as err:
        if isinstance(err, JsonSyntaxError) and not _is_constant(err):
            raise
        raise JsonSyntaxError(syntax_error(text) or "exceeded max depth") from None
    return _without_surrogates(value) if _ESCAPED_SURROGATE.search(text) else value


def is_valid(text: str) -> bool:
    """json.Valid."""
    try:
        orjson.loads(text)
        return True
    except ValueError:
        return syntax_error(text) is None


def _is_constant(err: JsonSyntaxError) -> bool:
    return not err.args


def _refuse(constant: str) -> Any:
    raise JsonSyntaxError


def _float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise JsonSyntaxError(f"json: cannot unmarshal number {digits} into Go value of type float64")
    return value


def _without_surrogates(value: Any) -> Any:
    """Half a surrogate pair becomes U+FFFD."""
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_without_surrogates(one) for one in value]
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(one) for key, one in value.items()}
    return value


def syntax_error(text: str) -> str | None:
    """What Go's scanner says about ``text``; None when it is JSON."""
    return _Scanner(text.encode("utf-8", "surrogateescape")).scan()


class _Wrong(Exception):
    """The scan is over; the argument is the message."""


class _Scanner:
    """One pass over the bytes with a stack of open brackets."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.end = len(data)
        self.at = 0

    def scan(self) -> str | None:
        try:
            self._document()
        except _Wrong as err:
            return str(err)
        return None

    def _fail(self, context: str) -> _Wrong:
        # Go feeds its scanner a blank at the end: inside words and numbers that blank is what is wrong.
        inside = (
            context.startswith(("in literal", "in \\u", "in string escape", "after decimal")) or "numeric" in context
        )
        if self.at >= self.end and not inside:
            return _Wrong("unexpected end of JSON input")
        character = chr(self.data[self.at]) if self.at < self.end else " "
        shown = {"'": "\\'", '"': '"'}.get(character) or quote_inner(character)
        return _Wrong(f"invalid character '{shown}' {context}")

    def _space(self) -> int:
        """Skips blanks; the next byte, or -1 at the end."""
        while self.at < self.end and self.data[self.at] in _SPACES:
            self.at += 1
        return self.data[self.at] if self.at < self.end else -1

    def _document(self) -> None:
        stack: list[int] = []
        expecting = True
        while expecting or stack:
            if expecting:
                opened = self._value(stack)
                expecting = opened
                if opened:
                    continue
            expecting = self._after_value(stack)
        if self._space() != -1:
            raise self._fail("after top-level value")

    def _value(self, stack: list[int]) -> bool:
        """Reads a scalar, or opens a bracket: True when a value is still expected (inside what was opened)."""
        byte = self._space()
        if byte == 0x7B:  # {
            self.at += 1
            if self._space() == 0x7D:
                self.at += 1
                return False
            self._key("looking for beginning of object key string")
            stack.append(byte)
            return True
        if byte == 0x5B:  # [
            self.at += 1
            if self._space() == 0x5D:
                self.at += 1
                return False
            stack.append(byte)
            return True
        self._scalar(byte)
        return False

    def _after_value(self, stack: list[int]) -> bool:
        """After a value inside a bracket: True when a comma asks for the next."""
        if not stack:
            return False
        byte = self._space()
        in_object = stack[-1] == 0x7B
        if byte == 0x2C:  # ,
            self.at += 1
            if in_object:
                self._key("looking for beginning of object key string")
            return True
        if byte == (0x7D if in_object else 0x5D):
            self.at += 1
            stack.pop()
            return False
        raise self._fail("after object key:value pair" if in_object else "after array element")

    def _key(self, context: str) -> None:
        if self._space() != 0x22:
            raise self._fail(context)
        self._string()
        if self._space() != 0x3A:
            raise self._fail("after object key")
        self.at += 1

    def _scalar(self, byte: int) -> None:
        if byte == 0x22:
            self._string()
        elif byte == 0x2D or byte in _DIGITS:
            self._number()
        elif byte in (0x74, 0x66, 0x6E):
            self._word({0x74: b"true", 0x66: b"false", 0x6E: b"null"}[byte])
        else:
            raise self._fail("looking for beginning of value")

    def _word(self, word: bytes) -> None:
        for byte in word:
            if self.at >= self.end or self.data[self.at] != byte:
                raise self._fail(f"in literal {word.decode()} (expecting '{chr(byte)}')")
            self.at += 1

    def _string(self) -> None:
        self.at += 1
        while self.at < self.end:
            byte = self.data[self.at]
            if byte == 0x22:
                self.at += 1
                return
            if byte < 0x20:
                raise self._fail("in string literal")
            self.at += 1
            if byte == 0x5C:
                self._escape()
        raise self._fail("")

    def _escape(self) -> None:
        if self.at >= self.end or self.data[self.at] not in b'bfnrt\\/"u':
            raise self._fail("in string escape code")
        self.at += 1
        if self.data[self.at - 1] == 0x75:
            for _ in range(4):
                if self.at >= self.end or self.data[self.at] not in b"0123456789abcdefABCDEF":
                    raise self._fail("in \\u hexadecimal character escape")
                self.at += 1

    def _digits(self, context: str) -> None:
        if self.at >= self.end or self.data[self.at] not in _DIGITS:
            raise self._fail(context)
        while self.at < self.end and self.data[self.at] in _DIGITS:
            self.at += 1

    def _number(self) -> None:
        if self.data[self.at] == 0x2D:
            self.at += 1
        if self.at < self.end and self.data[self.at] == 0x30:
            self.at += 1
        else:
            self._digits("in numeric literal")
        if self.at < self.end and self.data[self.at] == 0x2E:
            self.at += 1
            self._digits("after decimal point in numeric literal")
        if self.at < self.end and self.data[self.at] in b"eE":
            self.at += 1
            if self.at < self.end and self.data[self.at] in b"+-":
                self.at += 1
            self._digits("in exponent of numeric literal")
