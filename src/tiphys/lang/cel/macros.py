"""Macros: calls that the parser replaces by other syntax.

    has(a.b)                     whether the field is there
    r.all(x, p)                  r.exists(x, p)            r.exists_one(x, p)   (also existsOne)
    r.map(x, t)                  r.map(x, p, t)            r.filter(x, p)
    r.all(i, x, p) …             the same with index and value, or key and value
    r.transformList(i, x, t)     r.transformMap(k, v, t)   r.transformMapEntry(k, v, entry)   (each also with a filter)
    o.optMap(x, t)               o.optFlatMap(x, t)        compute on the value of an optional, if it has one

The nodes a macro makes point at the macro's own place in the source.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tiphys.lang.cel.nodes import ACCUMULATOR, UNUSED, Call, Fold, Ident, ListNode, Literal, MapNode, Node, Select

Macro = Callable[[Call], Node]


class MacroError(ValueError):
    """The macro cannot take these arguments."""

    def __init__(self, offset: int, message: str) -> None:
        self.offset = offset
        super().__init__(message)


def lookup(call: Call) -> Macro | None:
    """The macro that a call stands for; a call of another form is an ordinary call."""
    return _MACROS.get((call.function, call.target is not None, len(call.args)))


def _has(call: Call) -> Node:
    (argument,) = call.args
    if not isinstance(argument, Select) or argument.is_test:
        raise MacroError(argument.offset, "invalid argument to has() macro")
    return Select(call.offset, argument.operand, argument.field, is_test=True)


def _variables(call: Call, count: int) -> tuple[str, str | None]:
    names = [_variable(call.args[at]) for at in range(count)]
    if count == 2 and names[0] == names[1]:
        raise MacroError(call.args[1].offset, f"duplicate variable name: {names[0]}")
    return names[0], names[1] if count == 2 else None


def _variable(node: Node) -> str:
    if not isinstance(node, Ident) or node.name.startswith("."):
        raise MacroError(node.offset, "argument must be a simple name")
    if node.name == "__result__":
        raise MacroError(node.offset, "iteration variable overwrites accumulator variable")
    return node.name


def _fold(call: Call, count: int, init: Node, condition: Node, step: Node, result: Node | None = None) -> Node:
    assert call.target is not None
    return Fold(
        call.offset,
        call.target,
        _variables(call, count),
        ACCUMULATOR,
        init,
        condition,
        step,
        result or Ident(call.offset, ACCUMULATOR),
    )


def _make(call: Call, function: str, *args: Node) -> Call:
    return Call(call.offset, function, args)


def _accumulator(call: Call) -> Node:
    return Ident(call.offset, ACCUMULATOR)


def _literal(call: Call, value: Any) -> Node:
    return Literal(call.offset, value)


def _all(call: Call, count: int) -> Node:
    _variables(call, count)
    goes_on = _make(call, "@not_strictly_false", _accumulator(call))
    step = _make(call, "_&&_", _accumulator(call), call.args[-1])
    return _fold(call, count, _literal(call, True), goes_on, step)


def _exists(call: Call, count: int) -> Node:
    _variables(call, count)
    goes_on = _make(call, "@not_strictly_false", _make(call, "!_", _accumulator(call)))
    step = _make(call, "_||_", _accumulator(call), call.args[-1])
    return _fold(call, count, _literal(call, False), goes_on, step)


def _exists_one(call: Call, count: int) -> Node:
    _variables(call, count)
    more = _make(call, "_+_", _accumulator(call), _literal(call, 1))
    step = _make(call, "_?_:_", call.args[-1], more, _accumulator(call))
    result = _make(call, "_==_", _accumulator(call), _literal(call, 1))
    return _fold(call, count, _literal(call, 0), _literal(call, True), step, result)


def _listed(call: Call, count: int) -> Node:
    """map and transformList: with an argument more than usual, that one is a filter."""
    item = ListNode(call.offset, (call.args[-1],))
    step: Node = _make(call, "_+_", _accumulator(call), item)
    if len(call.args) > count + 1:
        step = _make(call, "_?_:_", call.args[-2], step, _accumulator(call))
    return _fold(call, count, ListNode(call.offset, ()), _literal(call, True), step)


def _filter(call: Call) -> Node:
    item = ListNode(call.offset, (call.args[0],))
    step = _make(call, "_?_:_", call.args[1], _make(call, "_+_", _accumulator(call), item), _accumulator(call))
    return _fold(call, 1, ListNode(call.offset, ()), _literal(call, True), step)


def _transform_map(call: Call) -> Node:
    return _inserted(call, (call.args[0], call.args[-1]))


def _transform_entry(call: Call) -> Node:
    return _inserted(call, (call.args[-1],))


def _inserted(call: Call, what: tuple[Node, ...]) -> Node:
    step: Node = _make(call, "cel.@mapInsert", _accumulator(call), *what)
    if len(call.args) == 4:
        step = _make(call, "_?_:_", call.args[2], step, _accumulator(call))
    return _fold(call, 2, MapNode(call.offset, ()), _literal(call, True), step)


def _opt_map(call: Call) -> Node:
    return _optional(call, "optMap", lambda bound: _make(call, "optional.of", bound))


def _opt_flat_map(call: Call) -> Node:
    return _optional(call, "optFlatMap", lambda bound: bound)


def _optional(call: Call, macro: str, wrap: Callable[[Node], Node]) -> Node:
    name, body = call.args
    if not isinstance(name, Ident) or name.name.startswith("."):
        raise MacroError(name.offset, f"{macro}() variable name must be a simple identifier")
    assert call.target is not None
    value = Call(call.offset, "value", (), call.target)
    nothing = ListNode(call.offset, ())
    same = Ident(call.offset, name.name)
    bound = Fold(call.offset, nothing, (UNUSED, None), name.name, value, _literal(call, False), same, body)
    has_value = Call(call.offset, "hasValue", (), call.target)
    return _make(call, "_?_:_", has_value, wrap(bound), _make(call, "optional.none"))


_MACROS: dict[tuple[str, bool, int], Macro] = {
    ("has", False, 1): _has,
    ("all", True, 2): lambda call: _all(call, 1),
    ("all", True, 3): lambda call: _all(call, 2),
    ("exists", True, 2): lambda call: _exists(call, 1),
    ("exists", True, 3): lambda call: _exists(call, 2),
    ("exists_one", True, 2): lambda call: _exists_one(call, 1),
    ("existsOne", True, 2): lambda call: _exists_one(call, 1),
    ("exists_one", True, 3): lambda call: _exists_one(call, 2),
    ("existsOne", True, 3): lambda call: _exists_one(call, 2),
    ("map", True, 2): lambda call: _listed(call, 1),
    ("map", True, 3): lambda call: _listed(call, 1),
    ("filter", True, 2): _filter,
    ("transformList", True, 3): lambda call: _listed(call, 2),
    ("transformList", True, 4): lambda call: _listed(call, 2),
    ("transformMap", True, 3): _transform_map,
    ("transformMap", True, 4): _transform_map,
    ("transformMapEntry", True, 3): _transform_entry,
    ("transformMapEntry", True, 4): _transform_entry,
    ("optMap", True, 2): _opt_map,
    ("optFlatMap", True, 2): _opt_flat_map,
}
