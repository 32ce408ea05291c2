"""How sprig turns any value into text and numbers (fmt, and spf13/cast), and what it takes for empty."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from tiphys.lang.gofmt import sprint
from tiphys.lang.gotext import from_utf8
from tiphys.lang.govalues import (
    CallError,
    Int64,
    StringList,
    Uint8,
    float_to_int,
    kind_of,
    parse_float,
    parse_int,
    wrap64,
)

_DECIMAL = re.compile(r"([-+]?\d*)\.\d*")


def strval(value: object) -> str:
    """A string as it is, bytes as text, a value that prints itself, or what ``%v`` shows (``1e+06``, ``[1 2]``)."""
    if isinstance(value, str):
        return value
    return from_utf8(value) if isinstance(value, bytes) else sprint(value)


def strings(value: object) -> StringList:
    """The elements as text without the nils; a single value becomes a list of one, nil an empty list."""
    if isinstance(value, list | tuple | bytes):
        return StringList(strval(item) for item in value if item is not None)
    return StringList([] if value is None else [strval(value)])


def to_int(value: object) -> int:
    """cast.ToInt: floats lose their fraction, text is read with Go's prefixes (``012`` is 10), what fails is 0."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int):
        return wrap64(int(value))
    if isinstance(value, float):
        return float_to_int(value)
    if isinstance(value, str) and value:
        try:
            return parse_int(_without_fraction(value), 0)
        except ValueError:
            return 0
    return 0


def _without_fraction(text: str) -> str:
    found = _DECIMAL.fullmatch(text)
    if found is None:
        return text
    return found[1] + "0" if found[1] in ("", "-", "+") else found[1]


def to_int64(value: object) -> Int64:
    """cast.ToInt64; see `to_int`."""
    return Int64(to_int(value))


def to_float(value: object) -> float:
    """cast.ToFloat64: what is no number is 0."""
    if isinstance(value, bool | int | float):
        return float(value)
    if isinstance(value, str) and value:
        try:
            return parse_float(value)
        except ValueError:
            return 0.0
    return 0.0


def is_empty(value: object) -> bool:
    """The zero value of its type, or of no length; structs and pointers never are."""
    if value is None:
        return True
    if isinstance(value, bool | int | float | str | bytes | list | tuple | dict):
        return not value
    sized: Callable[[], int] | None = getattr(value, "__len__", None)
    return sized is not None and sized() == 0


def elements(value: Any, message: str) -> list[Any]:
    """The elements of a list; raises CallError with ``message`` and the kind of what is none."""
    if isinstance(value, bytes):
        return [Uint8(byte) for byte in value]
    if isinstance(value, list | tuple):
        return list(value)
    if value is None:
        raise CallError("runtime error: invalid memory address or nil pointer dereference")
    raise CallError(message.format(kind_of(value)))
