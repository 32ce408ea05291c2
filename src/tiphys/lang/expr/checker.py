"""The type checker: what is wrong before anything runs.

It walks the tree once, gives every node its type, and raises ExprError (compile) for the first thing that cannot be.
Only what the environment's values show is known: names with the types of their values, methods of times and spans;
whatever comes out of a map is unknown and left to run time. Where the original does not look, neither does this:
the arguments of a call of something unknown stay unchecked.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from tiphys.lang.expr import signatures
from tiphys.lang.expr.errors import ExprError
from tiphys.lang.expr.methods import METHODS
from tiphys.lang.expr.nodes import (
    Array,
    Binary,
    Builtin,
    Call,
    Chain,
    Conditional,
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
from tiphys.lang.expr.parser import BUILTINS
from tiphys.lang.expr.types import (
    ANY,
    BOOL,
    BYTES,
    DURATION,
    FLOAT,
    GROUPS,
    INT,
    MAP,
    NIL,
    SLICE,
    STRING,
    TIME,
    UNKNOWN,
    Type,
    array_of,
    type_of,
)
from tiphys.lang.goregexp import RegexpError, compile_pattern

Names = Mapping[str, Type]


def check(tree: Node, names: Names, source: str) -> Type:
    """The type of the whole; every node gets its own. ``names`` are the variables. Raises ExprError (compile)."""
    return _Checker(names, source).visit(tree)


class _Checker:
    def __init__(self, names: Names, source: str) -> None:
        self.names = names
        self.source = source
        self.collections: list[tuple[Type, Names]] = []
        self.variables: list[tuple[str, Type]] = []

    def visit(self, node: Node) -> Type:
        found = self._type(node)
        node.type = found
        return found

    def fail(self, node: Node, message: str) -> ExprError:
        return ExprError(message, kind="compile", source=self.source, at=node.at)

    def _type(self, node: Node) -> Type:
        match node:
            case Literal(value=value):
                return type_of(value)
            case Nil():
                return NIL
            case Identifier():
                return self._identifier(node)
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
            case Chain(inner=inner):
                return self.visit(inner)
            case Conditional():
                return self._conditional(node)
            case Predicate(body=body):
                return self.visit(body)
            case Pointer():
                return self._pointer(node)
            case Slice():
                return self._slice(node)
            case Array(items=items):
                return self._array(items)
            case Map(pairs=pairs):
                for pair in pairs:
                    self._types(list(pair))
                return MAP
            case Let():
                return self._let(node)
            case Sequence(parts=parts):
                return [self.visit(part) for part in parts][-1]
        raise AssertionError(f"no such node: {node!r}")

    # Names.

    def _identifier(self, node: Identifier) -> Type:
        for name, found in reversed(self.variables):
            if name == node.name:
                return found
        return UNKNOWN if node.name == "$env" else self._named(node, node.name, strict=True, builtins=True)

    def _named(self, node: Node, name: str, *, strict: bool, builtins: bool) -> Type:
        found = self.names.get(name)
        if found is not None:
            return found
        if builtins and name in BUILTINS:
            return signatures.OVERLOADS.get(name, (signatures.ANY_FUNCTION,))[0]
        if strict:
            raise self.fail(node, f"unknown name {name}")
        return UNKNOWN

    def _pointer(self, node: Pointer) -> Type:
        if not self.collections:
            raise self.fail(node, "cannot use pointer accessor outside predicate")
        collection, pointers = self.collections[-1]
        if node.name == "":
            return UNKNOWN if collection.is_unknown else collection.element_type()
        if node.name in pointers:
            return pointers[node.name]
        raise self.fail(node, f"unknown pointer #{node.name}")

    def _let(self, node: Let) -> Type:
        if node.name in self.names:
            raise self.fail(node, f"cannot redeclare {node.name}")
        if node.name in BUILTINS:
            raise self.fail(node, f"cannot redeclare builtin {node.name}")
        if any(name == node.name for name, _ in self.variables):
            raise self.fail(node, f"cannot redeclare variable {node.name}")
        self.variables.append((node.name, self.visit(node.value)))
        found = self.visit(node.body)
        self.variables.pop()
        return found

    # Operators.

    def _unary(self, node: Unary) -> Type:
        operand = self.visit(node.operand)
        if node.op in ("!", "not"):
            if operand.kind == "bool" or operand.is_unknown:
                return BOOL
        elif operand.is_number:
            return operand
        elif operand.is_unknown:
            return UNKNOWN
        raise self.fail(node, f"invalid operation: {node.op} (mismatched type {operand.name})")

    def _binaries(self, node: Binary) -> Type:
        first, chain = spine(node)
        left = self.visit(first)
        for one in chain:
            left = one.type = self._binary(one, left, self.visit(one.right))
        return left

    def _binary(self, node: Binary, left: Type, right: Type) -> Type:
        if node.op == "in":
            found = self._in(node, left, right)
        elif node.op == "??":
            found = _coalesced(left, right)
        else:
            if node.op == "matches":
                self._check_pattern(node)
            found = _result(node.op, left, right)
        if found is None:
            raise self.fail(node, f"invalid operation: {node.op} (mismatched types {left.name} and {right.name})")
        return found

    def _check_pattern(self, node: Binary) -> None:
        if isinstance(node.right, Literal) and isinstance(node.right.value, str):
            try:
                compile_pattern(node.right.value)
            except RegexpError as err:
                raise self.fail(node, str(err)) from None

    def _in(self, node: Binary, left: Type, right: Type) -> Type | None:
        if (left.kind == "string" or left.is_unknown) and right.kind == "struct":
            return BOOL
        if right.kind == "map":
            key = right.key or ANY
            if not left.is_unknown and not left.assignable_to(key):
                raise self.fail(node, f"cannot use {left.name} as type {key.name} in map key")
            return BOOL
        if right.is_array:
            element = right.element_type()
            if not left.comparable_to(element):
                raise self.fail(node, f"cannot use {left.name} as type {element.name} in array")
            return BOOL
        if (left.is_unknown and right.is_any_of("sam")) or right.is_unknown:
            return BOOL
        return None

    def _conditional(self, node: Conditional) -> Type:
        condition = self.visit(node.condition)
        if condition.kind != "bool" and not condition.is_unknown:
            raise self.fail(node.condition, f"non-bool expression (type {condition.name}) used as condition")
        then, otherwise = self.visit(node.then), self.visit(node.otherwise)
        if then.is_nil or otherwise.is_nil:
            return otherwise if then.is_nil else then
        if not then.assignable_to(otherwise):
            return UNKNOWN
        if then.is_array and otherwise.is_array:
            one, other = then.element_type(), otherwise.element_type()
            if not (one.assignable_to(other) and other.assignable_to(one)):
                return SLICE
        return then

    # Parts of values.

    def _array(self, items: list[Node]) -> Type:
        found = [self.visit(item) for item in items]
        if any(one.kind != before.kind for before, one in pairwise(found)):
            return SLICE
        return array_of(found[-1] if found else UNKNOWN)

    def _member(self, node: Member) -> Type:
        if isinstance(node.base, Identifier) and node.base.name == "$env":
            if isinstance(node.key, Literal) and isinstance(node.key.value, str):
                return self._named(node, node.key.value, strict=not node.optional, builtins=False)
            return UNKNOWN
        base, key = self.visit(node.base), self.visit(node.key)
        if base.is_unknown:
            return UNKNOWN
        name = node.key.value if isinstance(node.key, Literal) and isinstance(node.key.value, str) else None
        if name is not None:
            if base.is_nil:
                raise self.fail(node, f"type nil has no field {name}")
            method = METHODS.get(base.name, {}).get(name)
            if method is not None:
                return method.type
            field = dict(base.fields).get(name)
            if field is not None:
                return field
        if base.kind == "map":
            return self._entry(node, base, key)
        if base.is_array:
            if not key.is_integer and not key.is_unknown:
                message = f"array elements can only be selected using an integer (got {key.name})"
                raise self.fail(node.key, message)
            return base.element_type()
        shown = base.name.removeprefix("*") if base.kind == "ptr" else base.name
        if name is None:
            raise self.fail(node, f"type {shown}[{key.name}] is undefined")
        raise self.fail(node, f"type {shown} has no {'method' if node.called else 'field'} {name}")

    def _entry(self, node: Member, base: Type, key: Type) -> Type:
        if not key.assignable_to(base.key or ANY) and not key.is_unknown:
            raise self.fail(node.key, f"cannot use {key.name} to get an element from {base.name}")
        return base.element_type()

    def _slice(self, node: Slice) -> Type:
        base = self.visit(node.base)
        if base.is_unknown:
            return UNKNOWN  # the bounds are not looked at then
        if base.kind not in ("string", "array", "slice"):
            raise self.fail(node, f"cannot slice {base.name}")
        for bound in (node.start, node.stop):
            if bound is not None:
                found = self.visit(bound)
                if not found.is_integer and not found.is_unknown:
                    raise self.fail(bound, f"non-integer slice index {found.name}")
        return base

    # Calls.

    def _call(self, node: Call) -> Type:
        callee = node.callee
        if isinstance(callee, Identifier) and callee.name == "$env":
            raise self.fail(node, "map[string]interface {} is not callable")
        found = self.visit(callee)
        if found.is_unknown:
            return UNKNOWN
        name = "function"
        if isinstance(callee, Identifier):
            name = callee.name
        elif isinstance(callee, Member) and isinstance(callee.key, Literal) and isinstance(callee.key.value, str):
            name = callee.key.value
        if found.is_nil:
            raise self.fail(node, f"{name} is nil; cannot call nil as function")
        if found.kind != "func":
            raise self.fail(node, f"{found.name} is not callable")
        problem, at = self._fits(name, found, _Arguments(self, node.arguments), node)
        if problem:
            raise self.fail(at, problem)
        return found.out or UNKNOWN

    def _builtin(self, node: Builtin) -> Type:
        if node.name in signatures.PREDICATE_RESULTS:
            return self._with_predicate(node)
        if node.name == "get":
            return self._get(node)
        return self._signature(node, node.name, node.arguments)

    def _with_predicate(self, node: Builtin) -> Type:
        name, arguments = node.name, node.arguments
        collection = self.visit(arguments[0])
        if not collection.is_array and not collection.is_unknown:
            raise self.fail(arguments[0], f"builtin {name} takes only array (got {collection.name})")
        result = UNKNOWN if collection.is_unknown else collection.element_type()
        if len(arguments) > 1:
            self.collections.append((collection, _POINTERS.get(name, {})))
            result = self.visit(arguments[1])
            self.collections.pop()
        if len(arguments) == 3:
            extra = self.visit(arguments[2])
            if name == "sortBy" and extra.kind != "string" and not extra.is_unknown:
                raise self.fail(arguments[2], f"sortBy order argument must be a string (got {extra.name})")
        if len(arguments) > 1:
            self._check_predicate(name, arguments[1], result)
        if name == "sum" and len(arguments) > 1 and result.is_unknown:
            return ANY
        return _predicate_result(name, collection, result)

    def _check_predicate(self, name: str, predicate: Node, result: Type) -> None:
        if result.is_nil and name == "sum":
            message = "cannot use func(interface {}) as argument (type func(interface {}) bool) to call sum "
            raise self.fail(predicate, message)
        if result.is_nil:
            inputs = "two" if name == "reduce" else "one"
            raise self.fail(predicate, f"predicate should has {inputs} input and one output param")
        if name in signatures.BOOL_PREDICATES and result.kind != "bool" and not result.is_unknown:
            raise self.fail(predicate, f"predicate should return boolean (got {result.name})")

    def _get(self, node: Builtin) -> Type:
        if len(node.arguments) != 2:
            raise self.fail(node, f"invalid number of arguments (expected 2, got {len(node.arguments)})")
        holder, wanted = node.arguments
        base, key = self.visit(holder), self.visit(wanted)
        if isinstance(holder, Identifier) and holder.name == "$env":
            known = isinstance(wanted, Literal) and isinstance(wanted.value, str)
            return self.names.get(str(wanted.value), UNKNOWN) if known and isinstance(wanted, Literal) else UNKNOWN
        if base.is_unknown:
            return UNKNOWN
        if base.is_array:
            if not key.is_integer and not key.is_unknown:
                raise self.fail(wanted, f"non-integer slice index {key.name}")
            return base.element_type()
        if base.kind == "map":
            if not key.assignable_to(base.key or ANY) and not key.is_unknown:
                raise self.fail(wanted, f"cannot use {key.name} to get an element from {base.name}")
            return base.element_type()
        raise self.fail(holder, f"type {base.name} does not support indexing")

    def _signature(self, node: Node, name: str, arguments: list[Node]) -> Type:
        """A call of a builtin without a predicate: its own rule, or the first overload that takes the arguments."""
        rule = signatures.RULES.get(name)
        if rule is not None:
            types = self._types(arguments)
            try:
                return rule(name, types)
            except signatures.Mismatch as err:
                raise self.fail(node, str(err)) from None
        looked_at = _Arguments(self, arguments)
        problem, at = f"no matching overload for {name}", node
        for overload in signatures.OVERLOADS[name]:
            problem, at = self._fits(name, overload, looked_at, node)
            if not problem:
                return overload.out or UNKNOWN
        raise self.fail(at, problem)

    def _types(self, arguments: list[Node]) -> list[Type]:
        return [self.visit(argument) for argument in arguments]

    def _fits(self, name: str, wanted: Type, arguments: _Arguments, node: Node) -> tuple[str, Node]:
        """What is wrong with calling ``wanted`` with the arguments, and where; "" when nothing is."""
        fixed, count = len(wanted.ins) - wanted.variadic, len(arguments.nodes)
        if wanted.results > 2:
            return f"func {name} returns more then two values", node
        if count < fixed or (count > fixed and not wanted.variadic):
            arguments.look_at_all()
            return f"{'not enough' if count < fixed else 'too many'} arguments to call {name}", node
        for index, argument in enumerate(arguments.nodes):
            one = arguments.type(index)
            parameter = wanted.ins[index] if index < fixed else wanted.ins[-1].element_type()
            if parameter.is_number and one.is_integer:
                continue  # constants adapt to any numeric parameter
            if one.is_nil:
                if parameter.kind not in ("ptr", "interface"):
                    return f"cannot use nil as argument (type {parameter.name}) to call {name}", argument
            elif not one.assignable_to(parameter) and not one.is_unknown:
                return f"cannot use {one.name} as argument (type {parameter.name}) to call {name} ", argument
        return "", node


class _Arguments:
    """Arguments that are looked at one after the other, each once: the first that does not fit hides those after it."""

    def __init__(self, checker: _Checker, nodes: list[Node]) -> None:
        self.nodes = nodes
        self._checker = checker
        self._types: list[Type] = []

    def type(self, index: int) -> Type:
        while len(self._types) <= index:
            self._types.append(self._checker.visit(self.nodes[len(self._types)]))
        return self._types[index]

    def look_at_all(self) -> None:
        if self.nodes:
            self.type(len(self.nodes) - 1)


def _coalesced(left: Type, right: Type) -> Type:
    if left.is_nil or right.is_nil:
        return right if left.is_nil else left
    return left if right.assignable_to(left) else UNKNOWN


def _maybe(left: Type, right: Type, classes: str) -> bool:
    """Whether an unknown on one or both sides may turn out to fit."""
    if left.is_unknown:
        return right.is_unknown or right.is_any_of(classes)
    return right.is_unknown and left.is_any_of(classes)


def _result(op: str, left: Type, right: Type) -> Type | None:
    """The type of ``left op right``, None where the two do not go together."""
    match op:
        case "==" | "!=":
            return BOOL if left.comparable_to(right) else None
        case "&&" | "||" | "and" | "or":
            both = left.kind == "bool" and right.kind == "bool"
            return BOOL if both or _maybe(left, right, "b") else None
        case "<" | ">" | "<=" | ">=":
            return BOOL if _same_class(left, right, "nstd") or _maybe(left, right, "nstd") else None
        case "matches":
            fits = (left.kind == "string" or left is BYTES) and right.kind == "string"
            return BOOL if fits or _maybe(left, right, "s") else None
        case "contains" | "startsWith" | "endsWith":
            return BOOL if _same_class(left, right, "s") or _maybe(left, right, "s") else None
        case "..":
            return array_of(INT) if _same_class(left, right, "i") or _maybe(left, right, "i") else None
        case "%":
            return INT if _same_class(left, right, "i") or _maybe(left, right, "i") else None
        case "/" | "**" | "^":
            return FLOAT if _same_class(left, right, "n") or _maybe(left, right, "n") else None
    return _arithmetic(op, left, right)


def _same_class(left: Type, right: Type, classes: str) -> bool:
    return any(left.is_any_of(one) and right.is_any_of(one) for one in classes)


def _arithmetic(op: str, left: Type, right: Type) -> Type | None:
    if left.is_number and right.is_number:
        return FLOAT if FLOAT in (left, right) else INT
    if op == "+" and left.kind == "string" and right.kind == "string":
        return STRING
    found = _SPANS.get((op, left.name, right.name))
    if found is None and op == "*" and DURATION in (left, right) and (left.is_number or right.is_number):
        found = DURATION
    if found is not None:
        return found
    return UNKNOWN if _maybe(left, right, {"+": "nstd", "-": "ntd", "*": "nd"}[op]) else None


_SPANS = {
    ("-", TIME.name, TIME.name): DURATION,
    ("-", TIME.name, DURATION.name): TIME,
    ("-", DURATION.name, DURATION.name): DURATION,
    ("+", TIME.name, DURATION.name): TIME,
    ("+", DURATION.name, TIME.name): TIME,
    ("+", DURATION.name, DURATION.name): DURATION,
    ("*", DURATION.name, DURATION.name): DURATION,
}


def _predicate_result(name: str, collection: Type, result: Type) -> Type:
    fixed = signatures.PREDICATE_RESULTS[name]
    if fixed is not None:
        return fixed
    element = collection.element_type() if not collection.is_unknown else UNKNOWN
    match name:
        case "filter":
            return array_of(element)
        case "map":
            return array_of(result)
        case "find" | "findLast":
            return element
        case "sortBy":
            return collection
        case "groupBy":
            return GROUPS
    return result


_POINTERS: dict[str, Names] = {"map": {"index": INT}, "reduce": {"index": INT, "acc": UNKNOWN}}
