"""From a tree to a closure.

Every node becomes a function of the run's ``Frame``; names, constants and operators are bound when it is built. What
may fail knows its place: the innermost one is shown. Chains of operators are loops, so the depth of calls is that of
the tree. Lists, maps, ranges and loops count against budgets, which is what bounds a run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tiphys.lang.expr import operations
from tiphys.lang.expr.builtins import MEASURED, PLAIN
from tiphys.lang.expr.calls import call_function
from tiphys.lang.expr.errors import ExprError, Panic
from tiphys.lang.expr.folding import KeySet
from tiphys.lang.expr.frame import CHARACTERS_A_TURN, Code, Frame
from tiphys.lang.expr.loops import LOOPS
from tiphys.lang.expr.nodes import (
    Array,
    Binary,
    Builtin,
    Call,
    Chain,
    Conditional,
    Constant,
    Identifier,
    Let,
    Literal,
    Map,
    Member,
    Nil,
    Node,
    Pointer,
    Predicate,
    Sequence,
    Slice,
    Unary,
    spine,
)
from tiphys.lang.expr.operations import as_string, conversion, is_nil
from tiphys.lang.expr.types import INT, STRING
from tiphys.lang.gofmt import type_name
from tiphys.lang.govalues import IntList

Step = Callable[[Any, Frame], Any]
"""An operator of a chain: the value on its left, the frame → its value."""


def build(tree: Node, source: str) -> tuple[Code, int]:
    """The code of a checked and folded tree, and how many variables it needs. Raises ExprError (compile)."""
    builder = _Builder(source)
    return builder.code(tree), builder.variables


_CALL_COST = 10
_CALL_CHARACTERS = 16
_COSTS = {"date": 20, "duration": 5, "fromJSON": 5, "toJSON": 5, "keys": 2, "values": 2, "toPairs": 2, "split": 2}
"""Turns that a call counts as; what is not named counts as one."""


class _Stop(Exception):
    pass


class _Builder:
    def __init__(self, source: str) -> None:
        self.source = source
        self.variables = 0
        self.scopes: list[tuple[str, int]] = []

    def code(self, node: Node) -> Code:
        match node:
            case Literal(value=value) | Constant(value=value):
                return lambda f: value
            case Nil():
                return lambda f: None
            case Identifier(name=name):
                return self._identifier(name)
            case Member():
                return self._member(node)
            case Binary():
                return self._binaries(node)
            case Unary():
                return self._unary(node)
            case Call():
                return self._call(node)
            case Builtin():
                return self._builtin(node)
            case Predicate(body=body):
                return self.code(body)
            case Pointer():
                return self._pointer(node)
            case Chain(inner=inner):
                return _chained(self.code(inner))
            case Conditional():
                return self._conditional(node)
        return self._other(node)

    def _other(self, node: Node) -> Code:
        match node:
            case Slice():
                return self._slice(node)
            case Array(items=items):
                return _array([self.code(item) for item in items], node.at)
            case Map(pairs=pairs):
                return _map([(self.code(key), self.code(value)) for key, value in pairs], node.at)
            case Let():
                return self._let(node)
            case Sequence(parts=parts):
                return _sequence([self.code(part) for part in parts])
        raise AssertionError(f"no such node: {node!r}")

    # Names.

    def _identifier(self, name: str) -> Code:
        for known, slot in reversed(self.scopes):
            if known == name:
                return lambda f: f.variables[slot]
        if name == "$env":
            return lambda f: f.env
        return lambda f: f.env.get(name)

    def _pointer(self, node: Pointer) -> Code:
        if node.name == "":
            return _placed(_item, node.at)
        if node.name not in ("index", "acc"):
            raise ExprError(f"unknown pointer {node.name}", kind="compile", source=self.source, at=node.at)
        return _index if node.name == "index" else _accumulator

    def _let(self, node: Let) -> Code:
        value = self.code(node.value)
        slot, self.variables = self.variables, self.variables + 1
        self.scopes.append((node.name, slot))
        body = self.code(node.body)
        self.scopes.pop()

        def run(f: Frame) -> Any:
            f.variables[slot] = value(f)
            return body(f)

        return run

    # Operators.

    def _unary(self, node: Unary) -> Code:
        operand, at = self.code(node.operand), node.at
        if node.op == "+":
            return operand
        apply = operations.negate if node.op == "-" else operations.negation

        def run(f: Frame) -> Any:
            value = operand(f)
            try:
                return apply(value)
            except Panic as panic:
                panic.locate(at)
                raise

        return run

    def _binaries(self, node: Binary) -> Code:
        first, chain = spine(node)
        start = self.code(first)
        steps = [self._step(one) for one in chain]
        if len(steps) == 1:
            only = steps[0]
            return lambda f: only(start(f), f)

        def run(f: Frame) -> Any:
            value = start(f)
            for step in steps:
                value = step(value, f)
            return value

        return run

    def _step(self, node: Binary) -> Step:
        right, at = self.code(node.right), node.at
        match node.op:
            case "and" | "&&":
                return _logic(right, at, stop=False)
            case "or" | "||":
                return _logic(right, at, stop=True)
            case "??":
                return lambda value, f: right(f) if is_nil(value) else value
            case "..":
                return _range(right, at)
            case "==" | "!=":
                return _located(_equality(node), right, at)
            case "in" if not isinstance(node.right, Constant):
                return _located(operations.is_in, _counted(right), at)
            case "in" if isinstance(node.right, Constant) and isinstance(node.right.value, KeySet):
                return _located(_in_key_set, right, at)
            case "matches" if isinstance(node.right, Literal) and isinstance(node.right.value, str):
                pattern = self._pattern(node.right)
                return _located(operations.search, lambda f: pattern, at)
        return _located(_OPERATORS[node.op], right, at)

    def _pattern(self, node: Literal) -> Any:
        try:
            return operations.compiled(str(node.value))
        except Panic as panic:
            raise ExprError(panic.message, kind="compile", source=self.source, at=node.at) from None

    def _conditional(self, node: Conditional) -> Code:
        condition, at = self.code(node.condition), node.at
        then, otherwise = self.code(node.then), self.code(node.otherwise)

        def run(f: Frame) -> Any:
            value = condition(f)
            if value is True:
                return then(f)
            if value is False:
                return otherwise(f)
            raise Panic(conversion(value, "bool"), at)

        return run

    # Parts of values.

    def _member(self, node: Member) -> Code:
        base, key, at, optional = self.code(node.base), self.code(node.key), node.at, node.optional
        if isinstance(node.key, Literal) and isinstance(node.key.value, str):
            return _named_member(base, node.key.value, at, optional=optional)

        def run(f: Frame) -> Any:
            value = base(f)
            if optional and is_nil(value):
                raise _Stop
            wanted = key(f)
            try:
                return operations.fetch(value, wanted)
            except Panic as panic:
                panic.locate(at)
                raise

        return run

    def _slice(self, node: Slice) -> Code:
        base, at = self.code(node.base), node.at
        start = self.code(node.start) if node.start is not None else None
        stop = self.code(node.stop) if node.stop is not None else None

        def run(f: Frame) -> Any:
            value = base(f)
            f.read(value)
            try:
                last = stop(f) if stop is not None else operations.length_in_bytes(value)
                return operations.cut(value, start(f) if start is not None else 0, last)
            except Panic as panic:
                panic.locate(at)
                raise

        return run

    # Calls.

    def _call(self, node: Call) -> Code:
        arguments = [self.code(argument) for argument in node.arguments]
        callee, at, known = self.code(node.callee), node.at, node.callee.type.kind == "func"

        def run(f: Frame) -> Any:
            values = [argument(f) for argument in arguments]
            function = callee(f)
            f.turn(_CALL_COST + getattr(function, "steps", 0))
            for value in values:
                if isinstance(value, str):
                    f.turn(len(value) // _CALL_CHARACTERS)
                else:
                    f.read(value)
            try:
                result = call_function(function, values, known=known)
                f.read(result)
                return result
            except Panic as panic:
                panic.locate(at)
                raise

        return run

    def _builtin(self, node: Builtin) -> Code:
        arguments = [self.code(argument) for argument in node.arguments]
        loop = LOOPS.get(node.name)
        if loop is not None:
            mapped = self.code(node.mapped) if node.mapped is not None else None
            return _placed(loop(arguments, node, mapped), node.at)
        if node.name == "now":
            return _placed(_now(arguments), node.at)
        measured = MEASURED.get(node.name)
        if measured is not None:
            return _measured(measured, arguments, node.at)
        return _applied(PLAIN[node.name], arguments, node.at, _COSTS.get(node.name, 1))


def _item(f: Frame) -> Any:
    return f.scope.items[f.scope.index]


def _index(f: Frame) -> int:
    return f.scope.index


def _accumulator(f: Frame) -> Any:
    return f.scope.accumulator


def _chained(inner: Code) -> Code:
    def run(f: Frame) -> Any:
        try:
            return inner(f)
        except _Stop:
            return None

    return run


def _named_member(base: Code, name: str, at: int, *, optional: bool) -> Code:
    """``base.name``: by far the most frequent node, so maps are asked directly."""

    def run(f: Frame) -> Any:
        value = base(f)
        if type(value) is dict:
            return value.get(name)
        if optional and is_nil(value):
            raise _Stop
        try:
            return operations.fetch(value, name)
        except Panic as panic:
            panic.locate(at)
            raise

    return run


def _placed(code: Code, at: int) -> Code:
    def run(f: Frame) -> Any:
        try:
            return code(f)
        except Panic as panic:
            panic.locate(at)
            raise

    return run


def _applied(function: Callable[..., Any], arguments: list[Code], at: int, cost: int) -> Code:
    if len(arguments) == 1:
        only = arguments[0]

        def run(f: Frame) -> Any:
            value = only(f)
            f.turn(cost)
            f.read(value)
            return function(value)

        return _placed(run, at)

    def run_all(f: Frame) -> Any:
        values = [argument(f) for argument in arguments]
        f.turn(cost)
        for value in values:
            f.read(value)
        return function(*values)

    return _placed(run_all, at)


def _measured(function: Callable[..., tuple[Any, int]], arguments: list[Code], at: int) -> Code:
    def run(f: Frame) -> Any:
        value, size = function(*[argument(f) for argument in arguments])
        f.grow(size)
        return value

    return _placed(run, at)


def _now(arguments: list[Code]) -> Code:
    def run(f: Frame) -> Any:
        if f.now is None:
            raise Panic("now() is not available here: the caller gave no present time")
        return f.now.in_location(arguments[0](f)) if arguments else f.now

    return run


def _counted(code: Code) -> Code:
    """What is searched through counts."""

    def run(f: Frame) -> Any:
        value = code(f)
        f.read(value)
        return value

    return run


def _located(apply: Callable[[Any, Any], Any], right: Code, at: int) -> Step:
    def step(value: Any, f: Frame) -> Any:
        other = right(f)
        try:
            if type(value) is str and len(value) > CHARACTERS_A_TURN:
                f.read(value)
            return apply(value, other)
        except Panic as panic:
            panic.locate(at)
            raise

    return step


def _logic(right: Code, at: int, *, stop: bool) -> Step:
    """Only the left side must be a bool: what the right side gives is the result, whatever it is."""

    def step(value: Any, f: Frame) -> Any:
        if value is stop:
            return stop
        if value is (not stop):
            return right(f)
        raise Panic(conversion(value, "bool"), at)

    return step


def _range(right: Code, at: int) -> Step:
    def step(value: Any, f: Frame) -> Any:
        other = right(f)
        try:
            low, high = operations.to_int(value), operations.to_int(other)
            size = max(high - low + 1, 0)
            f.grow(size)
        except Panic as panic:
            panic.locate(at)
            raise
        return IntList(range(low, low + size))

    return step


def _equality(node: Binary) -> Callable[[Any, Any], bool]:
    """Where both sides are known to be ints (or strings) a nil that turns up all the same is a failure, as in Go."""
    wanted = next((one for one in (INT, STRING) if node.left.type is one and node.right.type is one), None)
    expected = node.op == "=="
    if wanted is None:
        return operations.equal if expected else lambda a, b: not operations.equal(a, b)
    kind, name = (int, "int") if wanted is INT else (str, "string")

    def compare(a: Any, b: Any) -> bool:
        for value in (a, b):
            if not isinstance(value, kind):
                raise Panic(conversion(value, name))
        return (a == b) is expected

    return compare


def _in_key_set(needle: Any, keys: KeySet) -> bool:
    if needle is None:
        return keys.kind() in keys.members
    if type(needle) is not keys.kind:
        raise Panic(
            f"reflect.Value.MapIndex: value of type {type_name(needle)} "
            f"is not assignable to type {'int' if keys.kind is int else 'string'}"
        )
    return needle in keys.members


def _array(items: list[Code], at: int) -> Code:
    def run(f: Frame) -> Any:
        values = [item(f) for item in items]
        f.grow(len(values))
        return values

    return _placed(run, at)


def _map(pairs: list[tuple[Code, Code]], at: int) -> Code:
    def run(f: Frame) -> Any:
        entries = [(key(f), value(f)) for key, value in pairs]
        f.grow(len(entries))
        return {as_string(key): value for key, value in reversed(entries)}

    return _placed(run, at)


def _sequence(parts: list[Code]) -> Code:
    *others, last = parts

    def run(f: Frame) -> Any:
        for part in others:
            part(f)
        return last(f)

    return run


_OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "+": operations.add,
    "-": operations.subtract,
    "*": operations.multiply,
    "/": operations.divide,
    "%": operations.modulo,
    "**": operations.power,
    "^": operations.power,
    "<": operations.less,
    "<=": operations.less_or_equal,
    ">": operations.more,
    ">=": operations.more_or_equal,
    "in": operations.is_in,
    "matches": operations.matches,
    "contains": operations.contains,
    "startsWith": operations.starts_with,
    "endsWith": operations.ends_with,
}
