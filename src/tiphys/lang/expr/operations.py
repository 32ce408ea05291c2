"""What the operators do with values: Go's arithmetic, order, equality, and reaching into values.

ints wrap at 64 bits and never mix with bools; ``/`` and ``**`` always give floats; strings are compared and cut by
bytes. A failure is a Panic with Go's text; the program adds the place.
"""

from __future__ import annotations

from typing import Any

from tiphys.lang import gomath
from tiphys.lang.expr.errors import Panic
from tiphys.lang.expr.methods import METHODS
from tiphys.lang.expr.values import AnyMap, NilList, Struct
from tiphys.lang.gofmt import sprint, type_name
from tiphys.lang.goregexp import RegexpError, compile_pattern
from tiphys.lang.gosize import refuse_size
from tiphys.lang.gotext import from_utf8, utf8
from tiphys.lang.govalues import Function, StringMap, Uint8, deep_equal, float_to_int, kind_of, wrap64
from tiphys.lang.moments import Duration, Location, Month, Time, Weekday

STRING_LENGTH_MAX = 4_000_000
"""Characters of a string that an operator or builtin may build; the original has no limit."""

_NAMED_INTS = (Duration, Month, Weekday)
"""Integers of types of their own: they compare with each other only, and mix with numbers in products of spans."""


def is_number(value: object) -> bool:
    """int, float64 or a sized integer, but not a bool and not a named type like a span."""
    kind = type(value)
    if kind is int or kind is float:
        return True
    return isinstance(value, int) and kind is not bool and not isinstance(value, _NAMED_INTS)


def to_int(value: object) -> int:
    """Any number as an int. Panics otherwise."""
    if not is_number(value):
        raise Panic(f"invalid operation: int({type_name(value)})")
    return float_to_int(value) if isinstance(value, float) else int(value)  # type: ignore[call-overload]


def to_float(value: object) -> float:
    if not is_number(value):
        raise Panic(f"invalid operation: float({type_name(value)})")
    return float(value)  # type: ignore[arg-type]


def as_bool(value: object) -> bool:
    """A value where only a bool may be."""
    if value is True or value is False:
        return value
    raise Panic(conversion(value, "bool"))


def as_string(value: object) -> str:
    if isinstance(value, str):
        return value
    raise Panic(conversion(value, "string"))


def conversion(value: object, wanted: str) -> str:
    """The text of Go's failed type assertion."""
    found = "nil" if value is None else type_name(value)
    return f"interface conversion: interface {{}} is {found}, not {wanted}"


def shown(value: object) -> str:
    """``string(value)``, and values in messages."""
    refuse_size(value)
    return sprint(value)


def is_nil(value: object) -> bool:
    """Whether ``??`` and ``?.`` take it for nothing."""
    return value is None or type(value) is NilList


# Arithmetic.


def _mismatch(a: object, op: str, b: object) -> Panic:
    return Panic(f"invalid operation: {type_name(a)} {op} {type_name(b)}")


def add(a: Any, b: Any) -> Any:
    kind = type(a)
    if kind is type(b):
        if kind is int:
            return wrap64(a + b)
        if kind is float:
            return a + b
        if kind is str:
            return _joined(a, b)
        if kind is Duration:
            return Duration(wrap64(a + b))
    if is_number(a) and is_number(b):
        return _numeric(a + b)
    if isinstance(a, Time) and isinstance(b, Duration):
        return a.add(b)
    if isinstance(a, Duration) and isinstance(b, Time):
        return b.add(a)
    if isinstance(a, str) and isinstance(b, str):
        return _joined(a, b)
    raise _mismatch(a, "+", b)


def _joined(a: str, b: str) -> str:
    refuse_length(len(a) + len(b))
    return a + b


def refuse_length(characters: int) -> None:
    """Panics before a string is built that nobody wants."""
    if characters > STRING_LENGTH_MAX:
        raise Panic("memory budget exceeded")


def _numeric(value: int | float) -> int | float:
    return value if isinstance(value, float) else wrap64(int(value))


def subtract(a: Any, b: Any) -> Any:
    kind = type(a)
    if kind is type(b):
        if kind is int:
            return wrap64(a - b)
        if kind is float:
            return a - b
        if kind is Duration:
            return Duration(wrap64(a - b))
    if is_number(a) and is_number(b):
        return _numeric(a - b)
    if isinstance(a, Time):
        if isinstance(b, Time):
            return a.sub(b)
        if isinstance(b, Duration):
            return a.add(-int(b))
    raise _mismatch(a, "-", b)


def multiply(a: Any, b: Any) -> Any:
    if type(a) is int and type(b) is int:
        return wrap64(a * b)
    numbers = is_number(a), is_number(b)
    if all(numbers):
        return _numeric(a * b)
    if isinstance(a, Duration | int | float) and isinstance(b, Duration | int | float):
        return _span_product(a, b, numbers)
    raise _mismatch(a, "*", b)


def _span_product(a: Any, b: Any, numbers: tuple[bool, bool]) -> Any:
    spans = isinstance(a, Duration), isinstance(b, Duration)
    if not any(spans) or not all(is_one or is_span for is_one, is_span in zip(numbers, spans, strict=True)):
        raise _mismatch(a, "*", b)
    if isinstance(a, float) or isinstance(b, float):
        return float(a) * float(b)
    return Duration(wrap64(int(a) * int(b)))


def divide(a: Any, b: Any) -> float:
    if not (is_number(a) and is_number(b)):
        raise _mismatch(a, "/", b)
    return gomath.divide(float(a), float(b))


def modulo(a: Any, b: Any) -> int:
    if not (is_number(a) and is_number(b)) or isinstance(a, float) or isinstance(b, float):
        raise _mismatch(a, "%", b)
    if b == 0:
        raise Panic("runtime error: integer divide by zero")
    rest = abs(a) % abs(b)
    return -rest if a < 0 else int(rest)


def power(a: Any, b: Any) -> float:
    return gomath.power(to_float(a), to_float(b))


def negate(value: Any) -> Any:
    if isinstance(value, float):
        return -value
    if is_number(value):
        return type(value)((-value) % 256) if isinstance(value, Uint8) else type(value)(wrap64(-value))
    shown = "<nil>" if value is None else type_name(value)
    raise Panic(f"invalid operation: - {shown}")


def negation(value: object) -> bool:
    return not as_bool(value)


# Equality and order.


def equal(a: Any, b: Any) -> bool:
    """Numbers by value across types; lists element by element if at least one side is []any; else as DeepEqual."""
    kind, other = type(a), type(b)
    if kind is other and kind in _PLAIN:
        return bool(a == b)
    if is_number(a) and is_number(b):
        return bool(a == b)
    if is_nil(a) and is_nil(b):
        return True
    if isinstance(a, list) and isinstance(b, list):
        if len(a) != len(b):
            return False
        refuse_size(a)
        return _equal_lists(a, b)
    if isinstance(a, Time) and isinstance(b, Time):
        return a.instant() == b.instant()
    if isinstance(a, Function) or type_name(a) != type_name(b):
        return False
    refuse_size(a)
    return deep_equal(a, b)


def _equal_elements(a: Any, b: Any) -> bool:
    """:func:`equal` inside of what was found small enough."""
    return _equal_lists(a, b) if isinstance(a, list) and isinstance(b, list) else equal(a, b)


_PLAIN = frozenset((int, float, str, bool, type(None)))


def _equal_lists(a: list[Any], b: list[Any]) -> bool:
    if type(a) is list or type(b) is list or type(a) is type(b):
        return len(a) == len(b) and all(map(_equal_elements, a, b))
    return False


def _orderable(a: Any, op: str, b: Any) -> tuple[Any, Any]:
    kind, other = type(a), type(b)
    if kind is other and (kind is int or kind is float):
        return a, b
    if isinstance(a, str) and isinstance(b, str):
        return (a, b) if a.isascii() and b.isascii() else (utf8(a), utf8(b))
    if is_number(a) and is_number(b):
        return a, b
    if isinstance(a, Time) and isinstance(b, Time):
        return a.instant(), b.instant()
    if isinstance(a, Duration) and isinstance(b, Duration):
        return int(a), int(b)
    raise _mismatch(a, op, b)


def less(a: Any, b: Any) -> bool:
    x, y = _orderable(a, "<", b)
    return bool(x < y)


def less_or_equal(a: Any, b: Any) -> bool:
    x, y = _orderable(a, "<=", b)
    return bool(x <= y)


def more(a: Any, b: Any) -> bool:
    x, y = _orderable(a, ">", b)
    return bool(x > y)


def more_or_equal(a: Any, b: Any) -> bool:
    x, y = _orderable(a, ">=", b)
    return bool(x >= y)


# Text.


def matches(text: Any, pattern: Any) -> bool:
    if text is None or pattern is None:
        return False
    return search(text, compiled(as_string(pattern)))


def compiled(pattern: str) -> Any:
    try:
        return compile_pattern(pattern)
    except RegexpError as err:
        raise Panic(str(err)) from err


def search(text: Any, pattern: Any) -> bool:
    """Whether the compiled pattern is found in a string or bytes; nil holds nothing."""
    if text is None:
        return False
    if isinstance(text, bytes):
        text = from_utf8(text)
    if not isinstance(text, str):
        raise Panic(conversion(text, "[]uint8"))
    return pattern.search(text if text.isascii() else utf8(text).decode("utf-8", "replace")) is not None


def contains(a: Any, b: Any) -> bool:
    return a is not None and b is not None and as_string(b) in as_string(a)


def starts_with(a: Any, b: Any) -> bool:
    return a is not None and b is not None and as_string(a).startswith(as_string(b))


def ends_with(a: Any, b: Any) -> bool:
    return a is not None and b is not None and as_string(a).endswith(as_string(b))


# Parts of values.


def fetch(value: Any, key: Any) -> Any:
    """``value[key]`` or ``value.key``: a missing map key is nil, anything else that is not there a panic."""
    if isinstance(value, dict):
        return _from_dict(value, key)
    if value is None:
        raise Panic(f"cannot fetch {shown(key)} from <nil>")
    if isinstance(value, list):
        return value[_index(key, len(value))]
    if isinstance(key, str):
        method = METHODS.get(getattr(value, "go_type", ""), {}).get(key)
        if method is not None:
            return bound(method.call, value, method.type)
        if key in getattr(value, "go_methods", ()):
            return value.go_methods[key]
    if isinstance(value, Struct) and isinstance(key, str) and key in value.fields:
        return value.fields[key]
    if isinstance(value, str):
        data = utf8(value)
        return Uint8(data[_index(key, len(data))])
    if isinstance(value, bytes):
        return Uint8(value[_index(key, len(value))])
    if isinstance(value, AnyMap):
        return value.get(key)
    if isinstance(value, Time | Struct) and not isinstance(key, str):
        raise Panic(conversion(key, "string"))
    raise Panic(f"cannot fetch {shown(key)} from {type_name(value)}")


def bound(call: Any, value: Any, signature: Any) -> Function:
    """A method of a value, ready to be called."""
    ins = tuple(one.name for one in signature.ins)
    return Function("method", lambda *arguments: call(value, *arguments), ins, signature.out.name)


def _from_dict(value: dict[Any, Any], key: Any) -> Any:
    if key is None or isinstance(key, str):
        return value.get(key or "", "" if isinstance(value, StringMap) else None)
    raise Panic(f"reflect.Value.MapIndex: value of type {type_name(key)} is not assignable to type string")


def _index(key: Any, length: int) -> int:
    index = to_int(key)
    if index < 0:
        index += length
    if not 0 <= index < length:
        raise Panic(f"index out of range: {index} (array length is {length})")
    return index


def get(value: Any, key: Any) -> Any:
    """The builtin: like :func:`fetch`, but nil where nothing is."""
    if value is None:
        return None
    if isinstance(value, list | str | bytes):
        length = len(utf8(value)) if isinstance(value, str) else len(value)
        index = to_int(key)
        index += length if index < 0 else 0
        return fetch(value, index) if 0 <= index < length else None
    if isinstance(value, dict | AnyMap):
        return fetch(value, key)
    if isinstance(key, str) and key in METHODS.get(getattr(value, "go_type", ""), {}):
        return fetch(value, key)
    return None


def cut(value: Any, start: Any, stop: Any) -> Any:
    """``value[start:stop]`` by elements or bytes; negative bounds count from the end, all are kept inside."""
    if not isinstance(value, list | str | bytes):
        raise Panic(f"cannot slice {shown(start)}")
    data = utf8(value) if isinstance(value, str) else value
    length = len(data)
    first, last = to_int(start), to_int(stop)
    first = max(first + length if first < 0 else first, 0)
    last = min(max(last + length if last < 0 else last, 0), length)
    first = min(first, last)
    part = data[first:last]
    if isinstance(value, str):
        return from_utf8(part)  # type: ignore[arg-type]
    return type(value)(part) if isinstance(value, list) else part


def length_in_bytes(value: Any) -> int:
    """What a slice without an end takes as its end."""
    if isinstance(value, str):
        return len(utf8(value))
    if isinstance(value, list | dict | bytes | AnyMap):
        return len(value)
    raise Panic(f"invalid argument for len (type {type_name(value)})")


def is_in(needle: Any, heap: Any) -> bool:
    if heap is None:
        return False
    if isinstance(heap, list):
        return needle in heap if type(needle) is str else any(equal(one, needle) for one in heap)
    if isinstance(heap, dict):
        if needle is not None and not isinstance(needle, str):
            message = f"reflect.Value.MapIndex: value of type {type_name(needle)} is not assignable to type string"
            raise Panic(message)
        return (needle or "") in heap
    if isinstance(heap, AnyMap):
        return needle in heap
    if isinstance(heap, bytes):
        return any(equal(Uint8(one), needle) for one in heap)
    if isinstance(heap, Time | Location | Struct):
        if not isinstance(needle, str):
            raise Panic(f"cannot use {type_name(needle)} as field name of {type_name(heap)}")
        return isinstance(heap, Struct) and needle in heap.fields
    raise Panic(f'operator "in" not defined on {type_name(heap)}')


class _MapEntries(list[Any]):
    """The entries of a map where elements are wanted: they can be counted, and fail when one is asked for."""

    def __getitem__(self, index: Any) -> Any:
        raise Panic("reflect: call of reflect.Value.Index on map Value")


def elements(value: Any) -> list[Any]:
    """What a builtin with a predicate walks over."""
    if isinstance(value, list):
        return value
    if isinstance(value, bytes):
        return [Uint8(one) for one in value]
    if isinstance(value, str):
        return [Uint8(one) for one in utf8(value)]
    if value is None:
        raise Panic("reflect: call of reflect.Value.Len on zero Value")
    if isinstance(value, dict | AnyMap):
        return _MapEntries([None] * len(value))
    raise Panic(f"reflect: call of reflect.Value.Len on {kind_of(value)} Value")
