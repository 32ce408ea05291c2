"""Fields and methods of values, and whether a value may be passed for a parameter."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from tiphys.lang.gofmt import quote, type_name
from tiphys.lang.gotemplate.builtins import VALUE, element
from tiphys.lang.gotemplate.state import NIL, State
from tiphys.lang.govalues import Function, NilMap, kind_of_type

ANY = "interface {}"

_NOTHING: Mapping[str, Function] = {}


def methods_of(value: Any) -> Mapping[str, Function]:
    """The methods of a value by name: those it carries itself, and those of times and spans."""
    if type(value) in (dict, str, int, float, bool, list):
        return _NOTHING
    own: Mapping[str, Function] | None = getattr(value, "go_methods", None)
    if own is not None:
        return own
    from tiphys.lang.expr.methods import METHODS  # a cousin that most templates never need

    return {
        name: Function(name, partial(method.call, value), tuple(one.name for one in method.type.ins), _out(method))
        for name, method in METHODS.get(type_name(value), {}).items()
    }


def _out(method: Any) -> str:
    return method.type.out.name if method.type.out is not None else ANY


def field(state: State, receiver: Any, name: str, is_any: bool, has_arguments: bool) -> Any:
    """``receiver.name`` where that is no method: an entry of a map. Nothing stays nothing."""
    if receiver is None:
        if state.missing_key == "error":
            raise state.error(f"nil data; no entry for key {quote(name)}")
        return None
    if receiver is NIL:
        raise state.error(f"nil pointer evaluating {ANY}.{name}")
    if not isinstance(receiver, dict):
        raise state.error(f"can't evaluate field {name} in type {ANY if is_any else type_name(receiver)}")
    if has_arguments:
        raise state.error(f"{name} is not a method but has arguments")
    if name in receiver:
        return element(receiver[name])
    if state.missing_key == "error":
        raise state.error(f"map has no entry for key {quote(name)}")
    if state.missing_key == "zero":
        return NIL if type(receiver) is dict else ""
    return None


def can_be_nil(kind: str) -> bool:
    return kind in (ANY, VALUE) or kind_of_type(kind) in ("map", "slice", "func", "ptr")


def nil_of(kind: str) -> Any:
    """What nil is for a parameter: a nil map, an empty list, or nothing."""
    match kind_of_type(kind):
        case "map":
            return NilMap()
        case "slice":
            return []
        case _:
            return None


def passed(state: State, value: Any, kind: str) -> Any:
    """The value as an argument of type ``kind``; an error where it does not fit."""
    if kind == VALUE:
        return value
    if value is None:
        if can_be_nil(kind):
            return nil_of(kind)
        raise state.error(f"invalid value; expected {kind}")
    if kind == ANY:
        return None if value is NIL else value
    found = type_name(value)
    if found != kind:
        raise state.error(f"wrong type for value; expected {kind}; got {found}")
    return value
