"""Structural schemas: every field is said once, outside of allOf, anyOf, oneOf and not, with a type.

Source: apiextensions ``schema.ValidateStructural``. Properties are visited in the order of their names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import re2

from tiphys.cluster.apiserver.problems import Complaint, forbidden_value, invalid_value, required

Schema = Mapping[str, Any]
_INT_OR_STRING: Final = ({"type": "integer"}, {"type": "string"})
_NO_TYPE: Final = {
    "root": "must not be empty at the root",
    "item": "must not be empty for specified array items",
    "field": "must not be empty for specified object fields",
}
EMBEDDED: Final = "x-kubernetes-embedded-resource"
PRESERVE: Final = "x-kubernetes-preserve-unknown-fields"
INT_OR_STRING: Final = "x-kubernetes-int-or-string"
# In a nested schema, what must be absent and what its complaint says.
_NESTED: Final = (
    ("default", "must be undefined"),
    ("title", "must be empty"),
    ("description", "must be empty"),
    ("nullable", "must be false"),
    (PRESERVE, "must be false"),
    (EMBEDDED, "must be false"),
    (INT_OR_STRING, "must be false"),
    ("x-kubernetes-list-map-keys", "must be empty"),
    ("x-kubernetes-list-type", "must be undefined"),
    ("x-kubernetes-map-type", "must be undefined"),
    ("x-kubernetes-validations", "must be empty"),
)


class NotConvertible(ValueError):
    """The schema uses what a structural schema has no place for."""


_FOREIGN: Final = ("id", "schema", "$ref", "patternProperties", "dependencies", "additionalItems", "definitions")


def check_convertible(schema: Schema) -> None:
    """Raises NotConvertible."""
    for keyword in _FOREIGN:
        if schema.get("$schema" if keyword == "schema" else keyword):
            raise NotConvertible(f"OpenAPIV3Schema '{keyword}' is not supported")
    if isinstance(schema.get("items"), list):
        raise NotConvertible("OpenAPIV3Schema 'items' must be a schema, but is an array")
    if schema.get(PRESERVE) is False:
        raise NotConvertible("internal error: 'x-kubernetes-preserve-unknown-fields' must be true or undefined")
    for _, inner in inner_schemas(schema):
        check_convertible(inner)


def inner_schemas(schema: Schema) -> Iterator[tuple[str, Schema]]:
    """All schemas directly inside, with the step to them."""
    for name in ("properties",):
        for key, inner in sorted((schema.get(name) or {}).items()):
            yield f".{name}[{key}]", inner
    for name in ("items", "additionalProperties", "not"):
        if isinstance(schema.get(name), Mapping):
            yield f".{name}", schema[name]
    for name in ("allOf", "oneOf", "anyOf"):
        for at, inner in enumerate(schema.get(name) or ()):
            yield f".{name}[{at}]", inner


def structural_complaints(schema: Schema, path: str) -> list[Complaint]:
    """Sorted, as the original does."""
    found = [*_invariants(schema, "root", path), *_completeness(schema, path)]
    return sorted(found, key=lambda complaint: f"{complaint.field}: {complaint.message}")


def _invariants(schema: Schema, level: str, path: str) -> Iterator[Complaint]:
    items, others = schema.get("items"), schema.get("additionalProperties")
    if schema.get("type") == "array" and items is None:
        yield required(f"{path}.items", "must be specified")
    if isinstance(items, Mapping):
        yield from _invariants(items, "item", f"{path}.items")
    for key, inner in (schema.get("properties") or {}).items():
        yield from _invariants(inner, "field", f"{path}.properties[{key}]")
    if others is not None and level == "root":
        yield forbidden_value(f"{path}.additionalProperties", "must not be used at the root")
    if isinstance(others, Mapping):
        yield from _invariants(others, "field", f"{path}.additionalProperties")
    if schema.get(INT_OR_STRING):
        for extension in (PRESERVE, EMBEDDED):
            if schema.get(extension):
                yield invalid_value(f"{path}.{extension}", True, f"must be false if {INT_OR_STRING} is true")
    first = (schema.get("allOf") or [{}])[0]
    yield from _value_rules(schema, path, _is_int_or_string(schema), _is_int_or_string(first))
    yield from _type_complaints(schema, level, path)
    yield from _resource_complaints(schema, level, path)


def _is_int_or_string(schema: Schema) -> bool:
    return tuple(schema.get("anyOf") or ()) == _INT_OR_STRING


def _type_complaints(schema: Schema, level: str, path: str) -> Iterator[Complaint]:
    kind, embedded = schema.get("type") or "", schema.get(EMBEDDED)
    if embedded and kind != "object":
        text = f"must be object if {EMBEDDED} is true"
        yield invalid_value(f"{path}.type", kind, text) if kind else required(f"{path}.type", text)
    elif not kind and not schema.get(INT_OR_STRING) and not schema.get(PRESERVE):
        yield required(f"{path}.type", _NO_TYPE[level])
    if embedded and schema.get("additionalProperties") is not None:
        yield forbidden_value(f"{path}.additionalProperties", f"must not be used if {EMBEDDED} is set")
    if level == "root" and kind and kind != "object":
        yield invalid_value(f"{path}.type", kind, "must be object at the root")


def _resource_complaints(schema: Schema, level: str, path: str) -> Iterator[Complaint]:
    """What a schema may say of kind, apiVersion and metadata."""
    properties = schema.get("properties") or {}
    is_resource = level == "root" or bool(schema.get(EMBEDDED))
    for name in ("kind", "apiVersion"):
        if is_resource and name in properties and properties[name].get("type") != "string":
            kind = properties[name].get("type") or ""
            yield invalid_value(f"{path}.properties[{name}].type", kind, "must be string")
    if "metadata" in properties:
        meta, at = properties["metadata"], f"{path}.properties[metadata]"
        if is_resource and meta.get("type") != "object":
            yield invalid_value(f"{at}.type", meta.get("type") or "", "must be object")
        if level == "root" and not _restricts_names_only(meta):
            text = "must not specify anything other than name and generateName, but metadata is implicitly specified"
            yield forbidden_value(at, text)
    if schema.get(EMBEDDED) and not schema.get(PRESERVE) and not properties:
        yield required(f"{path}.properties", f"must not be empty if {EMBEDDED} is true without {PRESERVE}")


def _restricts_names_only(meta: Schema) -> bool:
    left = {
        key: value for key, value in meta.items() if key not in ("type", "default") and value not in (None, "", [], {})
    }
    if left.get("properties") and set(left["properties"]) <= {"name", "generateName"}:
        del left["properties"]
    return not left


def _value_rules(schema: Schema, path: str, skips_any: bool, skips_first: bool) -> Iterator[Complaint]:
    """allOf, anyOf, oneOf, not and the pattern. The usual way of saying "integer or string" is let pass."""
    if not skips_any:
        for at, inner in enumerate(schema.get("anyOf") or ()):
            yield from _nested(inner, f"{path}.anyOf[{at}]")
    for at, inner in enumerate(schema.get("allOf") or ()):
        yield from _nested(inner, f"{path}.allOf[{at}]", skips_any=skips_first and at == 0)
    for at, inner in enumerate(schema.get("oneOf") or ()):
        yield from _nested(inner, f"{path}.oneOf[{at}]")
    if schema.get("not") is not None:
        yield from _nested(schema["not"], f"{path}.not")
    pattern = schema.get("pattern")
    if pattern:
        problem = pattern_problem(str(pattern))
        if problem:
            text = f"must be a valid regular expression, but isn't: error parsing regexp: {problem}"
            yield invalid_value(f"{path}.pattern", pattern, text)


_SYNTAX: Final = {
    "missing ]": "missing closing ]",
    "missing )": "missing closing )",
    "unexpected )": "unexpected )",
    "invalid perl operator": "invalid or unsupported Perl syntax",
    "no argument for repetition operator": "missing argument to repetition operator",
    "bad repetition operator": "invalid nested repetition operator",
    "invalid repetition size": "invalid repeat count",
    "invalid character class range": "invalid character class range",
    "invalid character class": "invalid character class",
    "invalid escape sequence": "invalid escape sequence",
    "trailing \\": "trailing backslash at end of expression",
    "invalid named capture group": "invalid named capture",
}


def pattern_problem(pattern: str) -> str:
    """What Go's parser of regular expressions says, "" for a right one. RE2 knows the same errors by other names."""
    try:
        re2.compile(pattern)
    except re2.error as err:
        told = err.args[0]
        text = told.decode() if isinstance(told, bytes) else str(told)
        name, _, rest = text.partition(": ")
        return f"{_SYNTAX.get(name, name)}: `{rest}`" if rest else _SYNTAX.get(name, name)
    return ""


def _nested(schema: Schema, path: str, *, skips_any: bool = False) -> Iterator[Complaint]:
    """A schema under allOf, anyOf, oneOf or not: it may judge values, not shape them."""
    yield from _value_rules(schema, path, skips_any, skips_first=False)
    others = schema.get("additionalProperties")
    if isinstance(schema.get("items"), Mapping):
        yield from _nested(schema["items"], f"{path}.items")
    for key, inner in (schema.get("properties") or {}).items():
        yield from _nested(inner, f"{path}.properties[{key}]")
    if schema.get("type"):
        yield forbidden_value(f"{path}.type", "must be empty to be structural")
    if others is not None and others is not False:
        yield forbidden_value(f"{path}.additionalProperties", "must be undefined to be structural")
    for keyword, text in _NESTED:
        if schema.get(keyword) or (keyword == "default" and schema.get(keyword) is not None):
            yield forbidden_value(f"{path}.{keyword}", f"{text} to be structural")
    if "metadata" in (schema.get("properties") or {}):
        yield forbidden_value(f"{path}.properties[metadata]", "must not be specified in a nested context")


# Completeness: what a nested schema speaks of must be there outside of it


def _completeness(schema: Schema, path: str) -> Iterator[Complaint]:
    """The original asks this of the root alone."""
    for step, inner in inner_schemas(schema):
        if not step.startswith((".properties", ".items", ".additionalProperties")):
            yield from _nested_completeness(inner, schema, path + step, path)


def _nested_completeness(nested: Schema, outside: Schema | None, path: str, outer: str) -> Iterator[Complaint]:
    if outside is None:
        yield required(outer, f"because it is defined in {path}")
        return
    for step, inner in inner_schemas(nested):
        if step.startswith(".properties"):
            key = step[len(".properties[") : -1]
            found = (outside.get("properties") or {}).get(key)
            yield from _nested_completeness(inner, found, path + step, f"{outer}.properties[{key}]")
        elif step == ".items":
            items = outside.get("items")
            found = items if isinstance(items, Mapping) else None
            yield from _nested_completeness(inner, found, path + step, f"{outer}.items")
        elif step != ".additionalProperties":
            yield from _nested_completeness(inner, outside, path + step, outer)
