"""Validation rules on values of a schema: what is judged, when, and at what cost."""

from __future__ import annotations

from typing import Any

import pytest

from tiphys.machinery.cel_rules import definition_faults, rules_of

RULES = "x-kubernetes-validations"


def schema(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def faults(found: dict[str, Any], value: Any, old: Any = None) -> list[str]:
    rules = rules_of(found)
    assert rules is not None
    return [str(fault) for fault in rules.faults(value, "spec", old)]


def ruled(rule: str, of: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {**(of or schema(i={"type": "integer"}, s={"type": "string"})), RULES: [{"rule": rule, **more}]}


def test_a_rule_without_faults_says_nothing() -> None:
    assert faults(ruled("self.i > 1"), {"i": 2}) == []


def test_the_message_expression_speaks_for_the_rule() -> None:
    found = ruled("self.i > 1", messageExpression="'i is ' + string(self.i)")
    assert faults(found, {"i": 1}) == ["spec: Invalid value: i is 1"]


def test_a_scalar_is_shown_by_its_value() -> None:
    assert faults(schema(i=ruled("self > 1", {"type": "integer"})), {"i": 1}) == [
        "spec.i: Invalid value: 1: failed rule: self > 1"
    ]


def test_a_message_expression_that_fails_leaves_the_message() -> None:
    found = ruled("self.i > 1", message="too small", messageExpression="string(1 / (self.i - 1))")
    assert faults(found, {"i": 1}) == ["spec: Invalid value: too small"]


def test_what_did_not_change_is_not_held_against_a_change() -> None:
    found = schema(a=ruled("self.i > 1"), b={"type": "integer"})
    old = {"a": {"i": 0}, "b": 1}
    assert faults(found, {"a": {"i": 0}, "b": 2}, old) == []
    assert len(faults(found, {"a": {"i": 1}, "b": 2}, old)) == 1


def test_items_of_a_keyed_list_meet_their_old_selves() -> None:
    item = ruled("self.v >= oldSelf.v", schema(k={"type": "string"}, v={"type": "integer"}))
    found = schema(
        l={"type": "array", "items": item, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]}
    )
    old = {"l": [{"k": "a", "v": 5}, {"k": "b", "v": 1}]}
    new = {"l": [{"k": "b", "v": 2}, {"k": "a", "v": 4}, {"k": "c", "v": 0}]}
    assert faults(found, new, old) == ["spec.l[1]: Invalid value: failed rule: self.v >= oldSelf.v"]


def test_sets_compare_without_order_and_keyed_lists_by_key() -> None:
    strings = {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"}
    found = ruled("self.a == ['y', 'x'] && self.a + ['x', 'z'] == ['x', 'y', 'z']", schema(a=strings))
    assert faults(found, {"a": ["x", "y"]}) == []


def test_all_rules_of_a_write_share_a_budget() -> None:
    numbers = {"type": "array", "items": {"type": "integer"}}
    found = ruled("self.all(x, self.all(y, x + y >= 0))", numbers)
    assert faults(found, list(range(2_000))) == [
        "spec: Invalid value: \"array\": 'operation cancelled: actual cost limit exceeded': no further validation "
        "rules will be run due to call cost exceeds limit for rule: self.all(x, self.all(y, x + y >= 0))"
    ]


def test_embedded_resources_have_their_names() -> None:
    pod = ruled("self.metadata.name == self.kind", {"type": "object", "x-kubernetes-embedded-resource": True})
    assert faults(schema(pod=pod), {"pod": {"kind": "A", "metadata": {"name": "A"}}}) == []


@pytest.mark.parametrize(
    ("rule", "path", "text"),
    [
        ({"rule": " "}, "rule", "Required value: rule is not specified"),
        ({"rule": "self.i"}, "rule", "cel expression must evaluate to a bool"),
        (
            {"rule": "true", "messageExpression": "1"},
            "messageExpression",
            "messageExpression must evaluate to a string",
        ),
        ({"rule": "true", "reason": "No"}, "reason", 'Unsupported value: "No": supported values: '),
        ({"rule": "true\n", "message": "a\nb"}, "message", "must not contain line breaks"),
        ({"rule": "true", "fieldPath": ".nope"}, "fieldPath", "must be a valid path"),
    ],
)
def test_definitions_are_told_what_is_wrong(rule: dict[str, Any], path: str, text: str) -> None:
    (fault,) = definition_faults({**schema(i={"type": "integer"}), RULES: [rule]}, "at")
    assert fault.field == f"at.{RULES}[0].{path}" and text in fault.message


def test_transition_rules_need_items_that_can_be_told_apart() -> None:
    items = {"type": "array", "maxItems": 3, "items": ruled("self == oldSelf", {"type": "integer"})}
    (fault,) = definition_faults(schema(l=items), "at")
    assert "oldSelf cannot be used on the uncorrelatable portion of the schema within at.properties[l]" in fault.message


def test_what_a_list_without_a_bound_may_cost_is_refused() -> None:
    items = {"type": "array", "items": ruled("self.contains('x')", {"type": "string"})}
    found = [str(fault) for fault in definition_faults(schema(l=items), "at")]
    assert any("estimated rule cost exceeds budget" in text for text in found)
