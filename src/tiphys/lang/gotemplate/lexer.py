"""Template text to tokens.

    text   = { literal | "{{" [ "- " ] action [ " -" ] "}}" | "{{" [ "- " ] "/*" … "*/" [ " -" ] "}}" }
    action = keywords, identifiers, .Field, $variable, "string", `raw`, 'c', numbers, ( ) | , = :=  parted by blanks

``- `` after ``{{`` and `` -`` before ``}}`` take the white space on their side away. Tokens come one by one, since an
error token ends everything; their kinds, positions and lines decide the messages of the parser.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import NamedTuple

from tiphys.lang.gofmt import quote
from tiphys.lang.gotext import is_digit, is_letter, utf8

_SPACES = " \t\r\n"
_WORD = re.compile(r"\w*")
_RIGHT = re.compile(r"[ \t\r\n]-\}\}|\}\}")
_BLANKS = re.compile(r"[ \t\r\n]+")
_QUOTED = re.compile(r'(?:[^"\\\n]|\\[^\n])*"')
_CHARACTER = re.compile(r"(?:[^'\\\n]|\\[^\n])*'")
_DIGITS = {"x": "0123456789abcdefABCDEF_", "o": "01234567_", "b": "01_"}
_DECIMAL = "0123456789_"


class Kind(Enum):
    """What a token is; those from DOT on are keywords to the error messages."""

    ERROR = auto()
    EOF = auto()
    TEXT = auto()
    LEFT = auto()
    RIGHT = auto()
    SPACE = auto()
    ASSIGN = auto()
    DECLARE = auto()
    PIPE = auto()
    STRING = auto()
    RAW_STRING = auto()
    VARIABLE = auto()
    CHARACTER = auto()
    FIELD = auto()
    NUMBER = auto()
    COMPLEX = auto()
    IDENTIFIER = auto()
    BOOL = auto()
    LEFT_PAREN = auto()
    RIGHT_PAREN = auto()
    OTHER = auto()
    DOT = auto()
    BLOCK = auto()
    BREAK = auto()
    CONTINUE = auto()
    DEFINE = auto()
    ELSE = auto()
    END = auto()
    IF = auto()
    NIL = auto()
    RANGE = auto()
    TEMPLATE = auto()
    WITH = auto()


KEYWORDS = {kind.name.lower(): kind for kind in Kind if kind.value >= Kind.BLOCK.value}
_SIMPLE = {"=": Kind.ASSIGN, "|": Kind.PIPE}


class Token(NamedTuple):
    kind: Kind
    position: int
    text: str
    line: int

    def __str__(self) -> str:
        if self.kind is Kind.EOF:
            return "EOF"
        if self.kind is Kind.ERROR:
            return self.text
        if self.kind.value >= Kind.DOT.value:
            return f"<{self.text}>"
        return f"{quote(self.text[:10])}..." if len(utf8(self.text)) > 10 else quote(self.text)


class Lexer:
    """Gives the tokens of ``text``, then EOF for ever; after an error only EOF."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line = 1
        self._parens = 0
        self._inside = False

    def next(self) -> Token:
        if self._inside:
            return self._action()
        return self._literal()

    def _token(self, kind: Kind, end: int) -> Token:
        token = Token(kind, self._at, self._text[self._at : end], self._line)
        self._skip_to(end)
        return token

    def _skip_to(self, end: int) -> None:
        self._line += self._text.count("\n", self._at, end)
        self._at = end

    def _error(self, message: str) -> Token:
        token = Token(Kind.ERROR, self._at, message, self._line)
        self._text, self._at, self._inside = "", 0, False
        return token

    def _literal(self) -> Token:
        while True:
            start = self._text.find("{{", self._at)
            if start < 0:
                end = len(self._text)
                return self._token(Kind.TEXT if end > self._at else Kind.EOF, end)
            if start > self._at:
                end = start
                if self._trims_left(start + 2):
                    end = self._at + len(self._text[self._at : start].rstrip(_SPACES))
                if end > self._at:
                    token = self._token(Kind.TEXT, end)
                    self._skip_to(start)
                    return token
                self._skip_to(start)
            body = start + 2 + (2 if self._trims_left(start + 2) else 0)
            if not self._text.startswith("/*", body):
                token = self._token(Kind.LEFT, start + 2)
                self._skip_to(body)
                self._inside, self._parens = True, 0
                return token
            wrong = self._comment(body)
            if wrong is not None:
                return wrong

    def _trims_left(self, at: int) -> bool:
        return self._text.startswith("-", at) and self._text[at + 1 : at + 2] in tuple(_SPACES)

    def _comment(self, body: int) -> Token | None:
        """Skips a comment with the delimiters around it."""
        self._skip_to(body)
        end = self._text.find("*/", body + 2)
        if end < 0:
            return self._error("unclosed comment")
        right = _RIGHT.match(self._text, end + 2)
        if right is None:
            return self._error("comment ends before closing delimiter")
        self._skip_to(self._after_right(right))
        return None

    def _after_right(self, right: re.Match[str]) -> int:
        if right[0] == "}}":
            return right.end()
        rest = _BLANKS.match(self._text, right.end())
        return rest.end() if rest else right.end()

    def _action(self) -> Token:
        right = _RIGHT.match(self._text, self._at)
        if right is not None:
            if self._parens:
                return self._error("unclosed left paren")
            return self._right(right)
        character = self._text[self._at : self._at + 1]
        if not character:
            return self._error("unclosed action")
        if character in _SPACES:
            return self._blanks()
        if character in _SIMPLE:
            return self._token(_SIMPLE[character], self._at + 1)
        if character == ":":
            if self._text[self._at + 1 : self._at + 2] != "=":
                return self._error("expected :=")
            return self._token(Kind.DECLARE, self._at + 2)
        if character in "\"`'":
            return self._quoted(character)
        if character in ".$":
            following = self._text[self._at + 1 : self._at + 2]
            if character == "$" or not following or following not in "0123456789":
                return self._field_or_variable(character)
        if character in "+-.0123456789":
            return self._number()
        if _is_word(character):
            return self._word()
        if character in "()":
            return self._paren(character)
        if character.isascii() and character.isprintable():
            return self._token(Kind.OTHER, self._at + 1)
        return self._error(f"unrecognized character in action: {_named(character)}")

    def _right(self, right: re.Match[str]) -> Token:
        self._skip_to(right.end() - 2)
        token = self._token(Kind.RIGHT, right.end())
        self._skip_to(self._after_right(right))
        self._inside = False
        return token

    def _blanks(self) -> Token:
        """Blanks, without the last one where it belongs to ``-}}``."""
        found = _BLANKS.match(self._text, self._at)
        end = found.end() if found else self._at
        if self._text.startswith("-}}", end):
            end -= 1
            if end == self._at:
                right = _RIGHT.match(self._text, self._at)
                assert right is not None
                return self._right(right)
        return self._token(Kind.SPACE, end)

    def _quoted(self, quotes: str) -> Token:
        if quotes == "`":
            end = self._text.find("`", self._at + 1)
            return self._error("unterminated raw quoted string") if end < 0 else self._token(Kind.RAW_STRING, end + 1)
        found = (_QUOTED if quotes == '"' else _CHARACTER).match(self._text, self._at + 1)
        if found is None:
            return self._error(f"unterminated {'quoted string' if quotes == chr(34) else 'character constant'}")
        return self._token(Kind.STRING if quotes == '"' else Kind.CHARACTER, found.end())

    def _field_or_variable(self, character: str) -> Token:
        kind = Kind.VARIABLE if character == "$" else Kind.FIELD
        if self._ends_word(self._at + 1):
            return self._token(kind if kind is Kind.VARIABLE else Kind.DOT, self._at + 1)
        end = self._end_of_word(self._at + 1)
        if not self._ends_word(end):
            return self._error(f"bad character {_named(self._text[end])}")
        return self._token(kind, end)

    def _word(self) -> Token:
        end = self._end_of_word(self._at)
        if not self._ends_word(end):
            return self._error(f"bad character {_named(self._text[end])}")
        word = self._text[self._at : end]
        kind = Kind.BOOL if word in ("true", "false") else KEYWORDS.get(word, Kind.IDENTIFIER)
        return self._token(kind, end)

    def _end_of_word(self, at: int) -> int:
        while at < len(self._text) and _is_word(self._text[at]):
            at += 1
        return at

    def _ends_word(self, at: int) -> bool:
        character = self._text[at : at + 1]
        return not character or character in " \t\r\n.,|:()" or self._text.startswith("}}", at)

    def _number(self) -> Token:
        end, good = self._scan_number(self._at)
        if good and self._text[end : end + 1] in ("+", "-"):
            end, good = self._scan_number(end)
            if good and self._text[end - 1] == "i":
                return self._token(Kind.COMPLEX, end)
            good = False
        if not good:
            return self._error(f"bad number syntax: {quote(self._text[self._at : end])}")
        return self._token(Kind.NUMBER, end)

    def _scan_number(self, at: int) -> tuple[int, bool]:
        at = self._accept(at, "+-")
        base = self._text[at + 1 : at + 2].lower() if self._text[at : at + 1] == "0" else ""
        digits = _DIGITS.get(base, _DECIMAL)
        if digits is not _DECIMAL:
            at += 2
        at = self._accept_run(at, digits)
        if self._text[at : at + 1] == ".":
            at = self._accept_run(at + 1, digits)
        exponent = {_DECIMAL: "eE", _DIGITS["x"]: "pP"}.get(digits, "")
        if exponent and self._text[at : at + 1] in tuple(exponent):
            at = self._accept_run(self._accept(at + 1, "+-"), _DECIMAL)
        at = self._accept(at, "i")
        if at < len(self._text) and _is_word(self._text[at]):
            return at + 1, False
        return at, True

    def _accept(self, at: int, characters: str) -> int:
        return at + 1 if self._text[at : at + 1] in tuple(characters) else at

    def _accept_run(self, at: int, characters: str) -> int:
        while at < len(self._text) and self._text[at] in characters:
            at += 1
        return at

    def _paren(self, character: str) -> Token:
        self._parens += 1 if character == "(" else -1
        if self._parens < 0:
            return self._error("unexpected right paren")
        return self._token(Kind.LEFT_PAREN if character == "(" else Kind.RIGHT_PAREN, self._at + 1)


def _is_word(character: str) -> bool:
    return character == "_" or is_letter(character) or is_digit(character)


def _named(character: str) -> str:
    """``%#U``: U+002D '-'."""
    shown = f" '{character}'" if character.isprintable() else ""
    return f"U+{ord(character):04X}{shown}"
