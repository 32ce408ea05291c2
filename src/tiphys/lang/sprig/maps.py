"""Maps. ``set``, ``unset`` and the merges change the map they are given and return it, as upstream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tiphys.lang.gofmt import type_name
from tiphys.lang.govalues import CallError, NilMap, StringList
from tiphys.lang.sprig.convert import is_empty, strval

DEPTH_MAX = 100
"""Merging and copying stop at this depth; a map may have been put into itself."""

Map = dict[str, Any]


def get(mapping: Map, key: str) -> Any:
    return mapping.get(key, "")


def set_key(mapping: Map, key: str, value: Any) -> Map:
    mapping[key] = value
    return mapping


def unset(mapping: Map, key: str) -> Map:
    mapping.pop(key, None)
    return mapping


def pluck(key: str, *mappings: Map) -> list[Any]:
    return [mapping[key] for mapping in mappings if key in mapping]


def keys(*mappings: Map) -> StringList:
    """In order of the keys; Go's order is random."""
    return StringList(key for mapping in mappings for key in sorted(mapping))


def values(mapping: Map) -> list[Any]:
    """In order of the keys; Go's order is random."""
    return [mapping[key] for key in sorted(mapping)]


def pick(mapping: Map, *wanted: str) -> Map:
    return {key: mapping[key] for key in wanted if key in mapping}


def omit(mapping: Map, *unwanted: str) -> Map:
    return {key: value for key, value in mapping.items() if key not in unwanted}


def make(*items: Any) -> Map:
    """Keys and values by turns; a key without a value gets the empty string."""
    padded = (*items, "") if len(items) % 2 else items
    return {strval(key): value for key, value in zip(padded[::2], padded[1::2], strict=True)}


def merge(target: Map, *sources: Map) -> Map:
    """What ``target`` lacks or has empty is taken from the sources, maps key by key."""
    return _merged(target, sources, overwrite=False)


def merge_overwrite(target: Map, *sources: Map) -> Map:
    """What the sources have replaces what ``target`` has, maps key by key."""
    return _merged(target, sources, overwrite=True)


def _merged(target: Map, sources: tuple[Map, ...], *, overwrite: bool) -> Map:
    target = {} if isinstance(target, NilMap) else target
    for source in sources:
        _merge_into(target, source, overwrite, 0)
    return target


def _merge_into(target: Map, source: Map, overwrite: bool, depth: int) -> None:
    if depth > DEPTH_MAX:
        raise CallError(f"merge: nested deeper than {DEPTH_MAX}")
    for key, value in list(source.items()):
        present = target.get(key)
        if value is None:
            if overwrite:
                target[key] = None
        elif isinstance(value, dict) and isinstance(present, dict):
            _merge_into(present, value, overwrite, depth + 1)
        elif overwrite or is_empty(present):
            target[key] = value


def deep_copy(value: Any) -> Any:
    if value is None:
        raise CallError("reflect: call of reflect.Value.Type on zero Value")
    return _copied(value, 0)


def _copied(value: Any, depth: int) -> Any:
    if depth > DEPTH_MAX:
        raise CallError(f"deepCopy: nested deeper than {DEPTH_MAX}")
    if isinstance(value, dict):
        return type(value)((key, _copied(item, depth + 1)) for key, item in value.items())
    if isinstance(value, list):
        return type(value)(_copied(item, depth + 1) for item in value)
    return value


def dig(*path: Any) -> Any:
    """Keys, a default and a map: the value under the keys, or the default where one of them is missing."""
    if len(path) < 3:
        raise CallError("dig needs at least three arguments")
    *wanted, default, found = path
    found = _as_map(found)
    for key in wanted:
        _as_string(key)
    for position, key in enumerate(wanted):
        if key not in found:
            return default
        found = found[key] if position == len(wanted) - 1 else _as_map(found[key])
    return found


def _as_map(value: Any) -> Any:
    if isinstance(value, dict) and type_name(value) == "map[string]interface {}":
        return value
    raise CallError(f"interface conversion: interface {{}} is {_named(value)}, not map[string]interface {{}}")


def _as_string(value: Any) -> None:
    if not isinstance(value, str):
        raise CallError(f"interface conversion: interface {{}} is {_named(value)}, not string")


def _named(value: Any) -> str:
    return "nil" if value is None else type_name(value)


TABLE: dict[str, tuple[str, Callable[..., Any]]] = {
    "dict": ("...any -> map", make),
    "get": ("map, string -> any", get),
    "set": ("map, string, any -> map", set_key),
    "unset": ("map, string -> map", unset),
    "hasKey": ("map, string -> bool", lambda mapping, key: key in mapping),
    "pluck": ("string, ...map -> list", pluck),
    "keys": ("...map -> []string", keys),
    "pick": ("map, ...string -> map", pick),
    "omit": ("map, ...string -> map", omit),
    "merge": ("map, ...map -> any", merge),
    "mergeOverwrite": ("map, ...map -> any", merge_overwrite),
    "mustMerge": ("map, ...map -> any", merge),
    "mustMergeOverwrite": ("map, ...map -> any", merge_overwrite),
    "values": ("map -> list", values),
    "deepCopy": ("any -> any", deep_copy),
    "mustDeepCopy": ("any -> any", deep_copy),
    "dig": ("...any -> any", dig),
}
