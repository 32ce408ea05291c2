"""``/openapi/v2``: all kinds in one document of the older OpenAPI, as JSON and as the protobuf that kubectl asks for.

It is made from the schemas of the newer documents; paths are left out but for those that say how to patch, since
readers (``kubectl explain --output=plaintext-openapiv2``, validation on the client's side) look at definitions only.
Field numbers: ``OpenAPIv2.proto`` of github.com/google/gnostic-models.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import orjson

PROTOBUF: Final = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
_FROM, _TO = "#/components/schemas/", "#/definitions/"
_UNKNOWN: Final = frozenset(("oneOf", "anyOf", "nullable", "not"))
_STRINGS: Final = {"$ref": 1, "format": 2, "title": 3, "description": 4, "pattern": 13}
_NUMBERS: Final = {"maxLength": 11, "minLength": 12, "maxItems": 14, "minItems": 15, "maxProperties": 17}


def document(schemas: Mapping[str, Any]) -> dict[str, Any]:
    """The whole document of schemas in the newer form."""
    return {
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": "v1.35.4"},
        "paths": {},
        "definitions": {name: _older(schemas[name]) for name in sorted(schemas)},
    }


def _older(schema: Any) -> Any:
    """A schema without what the older form does not know."""
    if not isinstance(schema, Mapping):
        return schema
    found: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _UNKNOWN:
            continue
        if key == "$ref":
            found[key] = str(value).replace(_FROM, _TO)
        elif key == "allOf" and len(value) == 1 and "$ref" in value[0]:
            found["$ref"] = str(value[0]["$ref"]).replace(_FROM, _TO)
        elif key == "properties":
            found[key] = {name: _older(member) for name, member in value.items()}
        elif key == "allOf":
            found[key] = [_older(each) for each in value]
        elif key in ("items", "additionalProperties"):
            found[key] = _older(value)
        else:
            found[key] = value
    if found.get("type") == "array" and not isinstance(found.get("items"), Mapping):
        found["items"] = {"type": "string"}
    if "$ref" in found:
        found.pop("default", None)
    return found


# Protobuf


def encode(made: Mapping[str, Any]) -> bytes:
    info = _text(1, made["info"]["title"]) + _text(2, made["info"]["version"])
    definitions = b"".join(_message(1, _named(name, _schema(each))) for name, each in made["definitions"].items())
    return _text(1, made["swagger"]) + _message(2, info) + _message(8, b"") + _message(9, definitions)


def _schema(schema: Mapping[str, Any]) -> bytes:
    parts = [_text(number, schema[key]) for key, number in _STRINGS.items() if schema.get(key)]
    parts += [_varint(number << 3) + _varint(schema[key]) for key, number in _NUMBERS.items() if key in schema]
    parts += [_text(19, name) for name in schema.get("required") or ()]
    parts += [_message(20, _any(value)) for value in schema.get("enum") or ()]
    if "default" in schema:
        parts.append(_message(5, _any(schema["default"])))
    more = schema.get("additionalProperties")
    if isinstance(more, bool):
        parts.append(_message(21, _varint(2 << 3) + _varint(int(more))))
    elif more is not None:
        parts.append(_message(21, _message(1, _schema(more))))
    if schema.get("type"):
        parts.append(_message(22, _text(1, schema["type"])))
    if isinstance(schema.get("items"), Mapping):
        parts.append(_message(23, _message(1, _schema(schema["items"]))))
    parts += [_message(24, _schema(each)) for each in schema.get("allOf") or ()]
    if schema.get("properties"):
        members = schema["properties"].items()
        parts.append(_message(25, b"".join(_message(1, _named(name, _schema(each))) for name, each in members)))
    parts += [_message(31, _named(key, _any(schema[key]))) for key in _extensions(schema)]
    return b"".join(parts)


def _extensions(schema: Mapping[str, Any]) -> Iterator[str]:
    return (key for key in schema if key.startswith("x-"))


def _named(name: str, value: bytes) -> bytes:
    return _text(1, name) + _message(2, value)


def _any(value: Any) -> bytes:
    """Any value, as YAML, of which JSON is a part."""
    return _text(2, orjson.dumps(value).decode() + "\n")


def _text(number: int, text: str) -> bytes:
    return _message(number, text.encode())


def _message(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def all_schemas(documents: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The schemas of all newer documents."""
    found: dict[str, Any] = {}
    for each in documents:
        found.update(each["components"]["schemas"])
    return found
