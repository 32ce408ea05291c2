"""Lists beyond the standard: Kubernetes' isSorted, sum, min, max, indexOf, and the sets of cel-go."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from tiphys.lang.cel import types
from tiphys.lang.cel.declarations import Functions, Overload, member, plain
from tiphys.lang.cel.operators import add, compare, contains, equal
from tiphys.lang.cel.types import BOOL, BYTES, DOUBLE, DURATION, INT, STRING, TIMESTAMP, UINT, A, Type, list_of
from tiphys.lang.cel.values import Duration, Failure, Uint

_ORDERED: dict[str, Type] = {
    "int": INT, "uint": UINT, "double": DOUBLE, "bool": BOOL, "duration": DURATION, "timestamp": TIMESTAMP,
    "string": STRING, "bytes": BYTES,
}  # fmt: skip
_ZERO: dict[str, Any] = {"int": 0, "uint": Uint(0), "double": 0.0, "duration": Duration(0)}


def _is_sorted(values: list[Any]) -> Any:
    for one, other in pairwise(values):
        order = compare(one, other)
        if isinstance(order, Failure):
            return order
        if order > 0:
            return False
    return True


def _sum(zero: Any) -> Callable[[list[Any]], Any]:
    def total(values: list[Any]) -> Any:
        found = zero
        for value in values:
            found = add(found, value)
            if isinstance(found, Failure):
                return found
        return found

    return total


def _extreme(name: str, wanted: int) -> Callable[[list[Any]], Any]:
    def extreme(values: list[Any]) -> Any:
        if not values:
            return Failure(f"{name} called on empty list")
        found = values[0]
        for value in values[1:]:
            order = compare(value, found)
            if isinstance(order, Failure):
                return order
            if order == wanted:
                found = value
        return found

    return extreme


def _index_of(values: list[Any], item: Any) -> int:
    return next((at for at, value in enumerate(values) if equal(item, value)), -1)


def _last_index_of(values: list[Any], item: Any) -> int:
    return next((at for at in range(len(values) - 1, -1, -1) if equal(item, values[at])), -1)


def _per_type(name: str, result: Type | None, run: Callable[[str], Callable[..., Any]]) -> tuple[Overload, ...]:
    kinds = _ZERO if name == "sum" else _ORDERED
    return tuple(
        member(f"list_{kind}_{name}", (list_of(_ORDERED[kind]),), result or _ORDERED[kind], run(kind)) for kind in kinds
    )


LISTS: Functions = {
    "isSorted": _per_type("is_sorted_bool", BOOL, lambda kind: _is_sorted),
    "sum": _per_type("sum", None, lambda kind: _sum(_ZERO[kind])),
    "max": _per_type("max", None, lambda kind: _extreme("max", 1)),
    "min": _per_type("min", None, lambda kind: _extreme("min", -1)),
    "indexOf": (member("list_a_index_of_int", (list_of(A), A), INT, _index_of),),
    "lastIndexOf": (member("list_a_last_index_of_int", (list_of(A), A), INT, _last_index_of),),
}


def _has_all(values: list[Any], wanted: list[Any]) -> bool:
    return all(contains(item, values) is True for item in wanted)


def _set_function(name: str, run: Callable[[list[Any], list[Any]], bool]) -> tuple[Overload, ...]:
    return (plain(f"list_sets_{name}_list", (list_of(A), list_of(A)), types.BOOL, run),)


SETS: Functions = {
    "sets.contains": _set_function("contains", _has_all),
    "sets.intersects": _set_function("intersects", lambda one, other: any(contains(x, other) is True for x in one)),
    "sets.equivalent": _set_function("equivalent", lambda one, other: _has_all(one, other) and _has_all(other, one)),
}
