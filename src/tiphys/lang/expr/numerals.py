"""Numbers as the language writes them, read as Go's strconv reads them."""

from __future__ import annotations

import math
import re

from tiphys.lang.gofmt import quote

_INT_MAX = (1 << 63) - 1
_FLOAT = re.compile(r"(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")


class NumeralError(ValueError):
    """A literal that is no number; the text ends in what strconv says."""


def number(text: str) -> int | float:
    """The value of a numeric token: a float where it has a dot or an exponent. Raises NumeralError."""
    digits = text.replace("_", "")
    lowered = digits.lower()
    if lowered.startswith("0x"):
        return _integer(digits, lowered[2:], 16, "hex")
    if "." in lowered or "e" in lowered:
        return _float(digits)
    if lowered.startswith("0b"):
        return _integer(digits, lowered[2:], 2, "binary")
    if lowered.startswith("0o"):
        return _integer(digits, lowered[2:], 8, "octal")
    return _integer(digits, lowered, 10, "integer")


def _integer(digits: str, bare: str, base: int, name: str) -> int:
    try:
        value = int(bare, base)
    except ValueError:
        raise NumeralError(
            f"invalid {name} literal: strconv.ParseInt: parsing {quote(digits)}: invalid syntax"
        ) from None
    if value > _INT_MAX:
        raise NumeralError(f"invalid {name} literal: strconv.ParseInt: parsing {quote(digits)}: value out of range")
    return value


def _float(digits: str) -> float:
    if not _FLOAT.fullmatch(digits):
        raise NumeralError(f"invalid float literal: strconv.ParseFloat: parsing {quote(digits)}: invalid syntax")
    value = float(digits)
    if math.isinf(value):
        raise NumeralError(f"invalid float literal: strconv.ParseFloat: parsing {quote(digits)}: value out of range")
    return value
