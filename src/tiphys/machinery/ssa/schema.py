"""What a schema says about merging, read from OpenAPI (a CRD's, or the built-in kinds' table).

    SchemaType   may allow a scalar, a list and a map at once (a preserved unknown field allows all three)
      scalar     "string" | "numeric" | "boolean" | "untyped"
      list       atomic, or associative: a set of scalars, or a map of items by ``keys``
      map        atomic or granular; named ``fields`` and the type of other keys (None: not allowed)

Conversion follows kube-openapi's schemaconv: a list without list-type is atomic, an object without map-type granular.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

Resolve = Callable[[str], "SchemaType"]


@dataclass(eq=False)
class ListType:
    """``keys`` is empty for a set. ``item`` is the type of the items."""

    item: Lazy
    atomic: bool = True
    keys: tuple[str, ...] = ()


@dataclass(eq=False)
class MapType:
    """``other`` is the type of keys that are no named field."""

    fields: Mapping[str, Lazy] = field(default_factory=dict)
    other: Lazy | None = None
    atomic: bool = False
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def type_of(self, name: str) -> SchemaType | None:
        lazy = self.fields.get(name) or self.other
        return lazy.type if lazy else None


@dataclass(eq=False)
class SchemaType:
    scalar: str | None = None
    list: ListType | None = None
    map: MapType | None = None


@dataclass(eq=False)
class Lazy:
    """A type that is built when it is first needed: schemas refer to themselves (JSONSchemaProps)."""

    build: Callable[[], SchemaType]

    @cached_property
    def type(self) -> SchemaType:
        return self.build()


def _deduced() -> SchemaType:
    """Anything at all: maps are granular, lists atomic."""
    return SchemaType("untyped", ListType(Lazy(_untyped_atomic)), MapType(other=Lazy(lambda: DEDUCED)))


def _untyped_atomic() -> SchemaType:
    return SchemaType("untyped", ListType(_ATOMIC), MapType(other=_ATOMIC, atomic=True))


_ATOMIC = Lazy(_untyped_atomic)
DEDUCED: SchemaType = _deduced()

_SCALARS = {"string": "string", "integer": "numeric", "number": "numeric", "boolean": "boolean"}


def from_openapi(schema: Mapping[str, Any], resolve: Resolve | None = None) -> SchemaType:
    """The merge type of an OpenAPI v3 schema. ``resolve`` answers ``$ref``s (by the last path segment)."""
    if reference := _reference(schema):
        if resolve is None:
            raise KeyError(reference)
        return resolve(reference)
    if schema.get("x-kubernetes-int-or-string"):
        return SchemaType("untyped")
    kind = schema.get("type")
    if kind == "array":
        return SchemaType(list=_list(schema, resolve))
    if kind == "object" or "properties" in schema:
        return SchemaType(map=_map(schema, resolve))
    if kind in _SCALARS:
        return SchemaType(_SCALARS[kind])
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return DEDUCED
    return _untyped_atomic()


def _reference(schema: Mapping[str, Any]) -> str | None:
    reference = schema.get("$ref")
    parts: list[Any] = schema.get("allOf") or []
    if reference is None and len(parts) == 1:
        reference = parts[0].get("$ref")
    return reference.rsplit("/", 1)[-1] if reference else None


def _later(schema: Mapping[str, Any], resolve: Resolve | None) -> Lazy:
    return Lazy(lambda: from_openapi(schema, resolve))


def _list(schema: Mapping[str, Any], resolve: Resolve | None) -> ListType:
    item, kind = _later(schema.get("items") or {}, resolve), schema.get("x-kubernetes-list-type", "atomic")
    if kind == "map":
        return ListType(item, atomic=False, keys=tuple(schema.get("x-kubernetes-list-map-keys") or ()))
    return ListType(item, atomic=kind != "set")


def _map(schema: Mapping[str, Any], resolve: Resolve | None) -> MapType:
    properties = schema.get("properties") or {}
    return MapType(
        fields={name: _later(sub, resolve) for name, sub in properties.items()},
        other=_other(schema, resolve),
        atomic=schema.get("x-kubernetes-map-type") == "atomic",
        defaults={name: sub["default"] for name, sub in properties.items() if "default" in sub},
    )


def _other(schema: Mapping[str, Any], resolve: Resolve | None) -> Lazy | None:
    additional = schema.get("additionalProperties")
    if isinstance(additional, Mapping):
        return _later(additional, resolve)
    if schema.get("x-kubernetes-preserve-unknown-fields") or additional is True or not schema.get("properties"):
        return Lazy(lambda: DEDUCED)
    return None
