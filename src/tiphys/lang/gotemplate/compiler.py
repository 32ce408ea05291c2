"""Trees to functions: each node becomes a closure over what is known of it, so that a run only runs.

A closure of a node takes the state and dot. Which node the state stands at decides what an error shows, so closures
set it in the order in which Go's executor does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from tiphys.lang import gosprintf
from tiphys.lang.gofmt import quote, sort_key, type_name
from tiphys.lang.gotemplate import nodes
from tiphys.lang.gotemplate.builtins import BUILTINS, VALUE, call_value, element, is_true, printable
from tiphys.lang.gotemplate.state import CALLS_MAX, MISSING, NIL, STEP_CHARACTERS, Break, Continue, State
from tiphys.lang.gotemplate.values import ANY, can_be_nil, field, methods_of, nil_of, passed
from tiphys.lang.govalues import CallError, Function, is_list, kind_of

Walk = Callable[[State, Any], None]
Evaluate = Callable[[State, Any], Any]
Command = Callable[[State, Any, Any], Any]

_NUMBERS = {
    "int": "integer",
    "int32": "integer",
    "int64": "integer",
    "uint32": "unsigned",
    "uint64": "unsigned",
    "float64": "real",
}
_EXPECTED = {"integer": "integer", "unsigned": "unsigned integer", "real": "float"}


class Compiler:
    """Compiles the templates of one text; ``functions`` are those besides the built-in ones."""

    def __init__(self, functions: Mapping[str, Function]) -> None:
        self.functions = functions
        self.bodies: dict[str, Walk] = {}

    def compile(self, trees: Mapping[str, nodes.List]) -> dict[str, Walk]:
        for name, tree in trees.items():
            self.bodies[name] = self.list(tree)
        return self.bodies

    # --- what writes ------------------------------------------------------------------------------------------------

    def list(self, node: nodes.List) -> Walk:
        steps = tuple(self.walk(one) for one in node.nodes)
        size = sum(len(one.text) for one in node.nodes if isinstance(one, nodes.Text))
        cost = len(steps) + size // STEP_CHARACTERS

        def run(state: State, dot: Any) -> None:
            state.spend(cost)
            state.grow(size)
            for step in steps:
                step(state, dot)

        return run

    def walk(self, node: nodes.Node) -> Walk:
        match node:
            case nodes.Text():
                return self.text(node)
            case nodes.Action():
                return self.action(node)
            case nodes.Branch(word="range"):
                return self.range(node)
            case nodes.Branch():
                return self.branch(node)
            case nodes.Call():
                return self.call_template(node)
            case _:
                return _jump(Break if isinstance(node, nodes.Break) else Continue)

    def text(self, node: nodes.Text) -> Walk:
        text = node.text
        return lambda state, dot: state.out.append(text)  # what it costs is known to the list that it is in

    def action(self, node: nodes.Action) -> Walk:
        pipe = self.pipe(node.pipe)
        is_silent = bool(node.pipe.variables)

        def run(state: State, dot: Any) -> None:
            state.node = node
            value = pipe(state, dot)
            if is_silent:
                return
            if isinstance(value, str):
                return state.write(value)
            state.node = node
            if kind_of(value) == "func":
                raise state.error(f"can't print {node} of type {type_name(value)}")
            return state.write(_shown(state, value))

        return run

    def branch(self, node: nodes.Branch) -> Walk:
        pipe, body = self.pipe(node.pipe), self.list(node.body)
        otherwise = self.list(node.otherwise) if node.otherwise else None
        changes_dot = node.word == "with"

        def run(state: State, dot: Any) -> None:
            state.node = node
            mark, dot_is_any = len(state.variables), state.dot_is_any
            value = pipe(state, dot)
            if not is_true(value):
                if otherwise is not None:
                    otherwise(state, dot)
            elif changes_dot:
                state.dot_is_any = False
                body(state, value)
                state.dot_is_any = dot_is_any
            else:
                body(state, dot)
            del state.variables[mark:]

        return run

    def range(self, node: nodes.Branch) -> Walk:
        pipe, body = self.pipe(node.pipe), self.list(node.body)
        otherwise = self.list(node.otherwise) if node.otherwise else None
        bind = _binder(node.pipe)

        def run(state: State, dot: Any) -> None:
            state.node = node
            mark, dot_is_any = len(state.variables), state.dot_is_any
            value = pipe(state, dot)
            top, is_empty = len(state.variables), True
            is_any = type(value) in (list, dict)
            try:
                for key, item in _entries(state, value, node):
                    is_empty = False
                    state.spend()
                    state.dot_is_any = is_any
                    bind(state, key, item, is_any)
                    with suppress(Continue):
                        body(state, item)
                    del state.variables[top:]
            except Break:
                pass
            state.dot_is_any = dot_is_any
            if is_empty and otherwise is not None:
                otherwise(state, dot)
            del state.variables[mark:]

        return run

    def call_template(self, node: nodes.Call) -> Walk:
        pipe = self.pipe(node.pipe) if node.pipe else None
        bodies, name = self.bodies, node.name

        def run(state: State, dot: Any) -> None:
            state.node = node
            body = bodies.get(name)
            if body is None:
                raise state.error(f"template {quote(name)} not defined")
            if state.calls >= CALLS_MAX:
                raise state.error(f"exceeded maximum template depth ({CALLS_MAX})")
            inner = pipe(state, dot) if pipe else None
            kept = state.name, state.variables, state.dot_is_any
            state.calls += 1
            state.name, state.variables, state.dot_is_any = name, [["$", inner, False]], False
            body(state, inner)
            state.calls -= 1
            state.name, state.variables, state.dot_is_any = kept

        return run

    # --- what gives a value -----------------------------------------------------------------------------------------

    def pipe(self, node: nodes.Pipe) -> Evaluate:
        commands = tuple(self.command(one) for one in node.commands)
        names = tuple(variable.names[0] for variable in node.variables)
        is_assignment = node.is_assignment
        if len(commands) == 1 and not names:
            only = commands[0]

            def run_one(state: State, dot: Any) -> Any:
                state.node = node
                value = only(state, dot, MISSING)
                return None if value is NIL else value

            return run_one

        def run(state: State, dot: Any) -> Any:
            state.node = node
            value: Any = MISSING
            for command in commands:
                value = command(state, dot, value)
                if value is NIL:
                    value = None
            for name in names:
                if is_assignment:
                    state.set_variable(name, value)
                else:
                    state.variables.append([name, value, False])
            return value

        return run

    def command(self, node: nodes.Command) -> Command:
        first = node.arguments[0]
        match first:
            case nodes.Field() | nodes.Variable() | nodes.Chain():
                return self.path(first, node.arguments)
            case nodes.Identifier():
                return self.call(first, node, node.arguments[1:])
            case nodes.Pipe():
                pipe = self.pipe(first)

                def grouped(state: State, dot: Any, final: Any) -> Any:
                    _refuse_arguments(state, node.arguments, final)
                    return pipe(state, dot)

                return grouped
        return self.constant_command(first, node)

    def constant_command(self, first: nodes.Node, node: nodes.Command) -> Command:
        value = None if isinstance(first, nodes.Dot | nodes.Nil) else self.ideal(first)

        def run(state: State, dot: Any, final: Any) -> Any:
            state.node = first
            _refuse_arguments(state, node.arguments, final)
            if value is not None:
                return value(state, dot)
            if isinstance(first, nodes.Dot):
                return dot
            raise state.error("nil is not a command")

        return run

    def ideal(self, node: nodes.Node) -> Evaluate:
        """A constant where any type will do."""
        if isinstance(node, nodes.Bool | nodes.String):
            value: Any = node.value
            return lambda state, dot: value
        assert isinstance(node, nodes.Number)
        number = node
        found = _ideal_number(number)

        def run(state: State, dot: Any) -> Any:
            state.node = number
            if found is None:
                raise state.error(f"{number} overflows int")
            return found

        return run

    def path(self, node: nodes.Field | nodes.Variable | nodes.Chain, arguments: Sequence[nodes.Node]) -> Command:
        """``.a.b``, ``$x.a`` or ``(pipe).a``, the last of it perhaps a method with ``arguments``."""
        if isinstance(node, nodes.Field) and len(node.names) == 1 and len(arguments) <= 1:
            return self.field_of_dot(node, self.longer_path(node, arguments))
        return self.longer_path(node, arguments)

    def field_of_dot(self, node: nodes.Field, otherwise: Command) -> Command:
        """``.a``, which most of a template's paths are; ``otherwise`` where it is not an entry of a map."""
        name = node.names[0]

        def run(state: State, dot: Any, final: Any) -> Any:
            if type(dot) is dict and final is MISSING:
                state.node = node
                value = dot.get(name, MISSING)
                if value is not MISSING:
                    return NIL if value is None else value
            return otherwise(state, dot, final)

        return run

    def longer_path(self, node: nodes.Field | nodes.Variable | nodes.Chain, arguments: Sequence[nodes.Node]) -> Command:
        start = self.start(node)
        names = node.names[1:] if isinstance(node, nodes.Variable) else node.names
        last = len(names) - 1

        def run(state: State, dot: Any, final: Any) -> Any:
            state.node = node
            value, is_any = start(state, dot)
            if last < 0:
                _refuse_arguments(state, arguments, final)
                return value
            for position, name in enumerate(names):
                if type(value) is dict and (position < last or (final is MISSING and len(arguments) <= 1)):
                    value = field(state, value, name, is_any, False)
                    is_any = True
                    continue
                given, rest = (arguments, final) if position == last else ((), MISSING)
                method = methods_of(value).get(name) if value is not None and value is not NIL else None
                if method is not None:
                    value = self.call_method(state, dot, method, node, given, rest)
                    is_any = method.out == ANY
                else:
                    value = field(state, value, name, is_any, len(given) > 1 or rest is not MISSING)
                    is_any = False
            return value

        return run

    def start(self, node: nodes.Field | nodes.Variable | nodes.Chain) -> Callable[[State, Any], tuple[Any, bool]]:
        """What a path begins with, and whether it was an element of any."""
        if isinstance(node, nodes.Field):
            return lambda state, dot: (dot, state.dot_is_any)
        if isinstance(node, nodes.Variable):
            name = node.names[0]

            def variable(state: State, dot: Any) -> tuple[Any, bool]:
                entry = state.variable(name)
                return entry[1], entry[2]

            return variable
        inner = self.argument(node.node, ANY, for_chain=True)
        if isinstance(node.node, nodes.Nil):

            def nil(state: State, dot: Any) -> tuple[Any, bool]:
                raise state.error(f"indirection through explicit nil in {node}")

            return nil
        return lambda state, dot: (inner(state, dot), False)

    # --- calls ------------------------------------------------------------------------------------------------------

    def call(self, identifier: nodes.Identifier, whole: nodes.Node, arguments: Sequence[nodes.Node]) -> Command:
        """A call of a function; ``whole`` is what an error of the function itself shows."""
        name = identifier.name
        function = self.functions.get(name)
        if function is None and name in ("and", "or"):
            return self.logic(identifier, arguments)
        target = function or BUILTINS[name]
        if function is None and name == "call":  # which wants to know how the thing it calls is written
            written = str(arguments[0]) if arguments else ""
            target = replace(target, call=lambda *values: call_value(written, *values))
        invoke = self.invocation(target, name, whole, arguments)

        def run(state: State, dot: Any, final: Any) -> Any:
            state.node = identifier
            return invoke(state, dot, final)

        return run

    def logic(self, identifier: nodes.Identifier, arguments: Sequence[nodes.Node]) -> Command:
        """``and`` and ``or``: the first argument that decides, or the last."""
        parts = [self.argument(one, VALUE) for one in arguments]
        stop_at = identifier.name == "or"

        def run(state: State, dot: Any, final: Any) -> Any:
            state.node = identifier
            if not parts and final is MISSING:
                raise state.error(f"wrong number of args for {identifier}: want at least 1 got 0")
            value = None
            for part in parts:
                value = part(state, dot)
                if is_true(value) == stop_at:
                    return value
            return value if final is MISSING else final

        return run

    def call_method(
        self,
        state: State,
        dot: Any,
        method: Function,
        node: nodes.Node,
        arguments: Sequence[nodes.Node],
        final: Any,
    ) -> Any:
        return self.invocation(method, method.name, node, arguments[1:])(state, dot, final)

    def invocation(self, function: Function, name: str, whole: nodes.Node, arguments: Sequence[nodes.Node]) -> Command:
        """Checks the number of arguments, evaluates them for their parameters, and calls."""
        ins, count = function.ins, len(arguments)
        fixed = len(ins) - function.variadic
        kinds = [*ins[:fixed], *([ins[-1][2:]] * max(0, count - fixed) if function.variadic else [])]
        parts = [self.argument(node, kind) for node, kind in zip(arguments, kinds, strict=False)]
        final_kind = ins[count] if count < fixed else ins[-1][2:] if function.variadic else ""
        call, gives_any, extra = function.call, function.out in (ANY, VALUE), function.steps

        def run(state: State, dot: Any, final: Any) -> Any:
            given = count + (final is not MISSING)
            if function.variadic and given < fixed:
                raise state.error(f"wrong number of args for {name}: want at least {fixed} got {count}")
            if not function.variadic and given != fixed:
                raise state.error(f"wrong number of args for {name}: want {fixed} got {given}")
            values = [part(state, dot) for part in parts]
            if final is not MISSING:
                values.append(passed(state, final, final_kind))
            if extra:
                state.spend(extra)
            try:
                result = call(*values)
            except CallError as err:
                state.node = whole
                raise state.error(f"error calling {name}: {err}") from None
            state.spend_on_call(values, result)
            return element(result) if gives_any else result

        return run

    def argument(self, node: nodes.Node, kind: str, *, for_chain: bool = False) -> Evaluate:
        """An argument for a parameter of type ``kind``; ``for_chain`` takes whatever there is."""
        value = self.dynamic(node)
        if value is None:
            return self.constant(node, kind)

        def run(state: State, dot: Any) -> Any:
            state.node = node
            found = value(state, dot)
            if type(found) is str and (kind == "string" or kind == ANY):
                return found
            return found if for_chain else passed(state, found, kind)

        return run

    def dynamic(self, node: nodes.Node) -> Evaluate | None:
        """The value of a node that is no constant."""
        command: Command
        match node:
            case nodes.Dot():
                return lambda state, dot: dot
            case nodes.Pipe():
                return self.pipe(node)
            case nodes.Field() | nodes.Variable() | nodes.Chain():
                command = self.path(node, ())
            case nodes.Identifier():
                command = self.call(node, node, ())
            case _:
                return None
        return lambda state, dot: command(state, dot, MISSING)

    def constant(self, node: nodes.Node, kind: str) -> Evaluate:
        """A constant where a type is wanted."""
        found, wrong = _constant(node, kind)
        ideal = self.ideal(node) if wrong == "" and found is None and not isinstance(node, nodes.Nil) else None

        def run(state: State, dot: Any) -> Any:
            state.node = node
            if wrong:
                raise state.error(wrong)
            return ideal(state, dot) if ideal is not None else found

        return run


def _constant(node: nodes.Node, kind: str) -> tuple[Any, str]:
    """``(value, "")``, ``(None, what is wrong)``, or ``(None, "")`` where any type will do."""
    if isinstance(node, nodes.Nil):
        return (nil_of(kind), "") if can_be_nil(kind) else (None, f"cannot assign nil to {kind}")
    if kind in (ANY, VALUE):
        return None, ""
    if kind == "string":
        return (node.value, "") if isinstance(node, nodes.String) else (None, f"expected string; found {node}")
    if kind == "bool":
        return (node.value, "") if isinstance(node, nodes.Bool) else (None, f"expected bool; found {node}")
    attribute = _NUMBERS.get(kind)
    if attribute is None:
        return None, f"can't handle {node} for arg of type {kind}"
    value = getattr(node, attribute) if isinstance(node, nodes.Number) else None
    return (value, "") if value is not None else (None, f"expected {_EXPECTED[attribute]}; found {node}")


def _ideal_number(node: nodes.Number) -> Any:
    """A number by its looks: complex, float where it has a point or an exponent, else int. None if too large."""
    if node.imaginary is not None:
        return node.imaginary
    source = node.source
    is_hexadecimal = source[:2].lower() == "0x" and not set(source) & set("pP")
    if node.real is not None and not is_hexadecimal and source[0] != "'" and set(source) & set(".eEpP"):
        return node.real
    return node.integer


def _jump(kind: type[Exception]) -> Walk:
    def run(state: State, dot: Any) -> None:
        raise kind

    return run


def _shown(state: State, value: Any) -> str:
    try:
        return gosprintf.sprint((printable(value),))
    except CallError as err:
        raise state.error(str(err)) from None


def _refuse_arguments(state: State, arguments: Sequence[nodes.Node], final: Any) -> None:
    if len(arguments) > 1 or final is not MISSING:
        raise state.error(f"can't give argument to non-function {arguments[0]}")


def _binder(pipe: nodes.Pipe) -> Callable[[State, Any, Any, bool], None]:
    """Sets the variables of a range: the element, or index and element."""
    names = [variable.names[0] for variable in pipe.variables]

    def nothing(state: State, key: Any, item: Any, is_any: bool) -> None:
        return None

    def assign(state: State, key: Any, item: Any, is_any: bool) -> None:
        if len(names) > 1:
            state.set_variable(names[0], key)
        state.set_variable(names[-1], item, is_any)

    def declare(state: State, key: Any, item: Any, is_any: bool) -> None:
        entry = state.variables[-1]
        entry[1], entry[2] = item, is_any
        if len(names) > 1:
            state.variables[-2][1] = key

    if not names:
        return nothing
    return assign if pipe.is_assignment else declare


def _entries(state: State, value: Any, node: nodes.Branch) -> Iterable[tuple[Any, Any]]:
    """What a range goes through: ``(index or key, element)``."""
    if value is None:
        return ()
    if is_list(value):
        return ((index, element(item)) for index, item in enumerate(value))
    if isinstance(value, dict):
        return ((key, element(value[key])) for key in sorted(value, key=sort_key))
    if isinstance(value, int) and not isinstance(value, bool):
        if len(node.pipe.variables) > 1:
            raise state.error(f"can't use {value} to iterate over more than one variable")
        return _count(value)
    raise state.error(f"range can't iterate over {_shown(state, value)}")


def _count(limit: int) -> Iterator[tuple[Any, Any]]:
    return ((None, type(limit)(number)) for number in range(limit))
