"""Finds the types of a tree, and which overloads each call may mean.

The rules are cel-go's: type parameters are bound by unification, dyn fits everything, a call with no fitting overload
is an error, and checking goes on after one so that all are reported. The last pass looks at literals: a pattern, a
duration or a format that cannot be right is an error already here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tiphys.lang.cel import literals, types
from tiphys.lang.cel.declarations import Environment, Overload
from tiphys.lang.cel.errors import CompileError, Issue
from tiphys.lang.cel.nodes import (
    Call,
    Entry,
    Fold,
    Ident,
    ListNode,
    Literal,
    MapNode,
    Node,
    Select,
    StructNode,
    children,
    qualified_name,
)
from tiphys.lang.cel.types import DYN, ERROR, Bindings, Type
from tiphys.lang.cel.values import type_of


@dataclass
class Checked:
    """A tree that is right: types by node, overloads by call, and what names mean.

    ``constants`` are the nodes that denote a type; ``names`` the variables used by nodes (also dotted ones); a member
    call whose target is only a prefix of the function's name is in ``qualified``.
    """

    source: str
    root: Node
    types: dict[int, Type] = field(default_factory=dict)
    overloads: dict[int, tuple[Overload, ...]] = field(default_factory=dict)
    constants: dict[int, Type] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    qualified: dict[int, str] = field(default_factory=dict)

    def type(self, node: Node) -> Type:
        return self.types.get(id(node), ERROR)

    def uses(self, name: str) -> bool:
        """Whether a declared variable is referred to."""
        return name in self.names.values()

    def function(self, call: Call) -> str:
        return self.qualified.get(id(call), call.function)

    def operands(self, call: Call) -> tuple[Node, ...]:
        """The arguments as the overload sees them: a real target comes first."""
        if call.target is None or id(call) in self.qualified:
            return call.args
        return (call.target, *call.args)

    def is_member(self, call: Call) -> bool:
        return call.target is not None and id(call) not in self.qualified


def check(source: str, root: Node, environment: Environment) -> Checked:
    """Raises `CompileError` with everything that is wrong."""
    checker = _Checker(source, root, environment)
    checker.visit(root)
    if not checker.issues:
        checker.finish()
        checker.issues.extend(literals.issues(checker.found))
    if checker.issues:
        raise CompileError(source, checker.issues)
    return checker.found


class _Checker:
    def __init__(self, source: str, root: Node, environment: Environment) -> None:
        self.found = Checked(source, root)
        self.issues: list[Issue] = []
        self._environment = environment
        self._bindings = Bindings()
        self._scopes: list[dict[str, Type]] = []
        self._free = 0

    def finish(self) -> None:
        table = self.found.types
        for key, value in table.items():
            if value.has_parameters:
                table[key] = self._bindings.resolved(value, free_is_dyn=True)

    def visit(self, node: Node) -> Type:
        if isinstance(node, Literal):
            found = type_of(node.value)
        elif isinstance(node, Ident):
            found = self._ident(node)
        elif isinstance(node, Select):
            found = self._select(node)
        elif isinstance(node, Call):
            found = self._call(node)
        elif isinstance(node, ListNode):
            found = self._list(node)
        elif isinstance(node, MapNode):
            found = self._map(node)
        elif isinstance(node, StructNode):
            found = self._struct(node)
        else:
            assert isinstance(node, Fold)
            found = self._fold(node)
        self.found.types[id(node)] = found
        return found

    def _report(self, offset: int, message: str) -> None:
        # A node that a macro uses twice (optMap's target) is checked twice.
        issue = Issue(offset, message)
        if issue not in self.issues:
            self.issues.append(issue)

    def _undeclared(self, offset: int, name: str) -> Type:
        self._report(offset, f"undeclared reference to '{name}' (in container '')")
        return ERROR

    def _mismatch(self, offset: int, wanted: Type, found: Type) -> None:
        self._report(offset, f"expected type '{wanted}' but found '{found}'")

    def _assignable(self, wanted: Type, found: Type) -> bool:
        return self._bindings.assign((wanted,), (found,))

    def _variable(self, name: str) -> Type:
        self._free += 1
        return Type("param", f"_var{self._free - 1}")

    def _named(self, node: Node, name: str) -> Type | None:
        """What a name denotes: a variable of a loop, a declared one, or a type."""
        if not name.startswith("."):
            for scope in reversed(self._scopes):
                if name in scope:
                    return scope[name]
        name = name.lstrip(".")
        declared = self._environment.variables.get(name)
        if declared is not None:
            self.found.names[id(node)] = name
            return declared
        denoted = self._environment.type_names.get(name)
        if denoted is None:
            return None
        self.found.constants[id(node)] = denoted
        return types.type_of(denoted)

    def _ident(self, node: Ident) -> Type:
        found = self._named(node, node.name)
        return self._undeclared(node.offset, node.name) if found is None else found

    def _select(self, node: Select) -> Type:
        if not node.is_test and (name := qualified_name(node)) is not None:
            found = self._named(node, name)
            if found is not None:
                return found
        found = self._field(node.offset, self.visit(node.operand), node.field, is_optional=False)
        return types.BOOL if node.is_test else found

    def _field(self, offset: int, operand: Type, name: str, *, is_optional: bool) -> Type:
        operand = self._bindings.resolved(operand)
        target = types.unwrapped(operand)
        found = ERROR
        if target.kind == "map":
            found = target.params[1]
        elif target.kind == "struct":
            found = self._struct_field(offset, target.name, name)
        elif target.kind == "param":
            self._assignable(DYN, target)
            found = DYN
        else:
            if not target.is_dyn:
                self._report(offset, f"type '{target}' does not support field selection")
            found = DYN
        if is_optional or types.is_optional(operand):
            found = types.optional_of(found)
        return self._bindings.resolved(found)

    def _struct_field(self, offset: int, struct: str, name: str) -> Type:
        found = self._environment.structs.get(struct, {}).get(name)
        if found is None:
            self._report(offset, f"undefined field '{name}'")
            return ERROR
        return found

    def _call(self, node: Call) -> Type:
        if node.function == "_?._":
            name = node.args[1]
            assert isinstance(name, Literal)
            self.visit(name)
            return self._field(node.offset, self.visit(node.args[0]), name.value, is_optional=True)
        given = [self.visit(arg) for arg in node.args]
        functions = self._environment.functions
        if node.target is not None:
            prefix = qualified_name(node.target)
            dotted = f"{prefix}.{node.function}".lstrip(".")
            if prefix is not None and dotted in functions:
                self.found.qualified[id(node)] = dotted
                return self._resolve(node, dotted, given, is_member=False)
            given.insert(0, self.visit(node.target))
        name_wanted = node.function.lstrip(".")
        if name_wanted not in functions:
            return self._undeclared(node.offset, node.function)
        if name_wanted != node.function:
            self.found.qualified[id(node)] = name_wanted
        return self._resolve(node, name_wanted, given, is_member=node.target is not None)

    def _resolve(self, node: Call, name: str, given: Sequence[Type], *, is_member: bool) -> Type:
        if name in ("_&&_", "_||_"):
            return self._logical(node, name, given)
        result: Type | None = None
        fitting: list[Overload] = []
        for overload in self._environment.functions[name]:
            if overload.is_member != is_member:
                continue
            wanted, offered = self._instance(overload)
            if not self._bindings.assign(given, wanted):
                continue
            fitting.append(overload)
            offered = self._bindings.resolved(offered)
            if result is None:
                result = offered
            elif result.kind != "dyn" and offered != result:
                result = DYN
        if result is None:
            shown = [self._bindings.resolved(t, free_is_dyn=True) for t in given]
            text = types.signature(shown, is_member)
            self._report(node.offset, f"found no matching overload for '{name}' applied to '{text}'")
            return ERROR
        self.found.overloads[id(node)] = tuple(fitting)
        return result

    def _logical(self, node: Call, name: str, given: Sequence[Type]) -> Type:
        fits = True
        for arg, found in zip(node.args, given, strict=True):
            if not self._assignable(found, types.BOOL):
                self._mismatch(arg.offset, types.BOOL, found)
                fits = False
        self.found.overloads[id(node)] = self._environment.functions[name]
        return types.BOOL if fits else ERROR

    def _instance(self, overload: Overload) -> tuple[tuple[Type, ...], Type]:
        """The overload with fresh type parameters."""
        if not overload.result.has_parameters and not any(t.has_parameters for t in overload.args):
            return overload.args, overload.result
        fresh: dict[str, Type] = {}

        def renamed(found: Type) -> Type:
            if found.kind == "param":
                if found.name not in fresh:
                    fresh[found.name] = self._variable(found.name)
                return fresh[found.name]
            if not found.has_parameters:
                return found
            return Type(found.kind, found.name, tuple(map(renamed, found.params)))

        return tuple(map(renamed, overload.args)), renamed(overload.result)

    def _joined(self, previous: Type | None, current: Type) -> Type:
        if previous is None:
            return current
        if self._assignable(previous, current):
            return previous if types.is_less_specific(previous, current) else current
        return DYN

    def _optional_value(self, node: Node, found: Type) -> Type:
        inner = types.unwrapped(found)
        if not types.is_optional(found) and found.kind != "dyn":
            self._mismatch(node.offset, types.optional_of(found), found)
        return inner

    def _list(self, node: ListNode) -> Type:
        joined: Type | None = None
        for at, element in enumerate(node.elements):
            found = self.visit(element)
            if at in node.optional:
                found = self._optional_value(element, found)
            joined = self._joined(joined, found)
        return types.list_of(self._variable("element") if joined is None else joined)

    def _map(self, node: MapNode) -> Type:
        key: Type | None = None
        value: Type | None = None
        for entry in node.entries:
            key = self._joined(key, self.visit(entry.key))
            value = self._joined(value, self._entry_value(entry))
        if key is None or value is None:
            return types.map_of(self._variable("key"), self._variable("value"))
        return types.map_of(key, value)

    def _entry_value(self, entry: Entry) -> Type:
        found = self.visit(entry.value)
        return self._optional_value(entry.value, found) if entry.is_optional else found

    def _struct(self, node: StructNode) -> Type:
        denoted = self._named(node, node.name)
        result = ERROR
        if denoted is None:
            return self._undeclared(node.offset, node.name)
        if denoted.kind != "type":
            self._report(node.offset, f"'{denoted}' is not a type")
        else:
            self._report(node.offset, f"'{denoted.params[0]}' is not a message type")
        for member in node.fields:
            self.visit(member.value)
        return result

    def _fold(self, node: Fold) -> Type:
        over = self._bindings.resolved(self.visit(node.range))
        accumulator = self.visit(node.init)
        variables = self._loop_variables(node, over)
        self._scopes.append({node.accumulator: accumulator})
        self._scopes.append(variables)
        self._require(node.condition, types.BOOL)
        self._require(node.step, accumulator)
        self._scopes.pop()
        result = self.visit(node.result)
        self._scopes.pop()
        return self._bindings.resolved(result)

    def _loop_variables(self, node: Fold, over: Type) -> dict[str, Type]:
        index, value = ERROR, ERROR
        if over.kind == "list":
            index, value = types.INT, over.params[0]
        elif over.kind == "map":
            index, value = over.params
        elif over.is_dyn or over.kind == "param":
            self._assignable(DYN, over)
            index = value = DYN
        else:
            text = f"expression of type '{over}' cannot be range of a comprehension (must be list, map, or dynamic)"
            self._report(node.range.offset, text)
        if node.second is None:
            return {node.first: value if over.kind == "list" else index}
        return {node.first: index, node.second: value}

    def _require(self, node: Node, wanted: Type) -> None:
        found = self.visit(node)
        if not self._assignable(wanted, found):
            self._mismatch(node.offset, wanted, found)


def descendants(root: Node) -> list[Node]:
    """Every node of a tree, parents first."""
    found, stack = [], [root]
    while stack:
        node = stack.pop()
        found.append(node)
        stack.extend(reversed(children(node)))
    return found
