"""The older OpenAPI document."""

from tiphys.cluster.apiserver.http import openapi_v2


def test_schemas_lose_what_the_older_form_does_not_know() -> None:
    newer = {"A": {"properties": {"b": {"allOf": [{"$ref": "#/components/schemas/B"}], "default": {}}}}, "B": {}}
    made = openapi_v2.document(newer)
    assert made["definitions"]["A"]["properties"]["b"] == {"$ref": "#/definitions/B"}


def test_a_schema_in_protobuf() -> None:
    made = openapi_v2.document({"A": {"type": "string"}})
    encoded = openapi_v2.encode(made)
    # Document.definitions (9) of NamedSchema (1): name (1) and value (2), a Schema with its type (22).
    named = b"\x0a\x01A" + b"\x12\x0b" + b"\xb2\x01\x08" + b"\x0a\x06string"
    assert encoded.endswith(b"\x4a\x12" + b"\x0a\x10" + named)
