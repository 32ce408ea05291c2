"""The environment in which Argo evaluates expressions.

A scope is flat (``{"inputs.parameters.n": "5"}``); expressions see it nested (``inputs.parameters.n``). Where a name is
both a value and the start of others the others win. Beside the scope there are asInt, asFloat, toJson, jsonpath and the
sprig functions under ``sprig``, which a scope's own names of that kind do not hide.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any, NoReturn

from tiphys.lang.expr.builtins import to_integer, to_real
from tiphys.lang.expr.jsonpath import JsonPathError, query
from tiphys.lang.expr.jsontext import marshal
from tiphys.lang.gojson_read import JsonSyntaxError, loads
from tiphys.lang.govalues import CallError, Function
from tiphys.lang.sprig import FUNCTIONS, Sources
from tiphys.lang.sprig import functions as sprig_functions


def environment(
    scope: Mapping[str, Any], roots: Iterable[str] | None = None, *, sources: Sources | None = None
) -> dict[str, Any]:
    """The scope nested, with Argo's functions. ``roots`` limits it to what starts with these names.

    With ``sources`` those functions of sprig work that need the time or chance. Maps in it are new at every call, as
    some functions change them.
    """
    given = FUNCTIONS if sources is None else sprig_functions(sources)
    return {**expand(scope, roots), **_OWN, "sprig": {**given, **_REFUSED}}


def expand(scope: Mapping[str, Any], roots: Iterable[str] | None = None) -> dict[str, Any]:
    """``{"a.b": 1, "a.c.d": 2}`` → ``{"a": {"b": 1, "c": {"d": 2}}}``; the scope itself stays as it is.

    As in the original a name is dropped when the name after it in order is longer and starts with it and a dot.
    """
    levels: dict[str, dict[str, Any]] = {}
    found: dict[str, Any] = {}
    names = sorted(scope if roots is None else _under(scope, frozenset(roots)))
    for name, following in pairwise([*names, ""]):
        if following.startswith(name + "."):
            continue
        parent, dot, leaf = name.rpartition(".")
        level = (levels.get(parent) or _level(levels, found, parent)) if dot else found
        if name not in levels:
            level[leaf] = scope[name]
    return found


def _under(scope: Iterable[str], roots: frozenset[str]) -> list[str]:
    starts = tuple(f"{root}." for root in roots)
    return [name for name in scope if name in roots or name.startswith(starts)]


def _level(levels: dict[str, dict[str, Any]], found: dict[str, Any], path: str) -> dict[str, Any]:
    """The map at ``path``, made with all above it; it takes the place of a plain value of that name."""
    level, at = found, 0
    while at >= 0:
        dot = path.find(".", at)
        here = path if dot < 0 else path[:dot]
        inner = levels.get(here)
        if inner is None:
            inner = levels[here] = level[here[at:]] = {}
        level, at = inner, dot + 1 if dot >= 0 else -1
    return level


def _jsonpath(text: str, path: str) -> Any:
    try:
        return query(path, loads(text))
    except (JsonPathError, JsonSyntaxError) as err:
        raise CallError(str(err)) from err


def _get_host_by_name(name: str) -> NoReturn:
    raise CallError("getHostByName is not available here: expressions do not use the network")


_OWN = {
    "asInt": Function("asInt", to_integer, ("interface {}",), "interface {}"),
    "asFloat": Function("asFloat", to_real, ("interface {}",), "interface {}"),
    "jsonpath": Function("jsonpath", _jsonpath, ("string", "string"), "interface {}"),
    "toJson": Function("toJson", marshal, ("interface {}",), "string"),
}
_REFUSED = {"getHostByName": Function("getHostByName", _get_host_by_name, ("string",), "string")}
