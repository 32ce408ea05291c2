"""Floats as Go's strconv writes them: the shortest digits that read back the same, in Go's layouts.

Both float64 and float32 are served; the latter because sigs.k8s.io/yaml prints numbers through it when they become
strings. NaN and the infinities are the callers' business.
"""

from __future__ import annotations

import math
import struct


def shortest(value: float, bits: int = 64) -> tuple[str, int]:
    """The shortest significant digits of a finite non-zero float, and the decimal exponent of the first of them."""
    mantissa, _, power = _repr(abs(value), bits).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    leading_zeros = len(whole + fraction) - len(digits)
    return digits.rstrip("0"), len(whole) - 1 - leading_zeros + int(power or 0)


def format_g(value: float, bits: int = 64, *, exponent_from: int = 21) -> str:
    """``%v``'s layout: an exponent below 1e-4 and from ``exponent_from`` on (strconv's own 'g' takes 6)."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    sign = "-" if math.copysign(1, value) < 0 else ""
    if value == 0:
        return sign + "0"
    digits, exponent = shortest(value, bits)
    if -4 <= exponent < exponent_from:
        return sign + positional(digits, exponent)
    fraction = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{fraction}e{'-' if exponent < 0 else '+'}{abs(exponent):02d}"


def positional(digits: str, exponent: int) -> str:
    """``digits`` with the point after the digit of weight 10**exponent, zeros filled in."""
    if exponent < 0:
        return "0." + "0" * (-exponent - 1) + digits
    if len(digits) <= exponent + 1:
        return digits + "0" * (exponent + 1 - len(digits))
    return f"{digits[: exponent + 1]}.{digits[exponent + 1 :]}"


def _repr(value: float, bits: int) -> str:
    if bits == 64:
        return repr(value)
    try:
        single = struct.unpack("f", struct.pack("f", value))[0]
    except OverflowError:  # beyond float32: Go rounds to infinity, which has no digits; keep the float64's
        return repr(value)
    for precision in range(1, 10):
        text = f"{single:.{precision - 1}e}"
        if struct.pack("f", float(text)) == struct.pack("f", single):
            return text
    return repr(single)
