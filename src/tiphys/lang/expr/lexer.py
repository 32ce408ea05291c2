"""Tokens of an expression.

    identifier  (letter | _ | $) { letter | digit | _ | $ }
    number      12  1_000  0xff  0o17  0b11  1.5  .5  1e-3
    string      "…"  '…'  with \\n \\x41 \\u0041 \\u{1F600} \\U0001F600 \\101 …,  `raw` with `` for a backtick
    bytes       b"…"  b'…'  with \\xff and \\377
    operator    . .. ? ?. ?? / # ## | || : :: , ; % + - ^  and  & ! = * < >  with one of & = * after them
                not in or and matches contains startsWith endsWith let if else
    bracket     ( ) [ ] { }
    comment     // to the end of the line,  /* … */

Tokens are read one at a time, so that a text with an early mistake costs nothing more. Positions are characters.
"""

from __future__ import annotations

import re

from tiphys.lang.expr.errors import ExprError
from tiphys.lang.gofmt import quote
from tiphys.lang.gotext import SPACES, is_digit, is_letter, utf8

SOURCE_LENGTH_MAX = 1_000_000
"""Characters of an expression; beyond this nothing is read."""

IDENTIFIER, NUMBER, STRING, BYTES, OPERATOR, BRACKET, EOF = (
    "Identifier", "Number", "String", "Bytes", "Operator", "Bracket", "EOF",
)  # fmt: skip

Token = tuple[str, str, int]
"""kind, value, the character it starts at (for bytes, the value holds one character per byte)."""

_WORD_OPERATORS = frozenset(
    ("not", "in", "or", "and", "matches", "contains", "startsWith", "endsWith", "let", "if", "else")
)
_SPACE = re.compile(f"[{''.join(sorted(SPACES))}]+")
_WORD = re.compile(r"[\w$]+")
_SIMPLE_STRING = re.compile(r'"[^"\\\n\r]*"' + r"|'[^'\\\n\r]*'")
_RAW_STRING = re.compile(r"`(?:[^`]|``)*+`")
_NUMBER = re.compile(
    r"0[xX][0-9a-fA-F_]*(?:\.(?!\.)[0-9a-fA-F_]*)?"
    r"|0[oO][0-7_]*(?:\.(?!\.)[0-7_]*)?(?:[eE][+-]?[0-7_]*)?"
    r"|0[bB][01_]*(?:\.(?!\.)[01_]*)?(?:[eE][+-]?[01_]*)?"
    r"|[0-9_]+(?:\.(?!\.)[0-9_]*)?(?:[eE][+-]?[0-9_]*)?"
)
_SYMBOL = re.compile(r"\.\.?|\?[.?]?|\|\|?|::?|[,;%+\-^]|[&!=*<>][&=*]?")
_ESCAPE = re.compile(
    r"\\(?:(?P<plain>[abfnrtv\\'\"`?])|(?P<octal>[0-3][0-7]{2})|[xX](?P<x>[0-9a-fA-F]{2})|u\{(?P<brace>[0-9a-fA-F]{1,6})\}"
    r"|u(?P<u>[0-9a-fA-F]{4})|U(?P<U>[0-9a-fA-F]{8}))"
)
_PLAIN_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


class Lexer:
    """Gives the tokens of ``source`` one after the other; the last is EOF. Raises ExprError."""

    def __init__(self, source: str) -> None:
        if len(source) > SOURCE_LENGTH_MAX:
            raise ExprError(f"expression is longer than {SOURCE_LENGTH_MAX} characters", kind="compile")
        self.source = source
        self.at = 0
        self.end = len(source)
        self._pending: Token | None = None

    def next(self) -> Token:
        if self._pending is not None:
            token, self._pending = self._pending, None
            return token
        source = self.source
        while self.at < self.end:
            at = self.at
            character = source[at]
            if character == " " or character in SPACES:
                match = _SPACE.match(source, at)
                self.at = match.end() if match else at + 1
                continue
            if character != "/":
                return self._token(character, at)
            slash = self._slash()
            if slash is not None:
                return slash
        return EOF, "", max(self.end - 1, 0)

    def _token(self, character: str, at: int) -> Token:
        if character in "\"'":
            return self._string(at)
        if character in "bB" and self.source[at + 1 : at + 2] in ("'", '"'):
            return self._bytes(at)
        if "0" <= character <= "9":
            return self._number(at)
        if character in "([{)]}":
            self.at = at + 1
            return BRACKET, character, at
        if character == "`":
            return self._raw_string(at)
        if character == "#":
            return self._pointer(at)
        if character == "." and self.source[at + 1 : at + 2] in _DIGITS:
            return self._number(at)
        match = _SYMBOL.match(self.source, at)
        if match is not None:
            self.at = match.end()
            return OPERATOR, match.group(), at
        word = self._word(at)
        if not word:
            shown = f"U+{ord(character):04X}" + (f" '{character}'" if character.isprintable() else "")
            raise self._error(f"unrecognized character: {shown}", at)
        self.at = at + len(word)
        return (OPERATOR if word in _WORD_OPERATORS else IDENTIFIER), word, at

    def _word(self, at: int) -> str:
        match = _WORD.match(self.source, at)
        word = match.group() if match else ""
        if word.isascii():
            return word
        for index, character in enumerate(word):
            if not (is_letter(character) or is_digit(character) or character in "_$"):
                return word[:index]
        return word

    def _error(self, message: str, at: int) -> ExprError:
        return ExprError(message, kind="compile", source=self.source, at=at)

    def _slash(self) -> Token | None:
        """A division, or None after skipping a comment."""
        at = self.at
        following = self.source[at + 1 : at + 2]
        if following == "/":
            newline = self.source.find("\n", at)
            self.at = self.end if newline < 0 else newline + 1
            return None
        if following == "*":
            closing = self.source.find("*/", at + 2)
            if closing < 0:
                raise self._error("unclosed comment", self.end)
            self.at = closing + 2
            return None
        self.at = at + 1
        return OPERATOR, "/", at

    def _pointer(self, at: int) -> Token:
        self.at = at + (2 if self.source.startswith("##", at) else 1)
        word = self._word(self.at)
        if word:
            self._pending = (IDENTIFIER, word, self.at)
            self.at += len(word)
        return OPERATOR, "##" if self.source.startswith("##", at) else "#", at

    def _number(self, at: int) -> Token:
        match = _NUMBER.match(self.source, at + 1 if self.source[at] == "." else at)
        end = match.end() if match else at + 1
        following = self.source[end : end + 1]
        if following and (is_letter(following) or is_digit(following) or following in "_$"):
            raise self._error(f"bad number syntax: {quote(self.source[at : end + 1])}", end)
        self.at = end
        return NUMBER, self.source[at:end], at

    def _string(self, at: int) -> Token:
        match = _SIMPLE_STRING.match(self.source, at)
        if match is not None:
            self.at = match.end()
            return STRING, match.group()[1:-1], at
        end = self._closing_quote(at)
        self.at = end + 1
        return STRING, self._unescaped(at + 1, end), at

    def _bytes(self, at: int) -> Token:
        end = self._closing_quote(at + 1)
        self.at = end + 1
        return BYTES, self._unescaped_bytes(at + 2, end), at

    def _raw_string(self, at: int) -> Token:
        match = _RAW_STRING.match(self.source, at)
        if match is None:
            raise self._error("literal not terminated", self.end)
        self.at = match.end()
        return STRING, match.group()[1:-1].replace("``", "`"), at

    def _closing_quote(self, opening: int) -> int:
        """Where the quote that matches the one at ``opening`` is; checks the escapes on the way."""
        source, mark = self.source, self.source[opening]
        at = opening + 1
        while at < self.end:
            character = source[at]
            if character == mark:
                return at
            if character == "\n":
                raise self._error("literal not terminated", at)
            at = self._after_escape(at + 1, mark) if character == "\\" else at + 1
        raise self._error("literal not terminated", self.end)

    def _after_escape(self, at: int, mark: str) -> int:
        letter = self.source[at : at + 1]
        if letter and (letter in "abfnrtv\\" or letter == mark):
            return at + 1
        if letter and letter in "01234567":
            return self._after_digits(at, "01234567", 3)
        if letter == "u" and self.source[at + 1 : at + 2] == "{":
            return self._after_brace(at + 2)
        width = {"x": 2, "u": 4, "U": 8}.get(letter)
        if width is None:
            raise self._error("invalid char escape", at)
        return self._after_digits(at + 1, _HEX, width)

    def _after_digits(self, at: int, digits: str, count: int) -> int:
        for place in range(at, at + count):
            if place >= self.end or self.source[place] not in digits:
                raise self._error("invalid char escape", place)
        return at + count

    def _after_brace(self, at: int) -> int:
        end = at
        while end < self.end and self.source[end] in _HEX and end - at < 6:
            end += 1
        if end == at or self.source[end : end + 1] != "}":
            raise self._error("invalid char escape", end - 1)
        return end + 1

    def _unescaped(self, start: int, end: int) -> str:
        return _ESCAPED_OR_NOT.sub(lambda match: self._character(match, end), _one_newline(self.source[start:end]))

    def _character(self, match: re.Match[str], end: int) -> str:
        known = _ESCAPE.fullmatch(match.group())
        if known is None:
            octal = " octal sequence in" if match.group()[1] in "0123" else ""
            raise self._error(f"unable to unescape{octal} string", end)
        if known["plain"]:
            return _PLAIN_ESCAPES.get(known["plain"], known["plain"])
        if known["octal"]:
            return chr(int(known["octal"], 8))
        point = int(known["x"] or known["brace"] or known["u"] or known["U"], 16)
        if point > 0x10FFFF:
            raise self._error("unable to unescape string", end)
        return "�" if 0xD800 <= point <= 0xDFFF else chr(point)

    def _unescaped_bytes(self, start: int, end: int) -> str:
        parts: list[bytes] = []
        text = _one_newline(self.source[start:end])
        at = 0
        for match in _ESCAPED_OR_NOT.finditer(text):
            parts.append(utf8(text[at : match.start()]))
            known = _ESCAPE.fullmatch(match.group())
            if known is None or known["brace"] or known["u"] or known["U"]:
                raise self._error("unable to unescape string", end)
            parts.append(_escaped_byte(known))
            at = match.end()
        parts.append(utf8(text[at:]))
        return b"".join(parts).decode("latin-1")


_DIGITS = frozenset("0123456789")
_HEX = "0123456789abcdefABCDEF"
_ESCAPED_OR_NOT = re.compile(
    r"\\(?:u\{[0-9a-fA-F]*\}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|x[0-9a-fA-F]{2}|[0-7]{3}|.)", re.S
)


def _escaped_byte(known: re.Match[str]) -> bytes:
    if known["plain"]:
        return _PLAIN_ESCAPES.get(known["plain"], known["plain"]).encode()
    return bytes([int(known["octal"], 8) if known["octal"] else int(known["x"], 16)])


def _one_newline(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def bytes_of(value: str) -> bytes:
    """The bytes of a BYTES token."""
    return value.encode("latin-1")
