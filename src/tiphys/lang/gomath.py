"""Go's float arithmetic where it differs from Python's: no exceptions, and its own way to raise to a power."""

from __future__ import annotations

import math

_EXPONENT_MAX = 1 << 12


def divide(x: float, y: float) -> float:
    """IEEE division: what is divided by zero is an infinity, or NaN for 0/0."""
    if y:
        return x / y
    if x == 0 or x != x or y != y:
        return math.nan
    return math.copysign(math.inf, x) * math.copysign(1.0, y)


def remainder(x: float, y: float) -> float:
    """math.Mod: the sign of x; NaN where it is not defined."""
    if y == 0 or math.isinf(x) or x != x or y != y:
        return math.nan
    return math.fmod(x, y)


def power(x: float, y: float) -> float:
    """math.Pow. The last digit depends on how it is computed, so it is computed as there: by repeated squaring."""
    if y == 0 or x == 1:
        return 1.0
    if y == 1:
        return x
    if x != x or y != y:
        return math.nan
    if x == 0:
        return _of_zero(x, y)
    if math.isinf(y):
        return _to_infinity(x, y)
    if math.isinf(x):
        return _of_infinity(x, y)
    if y == 0.5:
        return math.sqrt(x) if x >= 0 else math.nan
    if y == -0.5:
        return 1 / math.sqrt(x) if x >= 0 else math.nan
    return _by_squaring(x, y)


def _is_odd(y: float) -> bool:
    return abs(y) < 2.0**53 and y == math.floor(y) and int(y) % 2 == 1


def _of_zero(x: float, y: float) -> float:
    odd = _is_odd(y)
    if y < 0:
        return math.copysign(math.inf, x) if odd else math.inf
    return x if odd else 0.0


def _to_infinity(x: float, y: float) -> float:
    if x == -1:
        return 1.0
    return 0.0 if (abs(x) < 1) == (y > 0) else math.inf


def _of_infinity(x: float, y: float) -> float:
    if x < 0:
        return power(1 / x, -y)  # pow(-0, -y)
    return 0.0 if y < 0 else math.inf


def _by_squaring(x: float, y: float) -> float:
    fraction, whole = math.modf(abs(y))
    if fraction and x < 0:
        return math.nan
    if whole >= 2.0**63:
        return 1.0 if x == -1 else _to_infinity(x, math.copysign(math.inf, y))
    result, exponent = 1.0, 0
    if fraction:
        if fraction > 0.5:
            fraction -= 1
            whole += 1
        result = math.exp(fraction * math.log(x))
    mantissa, shift = math.frexp(x)
    left = int(whole)
    while left:
        if abs(shift) > _EXPONENT_MAX:
            exponent += shift  # far out of range: the exact value no longer matters
            break
        if left & 1:
            result *= mantissa
            exponent += shift
        mantissa *= mantissa
        shift <<= 1
        if mantissa < 0.5:
            mantissa += mantissa
            shift -= 1
        left >>= 1
    if y < 0:
        result, exponent = 1 / result, -exponent
    return _scaled(result, exponent)


def _scaled(mantissa: float, exponent: int) -> float:
    try:
        return math.ldexp(mantissa, exponent)
    except OverflowError:
        return math.copysign(math.inf, mantissa)
