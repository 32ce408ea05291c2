"""How Go's fmt and strconv print values, for the languages whose messages and results show them.

Values are the plain Python ones that stand for Go's: int for int, float for float64, str for string (bytes that are
not UTF-8 are surrogate escapes), None for nil, list for []interface {}, dict for map[string]interface {}. A value of
another Go type carries its name in an attribute ``go_type`` and, where its text is its own, a method ``go_string()``.
Printing is bounded by the value itself; nothing here reads input.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from tiphys.lang.gotext import utf8

_ESCAPES = {"\a": r"\a", "\b": r"\b", "\f": r"\f", "\n": r"\n", "\r": r"\r", "\t": r"\t", "\v": r"\v"}


def sprint(value: object) -> str:
    """The text of ``%v``: ``1e+06`` for 1000000.0, ``<nil>`` for None, ``[1 2]`` for lists, ``map[a:1]`` for maps."""
    if isinstance(value, str):
        return value
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    own = getattr(value, "go_string", None)
    if own is not None:
        return str(own())
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float):
        return format_float(value)
    if isinstance(value, bytes):
        return "[" + " ".join(map(str, value)) + "]"
    if isinstance(value, dict):
        return "map[" + " ".join(f"{sprint(k)}:{sprint(v)}" for k, v in _sorted_items(value)) + "]"
    if isinstance(value, list | tuple):
        return "[" + " ".join(map(sprint, value)) + "]"
    return str(value)


def type_name(value: object) -> str:
    """The text of ``%T``: ``int``, ``float64``, ``[]interface {}``, ``<nil>``."""
    named = getattr(value, "go_type", None)
    if isinstance(named, str):
        return named
    for kind, name in _TYPE_NAMES:
        if isinstance(value, kind):
            return name
    return "<nil>" if value is None else type(value).__name__


_TYPE_NAMES: tuple[tuple[type, str], ...] = (
    (bool, "bool"),
    (int, "int"),
    (float, "float64"),
    (str, "string"),
    (bytes, "[]uint8"),
    (dict, "map[string]interface {}"),
    (list, "[]interface {}"),
)


def bad_verb(verb: str, value: object) -> str:
    """What fmt prints for a verb that does not fit: ``%!s(int=1)``, ``%!s(<nil>)``."""
    return f"%!{verb}(<nil>)" if value is None else f"%!{verb}({type_name(value)}={sprint(value)})"


def sprint_s(value: object) -> str:
    """The text of ``%s``: strings as they are, elements one by one, ``%!s(int=1)`` for what is not a string."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if getattr(value, "go_string", None) is not None:
        return sprint(value)
    if isinstance(value, dict):
        return "map[" + " ".join(f"{sprint_s(k)}:{_element_s(v)}" for k, v in _sorted_items(value)) + "]"
    if isinstance(value, list | tuple):
        return "[" + " ".join(map(_element_s, value)) + "]"
    return bad_verb("s", value)


def _element_s(value: object) -> str:
    return "<nil>" if value is None else sprint_s(value)


def _sorted_items(value: dict[Any, Any]) -> Iterable[tuple[Any, Any]]:
    return sorted(value.items(), key=lambda item: sort_key(item[0]))


def sort_key(key: object) -> tuple[int, Any]:
    """fmt prints maps in the order of their keys; kinds that cannot be compared are kept apart."""
    if isinstance(key, bool):
        return (1, key)
    if isinstance(key, int | float):
        return (2, -math.inf if key != key else key)
    return (3, utf8(sprint(key))) if key is not None else (0, 0)


def format_float(value: float) -> str:
    """strconv.FormatFloat(value, 'g', -1, 64): the shortest digits, with an exponent from 1e+06 and below 0.0001."""
    if value != value:
        return "NaN"
    if value in (math.inf, -math.inf):
        return "+Inf" if value > 0 else "-Inf"
    sign, digits, exponent = shortest_digits(value)
    if exponent < -4 or exponent >= 6:
        return sign + _scientific(digits, exponent)
    return sign + plain_decimal(digits, exponent)


def shortest_digits(value: float) -> tuple[str, str, int]:
    """``(sign, digits, exponent)`` of the shortest decimal that reads back: value = d.ddd × 10^exponent."""
    mantissa, _, power = f"{float.__repr__(value)}".partition("e")
    sign = "-" if mantissa.startswith("-") else ""
    whole, _, fraction = mantissa.lstrip("-").partition(".")
    digits = (whole + fraction).lstrip("0")
    leading = len(whole + fraction) - len(digits)
    exponent = len(whole) - 1 - leading + (int(power) if power else 0)
    digits = digits.rstrip("0")
    return (sign, digits, exponent) if digits else (sign, "0", 0)


def _scientific(digits: str, exponent: int) -> str:
    fraction = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{digits[0]}{fraction}e{'-' if exponent < 0 else '+'}{abs(exponent):02d}"


def plain_decimal(digits: str, exponent: int) -> str:
    """The digits without an exponent, as ``%f`` with the shortest precision prints them."""
    if exponent < 0:
        return "0." + "0" * (-exponent - 1) + digits
    if len(digits) <= exponent + 1:
        return digits + "0" * (exponent + 1 - len(digits))
    return digits[: exponent + 1] + "." + digits[exponent + 1 :]


def quote(text: str) -> str:
    """strconv.Quote: double quotes, Go's escapes, everything that cannot be printed as \\x, \\u or \\U."""
    return f'"{quote_inner(text)}"'


def quote_inner(text: str) -> str:
    """:func:`quote` without the surrounding quotes."""
    if text.isprintable():  # in one sweep: quoting what is quoted already, again and again, makes very long texts
        return text.replace("\\", "\\\\").replace('"', '\\"')
    return "".join(map(_quote_character, text))


def _quote_character(character: str) -> str:
    if character in ('"', "\\"):
        return "\\" + character
    if character.isprintable():
        return character
    if character in _ESCAPES:
        return _ESCAPES[character]
    point = ord(character)
    if 0xDC80 <= point <= 0xDCFF:
        return f"\\x{point - 0xDC00:02x}"
    if point < 0x20 or point == 0x7F:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"
