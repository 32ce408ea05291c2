"""jq's values: plain data with an order over everything, arithmetic, and the paths into them.

Integers are exact at any size, everything with a point or an exponent is a float64. The order is null, false, true,
numbers, strings, arrays, objects.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cmp_to_key
from typing import Any, Final

from tiphys.lang import gojson
from tiphys.lang.jq.errors import Failure, JqLimitError

SIZE_MAX: Final = 16 * 1024 * 1024
"""Longest string, and most elements of an array, that an operation may make."""

Number = int | float


def number_from(text: str) -> Number:
    """A literal: an integer without point and exponent, else a float (an infinity when it is too large)."""
    if any(mark in text for mark in ".eE"):
        return float(text)
    if len(text) > 4000:
        raise JqLimitError(f"number of {len(text)} digits")
    return int(text)


def is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def type_name(value: Any) -> str:
    """null, boolean, number, string, array or object."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "number"
    return "string" if isinstance(value, str) else "array" if isinstance(value, list) else "object"


def encode(value: Any) -> str:
    """The JSON text: sorted keys, no HTML escapes, NaN as null and infinities as the largest float."""
    try:
        return gojson.dumps(value, escape_html=False).replace("\x7f", "\\u007f")
    except gojson.GoJsonError:
        return gojson.dumps(_finite(value), escape_html=False).replace("\x7f", "\\u007f")


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else math.copysign(1.7976931348623157e308, value)
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return {key: _finite(item) for key, item in value.items()} if isinstance(value, dict) else value


def preview(value: Any) -> str:
    """At most 30 bytes of a value's JSON, for messages."""
    data = _shortened(value)
    if len(data) <= 30:
        return data.decode("utf-8", "replace")
    trailing = " ..." + _CLOSING.get(type_name(value), "")
    return data[: 30 - len(trailing)].decode("utf-8", "ignore") + trailing


_CLOSING: Final = {"string": '"', "array": "]", "object": "}"}


def _shortened(value: Any) -> bytes:
    """The first bytes of the JSON, without encoding a large value as a whole."""
    if isinstance(value, str) and len(value) > 64:
        return encode(value[:64]).encode()[:-1]
    if isinstance(value, (list, dict)):
        return "".join(_pieces(value, [64])).encode()
    return encode(value).encode()


def _pieces(value: Any, room: list[int]) -> list[str]:
    if room[0] <= 0:
        return []
    if not isinstance(value, (list, dict)):
        text = _shortened(value).decode("utf-8", "ignore")
        room[0] -= len(text)
        return [text]
    is_object = isinstance(value, dict)
    out = ["{" if is_object else "["]
    room[0] -= 1
    for index, key in enumerate(sorted(value) if is_object else range(min(len(value), 64))):
        if room[0] <= 0:
            return out
        out.append(("," if index else "") + (f"{encode(key)}:" if is_object else ""))
        room[0] -= len(out[-1])
        out += _pieces(value[key], room)
    out.append("}" if is_object else "]")
    return out


def described(value: Any) -> str:
    """Type and preview: ``string ("a")``; just ``null`` for null."""
    return "null" if value is None else f"{type_name(value)} ({preview(value)})"


# Order


def compare(left: Any, right: Any) -> int:
    """Negative, zero or positive."""
    if is_number(left) and is_number(right):
        if left != left or right != right:
            return -1 if left != left else 1
        return int(left > right) - int(left < right)
    if isinstance(left, str) and isinstance(right, str):
        return (left > right) - (left < right)
    if isinstance(left, list) and isinstance(right, list):
        return _compare_lists(left, right)
    if isinstance(left, dict) and isinstance(right, dict):
        return _compare_objects(left, right)
    return _rank(left) - _rank(right)


def _compare_lists(left: Sequence[Any], right: Sequence[Any]) -> int:
    for one, other in zip(left, right, strict=False):
        if (sign := compare(one, other)) != 0:
            return sign
    return len(left) - len(right)


def _compare_objects(left: dict[str, Any], right: dict[str, Any]) -> int:
    keys = sorted(left)
    if (sign := _compare_lists(keys, sorted(right))) != 0:
        return sign
    return next((sign for key in keys if (sign := compare(left[key], right[key])) != 0), 0)


def _rank(value: Any) -> int:
    if isinstance(value, bool):
        return 2 if value else 1
    return _RANKS[type_name(value)]


_RANKS: Final = {"null": 0, "number": 3, "string": 4, "array": 5, "object": 6}


sort_key = cmp_to_key(compare)


# Arithmetic


def add(left: Any, right: Any) -> Any:
    if is_number(left) and is_number(right):
        return left + right
    if isinstance(left, str) and isinstance(right, str):
        return _bounded(left + right)
    if isinstance(left, list) and isinstance(right, list):
        return _bounded(left + right) if left and right else left or right
    if isinstance(left, dict) and isinstance(right, dict):
        return left | right if left and right else left or right
    if left is None or right is None:
        return right if left is None else left
    raise _binary_failure("add", left, right)


def subtract(left: Any, right: Any) -> Any:
    if is_number(left) and is_number(right):
        return left - right
    if isinstance(left, list) and isinstance(right, list):
        return [item for item in left if not any(compare(item, other) == 0 for other in right)]
    raise _binary_failure("subtract", left, right)


def multiply(left: Any, right: Any) -> Any:
    if is_number(left) and is_number(right):
        if _bits(left) + _bits(right) > _BITS_MAX:
            raise JqLimitError("number too large")
        return left * right
    if isinstance(left, dict) and isinstance(right, dict):
        return _deep_merged(left, right)
    text, times = (left, right) if isinstance(left, str) else (right, left)
    if isinstance(text, str) and is_number(times):
        return _repeated(text, float(times))
    raise _binary_failure("multiply", left, right)


def divide(left: Any, right: Any) -> Any:
    if is_number(left) and is_number(right):
        if right == 0:
            raise Failure(f"cannot divide {described(left)} by: {described(right)}")
        if isinstance(left, int) and isinstance(right, int) and left % right == 0:
            return left // right
        return _as_float(left) / _as_float(right)
    if isinstance(left, str) and isinstance(right, str):
        return split(left, right) if left else []
    raise _binary_failure("divide", left, right)


def modulo(left: Any, right: Any) -> Any:
    if not is_number(left) or not is_number(right):
        raise _binary_failure("modulo", left, right)
    if left != left or right != right:
        return math.nan
    if isinstance(left, float) or isinstance(right, float):
        left, right = to_int(left), to_int(right)
    if right == 0:
        raise Failure(f"cannot modulo {described(left)} by: {described(right)}")
    # the sign follows the left side, as in Go
    return -(-left % abs(right)) if left < 0 else left % abs(right)


def _as_float(value: Number) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _bits(value: Number) -> int:
    return value.bit_length() if isinstance(value, int) else 64


_BITS_MAX: Final = 13_000  # as many as Python prints without complaint


def _bounded(value: Any) -> Any:
    if len(value) > SIZE_MAX:
        raise JqLimitError(f"value of more than {SIZE_MAX} elements")
    return value


def _deep_merged(left: dict[str, Any], right: dict[str, Any], depth: int = 0) -> dict[str, Any]:
    if depth > 200:
        raise JqLimitError("objects nested too deep")
    merged = dict(left)
    for key, value in right.items():
        old = merged.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        merged[key] = _deep_merged(old, value, depth + 1) if both else value  # type: ignore[arg-type]
    return merged


def _repeated(text: str, times: float) -> str | None:
    if times < 0 or math.isnan(times):
        return None
    if len(text.encode("utf-8", "replace")) * min(times, 2**31 - 1) >= 2**31 - 1:
        raise Failure(f"repeat string result too large: {preview(text)} * {preview(times)}")
    if len(text) * times > SIZE_MAX:
        raise JqLimitError(f"string of more than {SIZE_MAX} characters")
    return text * int(times)


def split(text: str, separator: str) -> list[Any]:
    """Go's strings.Split: an empty separator gives the characters."""
    return text.split(separator) if separator else list(text)


def _binary_failure(verb: str, left: Any, right: Any) -> Failure:
    return Failure(f"cannot {verb}: {described(left)} and {described(right)}")


def to_int(value: Any) -> int:
    """A number cut to an int64."""
    if isinstance(value, float):
        if math.isnan(value):
            return -(2**63)
        if math.isinf(value):
            return 2**63 - 1 if value > 0 else -(2**63)
    return max(-(2**63), min(2**63 - 1, int(value)))


# Paths


def index(value: Any, key: Any) -> Any:
    """``value[key]``: null for what is missing; slices and searches included."""
    if isinstance(key, str):
        if value is None:
            return None
        if isinstance(value, dict):
            return value.get(key)
        raise Failure(f"expected an object but got: {described(value)}")
    if is_number(key):
        return _element(value, to_int(key))
    if isinstance(key, list):
        if value is None:
            return None
        if isinstance(value, list):
            return indices(value, key)
        raise Failure(f"expected an array but got: {described(value)}")
    if isinstance(key, dict):
        if value is None:
            return None
        start, end = slice_of(key)
        return sliced(value, start, end)
    if isinstance(value, list):
        raise Failure(f"expected a number for indexing an array but got: {described(key)}")
    if isinstance(value, str):
        raise Failure(f"expected a number for indexing a string but got: {described(key)}")
    raise Failure(f"expected a string for object key but got: {described(key)}")


def _element(value: Any, at: int) -> Any:
    if value is None:
        return None
    if not isinstance(value, (list, str)):
        raise Failure(f"expected an array but got: {described(value)}")
    at += len(value) if at < 0 else 0
    return value[at] if 0 <= at < len(value) else None


def slice_of(key: dict[str, Any]) -> tuple[Any, Any]:
    if "start" not in key or "end" not in key:
        raise Failure(f'expected "start" and "end" for slicing but got: {described(key)}')
    return key["start"], key["end"]


def sliced(value: Any, start: Any, end: Any) -> Any:
    if value is None:
        return None
    if not isinstance(value, (list, str)):
        raise Failure(f"expected an array but got: {described(value)}")
    what = "an array" if isinstance(value, list) else "a string"
    first, last = slice_bounds(len(value), start, end, what)
    return value[first:last]


def slice_bounds(length: int, start: Any, end: Any, what: str = "an array") -> tuple[int, int]:
    """Absolute first and last index; fractions of the end are rounded up."""
    for bound in (start, end):
        if bound is not None and not is_number(bound):
            raise Failure(f"expected a number for indexing {what} but got: {described(bound)}")
    first = 0 if start is None else _clamped(to_int(start), 0, length)
    if end is None:
        return first, length
    rounded_up = math.ceil(end) if isinstance(end, float) and math.isfinite(end) else end
    return first, _clamped(to_int(rounded_up), first, length)


def _clamped(at: int, low: int, high: int) -> int:
    return max(low, min(high, at + high if at < 0 else at))


def indices(values: list[Any], wanted: list[Any]) -> list[Any]:
    if not wanted:
        return []
    last = len(values) - len(wanted)
    return [at for at in range(last + 1) if _compare_lists(values[at : at + len(wanted)], wanted) == 0]


class _Deleted:
    """Marks what a path to be deleted leads to, until all paths have been followed."""


DELETED: Final = _Deleted()


def set_path(value: Any, path: Sequence[Any], new: Any) -> Any:
    """The value with ``new`` at the path; containers on the way are copied, missing ones made."""
    if not path:
        return new
    containers: list[tuple[Any, Any]] = []
    for key in path:
        if value is DELETED:
            return containers[0][0] if containers else value
        containers.append((value, key))
        value = _child(value, key, new)
        if value is _NOTHING:
            return containers[0][0]
    result = new
    for container, key in reversed(containers):
        result = _replaced(container, key, result)
    return result


_NOTHING: Final = object()


def _child(value: Any, key: Any, new: Any) -> Any:
    """What is at the key; `_NOTHING` when it is to be deleted and not there."""
    if isinstance(key, str):
        if value is not None and not isinstance(value, dict):
            raise Failure(f"expected an object but got: {described(value)}")
        found = (value or {}).get(key, _NOTHING)
    elif is_number(key):
        if value is not None and not isinstance(value, list):
            raise Failure(f"expected an array but got: {described(value)}")
        found = _slot(value or [], to_int(key), new)
    elif isinstance(key, dict):
        if value is not None and not isinstance(value, list):
            raise Failure(f"expected an array but got: {described(value)}")
        first, last = slice_bounds(len(value or []), *slice_of(key))
        found = (value or [])[first:last] if first < last or new is not DELETED else _NOTHING
    elif isinstance(value, list):
        raise Failure(f"expected a number for indexing an array but got: {described(key)}")
    else:
        raise Failure(f"expected a string for object key but got: {described(key)}")
    return None if found is _NOTHING and new is not DELETED else found


def _slot(values: list[Any], at: int, new: Any) -> Any:
    position = at + len(values) if at < 0 else at
    if position < 0:
        if new is DELETED:
            return _NOTHING
        raise Failure(f"array index should not be negative: {at}")
    if position >= len(values):
        if new is not DELETED and at >= 0x20000000:
            raise Failure(f"array index too large: {at}")
        if new is not DELETED and at > SIZE_MAX:
            raise JqLimitError(f"array of more than {SIZE_MAX} elements")
        return _NOTHING
    return values[position]


def _replaced(container: Any, key: Any, new: Any) -> Any:
    if isinstance(key, str):
        return {**(container or {}), key: new}
    values = list(container or [])
    if isinstance(key, dict):
        first, last = slice_bounds(len(values), *slice_of(key))
        if new is DELETED:
            return values[:first] + [DELETED] * (last - first) + values[last:]
        if not isinstance(new, list):
            raise Failure(f"expected an array but got: {described(new)}")
        return values[:first] + new + values[last:]
    at = to_int(key)
    at += len(values) if at < 0 else 0
    values += [None] * (at + 1 - len(values))
    values[at] = new
    return values


def delete_paths(value: Any, paths: Sequence[Sequence[Any]]) -> Any:
    """The value without what the paths lead to; indexes mean the original's positions."""
    for path in paths:
        value = set_path(value, path, DELETED)
    return _without_deleted(value, 0)


def _without_deleted(value: Any, depth: int) -> Any:
    if depth > 300:
        raise JqLimitError("value nested too deep")
    if value is DELETED:
        return None
    if isinstance(value, list):
        return [_without_deleted(item, depth + 1) for item in value if item is not DELETED]
    if isinstance(value, dict):
        return {key: _without_deleted(item, depth + 1) for key, item in value.items() if item is not DELETED}
    return value


def get_path(value: Any, path: Sequence[Any]) -> Any:
    """The value at a path, null where something is missing."""
    for key in path:
        if value is not None and not isinstance(value, (list, dict)):
            raise TypeError
        value = index(value, key)
    return value
