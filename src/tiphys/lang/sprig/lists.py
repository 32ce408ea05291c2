"""Lists: making, cutting, searching. Nothing changes the list it is given."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from tiphys.lang.gotext import utf8
from tiphys.lang.govalues import (
    CallError,
    ListList,
    StringList,
    deep_equal,
    identity_of,
    is_list,
    refuse_count,
)
from tiphys.lang.sprig.convert import elements, is_empty, strings, strval, to_int


def push(items: Any, value: Any) -> list[Any]:
    return [*elements(items, "Cannot push on type {}"), value]


def prepend(items: Any, value: Any) -> list[Any]:
    return [value, *elements(items, "Cannot prepend on type {}")]


def first(items: Any) -> Any:
    return next(iter(elements(items, "Cannot find first on type {}")), None)


def last(items: Any) -> Any:
    found = elements(items, "Cannot find last on type {}")
    return found[-1] if found else None


def rest(items: Any) -> list[Any]:
    return elements(items, "Cannot find rest on type {}")[1:]


def initial(items: Any) -> list[Any]:
    return elements(items, "Cannot find initial on type {}")[:-1]


def reverse(items: Any) -> list[Any]:
    return elements(items, "Cannot find reverse on type {}")[::-1]


def compact(items: Any) -> list[Any]:
    return [item for item in elements(items, "Cannot compact on type {}") if not is_empty(item)]


def uniq(items: Any) -> list[Any]:
    found: dict[Hashable, Any] = {}
    for item in elements(items, "Cannot find uniq on type {}"):
        found.setdefault(identity_of(item), item)
    return list(found.values())


def without(items: Any, *unwanted: Any) -> list[Any]:
    gone = {identity_of(item) for item in unwanted}
    return [item for item in elements(items, "Cannot find without on type {}") if identity_of(item) not in gone]


def has(wanted: Any, items: Any) -> bool:
    if items is None:
        return False
    return any(deep_equal(wanted, item) for item in elements(items, "Cannot find has on type {}"))


def slice_of(items: Any, *indices: Any) -> Any:
    found = elements(items, "list should be type of slice or array but {}")
    if not found:
        return None
    start = to_int(indices[0]) if indices else 0
    end = to_int(indices[1]) if len(indices) > 1 else len(found)
    if end < 0 or end > len(found) or start < 0 or start > end:
        raise CallError("reflect.Value.Slice: slice index out of bounds")
    return items[start:end] if type(items) in (list, bytes) else type(items)(items[start:end])


def concat(*lists: Any) -> list[Any]:
    found: list[Any] = []
    for items in lists:
        found += elements(items, "Cannot concat type {} as list")
        refuse_count("concat", len(found))
    return found


def chunk(size: int, items: Any) -> ListList:
    """Lists of ``size`` elements, the last may be shorter."""
    found = elements(items, "Cannot chunk type {}")
    if size <= 0:  # what Go's arithmetic makes of it: mostly a slice of negative length
        if size == 0 or (len(found) - 1) // size + 1 != 0:
            raise CallError("runtime error: makeslice: len out of range")
        return ListList()
    return ListList(found[start : start + size] for start in range(0, len(found), size))


def sort_alpha(items: Any) -> StringList:
    if not is_list(items):
        return StringList([strval(items)])
    return StringList(sorted(strings(items), key=utf8))


_LIST = "any -> list"

TABLE: dict[str, tuple[str, Callable[..., Any]]] = {
    "tuple": ("...any -> list", lambda *values: list(values)),
    "list": ("...any -> list", lambda *values: list(values)),
    "append": ("any, any -> list", push),
    "push": ("any, any -> list", push),
    "prepend": ("any, any -> list", prepend),
    "first": ("any -> any", first),
    "rest": (_LIST, rest),
    "last": ("any -> any", last),
    "initial": (_LIST, initial),
    "reverse": (_LIST, reverse),
    "uniq": (_LIST, uniq),
    "compact": (_LIST, compact),
    "without": ("any, ...any -> list", without),
    "has": ("any, any -> bool", has),
    "slice": ("any, ...any -> any", slice_of),
    "concat": ("...any -> any", concat),
    "chunk": ("int, any -> [][]interface {}", chunk),
    "sortAlpha": ("any -> []string", sort_alpha),
}
_ALSO_MUST = (
    "append", "push", "prepend", "first", "rest", "last", "initial", "reverse", "uniq", "compact", "without", "has",
    "slice", "chunk",
)  # fmt: skip
# The same functions once more: in Go they return an error where the others panic; templates see no difference.
TABLE |= {f"must{name[0].upper()}{name[1:]}": TABLE[name] for name in _ALSO_MUST}
