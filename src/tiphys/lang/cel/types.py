"""Static types of CEL expressions.

A type is a kind, a name and parameters: ``list(int)``, ``map(string, dyn)``, ``optional_type(A)``. Objects of a schema
are ``struct`` types whose fields the `Environment` knows by the type's name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Type:
    """``kind`` is one of the words below; ``name`` tells structs, opaque types and type parameters apart."""

    kind: str
    name: str
    params: tuple[Type, ...] = ()

    @cached_property
    def is_dyn(self) -> bool:
        return self.kind in ("dyn", "error")

    @cached_property
    def has_parameters(self) -> bool:
        """Whether a type parameter occurs in it."""
        return self.kind == "param" or any(p.has_parameters for p in self.params)

    def __str__(self) -> str:
        if not self.params:
            return self.name
        return f"{self.name}({', '.join(map(str, self.params))})"


BOOL = Type("bool", "bool")
INT = Type("int", "int")
UINT = Type("uint", "uint")
DOUBLE = Type("double", "double")
STRING = Type("string", "string")
BYTES = Type("bytes", "bytes")
NULL = Type("null", "null")
DYN = Type("dyn", "dyn")
ERROR = Type("error", "!error!")
DURATION = Type("duration", "duration")
TIMESTAMP = Type("timestamp", "timestamp")
A = Type("param", "A")
B = Type("param", "B")

RUNTIME_NAMES = {"null": "null_type", "duration": "google.protobuf.Duration", "timestamp": "google.protobuf.Timestamp"}
SCALARS = frozenset(("bool", "double", "duration", "int", "timestamp", "uint"))


def list_of(element: Type) -> Type:
    return Type("list", "list", (element,))


def map_of(key: Type, value: Type) -> Type:
    return Type("map", "map", (key, value))


def type_of(inner: Type) -> Type:
    """The type of a type denotation: that of ``int`` in ``type(x) == int``."""
    return Type("type", "type", (inner,))


def optional_of(inner: Type) -> Type:
    return Type("opaque", "optional_type", (inner,))


def struct(name: str) -> Type:
    return Type("struct", name)


def opaque(name: str) -> Type:
    return Type("opaque", name)


def is_optional(found: Type) -> bool:
    return found.kind == "opaque" and found.name == "optional_type"


def unwrapped(found: Type) -> Type:
    """What is inside of an optional; the type itself when it is none."""
    return found.params[0] if is_optional(found) else found


def is_scalar(found: Type) -> bool:
    """Whether values have a size known beforehand."""
    return found.kind in SCALARS or (is_optional(found) and is_scalar(found.params[0]))


def signature(arguments: Sequence[Type], is_member: bool) -> str:
    """Arguments as compile errors show them: ``string.(int)``, ``(int, string)``."""
    if is_member:
        return f"{arguments[0]}.({', '.join(map(str, arguments[1:]))})"
    return f"({', '.join(map(str, arguments))})"


class Bindings:
    """What the type parameters met so far stand for. `assign` either extends it whole or leaves it as it was."""

    def __init__(self) -> None:
        self._bound: dict[Type, Type] = {}

    def assign(self, wanted: Sequence[Type], given: Sequence[Type]) -> bool:
        saved = self._bound
        self._bound = dict(saved)
        if self._all(wanted, given):
            return True
        self._bound = saved
        return False

    def resolved(self, found: Type, *, free_is_dyn: bool = False) -> Type:
        """``found`` with bound parameters replaced; free ones become dyn when asked for."""
        if not found.has_parameters:
            return found
        bound = self._bound.get(found)
        if bound is not None:
            return self.resolved(bound, free_is_dyn=free_is_dyn)
        if found.kind == "param":
            return DYN if free_is_dyn else found
        return Type(found.kind, found.name, tuple(self.resolved(p, free_is_dyn=free_is_dyn) for p in found.params))

    def _all(self, one: Sequence[Type], other: Sequence[Type]) -> bool:
        return len(one) == len(other) and all(self._fits(a, b) for a, b in zip(one, other, strict=True))

    def _fits(self, one: Type, other: Type) -> bool:
        if other.kind == "param":
            fits, was_bound = self._bind(one, other)
            if fits or was_bound:
                return fits
        if one.kind == "param":
            return self._bind(other, one)[0]
        if one.is_dyn or other.is_dyn:
            return True
        if one.kind == "null" or other.kind == "null":
            return _takes_null(other if one.kind == "null" else one)
        if one.kind == "type":
            return other.kind == "type"
        if one.kind in ("opaque", "list", "map"):
            return one.kind == other.kind and one.name == other.name and self._all(one.params, other.params)
        return one == other

    def _bind(self, found: Type, parameter: Type) -> tuple[bool, bool]:
        if found == parameter:
            return True, True
        bound = self._bound.get(parameter)
        if bound is not None:
            if found == bound:
                return True, True
            if not self._fits(found, bound):
                return False, True
            wider = found if is_less_specific(found, bound) else bound
            if self._is_free_of(parameter, wider):
                self._bound[parameter] = wider
            return True, True
        if self._is_free_of(parameter, found):
            self._bound[parameter] = found
            return True, False
        return False, False

    def _is_free_of(self, parameter: Type, within: Type) -> bool:
        if parameter == within:
            return False
        if within.kind == "param":
            bound = self._bound.get(within)
            return bound is None or self._is_free_of(parameter, bound)
        return all(self._is_free_of(parameter, p) for p in within.params)


def _takes_null(found: Type) -> bool:
    return found.kind in ("null", "opaque", "struct", "duration", "timestamp")


def is_less_specific(one: Type, other: Type) -> bool:
    """Whether ``one`` covers ``other`` (dyn covers everything)."""
    if one.is_dyn or one.kind == "param":
        return True
    if other.is_dyn or other.kind == "param" or one.kind != other.kind:
        return False
    if one.kind in ("opaque", "list", "map"):
        same = one.name == other.name and len(one.params) == len(other.params)
        return same and all(is_less_specific(a, b) for a, b in zip(one.params, other.params, strict=True))
    return one.kind == "type" or one == other
