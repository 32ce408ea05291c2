"""Go's values in Python, for the languages that call Go functions: what type and kind a value has, and typed functions.

Plain Python stands for Go's common types: int for int, float for float64, str for string (surrogate escapes are bytes
that are not UTF-8), bytes for []byte, list for []interface {}, dict for map[string]interface {}, None for nil. The
classes here stand for the others; each says its type in ``go_type``, as those of ``tiphys.lang.moments`` do.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NoReturn

from tiphys.lang.gofmt import type_name

SIZE_MAX = 10_000_000
"""Characters of a text, and COUNT_MAX elements of a list, that one call may make."""
COUNT_MAX = 1_000_000

_HALF, _WHOLE = 1 << 63, 1 << 64


class CallError(ValueError):
    """A function refuses its arguments: Go's error or panic text."""


class Int64(int):
    """int64."""

    __slots__ = ()
    go_type = "int64"


class Uint64(int):
    """uint64."""

    __slots__ = ()
    go_type = "uint64"


class Uint8(int):
    """One byte of a string or of bytes."""

    __slots__ = ()
    go_type = "uint8"


class Int32(int):
    """int32, which is also a rune."""

    __slots__ = ()
    go_type = "int32"


class IntList(list[Any]):
    """[]int."""

    __slots__ = ()
    go_type = "[]int"


class StringList(list[Any]):
    """[]string."""

    __slots__ = ()
    go_type = "[]string"


class ListList(list[Any]):
    """[][]interface {}."""

    __slots__ = ()
    go_type = "[][]interface {}"


class StringMap(dict[str, Any]):
    """map[string]string."""

    __slots__ = ()
    go_type = "map[string]string"


class NilMap(dict[str, Any]):
    """A nil map[string]interface {}: empty, and nothing can be put into it."""

    __slots__ = ()

    def __setitem__(self, key: str, value: Any) -> None:
        raise CallError("assignment to entry in nil map")


@dataclass(frozen=True, slots=True)
class Function:
    """A Go function: ``call`` takes as many arguments as ``ins`` says (the last repeated if ``variadic``).

    ``ins`` and ``out`` are Go type names; a variadic function's last is a slice. ``call`` raises `CallError`.
    ``steps`` is what a call costs where work is counted, beside the size of its arguments and result.
    """

    name: str
    call: Callable[..., Any]
    ins: tuple[str, ...]
    out: str
    variadic: bool = False
    steps: int = 0

    @property
    def go_type(self) -> str:
        shown = [*self.ins[:-1], "..." + self.ins[-1][2:]] if self.variadic else self.ins
        return f"func({', '.join(shown)}) {self.out}"

    def go_string(self) -> str:
        return "0x0"  # Go prints an address, which means nothing to anyone


_SHORT = {"any": "interface {}", "list": "[]interface {}", "map": "map[string]interface {}"}


def function(name: str, signature: str, call: Callable[..., Any]) -> Function:
    """A `Function` from a signature such as ``int, ...any -> string``; ``list`` and ``map`` are those of any."""
    before, _, out = signature.partition("->")
    ins = [part.strip() for part in before.split(",") if part.strip()]
    variadic = bool(ins) and ins[-1].startswith("...")
    if variadic:
        ins[-1] = "[]" + _SHORT.get(ins[-1][3:], ins[-1][3:])
    return Function(name, call, tuple(_SHORT.get(part, part) for part in ins), _long(out.strip()), variadic)


def functions(table: Mapping[str, tuple[str, Callable[..., Any]]]) -> dict[str, Function]:
    """Functions by name from ``{name: (signature, call)}``."""
    return {name: function(name, signature, call) for name, (signature, call) in table.items()}


def _long(short: str) -> str:
    return _SHORT.get(short, short)


_KINDS = {
    "time.Time": "struct",
    "time.Duration": "int64",
    "time.Month": "int",
    "time.Weekday": "int",
    "[]interface {}": "slice",
    "map[string]interface {}": "map",
}


def kind_of(value: object) -> str:
    """reflect's kind: ``string``, ``int64``, ``slice``, ``map``, ``struct``, ``ptr``, ``func``; ``invalid`` for nil."""
    return "invalid" if value is None else kind_of_type(type_name(value))


@lru_cache(maxsize=1024)
def kind_of_type(name: str) -> str:
    """The kind of a type given by its name."""
    known = _KINDS.get(name)
    if known:
        return known
    if name.startswith("[]"):
        return "slice"
    if name.startswith("["):
        return "array"
    if name.startswith("map["):
        return "map"
    if name.startswith("*"):
        return "ptr"
    if name.startswith("func("):
        return "func"
    return "struct" if "." in name else name


def is_list(value: object) -> bool:
    """Whether it is a slice or array; bytes are one."""
    return isinstance(value, list | tuple | bytes)


def wrap64(value: int) -> int:
    """What an int64 keeps of a result that overflows it."""
    return value if -_HALF <= value < _HALF else (value + _HALF) % _WHOLE - _HALF


def float_to_int(value: float) -> int:
    """int64(value): towards zero; what does not fit becomes the smallest (amd64)."""
    if not math.isfinite(value) or not -_HALF <= value < _HALF:
        return -_HALF
    return int(value)


_UNDERSCORED = re.compile(r"[+-]?(?:0[xX]_?[0-9a-fA-F]|0[oO]_?[0-7]|0[bB]_?[01]|[0-9])(?:_?[0-9a-fA-F])*")
_PREFIXES = {"0x": 16, "0o": 8, "0b": 2}


def parse_int(text: str, base: int = 10, bits: int = 64) -> int:
    """strconv.ParseInt (``bits`` 64) with base 0 for Go's prefixes. Raises ValueError with Go's reason as text."""
    body, sign = text, 1
    if body[:1] in ("+", "-"):
        sign, body = (-1 if body[0] == "-" else 1), body[1:]
    if base == 0:
        body, base = _with_base(body, text)
    if not body or not body.isascii() or not body.isalnum():
        raise ValueError("invalid syntax")
    try:
        value = sign * int(body, base)
    except ValueError:
        raise ValueError("invalid syntax") from None
    if not -(1 << (bits - 1)) <= value < 1 << (bits - 1):
        raise ValueError("value out of range")
    return value


def _with_base(body: str, text: str) -> tuple[str, int]:
    """The digits and the base that Go's prefixes give; ``_`` may stand between digits."""
    if "_" in body:
        if not _UNDERSCORED.fullmatch(text):
            raise ValueError("invalid syntax")
        body = body.replace("_", "")
    base = _PREFIXES.get(body[:2].lower())
    if base is not None:
        return body[2:], base
    return (body[1:], 8) if len(body) > 1 and body[0] == "0" else (body, 10)


_FLOAT = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")
_HEX_FLOAT = re.compile(r"[+-]?0[xX](?:[0-9a-fA-F]+(?:\.[0-9a-fA-F]*)?|\.[0-9a-fA-F]+)[pP][+-]?\d+")
_SPECIAL = {"inf": math.inf, "infinity": math.inf, "nan": math.nan}


def parse_float(text: str) -> float:
    """strconv.ParseFloat for 64 bits. Raises ValueError with Go's reason as text."""
    if _FLOAT.fullmatch(text) and text.isascii():
        value = float(text)
    elif _HEX_FLOAT.fullmatch(text):
        try:
            value = float.fromhex(text)
        except OverflowError:
            value = math.inf
    else:
        special = _SPECIAL.get(text.lstrip("+-").lower() if text[1:2] not in ("+", "-") else "")
        if special is None:
            raise ValueError("invalid syntax")
        return -special if text.startswith("-") else special
    if math.isinf(value):
        raise ValueError("value out of range")
    return value


def deep_equal(left: object, right: object) -> bool:
    """reflect.DeepEqual: the same types all the way down, and NaN equals nothing."""
    if left is None or right is None:
        return left is right
    if type_name(left) != type_name(right):
        return False
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(deep_equal(item, right[key]) for key, item in left.items())
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return len(left) == len(right) and all(map(deep_equal, left, right))
    return bool(left == right)


def identity_of(value: object) -> Hashable:
    """A key that is the same for values that are `deep_equal`, NaN apart, and different for others."""
    if isinstance(value, dict):
        return type_name(value), frozenset((key, identity_of(item)) for key, item in value.items())
    if isinstance(value, list | tuple):
        return type_name(value), tuple(map(identity_of, value))
    if isinstance(value, float) and value != value:
        return object()
    return type_name(value), value


def refuse_size(what: str, size: int) -> None:
    """Raises `CallError` where a text would get longer than `SIZE_MAX`."""
    if size > SIZE_MAX:
        _refuse(f"{what}: the result would be longer than {SIZE_MAX} characters")


def refuse_count(what: str, count: int) -> None:
    """Raises `CallError` where a list would get longer than `COUNT_MAX`."""
    if count > COUNT_MAX:
        _refuse(f"{what}: the result would have more than {COUNT_MAX} elements")


def _refuse(message: str) -> NoReturn:
    raise CallError(message)
