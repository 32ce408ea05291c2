"""Values as the API server's internal types hold them, for messages that show them whole.

Those types have no JSON names: a value is shown under Go's field names, in Go's order, with every empty field. The
table is generated (``tools/codegen_internal_types.py``) and read at the first question.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Final

import orjson

_HOST_FIELDS: Final = ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "hostUsers")
_ZERO: Final[Mapping[str, Any]] = {"s": "", "b": False, "n": 0, "=IntOrString": 0, "=Quantity": "0"}


def shown(type_name: str, value: Any) -> Any:
    """``value`` (as in v1) as the internal type ``core.PodSpec`` shows it; KeyError for an unknown type."""
    return _shown(type_name, value)


def _shown(kind: str, value: Any) -> Any:
    if kind.startswith("*"):
        return None if value is None else _shown(kind[1:], value)
    if kind.startswith("[]"):
        return None if value is None else [_shown(kind[2:], item) for item in value]
    if kind.startswith("{}"):
        return None if value is None else {key: _shown(kind[2:], value[key]) for key in sorted(value)}
    if "." in kind:
        return _struct(kind, value or {})
    if value is None:
        return _ZERO.get(kind, None if kind in ("=Time", "any", "bytes") else {})
    return value


def _struct(kind: str, value: Mapping[str, Any]) -> dict[str, Any]:
    if kind == "core.PodSpec":
        value = _with_host_fields(value)
    found: dict[str, Any] = {}
    for name, inner, key in _fields(kind):
        if key != "<":
            found[name] = _shown(inner, value.get(key))
        elif inner == "=ObjectMeta":
            found |= {k: v for k, v in (value.get("metadata") or {}).items() if v is not None}
        else:
            found |= _shown(inner, value)
    return found


def _with_host_fields(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The internal pod keeps these in its security context."""
    moved = {key: spec[key] for key in _HOST_FIELDS if spec.get(key) is not None}
    context = spec.get("securityContext")
    return {**spec, "securityContext": None if context is None and not moved else {**(context or {}), **moved}}


@cache
def _fields(kind: str) -> tuple[tuple[str, str, str], ...]:
    found = []
    for row in _table()[kind]:
        name, inner, *key = row.split(":")
        found.append((name, inner, key[0] if key else name[:1].lower() + name[1:]))
    return tuple(found)


@cache
def _table() -> dict[str, list[str]]:
    table: dict[str, list[str]] = orjson.loads(files("tiphys.api").joinpath("data/internal_types.json").read_bytes())
    return table
