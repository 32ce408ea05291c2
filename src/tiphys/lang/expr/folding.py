"""Rewriting a checked tree before it runs.

Only rewrites whose effect can be seen are made: constants (``1 % 0`` is an error of the text, not of the run), ``x and
false`` (x is never asked), membership in literal lists and ranges, sums over ranges, and searches that stop early. The
tree is changed in place; nodes that replace others keep their place and type.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tiphys.lang.expr import operations
from tiphys.lang.expr.errors import ExprError
from tiphys.lang.expr.nodes import (
    Array,
    Binary,
    Builtin,
    Call,
    Chain,
    Conditional,
    Constant,
    Let,
    Literal,
    Map,
    Member,
    Node,
    Pointer,
    Predicate,
    Sequence,
    Slice,
    Unary,
    children,
    spine,
)
from tiphys.lang.expr.types import BOOL, FLOAT, INT, STRING
from tiphys.lang.govalues import wrap64


class KeySet:
    """The literals of ``x in [1, 2]`` or ``x in ["a", "b"]``: all ints or all strings."""

    __slots__ = ("kind", "members")

    def __init__(self, members: frozenset[Any], kind: type) -> None:
        self.members = members
        self.kind = kind


def fold(tree: Node, source: str) -> Node:
    """The tree to run instead of ``tree``. Raises ExprError (compile) for a division by zero among constants."""
    return _Folder(source).fold(tree)


class _Folder:
    def __init__(self, source: str) -> None:
        self.source = source

    def fold(self, node: Node) -> Node:
        match node:
            case Binary():
                return self._binaries(node)
            case Unary():
                node.operand = self.fold(node.operand)
                return _unary(node)
            case Builtin():
                self._all(node.arguments)
                return _builtin(node)
            case Member():
                node.base, node.key = self.fold(node.base), self.fold(node.key)
                return _member(node)
            case Array():
                self._all(node.items)
                return _array(node)
            case _:
                self._below(node)
                return node

    def _all(self, nodes: list[Node]) -> None:
        nodes[:] = [self.fold(one) for one in nodes]

    def _below(self, node: Node) -> None:
        match node:
            case Chain():
                node.inner = self.fold(node.inner)
            case Predicate():
                node.body = self.fold(node.body)
            case Call():
                node.callee = self.fold(node.callee)
                self._all(node.arguments)
            case Slice():
                node.base = self.fold(node.base)
                node.start = node.start and self.fold(node.start)
                node.stop = node.stop and self.fold(node.stop)
            case Conditional():
                node.condition = self.fold(node.condition)
                node.then, node.otherwise = self.fold(node.then), self.fold(node.otherwise)
            case Let():
                node.value, node.body = self.fold(node.value), self.fold(node.body)
            case Sequence():
                self._all(node.parts)
            case Map():
                node.pairs = [(self.fold(key), self.fold(value)) for key, value in node.pairs]

    def _binaries(self, node: Binary) -> Node:
        first, chain = spine(node)
        left = self.fold(first)
        for one in chain:
            one.left = left
            keys = _key_set(one)
            one.right = keys if keys is not None else self.fold(one.right)
            left = self._binary(one)
        return left

    def _binary(self, node: Binary) -> Node:
        if node.op in _ARITHMETIC:
            return self._arithmetic(node)
        if node.op in ("and", "&&", "or", "||"):
            return _logic(node, absorbing=node.op in ("or", "||"))
        if node.op == "==":
            return _equality(node)
        if node.op == "in":
            return _in_range(node)
        return _early_end(node)

    def _arithmetic(self, node: Binary) -> Node:
        a, b = _value(node.left), _value(node.right)
        if isinstance(a, str) and isinstance(b, str) and node.op == "+":
            return _literal(node, a + b)
        if not _are_numbers(a, b):
            return node
        if node.op == "%":
            if not isinstance(a, int) or not isinstance(b, int):
                return node
            if b == 0:
                message = "integer divide by zero"
                raise ExprError(message, kind="compile", source=self.source, at=node.at)
        return _literal(node, _ARITHMETIC[node.op](a, b))


_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": operations.add,
    "-": operations.subtract,
    "*": operations.multiply,
    "/": operations.divide,
    "%": operations.modulo,
    "**": operations.power,
    "^": operations.power,
}
_TYPES = {bool: BOOL, int: INT, float: FLOAT, str: STRING}


def _value(node: Node | None) -> Any:
    """The value of a literal, None for every other node."""
    return node.value if isinstance(node, Literal) else None


def _literal(node: Node, value: Any) -> Literal:
    return Literal(value, at=node.at, type=_TYPES[type(value)])


def _are_numbers(*values: Any) -> bool:
    return all(type(value) in (int, float) for value in values)


def _unary(node: Unary) -> Node:
    value = _value(node.operand)
    if node.op in ("!", "not"):
        return _literal(node, not value) if isinstance(value, bool) else node
    if not _are_numbers(value):
        return node
    return _literal(node, operations.negate(value) if node.op == "-" else value)


def _logic(node: Binary, *, absorbing: bool) -> Node:
    """``absorbing`` is the constant that decides alone: true for or, false for and."""
    a, b = _value(node.left), _value(node.right)
    if a is (not absorbing):
        return node.right
    if b is (not absorbing):
        return node.left
    if a is absorbing or b is absorbing:
        return _literal(node, absorbing)
    return node


def _equality(node: Binary) -> Node:
    a, b = _value(node.left), _value(node.right)
    if type(a) is type(b) and isinstance(a, int | str):
        return _literal(node, a == b)
    return node


def _array(node: Array) -> Node:
    values = [_value(item) for item in node.items]
    if values and all(isinstance(value, bool | int | float | str) for value in values):
        return Constant(values, at=node.at, type=node.type)
    return node


def _key_set(node: Binary) -> Node | None:
    """Literal lists on the right of ``in`` become sets; ints only where the left side is known to be an int."""
    if node.op != "in" or not isinstance(node.right, Array) or not node.right.items:
        return None
    values = [_value(item) for item in node.right.items]
    for kind in (int, str):
        if (kind is str or node.left.type is INT) and all(type(value) is kind for value in values):
            return Constant(KeySet(frozenset(values), kind), at=node.right.at)
    return None


def _range(node: Node) -> tuple[int, int] | None:
    """The bounds of a range between literals."""
    if isinstance(node, Binary) and node.op == "..":
        low, high = _value(node.left), _value(node.right)
        if type(low) is int and type(high) is int:
            return low, high
    return None


def _in_range(node: Binary) -> Node:
    if node.left.type is INT and _range(node.right) is not None and isinstance(node.right, Binary):
        low = Binary(">=", node.left, node.right.left)
        high = Binary("<=", node.left, node.right.right)
        return Binary("and", low, high, type=BOOL)
    return node


def _early_end(node: Binary) -> Node:
    """``count(…) > 2`` needs to count no further than 3."""
    count, limit = node.left, _value(node.right)
    if isinstance(count, Builtin) and count.name == "count" and len(count.arguments) == 2 and type(limit) is int:
        enough = {">": limit + 1, ">=": limit, "<": limit, "<=": limit + 1}.get(node.op, 0)
        if enough > 1 or (enough == 1 and node.op in (">", ">=")):
            count.threshold = enough
    return node


def _filter_of(node: Node) -> Builtin | None:
    return node if isinstance(node, Builtin) and node.name == "filter" and len(node.arguments) == 2 else None


def _member(node: Member) -> Node:
    """The first or last of a filter is a search that stops when it has found it."""
    found, index = _filter_of(node.base), _value(node.key)
    if found is None or node.optional or type(index) is not int or index not in (0, -1):
        return node
    return _search(found, node, last=index == -1, throws=True)


def _search(found: Builtin, node: Node, *, last: bool, throws: bool) -> Builtin:
    name = "findLast" if last else "find"
    return Builtin(name, found.arguments, found.mapped, throws, at=node.at, type=node.type)


def _builtin(node: Builtin) -> Node:
    arguments = node.arguments
    if node.name in ("first", "last") and len(arguments) == 1 and (found := _filter_of(arguments[0])) is not None:
        return _search(found, node, last=node.name == "last", throws=False)
    if node.name == "len" and len(arguments) == 1 and (found := _filter_of(arguments[0])) is not None:
        return Builtin("count", found.arguments, at=node.at, type=node.type)
    if node.name == "map" and len(arguments) == 2:
        return _map_of_filter(node)
    if node.name in ("sum", "reduce"):
        return _sum(node)
    return node


def _map_of_filter(node: Builtin) -> Node:
    found, body = _filter_of(node.arguments[0]), node.arguments[1]
    if found is None or found.mapped is not None or not isinstance(body, Predicate) or _uses_index(body):
        return node
    return Builtin("filter", found.arguments, body.body, at=node.at, type=node.type)


def _uses_index(node: Node) -> bool:
    stack = [node]
    while stack:
        one = stack.pop()
        if isinstance(one, Pointer) and one.name == "index":
            return True
        stack.extend(children(one))
    return False


def _sum(node: Builtin) -> Node:
    source = node.arguments[0] if node.arguments else node
    bounds = _range(source)
    if bounds is not None and bounds[1] >= bounds[0]:
        total = _sum_of_range(node, *bounds)
        return node if total is None else _literal(node, total)
    if node.name == "sum" and len(node.arguments) == 1 and isinstance(source, Array) and len(source.items) > 1:
        *others, whole = source.items
        for one in reversed(others):
            whole = Binary("+", one, whole)
        whole.type = node.type
        return whole
    return node


def _sum_of_range(node: Builtin, low: int, high: int) -> int | None:
    """The sum by Gauss's formula, for the bodies it knows: # , # ± k, # * k and #acc + #."""
    count = wrap64(high - low + 1)
    product = wrap64(count * wrap64(low + high))
    total = -(-product // 2) if product < 0 else product // 2
    if node.name == "reduce":
        return _reduced(node, total)
    if len(node.arguments) == 1:
        return total
    body = node.arguments[1]
    if not isinstance(body, Predicate):
        return None
    if _is_item(body.body):
        return total
    return _sum_of_terms(body.body, total, count)


def _sum_of_terms(body: Node, total: int, count: int) -> int | None:
    if not isinstance(body, Binary):
        return None
    item_left, item_right = _is_item(body.left), _is_item(body.right)
    constant = _value(body.right if item_left else body.left)
    if item_left == item_right or type(constant) is not int:
        return None
    match body.op:
        case "*":
            return wrap64(constant * total)
        case "+":
            return wrap64(total + count * constant)
        case "-":
            return wrap64(total - count * constant if item_left else count * constant - total)
    return None


def _reduced(node: Builtin, total: int) -> int | None:
    body = node.arguments[1]
    if not (isinstance(body, Predicate) and isinstance(body.body, Binary) and body.body.op == "+"):
        return None
    left, right = body.body.left, body.body.right
    if not (isinstance(left, Pointer) and isinstance(right, Pointer) and {left.name, right.name} == {"", "acc"}):
        return None
    if len(node.arguments) == 2:
        return total
    start = _value(node.arguments[2])
    return wrap64(start + total) if type(start) is int else None


def _is_item(node: Node) -> bool:
    return isinstance(node, Pointer) and node.name == ""
