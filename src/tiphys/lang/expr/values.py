"""Values that only this language makes; the rest of Go's values are in :mod:`tiphys.lang.govalues`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tiphys.lang.gofmt import sort_key, sprint
from tiphys.lang.govalues import deep_equal


class Pair(list[Any]):
    """[2]any: one entry of toPairs."""

    __slots__ = ()
    go_type = "[2]interface {}"


class PairList(list[Any]):
    """[][2]any: what toPairs makes."""

    __slots__ = ()
    go_type = "[][2]interface {}"


class NilList(list[Any]):
    """A nil []any: what a map of groups holds for keys that it lacks. It has no elements and equals nil."""

    __slots__ = ()
    go_type = "[]interface {}"


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
        """The value; where there is none the nil of its type."""
        found = self._entries.get((type(key), key))
        if found is not None:
            return found[1]
        return NilList() if self.go_type.endswith("][]interface {}") else None

    def set(self, key: object, value: object) -> None:
        self._entries[(type(key), key)] = (key, value)

    def items(self) -> Iterator[tuple[Any, Any]]:
        """Entries in the order in which Go prints maps."""
        return iter(sorted(self._entries.values(), key=lambda entry: sort_key(entry[0])))

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, AnyMap)
            and len(self) == len(other)
            and all(key in other and deep_equal(value, other.get(key)) for key, value in self.items())
        )

    __hash__ = None  # type: ignore[assignment]

    def go_string(self) -> str:
        return "map[" + " ".join(f"{sprint(k)}:{sprint(v)}" for k, v in self.items()) + "]"


class Struct:
    """A Go struct of the environment: named fields that the checker knows."""

    __slots__ = ("fields", "go_type")

    def __init__(self, go_type: str, fields: dict[str, Any]) -> None:
        self.go_type = go_type
        self.fields = fields

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Struct) and self.go_type == other.go_type and deep_equal(self.fields, other.fields)

    __hash__ = None  # type: ignore[assignment]

    def go_string(self) -> str:
        return "{" + " ".join(map(sprint, self.fields.values())) + "}"
