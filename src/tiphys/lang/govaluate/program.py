"""Parsing and evaluating govaluate expressions.

    separator  := ternary    { ","                    ternary }        → list
    ternary    := or         { "?" | ":" | "??"       or }             (x ? a : b is (x ? a) : b, nil meaning "no")
    or         := and        { "||"                   and }
    and        := comparison { "&&"                   comparison }
    comparison := bitwise    { == != < <= > >= =~ !~ in   bitwise }
    bitwise    := shift      { "&" | "|" | "^"        shift }
    shift      := sum        { "<<" | ">>"            sum }
    sum        := product    { "+" | "-"              product }
    product    := power      { "*" | "/" | "%"        power }
    power      := value      { "**"                   value }          (left-associative, unlike most languages)
    value      := literal | word | [word] | accessor | ( "-" | "!" | "~" ) value | "(" separator ")"

All operators are left-associative. The original ignores tokens after a complete expression, and inside parentheses
takes whatever follows the inner expression for the closing one; both are kept, since manifests that work by them
exist. Expressions become closures over the parameters; chains are loops, so only parentheses nest (``DEPTH_MAX``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from tiphys.lang.gofmt import sprint
from tiphys.lang.goregexp import RegexpError, compile_pattern
from tiphys.lang.govaluate import lexer, operators
from tiphys.lang.govaluate.errors import GovaluateError
from tiphys.lang.govaluate.lexer import Token
from tiphys.lang.moments import Time

DEPTH_MAX = 60
"""Parentheses and signs inside each other. The original has no limit and overflows its stack."""

_CACHED_PROGRAMS = 2_048
_CACHED_LENGTH_MAX = 4_096

Parameters = Mapping[str, object]
Stage = Callable[[Parameters], Any]

_LEVELS: tuple[tuple[str, frozenset[str]], ...] = (
    (lexer.SEPARATOR, frozenset(",")),
    (lexer.TERNARY, frozenset(("?", ":", "??"))),
    (lexer.LOGICALOP, frozenset(("||",))),
    (lexer.LOGICALOP, frozenset(("&&",))),
    (lexer.COMPARATOR, frozenset(("==", "!=", ">", ">=", "<", "<=", "=~", "!~", "in"))),
    (lexer.MODIFIER, frozenset("&|^")),
    (lexer.MODIFIER, frozenset(("<<", ">>"))),
    (lexer.MODIFIER, frozenset("+-")),
    (lexer.MODIFIER, frozenset("*/%")),
    (lexer.MODIFIER, frozenset(("**",))),
)
_LEVEL_OF = {(kind, symbol): level for level, (kind, symbols) in enumerate(_LEVELS) for symbol in symbols}


class Program:
    """A compiled expression: ``run(params)`` gives a float, bool, str, None, or a list of them."""

    __slots__ = ("_stage", "tokens")

    def __init__(self, tokens: Sequence[Token]) -> None:
        self.tokens = tokens = [_with_pattern(tokens, at) for at in range(len(tokens))]
        self._stage = _Planner(tokens).plan()

    def run(self, params: Parameters | None = None) -> object:
        """Evaluates it. Raises GovaluateError for unknown parameters and values that an operator does not take."""
        return self._stage(params or {})


def compile(text: str) -> Program:
    """The program for ``text``; short ones come from a cache. Raises GovaluateError with the original's message."""
    return _compiled(text) if len(text) <= _CACHED_LENGTH_MAX else Program(lexer.tokenize(text))


def evaluate(text: str, params: Parameters | None = None) -> object:
    """The value of ``text``; words are looked up in ``params``, whose ints count as floats."""
    return compile(text).run(params)


@lru_cache(maxsize=_CACHED_PROGRAMS)
def _compiled(text: str) -> Program:
    return Program(lexer.tokenize(text))


def _with_pattern(tokens: Sequence[Token], at: int) -> Token:
    """A constant on the right of a regexp operator is compiled once, and its errors are errors of the expression."""
    token = tokens[at]
    if token.kind == lexer.STRING and at and tokens[at - 1].value in ("=~", "!~"):
        try:
            return Token(lexer.PATTERN, compile_pattern(str(token.value)))
        except RegexpError as err:
            raise GovaluateError(str(err)) from err
    return token


class _Planner:
    """Turns tokens into one closure. ``None`` stands for a missing operand, whose value is nil."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self.tokens = tokens
        self.at = 0
        self.depth = 0

    def plan(self) -> Stage:
        return self._level(0) or _nil

    def _peek(self) -> Token | None:
        return self.tokens[self.at] if self.at < len(self.tokens) else None

    def _level(self, level: int) -> Stage | None:
        """An operand and all operators binding at least as tightly as ``level``; right sides take the tighter."""
        first = self._value()
        rest: list[tuple[str, Stage]] = []
        while (found := self._operator(level)) is not None:
            token, own = found
            rest.append((str(token.value), self._level(own + 1) or _nil))
        return operators.chain(first or _nil, rest) if rest else first

    def _operator(self, level: int) -> tuple[Token, int] | None:
        token = self._peek()
        if token is None or not isinstance(token.value, str):
            return None
        own = _LEVEL_OF.get((token.kind, token.value), -1)
        if own < level:
            return None
        self.at += 1
        return token, own

    def _value(self) -> Stage | None:
        token = self._peek()
        if token is None or token.kind == lexer.CLAUSE_CLOSE:
            return None
        self.at += 1
        match token.kind:
            case lexer.CLAUSE:
                return self._clause()
            case lexer.PREFIX:
                return operators.prefix(str(token.value), self._nested(self._value) or _nil)
            case lexer.VARIABLE:
                return _parameter(str(token.value))
            case lexer.ACCESSOR:
                return self._accessor(token)
            case lexer.TIME:
                return _literal(float(token.value.unix) if isinstance(token.value, Time) else math.nan)
            case lexer.NUMERIC | lexer.BOOLEAN | lexer.STRING | lexer.PATTERN:
                return _literal(token.value)
        raise GovaluateError(f"Unable to plan token kind: '{token.kind}', value: '{sprint(token.value)}'")

    def _clause(self) -> Stage:
        inner = self._nested(lambda: self._level(0))
        self.at += 1  # the closing parenthesis, or what the original takes for it
        return inner or _nil

    def _nested(self, read: Callable[[], Stage | None]) -> Stage | None:
        self.depth += 1
        if self.depth > DEPTH_MAX:
            raise GovaluateError(f"expression is nested too deeply (at most {DEPTH_MAX} levels)")
        try:
            return read()
        finally:
            self.depth -= 1

    def _accessor(self, token: Token) -> Stage:
        names = token.value if isinstance(token.value, list) else []
        following = self._peek()
        arguments = self._nested(lambda: self._level(0)) if following and following.kind == lexer.CLAUSE else None
        return _access(names, arguments or _nil)


def _nil(params: Parameters) -> None:
    return None


def _literal(value: object) -> Stage:
    return lambda params: value


def _parameter(name: str) -> Stage:
    def stage(params: Parameters) -> object:
        if name not in params:
            raise GovaluateError(f"No parameter '{name}' found.")
        value = params[name]
        return float(value) if isinstance(value, int) and not isinstance(value, bool) else value

    return stage


def _access(names: list[str], arguments: Stage) -> Stage:
    """Fields of Go structs: there are none here, so after the parameter is found this always fails, as there."""
    get = _parameter(names[0])

    def stage(params: Parameters) -> object:
        arguments(params)
        get(params)
        raise GovaluateError(f"Unable to access '{names[1]}', '{names[0]}' is not a struct")

    return stage
