"""``'%s is %d'.format([…])``: the clauses s, d, f, e, b, o, x, X and %%, as version 2 of the string extension.

Floats are written in the manner of the locale en_US, which the original fixes: 1,234.50 and 1.500000 × 10⁰⁰.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tiphys.lang.cel.operators import keys, lookup
from tiphys.lang.cel.types import Type
from tiphys.lang.cel.values import Duration, Failure, Record, Timestamp, Uint, type_name, type_of
from tiphys.lang.gofmt import quote

PRECISION = 6
PRECISION_MAX = 1000
_BAD_PRECISION = "could not parse formatting clause: error while parsing precision"
_SUPERSCRIPT = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


class FormatError(ValueError):
    """The format or an argument is wrong; ``argument`` is the position of the argument at fault, or None."""

    def __init__(self, message: str, argument: int | None = None) -> None:
        self.argument = argument
        super().__init__(message)


def formatted(text: str, values: list[Any]) -> str | Failure:
    """The text with its clauses filled in, or a failure."""
    try:
        return fill(text, len(values), lambda at, verb, precision: _written(values[at], verb, precision))
    except FormatError as err:
        return Failure(str(err))


def fill(text: str, count: int, write: Callable[[int, str, int | None], str]) -> str:
    """Goes through the clauses; ``write`` gets the argument's position, the verb and the precision."""
    out: list[str] = []
    at, used = 0, 0
    while at < len(text):
        percent = text.find("%", at)
        if percent < 0:
            break
        out.append(text[at:percent])
        at = percent + 1
        if text[at : at + 1] == "%":
            out.append("%")
            at += 1
            continue
        at, verb, precision = _clause(text, at)
        if used >= count:
            raise FormatError(f"index {used} out of range")
        out.append(write(used, verb, precision))
        used += 1
    out.append(text[at:])
    return "".join(out)


def _clause(text: str, at: int) -> tuple[int, str, int | None]:
    precision: int | None = None
    if text[at : at + 1] == ".":
        end = at + 1
        while end < len(text) and text[end].isdecimal():
            end += 1
        if end == len(text):
            raise FormatError(f"{_BAD_PRECISION}: unexpected end of string")
        digits = text[at + 1 : end]
        if not digits or int(digits[:9]) > PRECISION_MAX:
            raise FormatError(f"{_BAD_PRECISION}: could not find end of precision specifier")
        precision, at = int(digits), end
    if at >= len(text):
        raise FormatError("unexpected end of string")
    verb = text[at]
    if verb not in "sdfebxXo":
        raise FormatError(f'could not parse formatting clause: unrecognized formatting clause "{verb}"')
    return at + 1, verb, precision


WANTED = {
    "d": ("decimal clause can only be used on integers", ("int", "uint")),
    "f": ("fixed-point clause can only be used on doubles", ("double",)),
    "e": ("scientific clause can only be used on doubles", ("double",)),
    "b": ("only integers and bools can be formatted as binary", ("int", "uint", "bool")),
    "o": ("octal clause can only be used on integers", ("int", "uint")),
    "x": ("only integers, byte buffers, and strings can be formatted as hex", ("int", "uint", "string", "bytes")),
    "X": ("only integers, byte buffers, and strings can be formatted as hex", ("int", "uint", "string", "bytes")),
    "s": (
        "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, and "
        "timestamps",
        ("string", "bool", "bytes", "int", "uint", "double", "map", "list", "type", "duration", "timestamp", "null"),
    ),
}


def refusal(verb: str, found: Type) -> str | None:
    """What is wrong with a value of a type for a verb; None when it may be right."""
    text, kinds = WANTED[verb]
    if found.kind in kinds or found.kind == "dyn":
        return None
    return f"error during formatting: {text}, was given {type_name(found)}"


def _written(value: Any, verb: str, precision: int | None) -> str:
    is_special = verb in "fe" and value in ("NaN", "Infinity", "-Infinity")
    wrong = None if is_special else refusal(verb, type_of(value))
    if wrong is not None:
        raise FormatError(wrong)
    if verb == "s":
        return plain(value)
    if verb == "d":
        return str(int(value))
    if verb in "fe":
        number = float(value)
        digits = PRECISION if precision is None else precision
        return _fixed(number, digits) if verb == "f" else _scientific(number, digits)
    if verb in "xX":
        text = _hex(value)
        return text.upper() if verb == "X" else text
    return f"{int(value):{verb}}"


def _hex(value: Any) -> str:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass").hex()
    return value.hex() if isinstance(value, bytes) else f"{int(value):x}"


def _special(number: float) -> str | None:
    if math.isnan(number):
        return "NaN"
    return ("∞" if number > 0 else "-∞") if math.isinf(number) else None


def _fixed(number: float, digits: int) -> str:
    return _special(number) or f"{number:,.{digits}f}"


def _scientific(number: float, digits: int) -> str:
    special = _special(number)
    if special is not None:
        return special
    mantissa, _, exponent = f"{number:.{digits}e}".partition("e")
    return f"{mantissa}\u202f×\u202f10{exponent.lstrip('+').translate(_SUPERSCRIPT)}"


def plain(value: Any) -> str:
    """A value as %s writes it."""
    if value is None:
        return "null"
    if isinstance(value, list):
        return f"[{', '.join(map(_inner, value))}]"
    if isinstance(value, dict | Record):
        return "{" + ", ".join(sorted(f"{_inner(key)}:{_inner(lookup(value, key))}" for key in keys(value))) + "}"
    from tiphys.lang.cel.standard import to_text

    text = to_text(value)
    if isinstance(text, Failure):
        raise FormatError(f'error during formatting: could not convert argument "{text.message}" to string')
    return str(text)


def _inner(value: Any) -> str:
    """A value inside of a list or map."""
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, bytes):
        return f"b{quote(value.decode('utf-8', 'replace'))}"
    if isinstance(value, float):
        special = _special(value)
        return f'"{special}"' if special else _fixed(value, PRECISION)
    if isinstance(value, Timestamp):
        return f'timestamp("{plain(value)}")'
    if isinstance(value, Duration):
        return f'duration("{plain(value)}")'
    if isinstance(value, Type):
        return f"type({type_name(value)})"
    if isinstance(value, bool | int | Uint | list | dict | Record) or value is None:
        return plain(value)
    raise FormatError(f"error during formatting: no formatting function for {type_name(type_of(value))}")
