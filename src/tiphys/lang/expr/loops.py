"""The builtins with a predicate, running: filter, map, all, any, reduce and their like.

Each builder gets the code of the arguments and the node, and gives the code of the call. Loops nest through
``Frame.scope``; its place is restored even when something fails inside, since ``?.`` may catch that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tiphys.lang.expr.builtins import sorted_by
from tiphys.lang.expr.errors import Panic
from tiphys.lang.expr.frame import Code, Frame, Scope
from tiphys.lang.expr.nodes import Builtin
from tiphys.lang.expr.operations import add, as_bool, elements
from tiphys.lang.expr.values import AnyMap
from tiphys.lang.gofmt import type_name

Loop = Callable[[list[Code], Builtin, Code | None], Code]
Body = Callable[[Frame, Scope, Code], Any]


def _over(arguments: list[Code], body: Body) -> Code:
    """Evaluates the collection, opens a scope on it, and runs ``body`` with the predicate (or the item itself)."""
    collection = arguments[0]
    predicate = arguments[1] if len(arguments) > 1 else _item

    def run(f: Frame) -> Any:
        scope = Scope(elements(collection(f)))
        f.turn(len(scope.items))
        outer, f.scope = f.scope, scope
        try:
            return body(f, scope, predicate)
        finally:
            f.scope = outer

    return run


def _item(f: Frame) -> Any:
    return f.scope.items[f.scope.index]


def _turns(scope: Scope, indexes: Iterable[int] | None = None) -> Iterator[int]:
    """Puts the scope on one element after the other."""
    for index in range(len(scope.items)) if indexes is None else indexes:
        scope.index = index
        yield index


def _all(arguments: list[Code], node: Builtin, mapped: Code | None) -> Code:
    return _over(arguments, lambda f, scope, test: all(as_bool(test(f)) for _ in _turns(scope)))


def _any(arguments: list[Code], node: Builtin, mapped: Code | None) -> Code:
    return _over(arguments, lambda f, scope, test: any(as_bool(test(f)) for _ in _turns(scope)))


def _none(arguments: list[Code], node: Builtin, mapped: Code | None) -> Code:
    return _over(arguments, lambda f, scope, test: not any(as_bool(test(f)) for _ in _turns(scope)))


def _one(arguments: list[Code], node: Builtin, mapped: Code | None) -> Code:
    return _over(arguments, lambda f, scope, test: sum([as_bool(test(f)) for _ in _turns(scope)]) == 1)


def _filter(arguments: list[Code], node: Builtin, mapped: Code | None) -> Code:
    chosen = mapped or _item

    def body(f: Frame, scope: Scope, test: Code) -> list[Any]:
        found = [chosen(f) for _ in _turns(scope) if as_bool(test(f))]
        f.grow(len(found))
        return found

    return _over(arguments, body)


def _map(arguments: list[Code], node: Builtin, mapped: Code | None) -> Code:
    def body(f: Frame, scope: Scope, apply: Code) -> list[Any]:
        found = [apply(f) for _ in _turns(scope)]
        f.grow(len(found))
        return found

    return _over(arguments, body)


def _count(arguments: list[Code], node: Builtin, mapped: Code | None) -> Code:
    enough = node.threshold

    def body(f: Frame, scope: Scope, test: Code) -> int:
        count = 0
        for _ in _turns(scope):
            if as_bool(test(f)):
                count += 1
                if count == enough:
                    break
        return count

    return _over(arguments, body)


def _sum(arguments: list[Code], node: Builtin, mapped: Code | None) -> Code:
    def body(f: Frame, scope: Scope, apply: Code) -> Any:
        total: Any = 0
        for _ in _turns(scope):
            total = add(apply(f), total)
        return total

    return _over(arguments, body)


def _search(*, backwards: bool, index: bool) -> Loop:
    def build(arguments: list[Code], node: Builtin, mapped: Code | None) -> Code:
        throws, chosen = node.throws, mapped or _item

        def body(f: Frame, scope: Scope, test: Code) -> Any:
            places = range(len(scope.items))
            for place in _turns(scope, reversed(places) if backwards else places):
                if as_bool(test(f)):
                    return place if index else chosen(f)
            if throws:
                raise Panic("reflect: slice index out of range")
            return None

        return _over(arguments, body)

    return build


def _group_by(arguments: list[Code], node: Builtin, mapped: Code | None) -> Code:
    def body(f: Frame, scope: Scope, key: Code) -> AnyMap:
        groups = AnyMap("map[interface {}][]interface {}")
        for _ in _turns(scope):
            name = key(f)
            if isinstance(name, list | dict | bytes | AnyMap):
                # Go words it differently for the first key, since looking into an empty map takes another way.
                shown = type_name(name)
                raise Panic(
                    f"runtime error: hash of unhashable type {shown}"
                    if len(groups)
                    else f"hash of unhashable type: {shown}"
                )
            if name not in groups:
                groups.set(name, [])
            groups.get(name).append(_item(f))
        return groups

    return _over(arguments, body)


def _sort_by(arguments: list[Code], node: Builtin, mapped: Code | None) -> Code:
    order = arguments[2] if len(arguments) > 2 else None

    def body(f: Frame, scope: Scope, key: Code) -> list[Any]:
        direction = order(f) if order is not None else "asc"
        if not isinstance(direction, str):
            raise Panic("sortBy order argument must be a string")
        if direction not in ("asc", "desc"):
            raise Panic("unknown order, use asc or desc")
        keys = [key(f) for _ in _turns(scope)]
        found = sorted_by(list(scope.items), keys, descending=direction == "desc")
        f.grow(len(found))
        return found

    return _over(arguments, body)


def _reduce(arguments: list[Code], node: Builtin, mapped: Code | None) -> Code:
    start = arguments[2] if len(arguments) > 2 else None

    def body(f: Frame, scope: Scope, apply: Code) -> Any:
        first = 0
        if start is not None:
            scope.accumulator = start(f)
        elif scope.items:
            first, scope.accumulator = 1, _item(f)
        else:
            raise Panic("reduce of empty array with no initial value")
        for _ in _turns(scope, range(first, len(scope.items))):
            scope.accumulator = apply(f)
        return scope.accumulator

    return _over(arguments, body)


LOOPS: dict[str, Loop] = {
    "all": _all,
    "any": _any,
    "none": _none,
    "one": _one,
    "filter": _filter,
    "map": _map,
    "count": _count,
    "sum": _sum,
    "find": _search(backwards=False, index=False),
    "findLast": _search(backwards=True, index=False),
    "findIndex": _search(backwards=False, index=True),
    "findLastIndex": _search(backwards=True, index=True),
    "groupBy": _group_by,
    "sortBy": _sort_by,
    "reduce": _reduce,
}
