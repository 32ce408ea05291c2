(
    """Cuts a CEL expression into tokens.

    token  = INT | UINT | FLOAT | STRING | BYTES | IDENT | operator
    INT    = digits | "0x" hex          UINT = INT ("u" | "U")
    FLOAT  = digits "." digits [exp] | digits exp | "." digits [exp]
    STRING = ["r" | "R"] ('"""
    "…"
    """' | "'''"…"'''" | '"'…'"' | "'"…"'")      BYTES = ("b" | "B") STRING

White space and ``//`` comments separate tokens. Escapes are read here; a raw string has none.
"""
)

from __future__ import annotations

import re
from typing import Any, NamedTuple

from tiphys.lang.cel.errors import CompileError, Issue
from tiphys.lang.cel.values import Uint

LENGTH_MAX = 100_000
"""Characters of an expression, the limit of cel-go's parser."""


class Token(NamedTuple):
    kind: str
    text: str
    offset: int
    value: Any = None


_TOKEN = re.compile(
    r"""
    (?P<space>(?:[\t\x20\r\n\f]|//[^\n]*)+)
  | (?P<string>[bB]?[rR]?(?:\"{3}|'{3}|"|')|[rR][bB](?:\"{3}|'{3}|"|'))
  | (?P<float>\d+\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+|\.\d+(?:[eE][+-]?\d+)?)
  | (?P<uint>(?:0x[0-9a-fA-F]+|\d+)[uU])
  | (?P<int>0x[0-9a-fA-F]+|\d+)
  | (?P<ident>[_a-zA-Z][_a-zA-Z0-9]*)
  | (?P<op>==|!=|<=|>=|&&|\|\||[<>\[\]{}().,\-!?:+*/%])
    """,
    re.VERBOSE,
)
_KEYWORDS = {"true": True, "false": False, "null": None}
_SIMPLE = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v",
    "\\": "\\", "'": "'", '"': '"', "`": "`", "?": "?",
}  # fmt: skip
_ESCAPE = re.compile(
    r"\\(?:([abfnrtv\\'\"`?])|[xX]([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-3][0-7]{2}))"
)


def tokens(source: str) -> list[Token]:
    """The tokens, closed by one of kind ``end``. Raises `CompileError` for what is no token."""
    if len(source) > LENGTH_MAX:
        text = f"expression code point size exceeds limit: size: {len(source)}, limit {LENGTH_MAX}"
        raise CompileError(source, [Issue(-1, text)])
    found: list[Token] = []
    at = 0
    while at < len(source):
        match = _TOKEN.match(source, at)
        if match is None:
            raise CompileError(source, [Issue(at, f"Syntax error: token recognition error at: '{source[at]}'")])
        kind, text = match.lastgroup or "", match[0]
        if kind == "string":
            token = _string(source, at, text)
            found.append(token)
            at += len(token.text)
            continue
        if kind != "space":
            found.append(_token(source, kind, text, at))
        at = match.end()
    found.append(Token("end", "<EOF>", len(source)))
    return found


def _token(source: str, kind: str, text: str, at: int) -> Token:
    if kind == "ident":
        if text in _KEYWORDS:
            return Token("literal", text, at, _KEYWORDS[text])
        return Token("op" if text == "in" else "ident", text, at)
    if kind == "float":
        value = float(text)
        if value in (float("inf"), float("-inf")):
            raise CompileError(source, [Issue(at, "invalid double literal")])
        return Token("number", text, at, value)
    if kind in ("int", "uint"):
        return Token("number", text, at, _integer(source, text, at))
    return Token("op", text, at)


def _integer(source: str, text: str, at: int) -> int | Uint:
    digits = text.rstrip("uU")
    if len(digits) > 40:
        raise CompileError(source, [Issue(at, "invalid int literal")])
    value = int(digits, 16 if digits.startswith("0x") else 10)
    if digits != text:
        if value >= 1 << 64:
            raise CompileError(source, [Issue(at, "invalid uint literal")])
        return Uint(value)
    return value


def _string(source: str, at: int, opening: str) -> Token:
    prefix = opening.rstrip("'\"").lower()
    quote = opening[len(prefix) :]
    start = at + len(opening)
    end = _closing(source, start, quote, is_raw="r" in prefix)
    if end < 0:
        shown = source[at:].split("\n")[0]
        raise CompileError(source, [Issue(at, f"Syntax error: token recognition error at: '{shown}'")])
    body, text = source[start:end], source[at : end + len(quote)]
    body = body.replace("\r\n", "\n").replace("\r", "\n")
    if "b" in prefix:
        value: str | bytes = body.encode() if "r" in prefix else _unescaped_bytes(source, body, at)
        return Token("literal", text, at, value)
    return Token("literal", text, at, body if "r" in prefix else _unescaped(source, body, at))


def _closing(source: str, start: int, quote: str, *, is_raw: bool) -> int:
    """Where the closing quote stands, -1 when it is missing. A short string ends before its line does."""
    at = start
    while at < len(source):
        if source.startswith(quote, at):
            return at
        if source[at] == "\\" and not is_raw:
            at += 2
            continue
        if source[at] in "\r\n" and len(quote) == 1:
            return -1
        at += 1
    return -1


def _pieces(source: str, body: str, at: int) -> list[tuple[str, re.Match[str] | None]]:
    found: list[tuple[str, re.Match[str] | None]] = []
    position = 0
    while (backslash := body.find("\\", position)) >= 0:
        match = _ESCAPE.match(body, backslash)
        if match is None:
            raise CompileError(source, [Issue(at, "Syntax error: token recognition error: invalid escape")])
        found.append((body[position:backslash], match))
        position = match.end()
    found.append((body[position:], None))
    return found


def _unescaped(source: str, body: str, at: int) -> str:
    out: list[str] = []
    for text, match in _pieces(source, body, at):
        out.append(text)
        if match is not None:
            out.append(_character(source, match, at))
    return "".join(out)


def _character(source: str, match: re.Match[str], at: int) -> str:
    simple, two, four, eight, octal = match.groups()
    if simple:
        return _SIMPLE[simple]
    code = int(octal, 8) if octal else int(two or four or eight, 16)
    if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
        raise CompileError(source, [Issue(at, "invalid unicode code point")])
    return chr(code)


def _unescaped_bytes(source: str, body: str, at: int) -> bytes:
    out = bytearray()
    for text, match in _pieces(source, body, at):
        out += text.encode()
        if match is None:
            continue
        simple, two, four, eight, octal = match.groups()
        if four or eight:
            raise CompileError(source, [Issue(at, "invalid bytes literal: unicode escape")])
        out += _SIMPLE[simple].encode() if simple else bytes([int(octal, 8) if octal else int(two, 16)])
    return bytes(out)
