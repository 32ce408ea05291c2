"""Built-in Kubernetes types: whether an object fits its Go type, and its form after a trip through it.

Two trips exist in the original and both are here. ``misfit`` is the unstructured converter of apimachinery, which
health checks and normalizations use: strict in types, case-sensitive, blind to unknown fields. ``remarshalled`` is
JSON into the struct and out again, which a comparison begins with: what Go would not write disappears, quantities and
times take their canonical form; an object that does not fit, or has unknown fields, stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from tiphys.api import decode, kube_messages, types
from tiphys.api.types import Type
from tiphys.cd.plan.objects import Gvk, Object, gvk_of

_CLIENT_GO = "k8s.io.api."


@cache
def go_type(gvk: Gvk) -> str | None:
    """The Go type of a kind that client-go's scheme knows, None for all others (CustomResourceDefinition is one)."""
    found = kube_messages.message_of(gvk.api_version, gvk.kind)
    return found.name if found is not None and found.name.startswith(_CLIENT_GO) else None


def misfit(obj: Object, type_name: str) -> str | None:
    """Why the object cannot be restored into the Go type; None if it can."""
    return _misfit(obj, types.root(type_name))


def remarshalled(obj: Object) -> Object:
    """The object as its Go type would write it, without what only the writing added."""
    name = go_type(gvk_of(obj))
    if name is None:
        return obj
    try:
        decoded = decode.decode(name, obj, strict=True)
    except decode.DecodeError:
        return obj
    if decoded.unknown:
        return obj
    written: Object = decode.pruned(name, decoded.value)
    return remove_map_fields(obj, written)


def remove_map_fields(config: Mapping[str, Any], live: Mapping[str, Any]) -> dict[str, Any]:
    """``live`` without the fields that ``config`` does not have, at every depth."""
    result: dict[str, Any] = {}
    for name, wanted in config.items():
        if name not in live:
            continue
        held = live[name]
        if held is not None:
            held = _removed(wanted, held)
        result[name] = held
    return result


def remove_list_fields(config: list[Any], live: list[Any]) -> list[Any]:
    """Element by element as ``remove_map_fields``; elements beyond ``config`` stay."""
    kept = [held if held is None else _removed(wanted, held) for wanted, held in zip(config, live, strict=False)]
    return kept + live[len(kept) :]


def _removed(wanted: Any, held: Any) -> Any:
    if isinstance(wanted, Mapping) and isinstance(held, Mapping):
        return remove_map_fields(wanted, held)
    if isinstance(wanted, list) and isinstance(held, list):
        return remove_list_fields(wanted, held)
    return held


def _misfit(value: Any, kind: Type) -> str | None:
    if value is None:
        return None
    match kind.kind:
        case "struct":
            return _struct_misfit(value, kind)
        case "slice":
            if not isinstance(value, list):
                return f"cannot restore slice from {_kind(value)}"
            return next((why for each in value if (why := _misfit(each, kind.elem))), None)
        case "map":
            if not isinstance(value, Mapping):
                return f"cannot restore map from {_kind(value)}"
            return next((why for each in value.values() if (why := _misfit(each, kind.elem))), None)
        case "own" | "bytes":
            return _own_misfit(value, kind)
        case "any":
            return None
    fits = {
        "string": isinstance(value, str),
        "bool": isinstance(value, bool),
        "float": isinstance(value, int | float) and not isinstance(value, bool),
    }.get(kind.kind, _is_whole(value))
    return None if fits else f"unrecognized type: {kind.go_name}"


def _struct_misfit(value: Any, kind: Type) -> str | None:
    if not isinstance(value, Mapping):
        return f"cannot restore struct from: {_kind(value)}"
    for name, entry in kind.fields.items():
        if name in value:
            why = _misfit(value[name], entry.type)
            if why is not None:
                return why
    return None


def _own_misfit(value: Any, kind: Type) -> str | None:
    if not kind.name:
        return None if isinstance(value, str) else f"cannot restore slice from {_kind(value)}"
    try:
        decode.decode(kind.name, value)
    except decode.DecodeError as err:
        return str(err)
    return None


def _is_whole(value: Any) -> bool:
    if isinstance(value, float):
        return value.is_integer()
    return isinstance(value, int) and not isinstance(value, bool)


def _kind(value: Any) -> str:
    """What Go's reflection calls the kind of a JSON value."""
    if isinstance(value, Mapping):
        return "map"
    if isinstance(value, list):
        return "slice"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    return "float64" if isinstance(value, float) else "int64"
