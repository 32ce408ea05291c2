"""Values that CEL expressions compute with.

    bool int float str bytes None list dict   themselves (an int is CEL's int: 64 bits, signed)
    Uint Duration Timestamp Optional          below; times are whole nanoseconds
    types.Type                                a type as a value
    Record                                    an object of a schema, or anything else with fields: see `Record`
    Opaque                                    values of a library (quantity, url, …)
    Failure                                   an error, which is a value until something needs what it stands for

Lists and maps of a schema may be subclasses (`list` with another equality): see `equal_to` in `operators`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tiphys.lang.cel import types
from tiphys.lang.cel.types import Type

INT_MIN, INT_MAX = -(1 << 63), (1 << 63) - 1
UINT_MAX = (1 << 64) - 1
SECOND = 1_000_000_000
TIMESTAMP_MIN = -62_135_596_800 * SECOND
TIMESTAMP_MAX = 253_402_300_799 * SECOND + SECOND - 1


class Uint(int):
    """An unsigned integer, ``1u``."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, order=True)
class Duration:
    ns: int


@dataclass(frozen=True, slots=True, order=True)
class Timestamp:
    """Nanoseconds since 1970 UTC."""

    ns: int


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no value. Two results with the same message are the same failure."""

    message: str


class Optional:
    """``optional.of(value)`` or ``optional.none()``."""

    __slots__ = ("has_value", "value")

    def __init__(self, value: Any = None, *, has_value: bool = True) -> None:
        self.value, self.has_value = value, has_value


NONE = Optional(has_value=False)


class Record:
    """An object with named fields. Base of what a schema makes of an object."""

    __slots__ = ()

    def field(self, name: str) -> Any:
        """The value of a field; `ABSENT` when it is not set."""
        raise NotImplementedError

    def names(self) -> Iterator[str]:
        """The fields that are set."""
        raise NotImplementedError

    def size(self) -> int:
        return sum(1 for _ in self.names())


class Opaque:
    """A value of a library. ``cel_type`` is its static type; `size` counts for the cost."""

    __slots__ = ()
    cel_type: Type

    def size(self) -> int:
        return 1


class _Absent:
    __slots__ = ()


ABSENT = _Absent()
"""What a lookup gives when nothing is there (None is a value)."""

_SIMPLE: dict[type, Type] = {
    bool: types.BOOL,
    int: types.INT,
    Uint: types.UINT,
    float: types.DOUBLE,
    str: types.STRING,
    bytes: types.BYTES,
    type(None): types.NULL,
    Duration: types.DURATION,
    Timestamp: types.TIMESTAMP,
}


def type_of(value: Any) -> Type:
    """The type as ``type(value)`` gives it: without the types of elements."""
    found = _SIMPLE.get(type(value))
    if found is not None:
        return found
    if isinstance(value, list):
        return types.list_of(types.DYN)
    if isinstance(value, dict):
        return types.map_of(types.DYN, types.DYN)
    if isinstance(value, Optional):
        return types.optional_of(types.DYN)
    if isinstance(value, Type):
        return types.type_of(types.DYN)
    if isinstance(value, Opaque):
        return value.cel_type
    return types.map_of(types.DYN, types.DYN) if isinstance(value, Record) else types.DYN


def type_name(found: Type) -> str:
    """The name of a type as a value: ``string(type(x))`` and messages show it."""
    return types.RUNTIME_NAMES.get(found.kind, found.name)


def size_of(value: Any) -> int:
    """What ``size()`` gives, or what stands for it in the cost of a call."""
    if isinstance(value, str | bytes | list | dict):
        return len(value)
    if isinstance(value, Opaque | Record):
        return value.size()
    return 1


def conforms(value: Any, wanted: Type) -> bool:
    """Whether a function declared for ``wanted`` takes the value; elements are not looked at."""
    kind = wanted.kind
    if kind in ("dyn", "param"):
        return True
    if kind == "opaque":
        if wanted.name == "optional_type":
            return isinstance(value, Optional)
        return isinstance(value, Opaque) and value.cel_type.name == wanted.name
    if kind == "struct":
        return isinstance(value, Record) or (isinstance(value, Opaque) and value.cel_type.name == wanted.name)
    if kind == "list":
        return isinstance(value, list)
    if kind == "map":
        return isinstance(value, dict | Record)
    if kind == "type":
        return isinstance(value, Type)
    return type_of(value).kind == kind
