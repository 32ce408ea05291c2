"""Operators on values: arithmetic within 64 bits, order, equality, indexing.

Every function takes and gives values; what cannot be done is a `Failure` with the text of cel-go.
"""

from __future__ import annotations

import math
from typing import Any

from tiphys.lang.cel.types import Type
from tiphys.lang.cel.values import (
    ABSENT,
    INT_MAX,
    INT_MIN,
    TIMESTAMP_MAX,
    TIMESTAMP_MIN,
    UINT_MAX,
    Duration,
    Failure,
    Optional,
    Record,
    Timestamp,
    Uint,
)

NO_OVERLOAD = Failure("no such overload")
_INT_OVERFLOW = Failure("integer overflow")
_UINT_OVERFLOW = Failure("unsigned integer overflow")
_DURATION_OVERFLOW = Failure("duration overflow")
_TIMESTAMP_OVERFLOW = Failure("timestamp overflow")


def as_int(value: int) -> int | Failure:
    return value if INT_MIN <= value <= INT_MAX else _INT_OVERFLOW


def as_uint(value: int) -> Uint | Failure:
    return Uint(value) if 0 <= value <= UINT_MAX else _UINT_OVERFLOW


def as_duration(ns: int) -> Duration | Failure:
    return Duration(ns) if INT_MIN <= ns <= INT_MAX else _DURATION_OVERFLOW


def as_timestamp(ns: int) -> Timestamp | Failure:
    return Timestamp(ns) if TIMESTAMP_MIN <= ns <= TIMESTAMP_MAX else _TIMESTAMP_OVERFLOW


def add(left: Any, right: Any) -> Any:
    kind = type(left)
    if kind is int and type(right) is int:
        return as_int(left + right)
    if isinstance(left, list) and isinstance(right, list):
        return left + right
    if kind is Duration and type(right) is Timestamp:
        return as_timestamp(left.ns + right.ns)
    if kind is Timestamp and type(right) is Duration:
        return as_timestamp(left.ns + right.ns)
    if kind is not type(right):
        return NO_OVERLOAD
    if kind in (str, bytes, float):
        return left + right
    if kind is Uint:
        return as_uint(int(left) + int(right))
    return as_duration(left.ns + right.ns) if kind is Duration else NO_OVERLOAD


def subtract(left: Any, right: Any) -> Any:
    kind = type(left)
    if kind is Timestamp and type(right) is Duration:
        return as_timestamp(left.ns - right.ns)
    if kind is not type(right):
        return NO_OVERLOAD
    if kind is int:
        return as_int(left - right)
    if kind is float:
        return left - right
    if kind is Uint:
        return as_uint(int(left) - int(right))
    return as_duration(left.ns - right.ns) if kind in (Duration, Timestamp) else NO_OVERLOAD


def multiply(left: Any, right: Any) -> Any:
    kind = type(left)
    if kind is not type(right):
        return NO_OVERLOAD
    if kind is int:
        return as_int(left * right)
    if kind is Uint:
        return as_uint(int(left) * int(right))
    return left * right if kind is float else NO_OVERLOAD


def divide(left: Any, right: Any) -> Any:
    kind = type(left)
    if kind is not type(right):
        return NO_OVERLOAD
    if kind is float:
        return _divided_floats(left, right)
    if kind not in (int, Uint):
        return NO_OVERLOAD
    if right == 0:
        return Failure("division by zero")
    quotient = abs(left) // abs(right)
    return Uint(quotient) if kind is Uint else as_int(quotient if (left < 0) == (right < 0) else -quotient)


def _divided_floats(left: float, right: float) -> float:
    if right != 0:
        return left / right
    if left == 0 or math.isnan(left):
        return math.nan
    return math.copysign(math.inf, left) * math.copysign(1.0, right)


def remainder(left: Any, right: Any) -> Any:
    kind = type(left)
    if kind is not type(right) or kind not in (int, Uint):
        return NO_OVERLOAD
    if right == 0:
        return Failure("modulus by zero")
    if kind is Uint:
        return Uint(int(left) % int(right))
    if left == INT_MIN and right == -1:
        return _INT_OVERFLOW
    rest = abs(left) % abs(right)
    return -rest if left < 0 else rest


def negate(value: Any) -> Any:
    if type(value) is int:
        return as_int(-value)
    if type(value) is float:
        return -value
    return as_duration(-value.ns) if type(value) is Duration else NO_OVERLOAD


def compare(left: Any, right: Any) -> int | Failure:
    """-1, 0 or 1. Numbers compare across their types."""
    kind, other = type(left), type(right)
    if kind in _NUMBERS and other in _NUMBERS:
        if left != left or right != right:
            return Failure("NaN values cannot be ordered")
    elif kind is not other or kind not in _ORDERED:
        return NO_OVERLOAD
    if kind is str:
        left, right = left.encode("utf-8", "surrogatepass"), right.encode("utf-8", "surrogatepass")
    return -1 if left < right else int(left > right)


_NUMBERS = frozenset((int, float, Uint))
_ORDERED = frozenset((bool, str, bytes, Duration, Timestamp))


def equal(left: Any, right: Any) -> bool:
    """CEL's ``==``: numbers by value across types, else only within one type; never a failure for plain values."""
    kind = type(left)
    if kind in _NUMBERS:
        return type(right) in _NUMBERS and bool(left == right)
    if kind in (str, bytes, bool, Duration, Timestamp):
        return type(right) is kind and bool(left == right)
    equal_to = getattr(left, "equal_to", None)
    if equal_to is not None:
        return bool(equal_to(right))
    if isinstance(left, list):
        return isinstance(right, list) and len(left) == len(right) and all(map(equal, left, right))
    if isinstance(left, dict | Record):
        return isinstance(right, dict | Record) and _equal_maps(left, right)
    if isinstance(left, Optional):
        if not isinstance(right, Optional) or left.has_value != right.has_value:
            return False
        return not left.has_value or equal(left.value, right.value)
    if isinstance(left, Type):
        return isinstance(right, Type) and left.kind == right.kind and left.name == right.name
    if left is None:
        return right is None
    return bool(left == right)


def _equal_maps(left: dict[Any, Any] | Record, right: dict[Any, Any] | Record) -> bool:
    names = list(keys(left))
    if len(names) != (len(right) if isinstance(right, dict) else right.size()):
        return False
    for name in names:
        other = lookup(right, name)
        if other is ABSENT or not equal(lookup(left, name), other):
            return False
    return True


def keys(found: dict[Any, Any] | Record) -> Any:
    """The keys of a map, the set fields of an object."""
    return found.keys() if isinstance(found, dict) else found.names()


def lookup(found: Any, key: Any) -> Any:
    """The value under a key, `ABSENT`, or a failure for what has no keys."""
    if isinstance(found, dict):
        return _under(found, key)
    if isinstance(found, Record):
        return found.field(key) if isinstance(key, str) else ABSENT
    if isinstance(found, list):
        return _at(found, key)
    return Failure(f"no such key: {shown(key)}") if found is None else NO_OVERLOAD


def _under(found: dict[Any, Any], key: Any) -> Any:
    kind = type(key)
    if kind is bool:
        return next((v for k, v in found.items() if k is key), ABSENT)
    if kind in (str, bytes):
        return found.get(key, ABSENT)
    if kind in _NUMBERS:
        if key not in found:
            return ABSENT
        # True == 1 in Python, and not here.
        return next((v for k, v in found.items() if type(k) in _NUMBERS and k == key), ABSENT)
    return Failure(f"no such key: {shown(key)}")


def _at(found: list[Any], key: Any) -> Any:
    if type(key) not in _NUMBERS or key != key or key in (math.inf, -math.inf) or int(key) != key:
        return Failure(f"unsupported index value {shown(key)} in list")
    at = int(key)
    return found[at] if 0 <= at < len(found) else ABSENT


def index(found: Any, key: Any) -> Any:
    """``found[key]``; what is not there is a failure."""
    value = lookup(found, key)
    return missing(found, key) if value is ABSENT else value


def missing(found: Any, key: Any) -> Failure:
    if isinstance(found, list):
        return Failure(f"index out of bounds: {shown(key)}")
    return Failure(f"no such key: {shown(key)}")


def contains(item: Any, found: Any) -> bool | Failure:
    """``item in found``."""
    if isinstance(found, list):
        return any(equal(item, other) for other in found)
    if isinstance(found, dict | Record):
        value = lookup(found, item)
        return value is not ABSENT and not isinstance(value, Failure)
    return NO_OVERLOAD


def shown(value: Any) -> str:
    """A value in an error message, as Go's %v writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _shown_float(value)
    return value if isinstance(value, str) else str(value)


def _shown_float(value: float) -> str:
    return str(int(value)) if math.isfinite(value) and value == int(value) and abs(value) < 1e21 else repr(value)
