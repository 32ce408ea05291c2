"""What an expression costs at most, told from its text: the bound that Kubernetes refuses rules by.

Every node gets a range of cost and, where it has one, a range of size. Sizes of variables come from outside
(``size_max``: the longest a value at a path can be); what has no bound counts as 2**64-1, where sums and products stop.
The rules are those of cel-go's checker and of Kubernetes' estimator; the run-time twin is `costs`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from tiphys.lang.cel.checker import Checked
from tiphys.lang.cel.costs import LIST_CREATION, MAP_CREATION
from tiphys.lang.cel.declarations import Overload
from tiphys.lang.cel.nodes import Call, Fold, Ident, ListNode, Literal, MapNode, Node, Select
from tiphys.lang.cel.types import Type, is_scalar

UNBOUNDED = (1 << 64) - 1
FORMAT_REGEX_MAX = 128
FORMAT_LENGTH_MAX = 64

Path = tuple[str, ...]
SizeMax = Callable[[Path], int | None]


class Range(NamedTuple):
    """From at least to at most; used for costs and sizes alike."""

    least: int
    most: int

    def plus(self, other: Range) -> Range:
        return Range(_capped(self.least + other.least), _capped(self.most + other.most))

    def times(self, other: Range) -> Range:
        return Range(_capped(self.least * other.least), _capped(self.most * other.most))

    def scaled(self, factor: float) -> Range:
        return Range(_scaled(self.least, factor), _scaled(self.most, factor))

    def union(self, other: Range) -> Range:
        return Range(min(self.least, other.least), max(self.most, other.most))


def _capped(value: int) -> int:
    return min(value, UNBOUNDED)


def _scaled(value: int, factor: float) -> int:
    product = float(value) * factor
    return UNBOUNDED if product >= 2.0**64 else math.ceil(product)


def exactly(value: int) -> Range:
    return Range(value, value)


ANY = Range(0, UNBOUNDED)
ZERO, ONE = exactly(0), exactly(1)


class Operand(NamedTuple):
    """An argument as a rule sees it: its type, where it comes from, its size where that is known, its syntax."""

    type: Type
    path: Path
    size: Range | None
    node: Node | None


class Estimated(NamedTuple):
    """What a rule says of a call: the cost without its arguments, and the size of the result where it tells one."""

    cost: Range
    size: Range | None = None


class _Entry(NamedTuple):
    kind: str
    key: Range
    value: Range


class _Local(NamedTuple):
    path: Path
    size: Range | None
    entry: _Entry | None


def cost_max(checked: Checked, size_max: SizeMax) -> int:
    """The most that one evaluation may cost. ``size_max`` gives the largest size at a path, None if unknown."""
    return _Estimator(checked, size_max).cost(checked.root).most


class _Estimator:
    def __init__(self, checked: Checked, size_max: SizeMax) -> None:
        self._checked = checked
        self._size_max = size_max
        self._paths: dict[int, Path] = {}
        self._sizes: dict[int, Range] = {}
        self._entries: dict[int, _Entry] = {}
        self._locals: dict[str, list[_Local]] = {}

    def cost(self, node: Node) -> Range:
        if isinstance(node, Literal):
            return ZERO
        if isinstance(node, Ident) or id(node) in self._checked.names or id(node) in self._checked.constants:
            return self._ident(node)
        if isinstance(node, Select):
            return self._select(node)
        if isinstance(node, Call):
            return self._call(node)
        if isinstance(node, ListNode):
            return self._list(node)
        if isinstance(node, MapNode):
            return self._map(node)
        assert isinstance(node, Fold)
        return self._binding(node) if node.is_binding else self._fold(node)

    def size(self, operand: Operand) -> Range:
        """The size of an argument; anything when nothing is known."""
        if operand.size is not None:
            return operand.size
        return self._bound(operand.path) or ANY

    def items(self, operand: Operand) -> Operand | None:
        """The elements of a list; None for what has none."""
        if not operand.type.params:
            return None
        path = (*operand.path, "@items") if operand.path else ()
        return Operand(operand.type.params[0], path, None, None)

    def _bound(self, path: Path) -> Range | None:
        if not path or path[0].startswith("@"):
            return None
        most = self._size_max(path)
        return None if most is None else Range(0, most)

    def _ident(self, node: Node) -> Range:
        name = node.name if isinstance(node, Ident) else self._checked.names.get(id(node), "")
        found = self._local(name)
        self._paths[id(node)] = (name,) if found is None else found.path
        return ONE

    def _local(self, name: str) -> _Local | None:
        stack = self._locals.get(name)
        return stack[-1] if stack else None

    def _path(self, node: Node) -> Path:
        if isinstance(node, Ident) and (found := self._local(node.name)) is not None:
            return found.path
        return self._paths.get(id(node), ())

    def _select(self, node: Select) -> Range:
        cost = self.cost(node.operand)
        if node.is_test:
            return cost
        if self._checked.type(node.operand).kind in ("map", "struct", "param"):
            cost = cost.plus(ONE)
        self._paths[id(node)] = (*self._path(node.operand), node.field)
        return cost

    def _operand(self, node: Node) -> Operand:
        path = self._path(node)
        if path and path[0].startswith("@"):
            path = ()
        return Operand(self._checked.type(node), path, self._computed(node), node)

    def _computed(self, node: Node) -> Range | None:
        known = self._sizes.get(id(node))
        if known is not None:
            return known
        own = _literal_size(node)
        if own is not None:
            return own
        bound = self._bound(self._path(node))
        if bound is not None:
            self._sizes[id(node)] = bound
            return bound
        if is_scalar(self._checked.type(node)):
            return ONE
        found = self._local(node.name) if isinstance(node, Ident) else None
        return found.size if found is not None else None

    def _size_or_any(self, node: Node) -> Range:
        return self._computed(node) or ANY

    def _entry(self, node: Node) -> _Entry | None:
        found = self._entries.get(id(node))
        if found is None and isinstance(node, Ident) and (local := self._local(node.name)) is not None:
            return local.entry
        return found

    def _call(self, node: Call) -> Range:
        if node.function == "_?._":
            # Selections of this kind have no overload that the estimator knows.
            for arg in node.args:
                self.cost(arg)
            return ZERO
        function = self._checked.function(node)
        if function == "dyn":
            return self._dyn(node)
        costs = [self.cost(arg) for arg in node.args]
        args = [self._operand(arg) for arg in node.args]
        total, target = ZERO, None
        if self._checked.is_member(node):
            assert node.target is not None
            total = self.cost(node.target)
            target = self._operand(node.target)
        estimate, size = Range(UNBOUNDED, 0), None
        for overload in self._checked.overloads[id(node)]:
            found = self._overload(node, function, overload, target, args, costs)
            estimate = estimate.union(found.cost)
            if found.size is not None:
                size = found.size if size is None else size.union(found.size)
            size = self._indexed(node, overload, size)
            size = self._computed(node) if size is None else size
        if size is not None:
            self._sizes[id(node)] = size
        return total.plus(estimate)

    def _dyn(self, node: Call) -> Range:
        (argument,) = node.args
        cost = self.cost(argument)
        self._copy(node, argument)
        return cost.plus(ONE)

    def _copy(self, node: Node, source: Node) -> None:
        size, entry = self._computed(source), self._entry(source)
        if size is not None:
            self._sizes[id(node)] = size
        if entry is not None:
            self._entries[id(node)] = entry

    def _indexed(self, node: Call, overload: Overload, size: Range | None) -> Range | None:
        if overload.id not in ("index_list", "index_map"):
            return size
        entry = self._entry(node.args[0])
        self._paths[id(node)] = (*self._path(node.args[0]), "@items" if overload.id == "index_list" else "@values")
        return entry.value if entry is not None else None

    def _overload(
        self,
        node: Call,
        function: str,
        overload: Overload,
        target: Operand | None,
        args: Sequence[Operand],
        costs: Sequence[Range],
    ) -> Estimated:
        if overload.id in ("logical_and", "logical_or"):
            return Estimated(Range(costs[0].least, costs[0].plus(costs[1]).most))
        if overload.id == "conditional":
            return self._conditional(node, args, costs)
        if overload.id in ("add_string", "add_bytes", "add_list"):
            found = self._sum(node, overload.id, args)
        else:
            found = self._rule(function, overload.id, target, args)
        total = found.cost
        for cost in costs:
            total = total.plus(cost)
        return Estimated(total, found.size)

    def _rule(self, function: str, overload: str, target: Operand | None, args: Sequence[Operand]) -> Estimated:
        from tiphys.lang.cel.estimates import estimated

        return estimated(self, function, overload, target, args)

    def _conditional(self, node: Call, args: Sequence[Operand], costs: Sequence[Range]) -> Estimated:
        size = (args[1].size or ANY).union(args[2].size or ANY)
        self._join_entries(node, node.args[1], node.args[2])
        return Estimated(costs[0].plus(costs[1].union(costs[2])), size)

    def _sum(self, node: Call, overload: str, args: Sequence[Operand]) -> Estimated:
        size = (args[0].size or ANY).plus(args[1].size or ANY)
        self._join_entries(node, node.args[0], node.args[1])
        return Estimated(ONE if overload == "add_list" else size.scaled(0.1), size)

    def _join_entries(self, node: Node, one: Node, other: Node) -> None:
        first, second = self._entry(one), self._entry(other)
        if first is not None and second is not None:
            self._entries[id(node)] = _Entry(first.kind, first.key.union(second.key), first.value.union(second.value))

    def _list(self, node: ListNode) -> Range:
        total, size = exactly(LIST_CREATION), Range(UNBOUNDED if node.elements else 0, 0)
        for element in node.elements:
            total = total.plus(self.cost(element))
            size = size.union(self._size_or_any(element))
        self._entries[id(node)] = _Entry("list", ONE, size)
        return total

    def _map(self, node: MapNode) -> Range:
        total = exactly(MAP_CREATION)
        key = value = Range(UNBOUNDED if node.entries else 0, 0)
        for entry in node.entries:
            total = total.plus(self.cost(entry.key)).plus(self.cost(entry.value))
            key = key.union(self._size_or_any(entry.key))
            value = value.union(self._size_or_any(entry.value))
        self._entries[id(node)] = _Entry("map", key, value)
        return total

    def _binding(self, node: Fold) -> Range:
        total = self.cost(node.range).plus(self.cost(node.init))
        self._push(node.accumulator, _Local(self._path(node.init), self._computed(node.init), self._entry(node.init)))
        total = total.plus(self.cost(node.result))
        self._locals[node.accumulator].pop()
        self._copy(node, node.result)
        return total

    def _push(self, name: str, local: _Local) -> None:
        self._locals.setdefault(name, []).append(local)

    def _fold(self, node: Fold) -> Range:
        total = self.cost(node.range).plus(self.cost(node.init))
        self._push(node.accumulator, _Local(self._path(node.init), self._computed(node.init), self._entry(node.init)))
        self._push_loop_variables(node)
        condition, step = self.cost(node.condition), self.cost(node.step)
        self._locals[node.first].pop()
        if node.second is not None:
            self._locals[node.second].pop()
        total = total.plus(self.cost(node.result))
        self._locals[node.accumulator].pop()
        rounds = self._size_or_any(node.range)
        total = total.plus(rounds.times(step.plus(condition)))
        self._size_of_fold(node, rounds)
        return total

    def _push_loop_variables(self, node: Fold) -> None:
        entry = self._entry(node.range)
        kind = entry.kind if entry is not None else self._checked.type(node.range).kind
        path = self._path(node.range)
        key, value = (entry.key, entry.value) if entry is not None else (None, None)
        is_list = kind == "list"
        keys = _Local((*path, "@indices" if is_list else "@keys"), key, None)
        values = _Local((*path, "@items" if is_list else "@values"), value, None)
        if node.second is not None:
            self._push(node.first, keys)
            self._push(node.second, values)
        else:
            self._push(node.first, values if is_list else keys)

    def _size_of_fold(self, node: Fold, rounds: Range) -> None:
        if isinstance(node.init, Literal):
            size = self._computed(node.init)
            if size is not None:
                self._sizes[id(node)] = size
        elif isinstance(node.init, ListNode | MapNode):
            self._sizes[id(node)] = rounds
            entry = self._entry(node.step)
            if entry is not None:
                self._entries[id(node)] = entry


def _literal_size(node: Node) -> Range | None:
    if isinstance(node, Literal):
        return exactly(len(node.value)) if isinstance(node.value, str | bytes) else ONE
    if isinstance(node, ListNode):
        return exactly(len(node.elements))
    return exactly(len(node.entries)) if isinstance(node, MapNode) else None
