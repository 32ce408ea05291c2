"""Values that Go tells apart and Python's own types do not.

int is int, float is float64, str is string (surrogate escapes stand for bytes that are not UTF-8), bytes is []byte,
list is []any, dict is map[string]any, None is nil. Everything else says what it is in ``go_type``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from tiphys.lang.gofmt import sort_key, sprint

INT_BITS = 64
_HALF, _WHOLE = 1 << 63, 1 << 64


def wrap(value: int) -> int:
    """What an int64 keeps of a result that overflows it."""
    return value if -_HALF <= value < _HALF else (value + _HALF) % _WHOLE - _HALF


class Int64(int):
    """A Go int64, as counters of Kubernetes objects are; arithmetic with it gives int."""

    __slots__ = ()
    go_type = "int64"


class Uint8(int):
    """One byte of a string or of bytes."""

    __slots__ = ()
    go_type = "uint8"


class IntList(list[Any]):
    """[]int: what a range makes."""

    __slots__ = ()
    go_type = "[]int"


class StringList(list[Any]):
    """[]string: what split makes."""

    __slots__ = ()
    go_type = "[]string"


class Pair(list[Any]):
    """[2]any: one entry of toPairs."""

    __slots__ = ()
    go_type = "[2]interface {}"


class PairList(list[Any]):
    """[][2]any: what toPairs makes."""

    __slots__ = ()
    go_type = "[][2]interface {}"


class AnyMap:
    """map[any]any, or map[any][]any for groups. Unlike a dict it tells 1, 1.0 and true apart, as Go does."""

    __slots__ = ("_entries", "go_type")

    def __init__(self, go_type: str = "map[interface {}]interface {}") -> None:
        self.go_type = go_type
        self._entries: dict[tuple[type, Any], tuple[Any, Any]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: object) -> bool:
        return (type(key), key) in self._entries

    def get(self, key: object) -> Any:
        """The value; None (of groups: an empty list is not invented) where there is none."""
        found = self._entries.get((type(key), key))
        return found[1] if found is not None else None

    def set(self, key: object, value: object) -> None:
        self._entries[(type(key), key)] = (key, value)

    def items(self) -> Iterator[tuple[Any, Any]]:
        """Entries in the order in which Go prints maps."""
        return iter(sorted(self._entries.values(), key=lambda entry: sort_key(entry[0])))

    def go_string(self) -> str:
        return "map[" + " ".join(f"{sprint(k)}:{sprint(v)}" for k, v in self.items()) + "]"


class GoFunc:
    """A function of the environment with its Go signature; ``call`` takes the arguments and raises Panic."""

    __slots__ = ("call", "go_type", "ins", "out", "variadic")

    def __init__(self, call: Callable[..., Any], ins: tuple[str, ...], out: str, *, variadic: bool = False) -> None:
        self.call = call
        self.ins = ins
        self.out = out
        self.variadic = variadic
        shown = [*ins[:-1], "..." + ins[-1][2:]] if variadic else ins
        self.go_type = f"func({', '.join(shown)}) {out}"

    def go_string(self) -> str:
        return "0x0"  # Go prints an address, which means nothing to anyone


def utf8(text: str) -> bytes:
    """The bytes of a Go string."""
    return text.encode("utf-8", "surrogateescape")


def from_utf8(data: bytes) -> str:
    """The string of some bytes, whatever they are."""
    return data.decode("utf-8", "surrogateescape")
