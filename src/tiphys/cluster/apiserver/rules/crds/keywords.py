"""The keywords of a schema: which are allowed, and what lists, maps and rules must say.

Source: apiextensions ``ValidateCustomResourceDefinitionOpenAPISchema`` without its CEL part.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from tiphys.cluster.apiserver.problems import Complaint, forbidden_value, invalid_value, required, unsupported
from tiphys.cluster.apiserver.rules.crds.shapes import EMBEDDED, PRESERVE, Schema
from tiphys.machinery.structural.extensions import RULES

_TYPES: Final = ("array", "boolean", "integer", "number", "object", "string")
_FORBIDDEN: Final = ("id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref")
_LIST, _MAP, _KEYS = "x-kubernetes-list-type", "x-kubernetes-map-type", "x-kubernetes-list-map-keys"


@dataclass(frozen=True)
class _Where:
    """``no_defaults``: why defaults are forbidden here, "" where they are not; ``in_meta``: inside of metadata."""

    no_defaults: str = ""
    in_meta: bool = False


def keyword_complaints(schema: Schema, path: str) -> Iterator[Complaint]:
    """What is wrong with the keywords of a whole resource's schema."""
    yield from _below(schema, path, _Where(), is_root=True)


def _below(schema: Schema, path: str, where: _Where, *, is_root: bool = False) -> Iterator[Complaint]:
    yield from _own(schema, path, where)
    yield from _inner(schema, path, where, is_root)
    if schema.get(PRESERVE) is False:
        yield invalid_value(f"{path}.{PRESERVE}", False, "must be true or undefined")
    yield from _map_complaints(schema, path)
    yield from _list_complaints(schema, path)
    if schema.get(RULES):
        from tiphys.machinery.cel_rules.definitions import text_faults  # loaded for schemas that have rules

        for at, rule in enumerate(schema[RULES]):
            yield from (Complaint(*fault) for fault in text_faults(rule, schema, f"{path}.{RULES}[{at}]"))


def _own(schema: Schema, path: str, where: _Where) -> Iterator[Complaint]:
    kind = schema.get("type")
    if kind and kind not in _TYPES:
        yield unsupported(f"{path}.type", kind, _TYPES)
    if schema.get("default") is not None and where.no_defaults:
        yield forbidden_value(f"{path}.default", f"must not be set {where.no_defaults}")
    for keyword in _FORBIDDEN:
        value = schema.get(keyword)
        if value or (value is not None and keyword in ("additionalItems", "dependencies", "$ref")):
            yield forbidden_value(f"{path}.{keyword}", f"{keyword} is not supported")
    if kind == "null":
        yield forbidden_value(f"{path}.type", "type cannot be set to null, use nullable as an alternative")
    if isinstance(schema.get("items"), list) and schema["items"]:
        yield forbidden_value(f"{path}.items", "items must be a schema object and not an array")
    if where.in_meta and schema.get(EMBEDDED):
        yield forbidden_value(f"{path}.{EMBEDDED}", "must not be used inside of resource meta")
    if schema.get("uniqueItems"):
        text = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        yield forbidden_value(f"{path}.uniqueItems", text)


def _inner(schema: Schema, path: str, where: _Where, is_root: bool) -> Iterator[Complaint]:
    properties, others, items = schema.get("properties") or {}, schema.get("additionalProperties"), schema.get("items")
    if others is not None:
        if properties and others is not True:
            text = "additionalProperties and properties are mutual exclusive"
            yield forbidden_value(f"{path}.additionalProperties", text)
        inside = where
        if where.in_meta:
            inside = replace(where, no_defaults="inside additionalProperties applying to object metadata")
        if isinstance(others, Mapping):
            yield from _below(others, f"{path}.additionalProperties", inside)
    for key in sorted(properties):
        inside = where
        if (is_root or schema.get(EMBEDDED)) and key in ("metadata", "kind", "apiVersion"):
            inside = _Where(f"in top-level {key}" if is_root else where.no_defaults, in_meta=True)
        yield from _below(properties[key], f"{path}.properties[{key}]", inside)
    if schema.get("not") is not None:
        yield from _below(schema["not"], f"{path}.not", where)
    for name in ("allOf", "oneOf", "anyOf"):
        for at, each in enumerate(schema.get(name) or ()):
            yield from _below(each, f"{path}.{name}[{at}]", where)
    for key, each in sorted((schema.get("definitions") or {}).items()):
        yield from _below(each, f"{path}.definitions[{key}]", where)
    if isinstance(items, Mapping):
        yield from _below(items, f"{path}.items", where)
    elif isinstance(items, list):
        for at, each in enumerate(items):
            yield from _below(each, f"{path}.items[{at}]", where)
    for key, each in sorted((schema.get("dependencies") or {}).items()):
        if isinstance(each, Mapping):
            yield from _below(each, f"{path}.dependencies[{key}]", where)


def _wanted_type(schema: Schema, path: str, wanted: str, keyword: str) -> Iterator[Complaint]:
    kind, text = schema.get("type"), f"must be {wanted} if {keyword} is specified"
    if kind != wanted:
        yield invalid_value(f"{path}.type", kind, text) if kind else required(f"{path}.type", text)


def _map_complaints(schema: Schema, path: str) -> Iterator[Complaint]:
    declared = schema.get(_MAP)
    if declared is None:
        return
    yield from _wanted_type(schema, path, "object", _MAP)
    if declared not in ("atomic", "granular"):
        yield unsupported(f"{path}.{_MAP}", declared, ("atomic", "granular"))


def _list_complaints(schema: Schema, path: str) -> Iterator[Complaint]:
    declared, keys, items = schema.get(_LIST), schema.get(_KEYS) or [], schema.get("items")
    if declared is not None and schema.get("type") != "array":
        yield from _wanted_type(schema, path, "array", _LIST)
    elif declared == "set" and isinstance(items, Mapping):
        yield from _atomic_items(items, path)
    if declared is not None and declared not in ("atomic", "set", "map"):
        yield unsupported(f"{path}.{_LIST}", declared, ("atomic", "set", "map"))
    if keys and declared != "map":
        text = f"must be map if {_KEYS} is non-empty"
        yield (
            required(f"{path}.{_LIST}", text) if declared is None else invalid_value(f"{path}.{_LIST}", declared, text)
        )
    if declared == "map":
        yield from _keyed_list(items, keys, path)
    if declared in ("set", "map") and isinstance(items, Mapping):
        yield from _null_complaints(declared, items, keys, path)


def _atomic_items(items: Schema, path: str) -> Iterator[Complaint]:
    """Items of a set must be replaced as a whole."""
    text = "must be atomic as item of a list with x-kubernetes-list-type=set"
    if items.get("type") == "array" and items.get(_LIST) not in (None, "atomic"):
        yield invalid_value(f"{path}.items.{_LIST}", items.get(_LIST), text)
    elif items.get("type") == "object" and items.get(_MAP) != "atomic":
        # The original shows the list type here.
        yield invalid_value(f"{path}.items.{_MAP}", items.get(_LIST), text)


def _keyed_list(items: Any, keys: list[str], path: str) -> Iterator[Complaint]:
    if not keys:
        yield required(f"{path}.{_KEYS}", "must not be empty if x-kubernetes-list-type is map")
    if items is None:
        yield required(f"{path}.items", "must have a schema if x-kubernetes-list-type is map")
    elif not isinstance(items, Mapping):
        yield invalid_value(f"{path}.items", items, "must only have a single schema if x-kubernetes-list-type is map")
    elif items.get("type") != "object":
        text = "must be object if parent array's x-kubernetes-list-type is map"
        yield invalid_value(f"{path}.items.type", items.get("type") or "", text)
    else:
        yield from _key_complaints(items, keys, path)


def _key_complaints(items: Schema, keys: list[str], path: str) -> Iterator[Complaint]:
    properties, seen = items.get("properties") or {}, set[str]()
    for key in keys:
        if key not in properties:
            yield invalid_value(f"{path}.{_KEYS}", keys, "entries must all be names of item properties")
        elif properties[key].get("type") in ("array", "object"):
            text = "must be a scalar type if parent array's x-kubernetes-list-type is map"
            yield invalid_value(f"{path}.items.properties[{key}].type", "object", text)
        if key in seen:
            yield invalid_value(f"{path}.{_KEYS}", keys, "must not contain duplicate entries")
        seen.add(key)


def _null_complaints(declared: str, items: Schema, keys: list[str], path: str) -> Iterator[Complaint]:
    if items.get("nullable"):
        yield forbidden_value(f"{path}.items.nullable", f"cannot be nullable when x-kubernetes-list-type is {declared}")
    properties = items.get("properties") or {}
    for key in keys if declared == "map" else ():
        if key not in properties:
            continue
        at, why = f"{path}.items.properties[{key}]", f"this property is in {_KEYS}, so it"
        if key not in (items.get("required") or ()) and properties[key].get("default") is None:
            yield required(f"{at}.default", f"{why} must have a default or be a required property")
        if properties[key].get("nullable"):
            yield forbidden_value(f"{at}.nullable", f"{why} cannot be nullable")
