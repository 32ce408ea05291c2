"""Values of a structural schema as CEL sees them.

Objects become records that convert a field when it is asked for; texts with a format become times, durations or bytes;
lists that are sets or keyed by fields compare without order and add up without doubles.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tiphys.lang.cel import clock
from tiphys.lang.cel.operators import contains, equal, lookup
from tiphys.lang.cel.values import ABSENT, Failure, Record, Timestamp
from tiphys.machinery.cel_rules.declared import Schema, as_resource, escape, unescape


class SchemaRecord(Record):
    """An object with properties. A property that is null counts as absent."""

    __slots__ = ("_known", "_raw", "_schema")

    def __init__(self, raw: Mapping[str, Any], schema: Schema) -> None:
        self._raw, self._schema = raw, schema.get("properties") or {}
        self._known: dict[str, Any] = {}

    def field(self, name: str) -> Any:
        found = self._known.get(name, ABSENT)
        if found is ABSENT:
            property_name = unescape(name)
            value, schema = self._raw.get(property_name), self._schema.get(property_name)
            if value is None or schema is None:
                return ABSENT
            found = self._known[name] = to_value(value, schema)
        return found

    def names(self) -> Iterator[str]:
        for name, value in self._raw.items():
            if value is not None and name in self._schema:
                yield escape(name) or name

    def size(self) -> int:
        return len(self._raw)


class SetList(list[Any]):
    """A list of type set."""

    __slots__ = ()

    def equal_to(self, other: object) -> bool:
        return (
            isinstance(other, list) and len(self) == len(other) and all(contains(item, self) is True for item in other)
        )

    def __add__(self, other: list[Any]) -> SetList:
        return SetList([*self, *(item for item in other if contains(item, self) is not True)])


class KeyedList(list[Any]):
    """A list of type map: its objects are told apart by the fields ``keys``."""

    __slots__ = ("keys",)

    def __init__(self, items: Sequence[Any], keys: Sequence[str]) -> None:
        super().__init__(items)
        self.keys = tuple(keys)

    def equal_to(self, other: object) -> bool:
        if not isinstance(other, list) or len(self) != len(other):
            return False
        return all((at := self._find(item)) is not None and equal(self[at], item) for item in other)

    def __add__(self, other: list[Any]) -> KeyedList:
        found = KeyedList(self, self.keys)
        for item in other:
            at = found._find(item)
            if at is None:
                found.append(item)
            else:
                found[at] = item
        return found

    def _find(self, item: Any) -> int | None:
        wanted = self._key(item)
        return next((at for at, own in enumerate(self) if self._key(own) == wanted), None)

    def _key(self, item: Any) -> list[Any]:
        values = (lookup(item, key) for key in self.keys)
        return [None if value is ABSENT else value for value in values]


def to_value(raw: Any, schema: Schema, *, is_resource: bool = False) -> Any:
    """The value; what does not fit the schema is a `Failure`."""
    if raw is None:
        return None if schema.get("nullable") else Failure("invalid data, got null for schema with nullable=false")
    if schema.get("x-kubernetes-int-or-string"):
        if isinstance(raw, str) or type(raw) is int:
            return raw
        return Failure("invalid data, expected XIntOrString value to be either a string or integer")
    match schema.get("type"):
        case "object":
            return _object(raw, schema, is_resource)
        case "array":
            return _list(raw, schema)
        case "string":
            return _text(raw, schema.get("format"))
        case "number":
            is_number = isinstance(raw, int | float) and not isinstance(raw, bool)
            return float(raw) if is_number else _unexpected("float", raw)
        case "integer":
            if isinstance(raw, float) and raw.is_integer():
                return int(raw)
            return raw if type(raw) is int else _unexpected("int", raw)
        case "boolean":
            return raw if isinstance(raw, bool) else _unexpected("bool", raw)
    return raw


def _unexpected(wanted: str, raw: Any) -> Failure:
    names = {bool: "bool", int: "int64", float: "float64", str: "string", list: "[]interface {}"}
    return Failure(f"invalid data, expected {wanted}, got {names.get(type(raw), 'map[string]interface {}')}")


def _object(raw: Any, schema: Schema, is_resource: bool) -> Any:
    if not isinstance(raw, Mapping):
        return Failure("invalid data, expected a map for the provided schema with type=object")
    if is_resource or schema.get("x-kubernetes-embedded-resource"):
        return SchemaRecord(raw, as_resource(schema))
    others = schema.get("additionalProperties")
    if isinstance(others, Mapping) and not schema.get("properties"):
        return {name: to_value(value, others) for name, value in raw.items()}
    return SchemaRecord(raw, schema)


def _list(raw: Any, schema: Schema) -> Any:
    if not isinstance(raw, list):
        return Failure("invalid data, expected an array for the provided schema with type=array")
    items = schema.get("items")
    if not isinstance(items, Mapping):
        return Failure("invalid array type, expected Items with a non-empty Schema")
    found = [to_value(item, items) for item in raw]
    match schema.get("x-kubernetes-list-type"):
        case "map":
            keys = [escape(key) or key for key in schema.get("x-kubernetes-list-map-keys") or ()]
            return KeyedList(found, keys)
        case "set":
            return SetList(found)
    return found


def _text(raw: Any, kind: str | None) -> Any:
    if not isinstance(raw, str):
        return _unexpected("string", raw)
    if kind == "duration":
        return clock.parse_duration(raw) or Failure(f"Invalid duration {raw}")
    if kind == "date":
        found = clock.parse_timestamp(f"{raw}T00:00:00Z")
        return found if isinstance(found, Timestamp) else Failure(f"Invalid date formatted string {raw}")
    if kind == "date-time":
        found = clock.parse_timestamp(raw.replace(" ", "T", 1))
        return found if isinstance(found, Timestamp) else Failure(f"Invalid date-time formatted string {raw}")
    if kind == "byte":
        try:
            return base64.b64decode(raw, validate=True)
        except (binascii.Error, ValueError):
            return Failure(f"Invalid byte formatted string {raw}")
    return raw
