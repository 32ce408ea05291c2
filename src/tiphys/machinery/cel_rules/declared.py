"""The CEL type of a structural schema, with the bounds that cost estimates need.

A bound that the schema does not give follows from the largest request (3 MiB): so many of the smallest values fit in
it. Property names that are no CEL identifiers are escaped (``my-prop`` is ``my__dash__prop``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tiphys.lang.cel import types
from tiphys.lang.cel.types import Type

Schema = Mapping[str, Any]
REQUEST_SIZE_MAX = 3 * 1024 * 1024
_TEXT_FORMATS: dict[str, tuple[Type, int, int]] = {
    "duration": (types.DURATION, 32, 3),
    "date": (types.TIMESTAMP, 12, 12),
    "date-time": (types.TIMESTAMP, 32, 21),
}
_STRING: Schema = {"type": "string"}
_RESOURCE_PROPERTIES: Schema = {
    "kind": _STRING,
    "apiVersion": _STRING,
    "metadata": {"type": "object", "properties": {"name": _STRING, "generateName": _STRING}},
}
_KEYWORDS = frozenset(
    [
        "true",
        "false",
        "null",
        "in",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    ]
)
_ESCAPED = {"__": "__underscores__", ".": "__dot__", "-": "__dash__", "/": "__slash__"}
_TO_ESCAPE = re.compile(r"__|[./-]")
_TO_UNESCAPE = re.compile("|".join(map(re.escape, _ESCAPED.values())))
_UNESCAPED = {escaped: plain for plain, escaped in _ESCAPED.items()}
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


@dataclass(frozen=True)
class Declared:
    """A schema as CEL sees it. ``size_max``: characters, items or entries at most; ``json_min``: bytes at least."""

    type: Type
    size_max: int = 0
    json_min: int = 1
    fields: Mapping[str, Declared] = field(default_factory=dict)
    element: Declared | None = None

    def at(self, path: tuple[str, ...]) -> Declared | None:
        """What stands at a path of field names, ``@items``, ``@values`` and ``@keys``."""
        found: Declared | None = self
        for step in path:
            if found is None:
                return None
            if step in ("@items", "@values"):
                found = found.element
            elif step == "@keys":
                found = _KEY if found.type.kind == "map" else None
            else:
                found = found.fields.get(step)
        return found

    def structs(self) -> dict[str, Mapping[str, Type]]:
        """The fields of every object type in it, by the type's name."""
        found: dict[str, Mapping[str, Type]] = {}
        pending = [self]
        while pending:
            one = pending.pop()
            if one.type.kind == "struct":
                found[one.type.name] = {name: member.type for name, member in one.fields.items()}
            pending.extend(one.fields.values())
            if one.element is not None:
                pending.append(one.element)
        return found


_KEY = Declared(types.STRING, size_max=0, json_min=2)


def escape(name: str) -> str | None:
    """A property's name as an identifier; None when it has none."""
    if name in _KEYWORDS:
        return f"__{name}__"
    found = _TO_ESCAPE.sub(lambda match: _ESCAPED[match[0]], name)
    return found if _IDENTIFIER.fullmatch(found) else None


def unescape(name: str) -> str:
    """The property's name behind an identifier."""
    if "__" not in name:
        return name
    if name.startswith("__") and name.endswith("__") and name[2:-2] in _KEYWORDS:
        return name[2:-2]
    return _TO_UNESCAPE.sub(lambda match: _UNESCAPED[match[0]], name)


def as_resource(schema: Schema) -> Schema:
    """The schema with what every resource has: kind, apiVersion and the names of its metadata."""
    properties = schema.get("properties") or {}
    metadata = (properties.get("metadata") or {}).get("properties") or {}
    if {"kind", "apiVersion"} <= properties.keys() and {"name", "generateName"} <= metadata.keys():
        return schema
    return {**schema, "properties": {**properties, **_RESOURCE_PROPERTIES}}


def declare(schema: Schema, *, is_resource: bool = False, name: str = "self") -> Declared | None:
    """The declaration of a schema; None for what rules cannot see. ``name`` names the object types in it."""
    if schema.get("x-kubernetes-int-or-string"):
        return Declared(types.DYN, _text_max(schema), 1)
    if is_resource or schema.get("x-kubernetes-embedded-resource"):
        schema = as_resource(schema)
    match schema.get("type"):
        case "array":
            return _array(schema, name)
        case "object":
            others = schema.get("additionalProperties")
            return _map(schema, others, name) if isinstance(others, Mapping) else _object(schema, name)
        case "string":
            return _text(schema)
        case "boolean":
            return Declared(types.BOOL, json_min=4)
        case "number":
            return Declared(types.DOUBLE)
        case "integer":
            return Declared(types.INT)
    return None


def _array(schema: Schema, name: str) -> Declared | None:
    items = schema.get("items")
    element = declare(items, name=f"{name}.@idx") if isinstance(items, Mapping) else None
    if element is None:
        return None
    most = _limit(schema, "maxItems", (REQUEST_SIZE_MAX - 2) // (element.json_min + 1))
    return Declared(types.list_of(element.type), most, 2, element=element)


def _map(schema: Schema, others: Schema, name: str) -> Declared | None:
    element = declare(others, name=f"{name}.@elem")
    if element is None:
        return None
    most = _limit(schema, "maxProperties", (REQUEST_SIZE_MAX - 2) // (element.json_min + 6))
    return Declared(types.map_of(types.STRING, element.type), most, 2, element=element)


def _object(schema: Schema, name: str) -> Declared:
    required = frozenset(schema.get("required") or ())
    fields: dict[str, Declared] = {}
    least = 2
    for property_name, inner in (schema.get("properties") or {}).items():
        found = declare(inner, name=f"{name}.{property_name}")
        if found is None:
            continue
        escaped = escape(property_name)
        if escaped is not None:
            fields[escaped] = found
        if property_name in required and inner.get("default") is None:
            least += len(property_name.encode()) + found.json_min + 4
    return Declared(types.struct(name), 0, least, fields)


def _text(schema: Schema) -> Declared:
    kind = schema.get("format")
    if kind == "byte":
        return Declared(types.BYTES, _limit(schema, "maxLength", REQUEST_SIZE_MAX - 2), 2)
    if kind in _TEXT_FORMATS:
        found, most, least = _TEXT_FORMATS[kind]
        return Declared(found, most, least)
    return Declared(types.STRING, _text_max(schema), 2)


def _text_max(schema: Schema) -> int:
    """Bytes: a character has up to four."""
    if schema.get("maxLength") is not None:
        return max(int(schema["maxLength"]), 0) * 4
    if schema.get("enum") and not schema.get("x-kubernetes-int-or-string"):
        return max((len(v.encode()) for v in schema["enum"] if isinstance(v, str)), default=0)
    return REQUEST_SIZE_MAX - 2


def _limit(schema: Schema, key: str, otherwise: int) -> int:
    return otherwise if schema.get(key) is None else max(int(schema[key]), 0)
