"""CEL's standard library: operators, conversions, sizes, times, optionals.

The string extension is in `text`, lists and sets are in `collections`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from tiphys.lang.cel import clock, operators, types
from tiphys.lang.cel.declarations import Functions, Overload, member, plain
from tiphys.lang.cel.operators import as_int, as_uint, compare, equal
from tiphys.lang.cel.types import (
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    DYN,
    INT,
    STRING,
    TIMESTAMP,
    UINT,
    A,
    B,
    Type,
    list_of,
    map_of,
    optional_of,
)
from tiphys.lang.cel.values import (
    ABSENT,
    NONE,
    SECOND,
    Duration,
    Failure,
    Optional,
    Record,
    Timestamp,
    Uint,
    size_of,
    type_name,
    type_of,
)
from tiphys.lang.gofmt import format_float
from tiphys.lang.goregexp import RegexpError, compile_pattern

_LIST, _MAP = list_of(A), map_of(A, B)
_NAMES = {
    INT: "int64", UINT: "uint64", DOUBLE: "double", STRING: "string", BYTES: "bytes", BOOL: "bool",
    DURATION: "duration", TIMESTAMP: "timestamp",
}  # fmt: skip
_NUMBER_TEXT = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|infinity|nan)", re.ASCII | re.IGNORECASE)
_TRUE, _FALSE = ("1", "t", "T", "TRUE", "true", "True"), ("0", "f", "F", "FALSE", "false", "False")


def _unreached(*values: Any) -> Any:
    """The program has its own way for this operator."""
    raise NotImplementedError


def _arithmetic() -> Functions:
    numbers = (("double", DOUBLE), ("int64", INT), ("uint64", UINT))

    def over(name: str, run: Callable[..., Any], kinds: Any = numbers) -> tuple[Overload, ...]:
        return tuple(plain(f"{name}_{suffix}", (kind, kind), kind, run) for suffix, kind in kinds)

    add, subtract = operators.add, operators.subtract
    return {
        "_+_": (
            plain("add_bytes", (BYTES, BYTES), BYTES, add),
            *over("add", add),
            plain("add_duration_duration", (DURATION, DURATION), DURATION, add),
            plain("add_duration_timestamp", (DURATION, TIMESTAMP), TIMESTAMP, add),
            plain("add_timestamp_duration", (TIMESTAMP, DURATION), TIMESTAMP, add),
            plain("add_list", (_LIST, _LIST), _LIST, add),
            plain("add_string", (STRING, STRING), STRING, add),
        ),
        "_-_": (
            *over("subtract", subtract),
            plain("subtract_duration_duration", (DURATION, DURATION), DURATION, subtract),
            plain("subtract_timestamp_duration", (TIMESTAMP, DURATION), TIMESTAMP, subtract),
            plain("subtract_timestamp_timestamp", (TIMESTAMP, TIMESTAMP), DURATION, subtract),
        ),
        "_*_": over("multiply", operators.multiply),
        "_/_": over("divide", operators.divide),
        "_%_": over("modulo", operators.remainder, numbers[1:]),
        "-_": tuple(plain(f"negate_{suffix}", (kind,), kind, operators.negate) for suffix, kind in numbers[:2]),
    }


def _ordering(name: str, run: Callable[[int], bool]) -> tuple[Overload, ...]:
    def compared(left: Any, right: Any) -> Any:
        found = compare(left, right)
        return found if isinstance(found, Failure) else run(found)

    pairs: list[tuple[Type, Type]] = [(kind, kind) for kind in _NAMES]
    pairs += [(one, other) for one in (INT, UINT, DOUBLE) for other in (INT, UINT, DOUBLE) if one != other]
    suffixes = (_NAMES[a] if a == b else f"{_NAMES[a]}_{_NAMES[b]}" for a, b in pairs)
    return tuple(plain(f"{name}_{s}", pair, BOOL, compared) for s, pair in zip(suffixes, pairs, strict=True))


def _relations() -> Functions:
    return {
        "_==_": (plain("equals", (A, A), BOOL, equal),),
        "_!=_": (plain("not_equals", (A, A), BOOL, lambda left, right: not equal(left, right)),),
        "_<_": _ordering("less", lambda order: order < 0),
        "_<=_": _ordering("less_equals", lambda order: order <= 0),
        "_>_": _ordering("greater", lambda order: order > 0),
        "_>=_": _ordering("greater_equals", lambda order: order >= 0),
        "@in": (
            plain("in_list", (A, _LIST), BOOL, operators.contains),
            plain("in_map", (A, _MAP), BOOL, operators.contains),
        ),
    }


def _logic() -> Functions:
    return {
        "_?_:_": (plain("conditional", (BOOL, A, A), A, _unreached),),
        "_&&_": (plain("logical_and", (BOOL, BOOL), BOOL, _unreached),),
        "_||_": (plain("logical_or", (BOOL, BOOL), BOOL, _unreached),),
        "!_": (plain("logical_not", (BOOL,), BOOL, lambda value: not value),),
        "@not_strictly_false": (plain("not_strictly_false", (BOOL,), BOOL, _unreached),),
    }


def _indexing() -> Functions:
    optional_list, optional_map = optional_of(_LIST), optional_of(_MAP)
    return {
        "_[_]": (
            plain("index_list", (_LIST, INT), A, _unreached),
            plain("index_map", (_MAP, A), B, _unreached),
            plain("optional_list_index_int", (optional_list, INT), optional_of(A), _unreached),
            plain("optional_map_index_value", (optional_map, A), optional_of(B), _unreached),
        ),
        "_[?_]": (
            plain("list_optindex_optional_int", (_LIST, INT), optional_of(A), _unreached),
            plain("optional_list_optindex_optional_int", (optional_list, INT), optional_of(A), _unreached),
            plain("map_optindex_optional_value", (_MAP, A), optional_of(B), _unreached),
            plain("optional_map_optindex_optional_value", (optional_map, A), optional_of(B), _unreached),
        ),
    }


def conversion_error(value: Any, wanted: Type) -> Failure:
    """``type conversion error from 'string' to 'int'``."""
    return Failure(f"type conversion error from '{type_name(type_of(value))}' to '{type_name(wanted)}'")


def to_int(value: Any) -> Any:
    if isinstance(value, str):
        is_number = re.fullmatch(r"[+-]?[0-9]{1,40}", value, re.ASCII) is not None
        number = int(value) if is_number else None
        return number if number is not None and type(as_int(number)) is int else conversion_error(value, INT)
    if isinstance(value, float):
        fits = math.isfinite(value) and -(2.0**63) < value < 2.0**63
        return int(value) if fits else Failure("integer overflow")
    if isinstance(value, Timestamp):
        return value.ns // SECOND
    return value.ns if isinstance(value, Duration) else as_int(int(value))


def to_uint(value: Any) -> Any:
    if isinstance(value, str):
        is_number = re.fullmatch(r"[0-9]{1,40}", value, re.ASCII) is not None
        number = as_uint(int(value)) if is_number else None
        return number if isinstance(number, Uint) else conversion_error(value, UINT)
    if isinstance(value, float):
        fits = math.isfinite(value) and 0 <= value < 2.0**64
        return Uint(int(value)) if fits else Failure("unsigned integer overflow")
    return as_uint(int(value))


def to_double(value: Any) -> Any:
    if isinstance(value, str):
        number = float(value) if _NUMBER_TEXT.fullmatch(value) else math.nan
        is_too_large = math.isinf(number) and any(c.isdecimal() for c in value)
        is_number = not is_too_large and (not math.isnan(number) or "nan" in value.lower())
        return number if is_number else conversion_error(value, DOUBLE)
    return float(value)


def to_bool(value: Any) -> Any:
    if isinstance(value, str):
        return True if value in _TRUE else False if value in _FALSE else conversion_error(value, BOOL)
    return value


def to_text(value: Any) -> Any:
    """``string(value)``; what has no text is a failure."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, float):
        return format_float(value)
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return Failure("invalid UTF-8 in bytes, cannot convert to string")
    if isinstance(value, Timestamp):
        return clock.timestamp_text(value)
    if isinstance(value, Duration):
        return clock.duration_text(value)
    return type_name(value) if isinstance(value, Type) else conversion_error(value, STRING)


def to_timestamp(value: Any) -> Any:
    if isinstance(value, str):
        return clock.parse_timestamp(value) or conversion_error(value, TIMESTAMP)
    return operators.as_timestamp(value * SECOND) if type(value) is int else value


def to_duration(value: Any) -> Any:
    if isinstance(value, str):
        return clock.parse_duration(value) or conversion_error(value, DURATION)
    return Duration(value) if type(value) is int else value


def _conversions() -> Functions:
    def to(kind: Type, run: Callable[[Any], Any], *sources: Type) -> tuple[Overload, ...]:
        target = _NAMES[kind]
        return tuple(plain(f"{_NAMES[source]}_to_{target}", (source,), kind, run) for source in sources)

    return {
        "bool": to(BOOL, to_bool, BOOL, STRING),
        "bytes": to(BYTES, lambda v: v.encode("utf-8", "replace") if isinstance(v, str) else v, BYTES, STRING),
        "double": to(DOUBLE, to_double, DOUBLE, INT, STRING, UINT),
        "duration": to(DURATION, to_duration, DURATION, INT, STRING),
        "dyn": (plain("to_dyn", (A,), DYN, lambda value: value),),
        "int": to(INT, to_int, INT, DOUBLE, DURATION, STRING, TIMESTAMP, UINT),
        "string": to(STRING, to_text, STRING, BOOL, BYTES, DOUBLE, DURATION, INT, TIMESTAMP, UINT),
        "timestamp": to(TIMESTAMP, to_timestamp, TIMESTAMP, INT, STRING),
        "type": (plain("type", (A,), types.type_of(A), type_of),),
        "uint": to(UINT, to_uint, UINT, DOUBLE, INT, STRING),
    }


def _sizes() -> Functions:
    kinds = (("bytes", BYTES), ("list", _LIST), ("map", _MAP), ("string", STRING))
    free = tuple(plain(f"size_{name}", (kind,), INT, size_of) for name, kind in kinds)
    return {"size": (*free, *(member(f"{name}_size", (kind,), INT, size_of) for name, kind in kinds))}


def _matches(value: str, pattern: str) -> Any:
    try:
        return compile_pattern(pattern).search(value) is not None
    except RegexpError as err:
        return Failure(str(err))


def _strings() -> Functions:
    def on_text(name: str, run: Callable[..., Any]) -> tuple[Overload, ...]:
        return (member(name, (STRING, STRING), BOOL, run),)

    return {
        "contains": on_text("contains_string", lambda text, part: part in text),
        "endsWith": on_text("ends_with_string", str.endswith),
        "startsWith": on_text("starts_with_string", str.startswith),
        "matches": (
            plain("matches", (STRING, STRING), BOOL, _matches),
            member("matches_string", (STRING, STRING), BOOL, _matches),
        ),
    }


def _times() -> Functions:
    found: dict[str, tuple[Overload, ...]] = {}
    for name, run in clock.PARTS.items():
        found[name] = (
            member(f"timestamp_{name}", (TIMESTAMP,), INT, run),
            member(f"timestamp_{name}_with_tz", (TIMESTAMP, STRING), INT, run),
        )
    for name, unit in clock.DURATION_UNITS.items():
        found[name] += (member(f"duration_{name}", (DURATION,), INT, clock.whole_units(unit)),)
    return found


def _value(found: Optional) -> Any:
    return found.value if found.has_value else Failure("optional.none() dereference")


def _of_non_zero(value: Any) -> Optional:
    return NONE if _is_zero(value) else Optional(value)


def _is_zero(value: Any) -> bool:
    if isinstance(value, Duration):
        return value.ns == 0
    if isinstance(value, Timestamp | Type):
        return False
    if isinstance(value, Record):
        return value.size() == 0
    if isinstance(value, Optional):
        return not value.has_value or _is_zero(value.value)
    return value is None or (isinstance(value, bool | int | float | str | bytes | list | dict) and not value)


def _unwrapped(values: list[Any]) -> list[Any]:
    return [value.value for value in values if value.has_value]


def _optionals() -> Functions:
    optional = optional_of(A)
    several = list_of(optional)
    return {
        "optional.of": (plain("optional_of", (A,), optional, Optional),),
        "optional.ofNonZeroValue": (plain("optional_ofNonZeroValue", (A,), optional, _of_non_zero),),
        "optional.none": (plain("optional_none", (), optional, lambda: NONE),),
        "value": (member("optional_value", (optional,), A, _value),),
        "hasValue": (member("optional_hasValue", (optional,), BOOL, lambda found: found.has_value),),
        "or": (member("optional_or_optional", (optional, optional), optional, _unreached),),
        "orValue": (member("optional_orValue_value", (optional, A), A, _unreached),),
        "first": (member("list_first", (_LIST,), optional, lambda v: Optional(v[0]) if v else NONE),),
        "last": (member("list_last", (_LIST,), optional, lambda v: Optional(v[-1]) if v else NONE),),
        "optional.unwrap": (plain("optional_unwrap", (several,), _LIST, _unwrapped),),
        "unwrapOpt": (member("optional_unwrapOpt", (several,), _LIST, _unwrapped),),
    }


def _inserted(found: dict[Any, Any], *what: Any) -> Any:
    """One round of transformMap: the accumulator is the loop's own and grows in place."""
    entries = {what[0]: what[1]} if len(what) == 2 else what[0]
    for key in operators.keys(entries):
        if operators.lookup(found, key) is not ABSENT:
            return Failure(f"insert failed: key {operators.shown(key)} already exists")
        found[key] = operators.lookup(entries, key)
    return found


def _two_variables() -> Functions:
    return {
        "cel.@mapInsert": (
            plain("@mapInsert_map_map", (_MAP, _MAP), _MAP, _inserted),
            plain("@mapInsert_map_key_value", (_MAP, A, B), _MAP, _inserted),
        )
    }


STANDARD: Functions = {
    **_arithmetic(),
    **_relations(),
    **_logic(),
    **_indexing(),
    **_conversions(),
    **_sizes(),
    **_strings(),
    **_times(),
    **_optionals(),
    **_two_variables(),
}
