"""Kubernetes quantities (``100m``, ``1.5Gi``, ``1e3``): reading, canonical printing, comparison, arithmetic.

    quantity := sign? digits ("." digits?)? suffix
    suffix   := n | u | m | "" | k | M | G | T | P | E        decimal, powers of 1000
              | Ki | Mi | Gi | Ti | Pi | Ei                   binary, powers of 1024
              | (e | E) signed-digits                         decimal exponent

A value is an exact ``mantissa * 10**scale``. As in apimachinery's ``resource.Quantity``, a canonical text
is printed as it came, what is finer than one nano is rounded up, and binary amounts stop at the largest int64. The
original keeps most values in an int64 and the others in a big decimal; ``wide`` remembers which, since ``value()`` of a
small one that overflows is 0 there and of a wide one wraps around.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

Format = Literal["DecimalSI", "BinarySI", "DecimalExponent"]

INT64_MAX = 2**63 - 1
TEXT_LENGTH_MAX = 1_000
# An exponent beyond this makes the original compute for ever; nothing real comes near it.
EXPONENT_MAX = 10_000
NANO = -9

_SHAPE = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?([eEinumkKMGTP]*[+-]?[0-9]*)")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_DECIMAL_SUFFIX = {exponent: suffix for suffix, exponent in _DECIMAL.items()}
_BINARY_SUFFIX = {0: ""} | {exponent: suffix for suffix, exponent in _BINARY.items()}


class QuantityError(ValueError):
    """The text is no quantity."""


_WRONG_FORMAT = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
_WRONG_SUFFIX = "unable to parse quantity's suffix"


@dataclass(frozen=True, eq=False)
class Quantity:
    """``mantissa * 10**scale``; ``text`` is the canonical form where it is known already."""

    mantissa: int
    scale: int = 0
    format: Format = "DecimalSI"
    wide: bool = False
    text: str = ""

    def __str__(self) -> str:
        return self.text or self._printed

    @cached_property
    def _printed(self) -> str:
        return _print(self)

    @property
    def sign(self) -> int:
        return (self.mantissa > 0) - (self.mantissa < 0)

    def compare(self, other: Quantity) -> int:
        """-1, 0 or 1."""
        low = min(self.scale, other.scale)
        a, b = self.mantissa * 10 ** (self.scale - low), other.mantissa * 10 ** (other.scale - low)
        return int(a > b) - int(a < b)

    def value(self, scale: int = 0) -> int:
        """The amount in units of ``10**scale`` (-3: milli), rounded away from zero, as an int64."""
        if self.wide:
            return _wide_value(self, scale)
        if self.scale < scale:
            return _divide_up(self.mantissa, 10 ** (scale - self.scale))
        whole = int(self.mantissa * 10 ** (self.scale - scale))
        return whole if -INT64_MAX - 1 <= whole <= INT64_MAX else 0

    def as_int64(self) -> int | None:
        """The amount where it is a whole number that the original holds in an int64, else None."""
        if self.wide or self.scale < 0:
            return None
        whole = self.mantissa * 10**self.scale
        return whole if abs(whole) <= INT64_MAX else None

    def __float__(self) -> float:
        return float(self.mantissa) * 10.0**self.scale

    def rounded_up(self, scale: int) -> tuple[Quantity, bool]:
        """Rounded away from zero to units of ``10**scale``, and whether nothing was lost."""
        if self.scale >= scale:
            return self, True
        divisor = 10 ** (scale - self.scale)
        return Quantity(_divide_up(self.mantissa, divisor), scale, self.format, self.wide), not self.mantissa % divisor

    def __neg__(self) -> Quantity:
        return Quantity(-self.mantissa, self.scale, self.format, self.wide)

    def __add__(self, other: Quantity) -> Quantity:
        low = min(self.scale, other.scale)
        total = self.mantissa * 10 ** (self.scale - low) + other.mantissa * 10 ** (other.scale - low)
        kind = self.format if self.mantissa else other.format
        return Quantity(total, low, kind, self.wide or other.wide or abs(total) > INT64_MAX)

    def __sub__(self, other: Quantity) -> Quantity:
        return self + -other

    def times(self, factor: int) -> Quantity:
        product = self.mantissa * factor
        return Quantity(product, self.scale, self.format, self.wide or abs(product) > INT64_MAX)


@lru_cache(maxsize=4096)
def parse(text: str) -> Quantity:
    """Raises ``QuantityError`` with the original's message."""
    if not text or len(text) > TEXT_LENGTH_MAX:
        raise QuantityError(_WRONG_FORMAT)
    match = _SHAPE.match(text)
    if match is None or match.end() != len(text):
        raise QuantityError(_WRONG_FORMAT)
    sign, digits, fraction, suffix = match.groups()
    if suffix and not (digits or fraction) and not match[0].startswith("."):
        _interpret(suffix)
    base, exponent, kind = _interpret(suffix)
    return _amount(text, -1 if sign == "-" else 1, digits.lstrip("0") or "0", fraction or "", base, exponent, kind)


def is_quantity(text: str) -> bool:
    try:
        parse(text)
    except QuantityError:
        return False
    return True


def canonical(text: str) -> str:
    """The text that the API server stores."""
    return str(parse(text))


def _interpret(suffix: str) -> tuple[int, int, Format]:
    """The base (10 or 2), its exponent and the format that a suffix stands for."""
    if suffix in _DECIMAL:
        return 10, _DECIMAL[suffix], "DecimalSI"
    if suffix in _BINARY:
        return 2, _BINARY[suffix], "BinarySI"
    digits = suffix[1:]
    if suffix[0] in "eE" and digits.lstrip("+-").isdigit() and len(digits) - len(digits.lstrip("+-")) <= 1:
        exponent = int(digits)
        if abs(exponent) <= EXPONENT_MAX:
            return 10, exponent, "DecimalExponent"
    raise QuantityError(_WRONG_SUFFIX)


def _amount(text: str, sign: int, digits: str, fraction: str, base: int, exponent: int, kind: Format) -> Quantity:
    if text == "0":
        return Quantity(0, 0, kind, text=text)
    shifted = digits + fraction
    small = _is_small(digits, fraction, base, exponent)
    mantissa = int(shifted) * (2**exponent if base == 2 else 1)
    scale = (exponent if base == 10 else 0) - len(fraction)
    if small and abs(mantissa) <= INT64_MAX:
        kept = text if _is_canonical(shifted, scale, exponent, kind) else ""
        return Quantity(sign * mantissa, scale, kind, text=kept)
    return _wide_amount(sign, mantissa, scale, kind)


def _is_small(digits: str, fraction: str, base: int, exponent: int) -> bool:
    """Whether the original takes its int64 path: enough decimal precision left and nothing finer than nano."""
    if base == 10:
        return len(digits) + len(fraction) <= 18 and exponent - len(fraction) >= NANO
    return not fraction and 15 - len(digits) - exponent * 3 // 10 - 1 >= 0


def _is_canonical(shifted: str, scale: int, exponent: int, kind: Format) -> bool:
    if kind == "BinarySI":
        return exponent % 10 == 0 and int(shifted) & 7 != 0
    return scale % 3 == 0 and not shifted.endswith("000") and shifted[0] != "0"


def _wide_amount(sign: int, mantissa: int, scale: int, kind: Format) -> Quantity:
    if scale < NANO:
        mantissa, scale = _divide_up(mantissa, 10 ** (NANO - scale)), NANO
    whole = mantissa * 10**scale if scale >= 0 else mantissa // 10**-scale
    if kind == "BinarySI" and (whole > INT64_MAX or (whole == INT64_MAX and scale < 0 and mantissa % 10**-scale)):
        mantissa, scale = INT64_MAX, 0
    elif kind == "BinarySI" and mantissa and not whole:
        kind = "DecimalSI"
    return Quantity(sign * mantissa, scale, kind, wide=True)


def _wide_value(q: Quantity, scale: int) -> int:
    """As the original's big decimals, which stand at nano once they were rounded: overflow wraps, and what is negative
    is cut towards zero before the remainder counts one up."""
    unscaled = q.mantissa * 10 ** max(0, q.scale - NANO)
    steps = scale - min(q.scale, NANO)
    if steps <= 0:
        return _wrapped(int(unscaled * 10**-steps))
    divisor: int = 10**steps
    if unscaled < INT64_MAX and steps < 19:
        unscaled = _wrapped(unscaled)
        cut = abs(unscaled) // divisor * (1 if unscaled >= 0 else -1)
        return cut + (unscaled % divisor != 0)
    return _wrapped(unscaled // divisor + (unscaled % divisor != 0))


def _wrapped(value: int) -> int:
    return (value + 2**63) % 2**64 - 2**63


def _print(q: Quantity) -> str:
    if not q.mantissa:
        return "0"
    if q.format == "BinarySI" and not -1024 < q.mantissa * 10.0 ** min(q.scale, 300) < 1024:
        whole, exact = q.rounded_up(0)
        if exact:
            return _print_binary(whole.mantissa * 10**whole.scale)
    return _print_decimal(q)


def _print_binary(value: int) -> str:
    exponent = 0
    while value % 1024 == 0 and exponent < 60:
        value, exponent = value // 1024, exponent + 10
    return f"{value}{_BINARY_SUFFIX[exponent]}"


def _print_decimal(q: Quantity) -> str:
    mantissa, exponent = q.mantissa, q.scale
    while mantissa % 10 == 0:
        mantissa, exponent = mantissa // 10, exponent + 1
    extra = exponent % 3
    mantissa, exponent = mantissa * 10**extra, exponent - extra
    if q.format == "DecimalExponent":
        return f"{mantissa}e{exponent}" if exponent else str(mantissa)
    # Outside n … E there is no suffix, and the original prints none.
    return f"{mantissa}{_DECIMAL_SUFFIX.get(exponent, '')}"


def _divide_up(value: int, divisor: int) -> int:
    """Division rounding away from zero."""
    whole = -(-abs(value) // divisor)
    return whole if value >= 0 else -whole
