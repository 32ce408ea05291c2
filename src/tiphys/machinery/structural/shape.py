"""The shape of a value under a structural schema: unknown fields out, nulls out, defaults in.

Nothing is changed in place; what needs no change keeps its identity.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

Schema = Mapping[str, Any]

PRESERVE: Final = "x-kubernetes-preserve-unknown-fields"
EMBEDDED: Final = "x-kubernetes-embedded-resource"
_RESOURCE_FIELDS: Final = ("apiVersion", "kind", "metadata")
UNKNOWN_MAX: Final = 100


def pruned(value: Any, schema: Schema, path: str, unknown: list[str], *, is_resource: bool = False) -> Any:
    """``value`` without fields that the schema does not have; their paths go to ``unknown``.

    ``is_resource``: apiVersion, kind and metadata belong to it whatever the schema says.
    """
    if isinstance(value, Mapping):
        return _pruned_object(value, schema, path, unknown, is_resource or bool(schema.get(EMBEDDED)))
    if isinstance(value, list):
        items = schema.get("items")
        if not isinstance(items, Mapping):
            return value
        return [pruned(item, items, f"{path}[{at}]", unknown) for at, item in enumerate(value)]
    return value


def _pruned_object(value: Mapping[str, Any], schema: Schema, path: str, unknown: list[str], is_resource: bool) -> Any:
    properties, others = schema.get("properties") or {}, schema.get("additionalProperties")
    keeps_unknown = bool(schema.get(PRESERVE))
    if keeps_unknown and not properties and not isinstance(others, Mapping):
        return value
    found: dict[str, Any] = {}
    for key, member in value.items():
        where = f"{path}.{key}" if path else key
        if is_resource and key in _RESOURCE_FIELDS:
            found[key] = member
        elif key in properties:
            found[key] = pruned(member, properties[key], where, unknown)
        elif isinstance(others, Mapping) or others is True:
            # "true" allows any member, not what is inside of it.
            found[key] = pruned(member, others if isinstance(others, Mapping) else {}, where, unknown)
        elif keeps_unknown:
            found[key] = member
        elif len(unknown) < UNKNOWN_MAX:
            unknown.append(where)
    return found


def without_nulls(value: Any, schema: Schema) -> Any:
    """``value`` without members that are null and may not be (a default can then take their place)."""
    if isinstance(value, list):
        items = schema.get("items")
        return [without_nulls(item, items) for item in value] if isinstance(items, Mapping) else value
    if not isinstance(value, Mapping):
        return value
    properties, others = schema.get("properties") or {}, schema.get("additionalProperties")
    if not properties and not isinstance(others, Mapping):
        return value
    found: dict[str, Any] = {}
    for key, member in value.items():
        inner = properties.get(key, others if isinstance(others, Mapping) else None)
        if member is None and inner is not None and not inner.get("nullable"):
            continue
        found[key] = without_nulls(member, inner) if inner is not None else member
    return found


def defaulted(value: Any, schema: Schema) -> Any:
    """``value`` with the defaults of absent members filled in, also inside of defaults."""
    if isinstance(value, list):
        items = schema.get("items")
        return [defaulted(item, items) for item in value] if isinstance(items, Mapping) else value
    if not isinstance(value, Mapping):
        return value
    properties, others = schema.get("properties") or {}, schema.get("additionalProperties")
    if not properties and not isinstance(others, Mapping):
        return value
    found = dict(value)
    for key, inner in properties.items():
        if key not in found and inner.get("default") is not None:
            found[key] = inner["default"]
        if key in found:
            found[key] = defaulted(found[key], inner)
    if isinstance(others, Mapping):
        for key in found.keys() - properties.keys():
            found[key] = defaulted(found[key], others)
    return found
