"""Tokens of the jq language, as gojq 0.12.19 cuts them.

number    1  .5  1e3            word     name  mod::name        field   .name
variable  $name  $mod::name     format   @name                  string  "… \\(filter) …"
operator  |= += -= *= /= %= //= == != <= >= // ?// = < > and single characters
comment   # to the end of the line
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from tiphys.lang import gojson
from tiphys.lang.jq.errors import JqSyntaxError


@dataclass(frozen=True, slots=True)
class Token:
    """``kind``: number, word, field, variable, format, string, operator or end; ``text`` without quotes, dot or sign.

    A string is a list of literal texts and, between them, the tokens of an interpolated filter.
    """

    kind: str
    text: str
    source: str
    parts: tuple[str | tuple[Token, ...], ...] = ()


_TOKEN: Final = re.compile(
    r"""
    (?P<space>[ \t\r\n]+|\#(?:[^\\\r\n]|\\(?:\\|\r\n|\n|\r)?)*)
  | (?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?P<broken>[eE][+-]?[a-zA-Z_]?|[a-zA-Z_.])?)
  | (?P<field>\.[a-zA-Z_][a-zA-Z0-9_]*)
  | (?P<word>[a-zA-Z_][a-zA-Z0-9_]*(?:::[a-zA-Z_][a-zA-Z0-9_]*)?)
  | (?P<variable>\$[a-zA-Z_][a-zA-Z0-9_]*(?:::[a-zA-Z_][a-zA-Z0-9_]*)?)
  | (?P<format>@[a-zA-Z0-9_]+)
  | (?P<operator>\?//|//=|\|=|\+=|-=|\*=|/=|%=|//|==|!=|<=|>=|\.\.|.)
    """,
    re.VERBOSE | re.DOTALL,
)
_STRING_PART: Final = re.compile(r'(?:[^"\\]|\\(?:u[0-9a-fA-F]{4}|["/\\bfnrt]))+', re.DOTALL)
DEPTH_MAX: Final = 100


def tokens(source: str) -> tuple[Token, ...]:
    """All tokens of a filter, the last of kind "end". Raises `JqSyntaxError`."""
    return (*_Lexer(source).until(""), Token("end", "", ""))


class _Lexer:
    def __init__(self, source: str) -> None:
        self._source = source
        self._at = 0
        self._depth = 0

    def until(self, closing: str) -> Iterator[Token]:
        """Tokens up to the end, or to the parenthesis that closes an interpolation."""
        open_parentheses = 0
        while self._at < len(self._source):
            if self._source[self._at] == '"':
                yield self._string()
                continue
            match = _TOKEN.match(self._source, self._at)
            assert match is not None
            self._at = match.end()
            if match["space"]:
                continue
            if match["broken"]:
                raise JqSyntaxError(f"invalid token {gojson.dumps(match['number'])}")
            token = _token(match)
            open_parentheses += (token.source == "(") - (token.source == ")")
            if closing and open_parentheses < 0:
                return
            yield token
        if closing:
            raise JqSyntaxError("unexpected EOF")

    def _string(self) -> Token:
        start = self._at
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise JqSyntaxError(f"strings nested deeper than {DEPTH_MAX}")
        self._at += 1
        parts: list[str | tuple[Token, ...]] = []
        while True:
            piece = _STRING_PART.match(self._source, self._at)
            if piece is not None:
                parts.append(_unescape(piece.group()))
                self._at = piece.end()
            following = self._source[self._at : self._at + 2]
            if following[:1] == '"':
                self._at += 1
                self._depth -= 1
                return Token("string", "", self._source[start : self._at], tuple(parts))
            if following == "\\(":
                self._at += 2
                parts.append((*self.until(")"), Token("end", ")", ")")))
            elif len(following) < 2:
                raise JqSyntaxError("unterminated string literal")
            else:
                raise JqSyntaxError(f'invalid escape sequence "{following}" in string literal')


def _token(match: re.Match[str]) -> Token:
    kind, text = match.lastgroup or "operator", match.group()
    if kind == "field":
        return Token(kind, text[1:], text)
    return Token(kind, text, text)


_ESCAPES: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


def _unescape(text: str) -> str:
    if "\\" not in text:
        return text
    plain = re.sub(
        r"\\(?:u([0-9a-fA-F]{4})|(.))",
        lambda m: chr(int(m[1], 16)) if m[1] else _ESCAPES.get(m[2], m[2]),
        text,
        flags=re.DOTALL,
    )
    # pairs of surrogates make one character, others make none
    return plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
