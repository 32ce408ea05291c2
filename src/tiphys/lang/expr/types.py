"""The static types that decide what compiles.

A type is a Go type as the checker sees it: its name, its kind, and for containers and functions their parts. Three
stand for "cannot know": UNKNOWN (nothing said), ANY (an interface{}), and NIL, which is the value nil itself and takes
part in far fewer operations than an unknown. Arrays may know more about their elements than Go's []interface{} says.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from tiphys.lang.expr.values import Struct
from tiphys.lang.gofmt import type_name
from tiphys.lang.govalues import Function


@dataclass(frozen=True, slots=True, eq=False)
class Type:
    """A type is itself and no other: those that values have are made once (see :func:`type_of`), and comparing names
    is left to assignability.

    ``kind`` is Go's: bool, int, int64, float64, string, slice, array, map, func, struct, ptr, interface; "" none."""

    name: str
    kind: str = ""
    element: Type | None = None
    key: Type | None = None
    ins: tuple[Type, ...] = ()
    out: Type | None = None
    variadic: bool = False
    results: int = 1
    fields: tuple[tuple[str, Type], ...] = ()

    @property
    def is_unknown(self) -> bool:
        return self.kind == "interface" or self is UNKNOWN

    @property
    def is_nil(self) -> bool:
        return self is NIL

    @property
    def is_integer(self) -> bool:
        return self.name in _INTEGERS

    @property
    def is_number(self) -> bool:
        return self.name in _INTEGERS or self is FLOAT

    @property
    def is_array(self) -> bool:
        return self.kind in ("slice", "array")

    def assignable_to(self, other: Type) -> bool:
        """Whether a value of this type may stand where ``other`` is expected."""
        if self.is_nil:
            return other.kind in ("ptr", "interface", "func", "map", "slice")
        if self is UNKNOWN or other is UNKNOWN or other.is_nil:
            return False
        return other is ANY or self.name == other.name

    def comparable_to(self, other: Type) -> bool:
        """Whether ``==`` between the two compiles."""
        return (
            self.is_unknown
            or other.is_unknown
            or self.is_nil
            or other.is_nil
            or (self.is_number and other.is_number)
            or (self.is_array and other.is_array)
            or self.assignable_to(other)
        )

    def is_any_of(self, classes: str) -> bool:
        """Whether it belongs to one of the ``classes``: letters of b(ool) s(tring) i(nteger) n(umber) m(ap) a(rray)
        t(ime) d(uration)."""
        return bool(_classes_of(self) & frozenset(classes))

    def element_type(self) -> Type:
        return self.element or UNKNOWN


@lru_cache(maxsize=1024)
def _classes_of(one: Type) -> frozenset[str]:
    found = {"bool": "b", "string": "s", "map": "m", "slice": "a", "array": "a"}.get(one.kind, "")
    found += "i" if one.is_integer else ""
    found += "n" if one.is_number else ""
    found += {"time.Time": "t", "time.Duration": "d"}.get(one.name, "")
    return frozenset(found)


_INTEGERS = frozenset(
    ("int", "int8", "int16", "int32", "int64", "uint", "uint8", "uint16", "uint32", "uint64", "uintptr")
)

UNKNOWN = Type("unknown", "unknown")
NIL = Type("unknown")
ANY = Type("interface {}", "interface")
BOOL = Type("bool", "bool")
INT = Type("int", "int")
INT64 = Type("int64", "int64")
FLOAT = Type("float64", "float64")
STRING = Type("string", "string")
BYTE = Type("uint8", "uint8")
BYTES = Type("[]uint8", "slice", BYTE)
SLICE = Type("[]interface {}", "slice", ANY)
INTS = Type("[]int", "slice", INT)
STRINGS = Type("[]string", "slice", STRING)
FLOATS = Type("[]float64", "slice", FLOAT)
PAIR = Type("[2]interface {}", "array", ANY)
PAIRS = Type("[][2]interface {}", "slice", PAIR)
MAP = Type("map[string]interface {}", "map", ANY, STRING)
ANY_MAP = Type("map[interface {}]interface {}", "map", ANY, ANY)
GROUPS = Type("map[interface {}][]interface {}", "map", SLICE, ANY)
STRING_MAP = Type("map[string]string", "map", STRING, STRING)
TIME = Type("time.Time", "struct")
DURATION = Type("time.Duration", "int64")
MONTH = Type("time.Month", "int")
WEEKDAY = Type("time.Weekday", "int")
LOCATION = Type("*time.Location", "ptr")

BY_NAME = {
    one.name: one
    for one in (
        ANY, BOOL, INT, INT64, FLOAT, STRING, BYTE, BYTES, SLICE, INTS, STRINGS, FLOATS, PAIR, PAIRS, MAP, ANY_MAP,
        GROUPS, STRING_MAP, TIME, DURATION, MONTH, WEEKDAY, LOCATION,
    )
}  # fmt: skip


def array_of(element: Type) -> Type:
    """[]interface{} whose elements are known to be of one type."""
    return replace(SLICE, element=element)


def function(ins: tuple[Type, ...], out: Type, *, variadic: bool = False, results: int = 1) -> Type:
    """The type of a function; a variadic one takes any number of its last parameter's elements. Of several results
    only the first counts, and with more than two the function cannot be called."""
    shown = [one.name for one in ins]
    if variadic:
        shown[-1] = "..." + ins[-1].element_type().name
    return Type(f"func({', '.join(shown)}) {out.name}", "func", ins=ins, out=out, variadic=variadic, results=results)


def type_of(value: object) -> Type:
    """The type that a value of the environment has for the checker."""
    found = _BY_CLASS.get(type(value))
    return found if found is not None else _of_named(value)


_BY_CLASS: dict[type, Type] = {
    bool: BOOL, int: INT, float: FLOAT, str: STRING, bytes: BYTES, list: SLICE, dict: MAP, type(None): NIL,
}  # fmt: skip


def _of_named(value: object) -> Type:
    if isinstance(value, Function):
        return _function(value.ins, value.out, value.variadic)
    if isinstance(value, Struct):
        return _struct(value.go_type, tuple(value.fields), tuple([type_of(one) for one in value.fields.values()]))
    return named(type_name(value))


@lru_cache(maxsize=256)
def _struct(go_type: str, names: tuple[str, ...], types: tuple[Type, ...]) -> Type:
    return Type(go_type, "struct", fields=tuple(zip(names, types, strict=True)))


@lru_cache(maxsize=1024)
def _function(ins: tuple[str, ...], out: str, variadic: bool) -> Type:
    return function(tuple(map(named, ins)), named(out), variadic=variadic)


@lru_cache(maxsize=1024)
def named(name: str) -> Type:
    """The type with that Go name; names that this language never builds itself count as opaque structs."""
    return BY_NAME.get(name) or Type(name, "struct")
