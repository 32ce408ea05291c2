"""Structural schemas: the recorded answers cover the messages, these the rules."""

from tiphys.machinery.structural import defaulted, list_faults, pruned, validate, without_nulls

SCHEMA = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "required": ["name"],
            "properties": {
                "name": {"type": "string", "minLength": 2},
                "port": {"type": "integer", "default": 80, "maximum": 65535},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                "items": {
                    "type": "array",
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["k"],
                    "items": {"type": "object", "properties": {"k": {"type": "string"}}},
                },
            },
        }
    },
}


def test_unknown_fields_go_and_are_named() -> None:
    unknown: list[str] = []
    value = {"kind": "X", "metadata": {"a": 1}, "spec": {"name": "ab", "nope": 1, "any": {"kept": {"b": 1}}}, "top": 1}
    kept = pruned(value, SCHEMA, "", unknown, is_resource=True)
    assert kept == {"kind": "X", "metadata": {"a": 1}, "spec": {"name": "ab", "any": {"kept": {"b": 1}}}}
    assert unknown == ["spec.nope", "top"]


def test_a_null_makes_room_for_the_default() -> None:
    value = {"spec": {"name": "ab", "port": None}}
    assert defaulted(without_nulls(value, SCHEMA), SCHEMA) == {"spec": {"name": "ab", "port": 80}}


def test_faults_name_their_fields() -> None:
    faults = validate({"spec": {"port": 70000, "labels": {"a": 1}}}, SCHEMA, "")
    assert [(fault.field, fault.reason) for fault in faults] == [
        ("spec.name", "FieldValueRequired"),
        ("spec.labels.a", "FieldValueTypeInvalid"),
        ("spec.port", "FieldValueInvalid"),
    ]


def test_keys_of_lists_are_unique() -> None:
    value = {"spec": {"items": [{"k": "a"}, {"k": "b"}, {"k": "a"}]}}
    assert [fault.field for fault in list_faults(value, SCHEMA, "")] == ["spec.items[2]"]


def test_what_the_schema_leaves_open_is_not_copied() -> None:
    status = {"nodes": {f"n{n}": {} for n in range(1_000)}}
    open_schema = {"type": "object", "properties": {"status": {"x-kubernetes-preserve-unknown-fields": True}}}
    unknown: list[str] = []
    kept = pruned({"status": status}, open_schema, "", unknown, is_resource=True)
    assert kept["status"] is status
