"""Tokens of a govaluate expression, and which may follow which.

    number    digits and dots (0x… is hexadecimal)       separator  ,
    word      letter { letter | digit | _ | . }          clause     ( )
    [name]    any characters up to ]                     symbol     everything else, up to a letter, digit,
    string    '…' or "…" (either quote ends either)                 quote, bracket or blank

A backslash anywhere takes the next character as it is. ``true``, ``false`` and ``in`` are words with a meaning; a
word with a dot is an accessor. A string that reads as a date is a time (:func:`tiphys.lang.moments.recognise`).

What may follow what is a table, checked after reading, because the original reports a bad token before a bad order.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from tiphys.lang import moments
from tiphys.lang.gofmt import sprint
from tiphys.lang.gotext import SPACES, is_digit, is_letter
from tiphys.lang.govaluate.errors import GovaluateError
from tiphys.lang.govalues import parse_float

LENGTH_MAX = 1_000_000
"""Characters of an expression. Substituted values can be long; beyond this no ``when`` is meant."""

TOKENS_MAX = 10_000
"""Tokens of an expression."""

UNKNOWN, PREFIX, NUMERIC, BOOLEAN, STRING, PATTERN, TIME, VARIABLE, SEPARATOR, ACCESSOR = (
    "UNKNOWN", "PREFIX", "NUMERIC", "BOOLEAN", "STRING", "PATTERN", "TIME", "VARIABLE", "SEPARATOR", "ACCESSOR",
)  # fmt: skip
COMPARATOR, LOGICALOP, MODIFIER, CLAUSE, CLAUSE_CLOSE, TERNARY = (
    "COMPARATOR", "LOGICALOP", "MODIFIER", "CLAUSE", "CLAUSE_CLOSE", "TERNARY",
)  # fmt: skip

_PREFIXES = frozenset("-!~")
_SYMBOLS = {
    **dict.fromkeys(("+", "-", "*", "/", "%", "**", "&", "|", "^", ">>", "<<"), MODIFIER),
    **dict.fromkeys(("&&", "||"), LOGICALOP),
    **dict.fromkeys(("==", "!=", ">", ">=", "<", "<=", "=~", "!~"), COMPARATOR),
    **dict.fromkeys(("?", ":", "??"), TERNARY),
}

_VALUES = frozenset((NUMERIC, BOOLEAN, VARIABLE, ACCESSOR, STRING, TIME, CLAUSE))
_AFTER_VALUE = frozenset((MODIFIER, COMPARATOR, LOGICALOP, CLAUSE_CLOSE, SEPARATOR))
_MAY_FOLLOW: dict[str, frozenset[str]] = {
    UNKNOWN: _VALUES | {PREFIX, PATTERN},
    CLAUSE: _VALUES | {PREFIX, PATTERN, CLAUSE_CLOSE},
    CLAUSE_CLOSE: _AFTER_VALUE | {NUMERIC, BOOLEAN, VARIABLE, STRING, PATTERN, TIME, CLAUSE, TERNARY},
    NUMERIC: _AFTER_VALUE | {TERNARY},
    BOOLEAN: _AFTER_VALUE | {TERNARY},
    STRING: _AFTER_VALUE | {TERNARY},
    TIME: _AFTER_VALUE,
    PATTERN: _AFTER_VALUE,
    VARIABLE: _AFTER_VALUE | {TERNARY},
    MODIFIER: (_VALUES - {TIME}) | {PREFIX, CLAUSE_CLOSE},
    COMPARATOR: _VALUES | {PREFIX, PATTERN, CLAUSE_CLOSE},
    LOGICALOP: _VALUES | {PREFIX, CLAUSE_CLOSE},
    PREFIX: (_VALUES - {STRING, TIME}) | {CLAUSE_CLOSE},
    TERNARY: _VALUES | {PREFIX, SEPARATOR},
    ACCESSOR: _AFTER_VALUE | {CLAUSE, TERNARY},
    SEPARATOR: _VALUES | {PREFIX},
}
_MAY_END = frozenset((CLAUSE_CLOSE, NUMERIC, BOOLEAN, STRING, TIME, PATTERN, VARIABLE, ACCESSOR))


class Token(NamedTuple):
    """``value`` is a float, bool, str, a list of names (accessor), a compiled pattern, or a moment (time)."""

    kind: str
    value: object


def tokenize(text: str) -> list[Token]:
    """All tokens of ``text``, in a valid order and with as many ``)`` as ``(``. Raises :class:`GovaluateError`."""
    if len(text) > LENGTH_MAX:
        raise GovaluateError(f"expression is longer than {LENGTH_MAX} characters")
    tokens = _Reader(text).read()
    check_order(tokens)
    return tokens


def check_order(tokens: list[Token]) -> None:
    """Raises where a token may not follow the one before it, or none may be the last."""
    last = Token(UNKNOWN, None)
    for token in tokens:
        if token.kind not in _MAY_FOLLOW[last.kind]:
            if last.kind == VARIABLE and token.kind == CLAUSE:
                raise GovaluateError(f"Undefined function {last.value}")
            raise GovaluateError(f"Cannot transition token types from {_shown(last)} to {_shown(token)}")
        last = token
    if last.kind not in _MAY_END:
        raise GovaluateError("Unexpected end of expression")


def _shown(token: Token) -> str:
    value = ord(token.value) if token.kind in (CLAUSE, CLAUSE_CLOSE) and isinstance(token.value, str) else token.value
    return f"{token.kind} [{sprint(value)}]"


class _Reader:
    """Reads one token after the other; ``at`` is the next character."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.end = len(text)
        self.at = 0

    def read(self) -> list[Token]:
        tokens: list[Token] = []
        kind, depth = UNKNOWN, 0
        while (token := self._next(kind)) is not None:
            if len(tokens) >= TOKENS_MAX:
                raise GovaluateError(f"expression has more than {TOKENS_MAX} tokens")
            tokens.append(token)
            kind = token.kind
            depth += (kind == CLAUSE) - (kind == CLAUSE_CLOSE)
        if depth:
            raise GovaluateError("Unbalanced parenthesis")
        return tokens

    def _next(self, before: str) -> Token | None:
        text, end = self.text, self.end
        while self.at < end and text[self.at] in SPACES:
            self.at += 1
        if self.at >= end:
            return None
        character = text[self.at]
        if is_digit(character) or character == ".":
            return Token(NUMERIC, self._number())
        if is_letter(character):
            return _word(self._run(_in_word))
        self.at += 1
        if character in "\"'":
            return _string(self._until("\"'", "Unclosed string literal"))
        if character == "(":
            return Token(CLAUSE, character)
        if character == ")":
            return Token(CLAUSE_CLOSE, character)
        if character == ",":
            return Token(SEPARATOR, character)
        if character == "[":
            return Token(VARIABLE, self._until("]", "Unclosed parameter bracket"))
        self.at -= 1
        return self._symbol(before)

    def _symbol(self, before: str) -> Token:
        symbol = self._run(_in_symbol)
        if symbol in _PREFIXES and PREFIX in _MAY_FOLLOW[before]:
            return Token(PREFIX, symbol)
        kind = _SYMBOLS.get(symbol)
        if kind is None:
            raise GovaluateError(f"Invalid token: '{symbol}'")
        return Token(kind, symbol)

    def _number(self) -> float:
        if self.text.startswith("0x", self.at) and self.at + 2 < self.end:
            self.at += 2
            digits = self._run(_is_hex)
            try:
                value = int(digits, 16) if digits.isascii() and digits.isalnum() else 1 << 64
            except ValueError:
                value = 1 << 64
            if value >= 1 << 64:
                raise GovaluateError(f"Unable to parse hex value '{digits}' to uint64\n")
            return float(value)
        digits = self._run(_in_number)
        try:
            return parse_float(digits)
        except ValueError:
            raise GovaluateError(f"Unable to parse numeric value '{digits}' to float64\n") from None

    def _until(self, closing: str, unclosed: str) -> str:
        parts: list[str] = []
        text, start, at = self.text, self.at, self.at
        while at < self.end:
            character = text[at]
            if character in closing:
                self.at = at + 1
                parts.append(text[start:at])
                return "".join(parts)
            if character == "\\":
                parts.append(text[start:at])
                self._require(at + 1)
                start = at + 1
                at += 1
            at += 1
        raise GovaluateError(unclosed)

    def _run(self, accepts: Callable[[str], bool]) -> str:
        """The characters that ``accepts`` takes; blanks before them are skipped and one after them is consumed."""
        text = self.text
        plain = _PLAIN[accepts].match(text, self.at)
        if plain is not None and text[plain.end() : plain.end() + 1] in _ENDS:
            self.at = plain.end()
            return plain.group()
        parts: list[str] = []
        while self.at < self.end:
            character = text[self.at]
            if character == "\\":
                self._require(self.at + 1)
                parts.append(text[self.at + 1])
                self.at += 2
                continue
            if character in SPACES:
                self.at += 1
                if parts:
                    break
                continue
            if not accepts(character):
                break
            parts.append(character)
            self.at += 1
        return "".join(parts)

    def _require(self, at: int) -> None:
        # The original indexes past its input here and panics.
        if at >= self.end:
            raise GovaluateError("Unexpected end of expression after '\\'")


def _word(text: str) -> Token:
    if "." in text and not text.startswith("."):
        return Token(ACCESSOR, _accessor(text))
    if text in ("true", "false"):
        return Token(BOOLEAN, text == "true")
    return Token(COMPARATOR, "in") if text in ("in", "IN") else Token(VARIABLE, text)


def _accessor(text: str) -> list[str]:
    if text.endswith("."):
        raise GovaluateError(f"Hanging accessor on token '{text}'")
    names = text.split(".")
    for name in names[1:]:
        if name[:1].upper() != name[:1]:
            raise GovaluateError(f"Unable to access unexported field '{name}' in token '{text}'")
    return names


def _string(text: str) -> Token:
    moment = moments.recognise(text)
    return Token(STRING, text) if moment is None else Token(TIME, moment)


def _in_number(character: str) -> bool:
    return is_digit(character) or character == "."


def _is_hex(character: str) -> bool:
    return is_digit(character) or character in "abcdefABCDEF"


def _in_word(character: str) -> bool:
    return is_letter(character) or is_digit(character) or character in "_."


def _in_symbol(character: str) -> bool:
    return not (is_digit(character) or is_letter(character) or character in "()[]'\"")


# What each kind of token takes of ASCII, and what surely ends it: the fast way for nearly all tokens.
_PLAIN: dict[Callable[[str], bool], re.Pattern[str]] = {
    _in_number: re.compile(r"[0-9.]+"),
    _is_hex: re.compile(r"[0-9a-fA-F]+"),
    _in_word: re.compile(r"[A-Za-z0-9_.]+"),
    _in_symbol: re.compile(r"[!#-&*-/:-@^`{-~]+"),
}
_ENDS = frozenset(("", " ", "(", ")", ","))
