"""Defaults of a schema must be values that the schema allows, without fields that it would drop.

Source: apiextensions ``defaulting.ValidateDefaults``. Defaults below additionalProperties are not looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tiphys.cluster.apiserver import embedded
from tiphys.cluster.apiserver.problems import Complaint, invalid_value
from tiphys.cluster.apiserver.rules.crds.shapes import EMBEDDED, Schema
from tiphys.machinery import structural
from tiphys.machinery.equality import same
from tiphys.machinery.structural.extensions import has_rules

Surround = Callable[[Any], dict[str, Any]]
"""Builds the resource around a value that stands somewhere inside of its metadata."""


def default_complaints(schema: Schema, path: str) -> Iterator[Complaint]:
    """``schema`` is that of a whole resource."""
    root = {**schema, EMBEDDED: True}
    yield from _below(root, root, path, _resource, in_meta=False)


def _resource(value: Any) -> dict[str, Any]:
    return {"kind": "Validation", "apiVersion": "validation/v1"} | dict(value)


def _below(schema: Schema, root: Schema, path: str, around: Surround, in_meta: bool) -> Iterator[Complaint]:
    if schema.get(EMBEDDED):
        in_meta, around, root = False, _resource, schema
    default = schema.get("default")
    if default is not None:
        yield from _judged(default, schema, root, f"{path}.default", around, in_meta)
    items = schema.get("items")
    if isinstance(items, Mapping):
        yield from _below(items, root, f"{path}.items", lambda value: around([value]), in_meta)
    for key, inner in sorted((schema.get("properties") or {}).items()):
        inside = in_meta or bool(schema.get(EMBEDDED) and key in ("metadata", "apiVersion", "kind"))
        yield from _below(inner, root, f"{path}.properties[{key}]", _child(around, key), inside)


def _child(around: Surround, key: str) -> Surround:
    return lambda value: around({key: value})


def _judged(
    default: Any, schema: Schema, root: Schema, path: str, around: Surround, in_meta: bool
) -> Iterator[Complaint]:
    is_resource = bool(schema.get(EMBEDDED))
    value, beside = (around(default), root) if in_meta else (default, schema)
    if not in_meta and not same(structural.pruned(default, schema, "", [], is_resource=is_resource), default):
        yield invalid_value(path, default, "must not have unknown fields")
    at = "" if in_meta else path
    try:
        embedded.coerced(value, beside, at, [], is_resource=in_meta or is_resource)
        found = list(embedded.faults(value, beside, at, is_resource=in_meta or is_resource))
    except embedded.BadMetadata as err:
        found = [err.complaint]
    if found and in_meta:
        found = [invalid_value(path, default, f"must result in valid metadata: {embedded.told(found)}")]
    yield from found or _fitting(default, schema, path)


def _fitting(default: Any, schema: Schema, path: str) -> Iterator[Complaint]:
    """Faults of a default are told with its place and a message that names no field."""
    found = [
        Complaint(f"{path}.{fault.field}".rstrip(".") if fault.field != "<nil>" else path, fault.reason, fault.message)
        for fault in structural.validate(default, schema, "")
    ]
    yield from found
    if not found and has_rules(schema):
        from tiphys.machinery.cel_rules import rules_of  # the language is loaded for schemas that have rules

        rules = rules_of(schema)
        if rules is not None:
            yield from (Complaint(*fault) for fault in rules.faults(default, path, default))
