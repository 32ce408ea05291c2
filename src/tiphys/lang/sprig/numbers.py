"""Arithmetic. The integer functions turn whatever they get into an int64; the others count in decimals."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

from tiphys.lang.gofmt import sprint
from tiphys.lang.govalues import CallError, Int64, IntList, parse_int, refuse_count, wrap64
from tiphys.lang.sprig.convert import to_float, to_int, to_int64

_DIVISION_DIGITS = 16
"""Digits after the point that a decimal division keeps (shopspring's DivisionPrecision)."""


def add(*values: Any) -> Int64:
    return Int64(wrap64(sum(map(to_int, values))))


def sub(left: Any, right: Any) -> Int64:
    return Int64(wrap64(to_int(left) - to_int(right)))


def div(left: Any, right: Any) -> Int64:
    divisor = _not_zero(to_int(right))
    quotient = abs(to_int(left)) // abs(divisor)
    return Int64(wrap64(quotient if (to_int(left) < 0) == (divisor < 0) else -quotient))


def mod(left: Any, right: Any) -> Int64:
    """Has the sign of the dividend."""
    rest = abs(to_int(left)) % abs(_not_zero(to_int(right)))
    return Int64(-rest if to_int(left) < 0 else rest)


def _not_zero(value: int) -> int:
    if value == 0:
        raise CallError("runtime error: integer divide by zero")
    return value


def mul(first: Any, *others: Any) -> Int64:
    product = to_int(first)
    for value in others:
        product = wrap64(product * to_int(value))
    return Int64(product)


def largest(first: Any, *others: Any) -> Int64:
    return Int64(max(map(to_int, (first, *others))))


def smallest(first: Any, *others: Any) -> Int64:
    return Int64(min(map(to_int, (first, *others))))


def maxf(first: Any, *others: Any) -> float:
    return _extreme(max, math.inf, (first, *others))


def minf(first: Any, *others: Any) -> float:
    return _extreme(min, -math.inf, (first, *others))


def _extreme(choose: Callable[..., float], last: float, values: tuple[Any, ...]) -> float:
    """math.Max and math.Min: NaN wins, except over the infinity that nothing surpasses."""
    numbers = list(map(to_float, values))
    if last in numbers:
        return last
    return math.nan if any(map(math.isnan, numbers)) else choose(numbers)


def floor(value: Any) -> float:
    number = to_float(value)
    return float(math.floor(number)) if math.isfinite(number) else number


def ceil(value: Any) -> float:
    number = to_float(value)
    return float(math.ceil(number)) if math.isfinite(number) else number


def round_at(value: Any, places: int, *limit: float) -> float:
    """Up from ``limit`` (a half) of the last digit; what is negative always goes down, as sprig has it."""
    power = _power_of_ten(places)
    scaled = power * to_float(value)
    if not math.isfinite(scaled):
        return scaled / power if power else math.nan
    up = math.modf(scaled)[0] >= (limit[0] if limit else 0.5)
    rounded = float(math.ceil(scaled) if up else math.floor(scaled))
    return rounded / power if power else math.copysign(math.inf, rounded) if rounded else math.nan


def _power_of_ten(exponent: int) -> float:
    try:
        return math.pow(10, exponent)
    except OverflowError:
        return math.inf


def add1f(value: Any) -> float:
    return _decimally(value, (1,), lambda left, right: left + right)


def addf(*values: Any) -> float:
    return _decimally(0.0, values, lambda left, right: left + right)


def subf(first: Any, *others: Any) -> float:
    return _decimally(first, others, lambda left, right: left - right)


def mulf(first: Any, *others: Any) -> float:
    return _decimally(first, others, lambda left, right: left * right)


def divf(first: Any, *others: Any) -> float:
    return _decimally(first, others, _divided)


def _decimally(first: Any, others: tuple[Any, ...], step: Callable[[Fraction, Fraction], Fraction]) -> float:
    """The steps are made on the decimals that the floats show (0.1 is a tenth), the result is the nearest float."""
    result = _decimal(first)
    for value in others:
        result = step(result, _decimal(value))
    try:
        return float(result)
    except OverflowError:
        return math.copysign(math.inf, result)


def _decimal(value: Any) -> Fraction:
    number = to_float(value)
    if not math.isfinite(number):
        raise CallError(f"Cannot create a Decimal from {sprint(number)}")
    return Fraction(Decimal(repr(number)))


def _divided(left: Fraction, right: Fraction) -> Fraction:
    """Rounded half away from zero at the last digit that is kept."""
    if right == 0:
        raise CallError("decimal division by 0")
    scaled = left / right * 10**_DIVISION_DIGITS
    rounded = (abs(scaled) + Fraction(1, 2)).__floor__()
    return Fraction(rounded if scaled >= 0 else -rounded, 10**_DIVISION_DIGITS)


def atoi(text: str) -> int:
    try:
        return parse_int(text)
    except ValueError:
        return 0


def to_decimal(value: Any) -> Int64:
    """Reads the value's text as octal; 0 where it is none."""
    try:
        return Int64(parse_int(sprint(value), 8))
    except ValueError:
        return Int64(0)


def until(count: int) -> IntList:
    return until_step(0, count, -1 if count < 0 else 1)


def until_step(start: int, stop: int, step: int) -> IntList:
    if (step >= 0) if stop < start else (step <= 0):
        return IntList()
    refuse_count("untilStep", (stop - start) // step)
    return IntList(range(start, stop, step))


def seq(*given: int) -> str:
    """As the command seq: ``last``, ``first last`` or ``first step last``; the last is included."""
    match given:
        case (last,):
            first, step = 1, -1 if last < 1 else 1
        case (first, last):
            step = -1 if last < first else 1
        case (first, step, last):
            if last < first and step > 0:
                return ""
        case _:
            return ""
    return " ".join(map(str, until_step(first, last + (-1 if last < first else 1), step)))


TABLE: dict[str, tuple[str, Callable[..., Any]]] = {
    "atoi": ("string -> int", atoi),
    "int64": ("any -> int64", to_int64),
    "int": ("any -> int", to_int),
    "float64": ("any -> float64", to_float),
    "toDecimal": ("any -> int64", to_decimal),
    "seq": ("...int -> string", seq),
    "until": ("int -> []int", until),
    "untilStep": ("int, int, int -> []int", until_step),
    "add1": ("any -> int64", lambda value: Int64(wrap64(to_int(value) + 1))),
    "add": ("...any -> int64", add),
    "sub": ("any, any -> int64", sub),
    "div": ("any, any -> int64", div),
    "mod": ("any, any -> int64", mod),
    "mul": ("any, ...any -> int64", mul),
    "add1f": ("any -> float64", add1f),
    "addf": ("...any -> float64", addf),
    "subf": ("any, ...any -> float64", subf),
    "divf": ("any, ...any -> float64", divf),
    "mulf": ("any, ...any -> float64", mulf),
    "biggest": ("any, ...any -> int64", largest),
    "max": ("any, ...any -> int64", largest),
    "min": ("any, ...any -> int64", smallest),
    "maxf": ("any, ...any -> float64", maxf),
    "minf": ("any, ...any -> float64", minf),
    "ceil": ("any -> float64", ceil),
    "floor": ("any -> float64", floor),
    "round": ("any, int, ...float64 -> float64", round_at),
}
