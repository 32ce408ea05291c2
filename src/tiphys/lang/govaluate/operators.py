"""What the operators of govaluate take and give.

Numbers are float64; comparisons are between two numbers or two strings; ``+`` joins as soon as one side is a string;
``==`` compares anything. The messages are the original's, including "it is not a number" where a list is missing and
the left value shown whichever side is wrong in comparisons and sums.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tiphys.lang.gofmt import sprint
from tiphys.lang.gomath import divide, power, remainder
from tiphys.lang.goregexp import RegexpError, compile_pattern
from tiphys.lang.govaluate.errors import GovaluateError
from tiphys.lang.govalues import float_to_int

Parameters = Mapping[str, object]
Stage = Callable[[Parameters], Any]
Step = Callable[[Any, Stage, Parameters], Any]
"""An operator applied: its left value, the stage of its right side, the parameters → its value."""

STRING_LENGTH_MAX = 10_000_000
"""Characters that ``+`` may build."""

_NOT_A_BOOL = "Value '{}' cannot be used with the logical operator '{}', it is not a bool"
_NOT_A_NUMBER = "Value '{}' cannot be used with the modifier '{}', it is not a number"
_NOT_COMPARABLE = "Value '{}' cannot be used with the comparator '{}', it is not a number"
_NOT_A_CONDITION = "Value '{}' cannot be used with the ternary operator '{}', it is not a bool"
_BAD_PREFIX = "Value '{}' cannot be used with the prefix '{}'"


def chain(first: Stage, rest: Sequence[tuple[str, Stage]]) -> Stage:
    """The stage of ``first op right op right …``, applied from the left; a loop, so that length needs no stack."""
    steps = tuple((STEPS[symbol], right) for symbol, right in rest)
    if len(steps) == 1:
        ((only, right),) = steps
        return lambda params: only(first(params), right, params)

    def stage(params: Parameters) -> object:
        value = first(params)
        for step, right in steps:
            value = step(value, right, params)
        return value

    return stage


def prefix(symbol: str, operand: Stage) -> Stage:
    """The stage of a sign: ``-`` and ``~`` take numbers, ``!`` bools."""
    apply, fits = _PREFIX[symbol]

    def stage(params: Mapping[str, object]) -> object:
        value = operand(params)
        if not fits(value):
            raise _wrong(_BAD_PREFIX, value, symbol)
        return apply(value)

    return stage


def _wrong(template: str, value: object, symbol: str) -> GovaluateError:
    return GovaluateError(template.format(_text(value), symbol))


def _text(value: object) -> str:
    """A value as text. A constant pattern is compiled before it is looked at; it shows as it was written."""
    return sprint(getattr(value, "pattern", value))


def _is_number(value: object) -> bool:
    return type(value) is float


def _is_bool(value: object) -> bool:
    return value is True or value is False


def _and(a: object, right: Stage, params: Parameters) -> bool:
    return False if a is False else _logical(a, right(params), "&&")


def _or(a: object, right: Stage, params: Parameters) -> bool:
    return True if a is True else _logical(a, right(params), "||")


def _logical(a: object, b: object, symbol: str) -> bool:
    for value in (a, b):
        if not _is_bool(value):
            raise _wrong(_NOT_A_BOOL, value, symbol)
    return b is True


def _then(condition: object, right: Stage, params: Parameters) -> object:
    value = None if condition is False else right(params)
    if not _is_bool(condition):
        raise _wrong(_NOT_A_CONDITION, condition, "?")
    return value


def _otherwise(value: object, right: Stage, params: Parameters) -> object:
    return value if value is not None else right(params)


def _list(a: object, right: Stage, params: Parameters) -> list[object]:
    b = right(params)
    return [*a, b] if isinstance(a, list) else [a, b]


def same(a: object, b: object) -> bool:
    """reflect.DeepEqual on the language's values: a bool is never a number."""
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


def _equal(a: object, right: Stage, params: Parameters) -> bool:
    return same(a, right(params))


def _not_equal(a: object, right: Stage, params: Parameters) -> bool:
    return not same(a, right(params))


def _in(needle: object, right: Stage, params: Parameters) -> bool:
    heap = right(params)
    if not isinstance(heap, list):
        raise _wrong(_NOT_COMPARABLE, heap, "in")
    if isinstance(needle, list) and any(isinstance(one, list) for one in heap):
        raise GovaluateError("runtime error: comparing uncomparable type []interface {}")
    return any(same(needle, one) for one in heap)


def _matcher(symbol: str, expected: bool) -> Step:
    def step(text: object, right: Stage, params: Parameters) -> bool:
        pattern = right(params)
        if not isinstance(text, str):
            raise _wrong(_NOT_COMPARABLE, text, symbol)
        if isinstance(pattern, str):
            pattern = _compiled(pattern)
        elif not hasattr(pattern, "search"):
            raise _wrong(_NOT_COMPARABLE, pattern, symbol)
        return (pattern.search(text) is not None) is expected

    return step


def _compiled(pattern: str) -> Any:
    try:
        return compile_pattern(pattern)
    except RegexpError as err:
        raise GovaluateError(f"Unable to compile regexp pattern '{pattern}': {err}") from err


def _ordered(symbol: str, compare: Callable[[Any, Any], bool]) -> Step:
    def step(a: object, right: Stage, params: Parameters) -> bool:
        b = right(params)
        kind = type(a)
        if kind is not type(b) or (kind is not float and kind is not str):
            raise _wrong(_NOT_COMPARABLE, a, symbol)
        return compare(a, b)

    return step


def _plus(a: object, right: Stage, params: Parameters) -> object:
    b = right(params)
    if type(a) is float and type(b) is float:
        return a + b
    if not isinstance(a, str) and not isinstance(b, str):
        raise _wrong(_NOT_A_NUMBER, a, "+")
    text = _text(a) + _text(b)
    if len(text) > STRING_LENGTH_MAX:
        raise GovaluateError(f"text is longer than {STRING_LENGTH_MAX} characters")
    return text


def _arithmetic(symbol: str, apply: Callable[[float, float], float]) -> Step:
    def step(a: Any, right: Stage, params: Parameters) -> float:
        b = right(params)
        for value in (a, b):
            if type(value) is not float:
                raise _wrong(_NOT_A_NUMBER, value, symbol)
        return apply(a, b)

    return step


def _to_uint64(value: float) -> int:
    if value != value or not -(2.0**63) <= value < 2.0**64:
        return 1 << 63
    return int(value) % (1 << 64)


def _shift_left(a: float, b: float) -> float:
    count = _to_uint64(b)
    return float((_to_uint64(a) << count) % (1 << 64)) if count < 64 else 0.0


def _shift_right(a: float, b: float) -> float:
    count = _to_uint64(b)
    return float(_to_uint64(a) >> count) if count < 64 else 0.0


STEPS: dict[str, Step] = {
    "&&": _and,
    "||": _or,
    "?": _then,
    ":": _otherwise,
    "??": _otherwise,
    ",": _list,
    "==": _equal,
    "!=": _not_equal,
    "in": _in,
    "=~": _matcher("=~", True),
    "!~": _matcher("!~", False),
    "<": _ordered("<", lambda a, b: bool(a < b)),
    "<=": _ordered("<=", lambda a, b: bool(a <= b)),
    ">": _ordered(">", lambda a, b: bool(a > b)),
    ">=": _ordered(">=", lambda a, b: bool(a >= b)),
    "+": _plus,
    "-": _arithmetic("-", lambda a, b: a - b),
    "*": _arithmetic("*", lambda a, b: a * b),
    "/": _arithmetic("/", divide),
    "%": _arithmetic("%", remainder),
    "**": _arithmetic("**", power),
    "&": _arithmetic("&", lambda a, b: float(float_to_int(a) & float_to_int(b))),
    "|": _arithmetic("|", lambda a, b: float(float_to_int(a) | float_to_int(b))),
    "^": _arithmetic("^", lambda a, b: float(float_to_int(a) ^ float_to_int(b))),
    "<<": _arithmetic("<<", _shift_left),
    ">>": _arithmetic(">>", _shift_right),
}
_PREFIX: dict[str, tuple[Callable[[Any], object], Callable[[object], bool]]] = {
    "-": (lambda value: -value, _is_number),
    "~": (lambda value: float(~float_to_int(value)), _is_number),
    "!": (lambda value: not value, _is_bool),
}
