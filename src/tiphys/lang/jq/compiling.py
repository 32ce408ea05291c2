"""From the syntax tree to the functions that the machine runs (see `machine` for what they look like).

Names are resolved here: the scope is a linked list that mirrors the environment at run time, so that a name becomes a
distance. Functions of the library are compiled when first used, once for all filters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from tiphys.lang.jq import functions, library, syntax, values
from tiphys.lang.jq.errors import Break, Failure, JqSyntaxError
from tiphys.lang.jq.machine import (
    Either,
    Env,
    Label,
    Left,
    Machine,
    Node,
    Place,
    Task,
    Then,
    Try,
    intact,
    keys_of,
)
from tiphys.lang.jq.parsing import parse
from tiphys.lang.jq.values import described


@lru_cache(maxsize=256)
def compile_filter(source: str) -> Node:
    """The runnable form of a filter. Raises `JqSyntaxError`."""
    return _compile(parse(source), None)


@dataclass(eq=False, slots=True)
class Function:
    """A definition; ``body`` is filled in once it is compiled, so that it can call itself."""

    parameters: tuple[str, ...]
    body: Node | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Entry:
    """A name in scope: a variable or label ("$x", "*x"), or a function with its number of parameters."""

    name: str
    arity: int = -1
    is_parameter: bool = False


Scope = tuple[Entry, Any] | None


def _find(scope: Scope, wanted: Callable[[Entry], bool]) -> tuple[int, Entry] | None:
    distance = 0
    while scope is not None:
        if wanted(scope[0]):
            return distance, scope[0]
        scope, distance = scope[1], distance + 1
    return None


def _outer(env: Env, distance: int) -> Any:
    """The part of the environment that starts with the wanted entry."""
    for _ in range(distance):
        env = env[1]  # type: ignore[index]
    return env


def _at_definition(env: Env, distance: int) -> tuple[Function, Env]:
    """A function and the environment that its definition sees, itself included."""
    home = _outer(env, distance)
    return home[0], home


def _compile(node: syntax.Node, scope: Scope) -> Node:
    return _COMPILERS[type(node)](node, scope)


# Values and paths


def _identity(_node: syntax.Identity, _scope: Scope) -> Node:
    return lambda machine, value, place, env, then: (then, value, place)


def _constant(node: syntax.Constant, _scope: Scope) -> Node:
    constant = node.value
    return lambda machine, value, place, env, then: (then, constant, place)


def _stepped(value: Any, key: Any, place: Place, then: Then) -> Task:
    """Hands on ``value[key]``, with the place it is at."""
    found = values.index(value, key)
    if place is None:
        return then, found, None
    if not intact(value, place):
        raise Failure(f"invalid path against: {described(value)}")
    return then, found, ((place[0], key), found)


def _index(node: syntax.Index, scope: Scope) -> Node:
    target = _compile(node.target, scope)
    if isinstance(node.key, syntax.Constant):
        constant = node.key.value

        def by_constant(machine: Machine, value: Any, place: Place, env: Env, then: Then) -> Task:
            return target(machine, value, place, env, lambda _m, found, at: _stepped(found, constant, at, then))

        return by_constant
    key = _compile(node.key, scope)

    def by_key(machine: Machine, value: Any, place: Place, env: Env, then: Then) -> Task:
        def with_key(inner: Machine, name: Any, _place: Place) -> Task:
            return target(inner, value, place, env, lambda _m, found, at: _stepped(found, name, at, then))

        return key(machine, value, None, env, with_key)

    return by_key


def _slice(node: syntax.Slice, scope: Scope) -> Node:
    target = _compile(node.target, scope)
    start = _compile(node.start or syntax.Constant(None), scope)
    end = _compile(node.end or syntax.Constant(None), scope)

    def run(machine: Machine, value: Any, place: Place, env: Env, then: Then) -> Task:
        def with_start(inner: Machine, first: Any, _place: Place) -> Task:
            return end(inner, value, None, env, lambda m, last, _p: with_both(m, first, last))

        def with_both(inner: Machine, first: Any, last: Any) -> Task:
            key = {"start": first, "end": last}
            return target(inner, value, place, env, lambda _m, found, at: sliced(found, key, at))

        def sliced(found: Any, key: dict[str, Any], at: Place) -> Task:
            part = values.sliced(found, key["start"], key["end"])
            if at is None:
                return then, part, None
            if not intact(found, at):
                raise Failure(f"invalid path against: {described(found)}")
            return then, part, ((at[0], key), part)

        return start(machine, value, None, env, with_start)

    return run


def _iterate(node: syntax.Iterate, scope: Scope) -> Node:
    target = _compile(node.target, scope)

    def run(machine: Machine, value: Any, place: Place, env: Env, then: Then) -> Task:
        def each(inner: Machine, found: Any, at: Place) -> Task:
            if not isinstance(found, (list, dict)):
                raise Failure(f"cannot iterate over: {described(found)}")
            if at is not None and not intact(found, at):
                raise Failure(f"invalid path on iterating against: {described(found)}")
            keys = range(len(found)) if isinstance(found, list) else sorted(found)
            return _element(inner, found, keys, 0, at, then) if found else None

        return target(machine, value, place, env, each)

    return run


def _element(machine: Machine, container: Any, keys: Any, number: int, place: Place, then: Then) -> Task:
    key = keys[number]
    if number + 1 < len(keys):
        machine.choices.append((_element, container, keys, number + 1, place, then))
    item = container[key]
    return then, item, None if place is None else ((place[0], key), item)


# Making values


def _array(node: syntax.Array, scope: Scope) -> Node:
    if node.body is None:
        return lambda machine, value, place, env, then: (then, [], place)
    body = _compile(node.body, scope)

    def run(machine: Machine, value: Any, place: Place, env: Env, then: Then) -> Task:
        items: list[Any] = []

        def keep(_machine: Machine, item: Any, _place: Place) -> Task:
            items.append(item)
            return None

        machine.choices.append((_handed_on, items, place, then))
        return body(machine, value, place, env, keep)

    return run


def _handed_on(_machine: Machine, value: Any, place: Place, then: Then) -> Task:
    return then, value, place


def _object(node: syntax.Object, scope: Scope) -> Node:
    pairs = [(_compile(key, scope), _compile(value, scope)) for key, value in node.pairs]

    def run(machine: Machine, value: Any, place: Place, env: Env, then: Then) -> Task:
        def pair(inner: Machine, number: int, made: dict[str, Any]) -> Task:
            if number == len(pairs):
                return then, made, place
            key, item = pairs[number]

            def with_key(m: Machine, name: Any, _place: Place) -> Task:
                return item(m, value, None, env, lambda m2, found, _p: with_item(m2, name, found))

            def with_item(m: Machine, name: Any, found: Any) -> Task:
                if not isinstance(name, str):
                    raise Failure(f"expected a string for object key but got: {described(name)}")
                return pair(m, number + 1, {**made, name: found})

            return key(inner, value, None, env, with_key)

        return pair(machine, 0, {})

    return run


def _text(node: syntax.Text, scope: Scope) -> Node:
    parts = [part if isinstance(part, str) else _compile(part, scope) for part in node.parts]
    shown = functions.formatter(node.format or "@text")

    def run(machine: Machine, value: Any, place: Place, env: Env, then: Then) -> Task:
        def before(inner: Machine, number: int, text: str) -> Task:
            """Goes from the last part to the first: the last one changes slowest."""
            if number < 0:
                return then, text, place
            part = parts[number]
            if isinstance(part, str):
                return before(inner, number - 1, part + text)
            return part(inner, value, None, env, lambda m, found, _p: before(m, number - 1, shown(found) + text))

        return before(machine, len(parts) - 1, "")

    return run


def _format(node: syntax.Format, _scope: Scope) -> Node:
    shown = functions.formatter(node.name)
    return lambda machine, value, place, env, then: (then, shown(value), place)


_BINARY: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "+": values.add,
    "-": values.subtract,
    "*": values.multiply,
    "/": values.divide,
    "%": values.modulo,
    "==": lambda left, right: values.compare(left, right) == 0,
    "!=": lambda left, right: values.compare(left, right) != 0,
    "<": lambda left, right: values.compare(left, right) < 0,
    "<=": lambda left, right: values.compare(left, right) <= 0,
    ">": lambda left, right: values.compare(left, right) > 0,
    ">=": lambda left, right: values.compare(left, right) >= 0,
}


def _binary(node: syntax.Binary, scope: Scope) -> Node:
    return _native(_BINARY[node.operator], (node.left, node.right), scope, with_input=False)


def _native(
    function: Callable[..., Any], arguments: tuple[syntax.Node, ...], scope: Scope, *, with_input: bool = True
) -> Node:
    """A call with every combination of its arguments' values; the last argument changes slowest."""
    # the order of compiling decides which of several unknown names is reported
    compiled = [_compile(argument, scope) for argument in reversed(arguments)][::-1]

    def run(machine: Machine, value: Any, place: Place, env: Env, then: Then) -> Task:
        def before(inner: Machine, number: int, known: tuple[Any, ...]) -> Task:
            if number < 0:
                return then, function(value, *known) if with_input else function(*known), place
            return compiled[number](
                inner, value, None, env, lambda m, found, _p: before(m, number - 1, (found, *known))
            )

        return before(machine, len(compiled) - 1, ())

    return run


# Flow


def _pipe(node: syntax.Pipe, scope: Scope) -> Node:
    left, right = _compile(node.left, scope), _compile(node.right, scope)

    def run(machine: Machine, value: Any, place: Place, env: Env, then: Then) -> Task:
        return left(machine, value, place, env, lambda m, found, at: right(m, found, at, env, then))

    return run


def _comma(node: syntax.Comma, scope: Scope) -> Node:
    left, right = _compile(node.left, scope), _compile(node.right, scope)

    def run(machine: Machine, value: Any, place: Place, env: Env, then: Then) -> Task:
        machine.choices.append((right, value, place, env, then))
        return left(machine, value, place, env, then)

    return run


def _alternative(node: syntax.Alternative, scope: Scope) -> Node:
    left, right = _compile(node.left, scope), _compile(node.right, scope)

    def run(machine: Machine, value: Any, place: Place, env: Env, then: Then) -> Task:
        has_found = False

        def keep(_machine: Machine, found: Any, at: Place) -> Task:
            nonlocal has_found
            if found is None or found is False:
                return None
            has_found = True
            return then, found, at

        def otherwise(inner: Machine) -> Task:
            return None if has_found else right(inner, value, place, env, then)

        machine.choices.append((otherwise,))
        return left(machine, value, place, env, keep)

    return run


def _if(node: syntax.If, scope: Scope) -> Node:
    condition = _compile(node.condition, scope)
    then_branch, else_branch = _compile(node.then, scope), _compile(node.otherwise, scope)

    def run(machine: Machine, value: Any, place: Place, env: Env, then: Then) -> Task:
        def decide(_machine: Machine, truth: Any, _place: Place) -> Task:
            branch = else_branch if truth is None or truth is False else then_branch
            return branch, value, place, env, then

        return condition(machine, value, None, env, decide)

    return run


def _try(node: syntax.Try, scope: Scope) -> Node:
    body = _compile(node.body, scope)
    handler = None if node.handler is None else _compile(node.handler, scope)

    def run(machine: Machine, value: Any, place: Place, env: Env, then: Then) -> Task:
        barrier = Try(handler, place, env, then)

        def leave(inner: Machine, found: Any, at: Place) -> Task:
            inner.choices.append(Left(barrier))
            return then, found, at

        machine.choices.append(barrier)
        return body, value, place, env, leave

    return run


def _label(node: syntax.Label, scope: Scope) -> Node:
    body = _compile(node.body, (Entry("*" + node.name), scope))

    def run(machine: Machine, value: Any, place: Place, env: Env, then: Then) -> Task:
        label = Label()
        machine.choices.append(label)
        return body(machine, value, place, (label, env), then)

    return run


def _break(node: syntax.Break, scope: Scope) -> Node:
    found = _find(scope, lambda entry: entry.name == "*" + node.name)
    if found is None:
        raise JqSyntaxError(f"label not defined: {node.name}")
    distance = found[0]

    def run(_machine: Machine, _value: Any, _place: Place, env: Env, _then: Then) -> Task:
        raise Break(_outer(env, distance)[0])

    return run


def _reduce(node: syntax.Reduce, scope: Scope) -> Node:
    source, start = _compile(node.source, scope), _compile(node.start, scope)
    bind, inner_scope = _pattern(node.pattern, scope)
    update = _compile(node.update, inner_scope)

    def run(machine: Machine, value: Any, place: Place, env: Env, then: Then) -> Task:
        def begin(inner: Machine, first: Any, at: Place) -> Task:
            state = [first]

            def item(m: Machine, found: Any, at_item: Place) -> Task:
                return bind(m, found, env, lambda m2, bound: update(m2, state[0], at_item, bound, keep))

            def keep(_machine: Machine, new: Any, _place: Place) -> Task:
                state[0] = new
                return None

            def end(_machine: Machine) -> Task:
                return then, state[0], at

            inner.choices.append((end,))
            return source(inner, value, at, env, item)

        return start(machine, value, place, env, begin)

    return run


def _foreach(node: syntax.Foreach, scope: Scope) -> Node:
    source, start = _compile(node.source, scope), _compile(node.start, scope)
    bind, inner_scope = _pattern(node.pattern, scope)
    update, extract = _compile(node.update, inner_scope), _compile(node.extract, inner_scope)

    def run(machine: Machine, value: Any, place: Place, env: Env, then: Then) -> Task:
        def begin(inner: Machine, first: Any, at: Place) -> Task:
            state = [first]

            def item(m: Machine, found: Any, at_item: Place) -> Task:
                return bind(m, found, env, lambda m2, bound: updated(m2, at_item, bound))

            def updated(m: Machine, at_item: Place, bound: Env) -> Task:
                def keep(m2: Machine, new: Any, at_new: Place) -> Task:
                    state[0] = new
                    return extract(m2, new, at_new, bound, then)

                return update(m, state[0], at_item, bound, keep)

            return source(inner, value, at, env, item)

        return start(machine, value, place, env, begin)

    return run


def _update(node: syntax.Update, scope: Scope) -> Node:
    if node.operator == "=" and (path := _constant_path(node.target)) is not None:
        return _compile(syntax.Call("setpath", (syntax.Constant(path), node.value)), scope)
    if node.operator == "=":
        return _compile(syntax.Call("_assign", (node.target, node.value)), scope)
    if node.operator == "|=":
        return _compile(syntax.Call("_modify", (node.target, node.value)), scope)
    name = "$ update"  # no variable of a user can be called so
    old, new = syntax.Identity(), syntax.Call(name)
    operator = node.operator[:-1]
    changed = syntax.Alternative(old, new) if operator == "//" else syntax.Binary(operator, old, new)
    call = syntax.Call("_modify", (node.target, changed))
    return _compile(syntax.Bind(node.value, (syntax.VariablePattern(name),), call), scope)


def _constant_path(node: syntax.Node) -> list[Any] | None:
    """The path of ``.a[0].b``; None for everything that has to be evaluated, and for ``.``."""
    path: list[Any] = []
    while isinstance(node, (syntax.Index, syntax.Slice)):
        keys = [node.key] if isinstance(node, syntax.Index) else [node.start, node.end]
        if not all(key is None or (isinstance(key, syntax.Constant) and _is_key(key.value)) for key in keys):
            return None
        known = [key.value if isinstance(key, syntax.Constant) else None for key in keys]
        path.append(known[0] if isinstance(node, syntax.Index) else {"start": known[0], "end": known[1]})
        node = node.target
    return path[::-1] if path and isinstance(node, syntax.Identity) else None


def _is_key(value: Any) -> bool:
    return isinstance(value, str) or values.is_number(value)


# Names

Bound = Callable[[Machine, Env], Task]
Binder = Callable[[Machine, Any, Env, Bound], Task]


def _bind(node: syntax.Bind, scope: Scope) -> Node:
    source = _compile(node.source, scope)
    if len(node.patterns) == 1:
        binder, inner_scope = _pattern(node.patterns[0], scope)
        return _bound_to(source, [(binder, _compile(node.body, inner_scope), 0)])
    names = list(dict.fromkeys(name for pattern in node.patterns for name in _names(pattern)))
    base = scope
    for name in names:
        base = (Entry(name), base)
    alternatives = []
    for pattern in node.patterns:
        binder, inner_scope = _pattern(pattern, base)
        alternatives.append((binder, _compile(node.body, inner_scope), len(names)))
    return _bound_to(source, alternatives)


def _bound_to(source: Node, alternatives: list[tuple[Binder, Node, int]]) -> Node:
    def run(machine: Machine, value: Any, place: Place, env: Env, then: Then) -> Task:
        def attempt(inner: Machine, found: Any, number: int) -> Task:
            binder, body, nulls = alternatives[number]
            if number + 1 < len(alternatives):
                inner.choices.append(Either((attempt, found, number + 1)))
            base = env
            for _ in range(nulls):
                base = (None, base)
            return binder(inner, found, base, lambda m, bound: body(m, value, place, bound, then))

        return source(machine, value, None, env, lambda m, found, _p: attempt(m, found, 0))

    return run


def _names(pattern: syntax.Pattern) -> list[str]:
    if isinstance(pattern, syntax.VariablePattern):
        return [pattern.name]
    if isinstance(pattern, syntax.ArrayPattern):
        return [name for item in pattern.items for name in _names(item)]
    inner = ([variable] * bool(variable) + (_names(part) if part else []) for _, variable, part in pattern.entries)
    return [name for names in inner for name in names]


def _pattern(pattern: syntax.Pattern, scope: Scope) -> tuple[Binder, Scope]:
    """What binds a value to a pattern, and the scope with the pattern's variables."""
    if isinstance(pattern, syntax.VariablePattern):
        return (lambda machine, value, env, bound: bound(machine, (value, env))), (Entry(pattern.name), scope)
    steps: list[tuple[Node | int, Binder]] = []
    if isinstance(pattern, syntax.ArrayPattern):
        for number, item in enumerate(pattern.items):
            binder, scope = _pattern(item, scope)
            steps.append((number, binder))
    else:
        for key, variable, part in pattern.entries:
            compiled = _compile(key, scope)
            if variable:
                binder, scope = _pattern(syntax.VariablePattern(variable), scope)
                steps.append((compiled, binder))
            if part is not None:
                binder, scope = _pattern(part, scope)
                steps.append((compiled, binder))
    return _stepwise(steps), scope


def _stepwise(steps: list[tuple[Node | int, Binder]]) -> Binder:
    def bind(machine: Machine, value: Any, env: Env, bound: Bound) -> Task:
        def step(inner: Machine, number: int, now: Env) -> Task:
            if number == len(steps):
                return bound(inner, now)
            key, binder = steps[number]

            def with_key(m: Machine, name: Any, _place: Place) -> Task:
                return binder(m, values.index(value, name), now, lambda m2, later: step(m2, number + 1, later))

            if isinstance(key, int):
                if value is not None and not isinstance(value, list):
                    raise Failure(f"expected an array but got: {described(value)}")
                return with_key(inner, key, None)
            return key(inner, value, None, now, with_key)

        return step(machine, 0, env)

    return bind


def _define(node: syntax.Define, scope: Scope) -> Node:
    function = Function(node.parameters)
    scope = (Entry(node.name, len(node.parameters)), scope)
    function.body = _compile(node.body, _with_parameters(node.parameters, scope))
    rest = _compile(node.rest, scope)
    return lambda machine, value, place, env, then: rest(machine, value, place, (function, env), then)


def _with_parameters(parameters: tuple[str, ...], scope: Scope) -> Scope:
    for name in parameters:
        scope = (Entry(name, 0, is_parameter=True), scope)
    return scope


def _call(node: syntax.Call, scope: Scope) -> Node:
    arity = len(node.arguments)
    if node.name[0] == "$":
        return _variable(node.name, scope)
    found = _find(scope, lambda entry: entry.arity == arity and entry.name.lstrip("$") == node.name)
    if found is not None:
        distance, entry = found
        if entry.is_parameter:
            return _value_of(distance) if entry.name[0] == "$" else _closure(distance)
        return _applied(node, scope, lambda env: _at_definition(env, distance))
    if (special := _SPECIAL.get((node.name, arity))) is not None:
        return special(node, scope)
    if (function := _library_function(node.name, arity)) is not None:
        # a library function sees nothing of where it is called
        return _applied(node, scope, lambda _env: (function, None))
    if (native := functions.NATIVES.get((node.name, arity))) is not None:
        return _native(native, node.arguments, scope)
    raise JqSyntaxError(f"function not defined: {node.name}/{arity}")


def _variable(name: str, scope: Scope) -> Node:
    found = _find(scope, lambda entry: entry.name == name)
    if found is not None:
        return _value_of(found[0])
    if name == "$ENV":
        return lambda machine, value, place, env, then: (then, {}, place)
    raise JqSyntaxError(f"variable not defined: {name}")


def _value_of(distance: int) -> Node:
    return lambda machine, value, place, env, then: (then, _outer(env, distance)[0], place)


def _closure(distance: int) -> Node:
    """A parameter: its argument runs where it was written."""

    def run(_machine: Machine, value: Any, place: Place, env: Env, then: Then) -> Task:
        body, home = _outer(env, distance)[0]
        return body, value, place, home, then

    return run


Located = Callable[[Env], tuple[Function, Env]]


def _applied(node: syntax.Call, scope: Scope, locate: Located) -> Node:
    """A call of a function written in jq. Arguments stay filters, unless the parameter is a variable."""
    arguments = [_compile(argument, scope) for argument in node.arguments]

    def run(machine: Machine, value: Any, place: Place, env: Env, then: Then) -> Task:
        function, home = locate(env)
        return enter(machine, function, 0, home, value, place, env, then)

    def enter(
        machine: Machine, function: Function, number: int, inner: Env, value: Any, place: Place, env: Env, then: Then
    ) -> Task:
        """Binds the arguments from ``number`` on into ``inner``, the environment of the body."""
        if number == len(arguments):
            return function.body, value, place, inner, then
        argument = arguments[number]
        if function.parameters[number][0] != "$":
            return enter(machine, function, number + 1, ((argument, env), inner), value, place, env, then)

        def bound(m: Machine, known: Any, _place: Place) -> Task:
            return enter(m, function, number + 1, (known, inner), value, place, env, then)

        return argument(machine, value, None, env, bound)

    return run


_LIBRARY: Final[dict[tuple[str, int], Function]] = {}


def _library_function(name: str, arity: int) -> Function | None:
    if (name, arity) not in _LIBRARY:
        definition = library.definitions().get((name, arity))
        if definition is None:
            return None
        function = _LIBRARY[name, arity] = Function(definition.parameters)
        function.body = _compile(definition.body, _with_parameters(definition.parameters, None))
    return _LIBRARY[name, arity]


# Builtins that are no functions of values


def _empty(_node: syntax.Call, _scope: Scope) -> Node:
    return lambda machine, value, place, env, then: None


def _path(node: syntax.Call, scope: Scope) -> Node:
    body = _compile(node.arguments[0], scope)

    def run(machine: Machine, value: Any, place: Place, env: Env, then: Then) -> Task:
        def there(_machine: Machine, found: Any, at: Place) -> Task:
            assert at is not None
            if not intact(found, at):
                raise Failure(f"invalid path against: {described(found)}")
            return then, keys_of(at), place

        return body(machine, value, ((), value), env, there)

    return run


def _getpath(node: syntax.Call, scope: Scope) -> Node:
    path = _compile(node.arguments[0], scope)

    def run(machine: Machine, value: Any, place: Place, env: Env, then: Then) -> Task:
        def follow(_machine: Machine, keys: Any, _place: Place) -> Task:
            found = functions.getpath(value, keys)
            if place is None:
                return then, found, None
            if not intact(value, place):
                raise Failure(f"invalid path against: {described(value)}")
            linked = place[0]
            for key in keys:
                linked = (linked, key)
            return then, found, (linked, found)

        return path(machine, value, None, env, follow)

    return run


def _range(node: syntax.Call, scope: Scope) -> Node:
    compiled = [_compile(argument, scope) for argument in node.arguments]

    def run(machine: Machine, value: Any, place: Place, env: Env, then: Then) -> Task:
        def before(inner: Machine, number: int, known: tuple[Any, ...]) -> Task:
            if number < 0:
                functions.check_range(known)
                return _counted(inner, known[0], known[1], known[2], place, then)
            return compiled[number](
                inner, value, None, env, lambda m, found, _p: before(m, number - 1, (found, *known))
            )

        return before(machine, 2, ())

    return run


def _counted(machine: Machine, at: Any, end: Any, step: Any, place: Place, then: Then) -> Task:
    if values.compare(step, 0) * values.compare(at, end) >= 0:
        return None
    machine.choices.append((_counted, at + step, end, step, place, then))
    return then, at, place


def _last(node: syntax.Call, scope: Scope) -> Node:
    body = _compile(node.arguments[0], scope)

    def run(machine: Machine, value: Any, place: Place, env: Env, then: Then) -> Task:
        latest: list[tuple[Any, Place]] = []

        def keep(_machine: Machine, found: Any, at: Place) -> Task:
            latest[:] = [(found, at)]
            return None

        def end(_machine: Machine) -> Task:
            return (then, *latest[0]) if latest else None

        machine.choices.append((end,))
        return body(machine, value, place, env, keep)

    return run


def _now(_node: syntax.Call, _scope: Scope) -> Node:
    def run(machine: Machine, _value: Any, place: Place, _env: Env, then: Then) -> Task:
        if machine.now is None:
            raise Failure("now is not known here")
        return then, machine.now, place

    return run


def _input(_node: syntax.Call, _scope: Scope) -> Node:
    raise JqSyntaxError("input(s)/0 is not allowed")


_SPECIAL: Final[dict[tuple[str, int], Callable[[syntax.Call, Scope], Node]]] = {
    ("empty", 0): _empty,
    ("path", 1): _path,
    ("getpath", 1): _getpath,
    ("_range", 3): _range,
    ("_last", 1): _last,
    ("now", 0): _now,
    ("input", 0): _input,
}
_COMPILERS: Final[dict[type, Callable[[Any, Scope], Node]]] = {
    syntax.Identity: _identity,
    syntax.Constant: _constant,
    syntax.Index: _index,
    syntax.Slice: _slice,
    syntax.Iterate: _iterate,
    syntax.Array: _array,
    syntax.Object: _object,
    syntax.Text: _text,
    syntax.Format: _format,
    syntax.Call: _call,
    syntax.Pipe: _pipe,
    syntax.Comma: _comma,
    syntax.Binary: _binary,
    syntax.Alternative: _alternative,
    syntax.Update: _update,
    syntax.If: _if,
    syntax.Try: _try,
    syntax.Reduce: _reduce,
    syntax.Foreach: _foreach,
    syntax.Bind: _bind,
    syntax.Label: _label,
    syntax.Break: _break,
    syntax.Define: _define,
}
