"""Just enough of Kubernetes quantities for a node: resources in units of a divisor, rounded up, and bytes."""

from __future__ import annotations

import re
from fractions import Fraction

_SUFFIXES = {
    "n": Fraction(1, 10**9), "u": Fraction(1, 10**6), "m": Fraction(1, 1000), "": Fraction(1),
    "k": Fraction(10**3), "M": Fraction(10**6), "G": Fraction(10**9), "T": Fraction(10**12), "P": Fraction(10**15),
    "E": Fraction(10**18), "Ki": Fraction(2**10), "Mi": Fraction(2**20), "Gi": Fraction(2**30),
    "Ti": Fraction(2**40), "Pi": Fraction(2**50), "Ei": Fraction(2**60),
}  # fmt: skip
_QUANTITY = re.compile(r"([+-]?[0-9.]{1,40})(?:([eE][+-]?[0-9]{1,3})|([numkMGTPE]i?|))\Z")


def amount(text: str) -> Fraction:
    """The exact value of a quantity such as ``250m`` or ``1Gi``. Raises ValueError."""
    match = _QUANTITY.match(text.strip())
    if match is None or (match[3] or "") not in _SUFFIXES:
        raise ValueError(f"not a quantity: {text!r}")
    number = Fraction(match[1] + (match[2] or ""))
    return number * _SUFFIXES[match[3] or ""]


def ceiling_units(text: str, divisor: str) -> int:
    """How many whole divisors hold the amount (resource.Quantity.Value over the divisor, rounded up)."""
    ratio = amount(text) / (amount(divisor) or 1)
    return -(-ratio.numerator // ratio.denominator)
