"""The expressions of filters and scripts: ``@.price < 10 && @.name =~ '^a'``.

    loosest  ||  &&  == != <= >= < > =~ !  + -  ** * / %  not in, in  tightest;   ( … ) around a whole expression

An expression is split at the first place where its loosest operator stands outside quotes and brackets; what has no
operator is text. Values are compared as text unless both read as numbers. Text from the document is wrapped in single
quotes, so that it meets a quoted literal.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

from tiphys.lang.expr.jsonpath.errors import JsonPathError
from tiphys.lang.expr.jsonpath.steps import Evaluate, Run, Step, TooMuch, go_on
from tiphys.lang.gofmt import sprint
from tiphys.lang.gomath import divide, power
from tiphys.lang.goregexp import RegexpError, compile_pattern
from tiphys.lang.gotext import TRIMMED
from tiphys.lang.govalues import parse_float, parse_int

EXPRESSION_LENGTH_MAX = 1_000
DEPTH_MAX = 30
"""Expressions inside expressions, brackets and operators alike."""

_OPERATORS = (
    "||", "&&", "==", "!=", "<=", ">=", "<", ">", "=~", "!", "+", "-", "**", "*", "/", "%", "not in", "in", "@", "$",
)  # fmt: skip
_SELECTORS = ("@", "$")

Operand = Evaluate | str | list[Any] | dict[str, Any] | None


def compile(expression: str, depth: int) -> Evaluate:
    """The expression as a function of the run and the current element. Raises JsonPathError."""
    if len(expression) > EXPRESSION_LENGTH_MAX:
        raise JsonPathError(f"expression is longer than {EXPRESSION_LENGTH_MAX} characters")
    operator = _build(expression, _OPERATORS, depth)
    return operator if operator is not None else lambda run, value: _plain(expression, run, value)


def _plain(expression: str, run: Run, value: Any) -> Any:
    """An expression without operators: nil, a number, a bool, or its own text."""
    if expression in ("nil", "null"):
        return None
    try:
        return parse_float(expression)
    except ValueError:
        return _BOOLS.get(expression, expression)


_BOOLS = {
    **dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True),
    **dict.fromkeys(("0", "f", "F", "FALSE", "false", "False"), False),
}


def _build(expression: str, operators: tuple[str, ...], depth: int) -> Evaluate | None:
    if depth > DEPTH_MAX:
        raise JsonPathError(f"expression is nested too deeply (at most {DEPTH_MAX} levels)")
    expression = expression.strip(TRIMMED)
    operator, further = operators[0], operators[1:]
    while expression:
        if expression.startswith("(") and expression.endswith(")"):
            expression = expression[1:-1].strip(TRIMMED)
            operators, further = ("", *_OPERATORS), _OPERATORS
        found = _applied(expression, operator, operators, depth)
        if found is not None or not further:
            return found
        operators, operator, further = further, further[0], further[1:]
    return None


def _applied(expression: str, operator: str, operators: tuple[str, ...], depth: int) -> Evaluate | None:
    """The expression split at ``operator``, or None where that does not stand in it with what it needs beside it."""
    place = _find(expression, operator)
    if place < 0:
        return None
    before = expression[:place].strip(TRIMMED)
    after = expression[place + len(operator) :].strip(TRIMMED)
    if not after and operator not in _SELECTORS:
        return None
    right = _operand(after, operators, depth + 1)
    if not before and operator not in _SELECTORS and operator != "!":
        return None
    left = _operand(before, operators, depth + 1)
    if operator in _SELECTORS or operator == "!":
        if left is not None:
            return None
        return _selector(expression, depth) if operator in _SELECTORS else _negation(right)
    apply = _APPLY.get(operator)
    if apply is None:
        raise JsonPathError("unsupported operator")
    return lambda run, value: apply(left, right, run, value)


def _find(source: str, operator: str) -> int:
    """Where ``operator`` first ends outside quotes and brackets; -1 for nowhere."""
    quote = ""
    square = round_ = 0
    for place, character in enumerate(source):
        if character in "'\"":
            if square <= 0 and round_ <= 0 and quote in ("", character):
                quote = "" if quote else character
        elif not quote:
            square += ((character == "[") - (character == "]")) if round_ <= 0 else 0
            round_ += ((character == "(") - (character == ")")) if square <= 0 else 0
        if quote or square > 0 or round_ > 0:
            continue
        start = place + 1 - len(operator)
        if start >= 0 and source.startswith(operator, start):
            return start
    return -1


def _operand(text: str, operators: tuple[str, ...], depth: int) -> Operand:
    operator = _build(text, operators, depth)
    if operator is not None:
        return operator
    return _json(text.strip(TRIMMED)) or text.strip(TRIMMED) or None


def _json(text: str) -> list[Any] | dict[str, Any] | None:
    if text[:1] + text[-1:] in ("[]", "{}"):
        try:
            value = json.loads(text, parse_int=float)
        except (ValueError, RecursionError):
            return None
        return value if isinstance(value, list | dict) else None
    return None


def _selector(expression: str, depth: int) -> Evaluate:
    from tiphys.lang.expr.jsonpath.parsing import parse  # paths hold expressions and expressions hold paths

    steps: tuple[Step, ...] = parse(expression, depth)

    def evaluate(run: Run, value: Any) -> Any:
        found = go_on(run, value, steps)
        if not isinstance(found, str) or (len(found) > 1 and found[0] == found[-1] == "'"):
            return found
        return f"'{found}'"

    return evaluate


# Operands as what an operator wants.


def _value(operand: Operand, run: Run, current: Any) -> Any:
    """The operand evaluated; texts that name the document or nil become what they name."""
    found: Any = operand(run, current) if callable(operand) else operand
    if isinstance(found, str) and found in ("$", "@", "nil", "null"):
        return {"$": run.root, "@": current}.get(found)
    return found


def _number(operand: Operand, run: Run, current: Any) -> float:
    if operand is None:
        raise JsonPathError("invalid argument. is nil")
    text = sprint(_value(operand, run, current))
    try:
        return parse_float(text)
    except ValueError:
        raise JsonPathError("invalid argument. expected number") from None


def _integer(operand: Operand, run: Run, current: Any) -> int:
    if operand is None:
        raise JsonPathError("invalid argument. is nil")
    text = sprint(_value(operand, run, current))
    try:
        return parse_int(text)
    except ValueError:
        raise JsonPathError("invalid argument. expected integer") from None


def _boolean(operand: Operand, run: Run, current: Any) -> bool:
    value = _value(operand, run, current)
    if value is None:
        return False
    found = _BOOLS.get(sprint(value))
    if found is None:
        raise JsonPathError("invalid argument. expected boolean")
    return found


def _text(operand: Operand, run: Run, current: Any) -> str:
    if operand is None:
        raise JsonPathError("invalid argument. is nil")
    raw: Any = operand(run, current) if callable(operand) else operand
    value = _value(raw, run, current) if isinstance(raw, str) else raw
    if not isinstance(value, str):
        return sprint(value)
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        return f"'{value[1:-1]}'"
    return value if value == raw else f"'{value}'"


def _negation(operand: Operand) -> Evaluate:
    return lambda run, value: not _boolean(operand, run, value)


Apply = Callable[[Operand, Operand, Run, Any], Any]


def _numeric(apply: Callable[[float, float], Any]) -> Apply:
    return lambda left, right, run, value: apply(_number(left, run, value), _number(right, run, value))


def _equal(left: Operand, right: Operand, run: Run, value: Any) -> bool:
    try:
        return _number(left, run, value) == _number(right, run, value)
    except TooMuch:
        raise
    except JsonPathError:
        return _text(left, run, value) == _text(right, run, value)


def _logic(apply: Callable[[bool, bool], bool]) -> Apply:
    return lambda left, right, run, value: apply(_boolean(left, run, value), _boolean(right, run, value))


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == "'" else text


def _matches(left: Operand, right: Operand, run: Run, value: Any) -> bool:
    text, pattern = _unquoted(_text(left, run, value)), _unquoted(_text(right, run, value))
    try:
        return compile_pattern(pattern).search(text) is not None
    except RegexpError:
        raise JsonPathError("invalid argument. expected a valid regexp") from None


def _remainder(left: Operand, right: Operand, run: Run, value: Any) -> int:
    a, b = _integer(left, run, value), _integer(right, run, value)
    if b == 0:
        raise JsonPathError("runtime error: integer divide by zero")
    return int(math.fmod(a, b)) if abs(a) < 1 << 52 else (abs(a) % abs(b)) * (-1 if a < 0 else 1)


def _is_in(left: Operand, right: Operand, run: Run, value: Any) -> bool:
    item = _item(left, run, value)
    heap = _value(right, run, value)
    if isinstance(heap, str) and heap[:1] + heap[-1:] in ("[]", "{}"):
        heap = _json(heap)
        if heap is None:
            raise JsonPathError("invalid argument")
    if heap is None:
        raise JsonPathError("invalid argument. is nil")
    if not isinstance(heap, list | dict):
        raise JsonPathError("invalid argument. expected array, map, or slice")
    values = list(heap.values()) if isinstance(heap, dict) else heap
    return item is not None and any(type(one) is type(item) and one == item for one in values)


def _item(operand: Operand, run: Run, value: Any) -> Any:
    """What ``in`` looks for; what cannot be evaluated is found nowhere."""
    for read in (_number, _text):
        try:
            return read(operand, run, value)
        except TooMuch:
            raise
        except JsonPathError:
            continue
    return None


_APPLY: dict[str, Apply] = {
    "||": _logic(lambda a, b: a or b),
    "&&": _logic(lambda a, b: a and b),
    "==": _equal,
    "!=": lambda left, right, run, value: not _equal(left, right, run, value),
    "<=": _numeric(lambda a, b: a <= b),
    ">=": _numeric(lambda a, b: a >= b),
    "<": _numeric(lambda a, b: a < b),
    ">": _numeric(lambda a, b: a > b),
    "=~": _matches,
    "+": _numeric(lambda a, b: a + b),
    "-": _numeric(lambda a, b: a - b),
    "**": _numeric(power),
    "*": _numeric(lambda a, b: a * b),
    "/": _numeric(divide),
    "%": _remainder,
    "in": _is_in,
    "not in": lambda left, right, run, value: not _is_in(left, right, run, value),
}
