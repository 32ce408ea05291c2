"""Selectors as Kubernetes' own libraries read them: ``op`` in each row, sets to match against in ``_label-sets``.

Left out: the file was recorded from a release whose texts about names say "a qualified name" and "characters" where
the release that Argo is built with (and so we) says "a valid label key" and "bytes"; the two wordings count as one.
``selectable`` says the same as the absence of an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tests.conformance.formats._calls import Answer, answer
from tests.conformance.golden import Format, Row, Sample
from tiphys.cluster.apiserver import fields, registry
from tiphys.machinery import selectors

Sets = list[dict[str, str]]


def matching(selector: selectors.LabelSelector | selectors.FieldSelector, sets: Sets) -> list[int]:
    return [index for index, each in enumerate(sets) if selector.matches(each)]


def parse(row: Mapping[str, Any], sets: Sets) -> dict[str, Any]:
    selector = selectors.parse_labels(row["in"])
    return {
        "canonical": str(selector),
        "empty": selector.is_empty,
        "matches": matching(selector, sets),
        "requirements": len(selector.requirements),
        "selectable": True,
    }


def label_selector(row: Mapping[str, Any], sets: Sets) -> dict[str, Any]:
    problems = {"validation": selectors.problems_of(row["in"] or {}, "spec.selector")}
    try:
        selector = selectors.from_structured(row["in"])
    except selectors.SelectorError as err:
        return {"error": str(err), "format": "<error>", **problems}
    return {
        "canonical": str(selector),
        "empty": selector.is_empty,
        "format": str(selector) or "<none>",
        "matches": matching(selector, sets),
        **problems,
    }


def field_parse(row: Mapping[str, Any], sets: Sets) -> dict[str, Any]:
    selector = selectors.parse_fields(row["in"])
    exact = selector.exact_value("metadata.name")
    seen = {
        "canonical": str(selector),
        "empty": selector.is_empty,
        "exactName": {"found": exact is not None, "value": exact or ""},
        "matches": matching(selector, sets),
        "requirements": [
            {"field": term.field, "op": "!=" if term.negated else "=", "value": term.value} for term in selector.terms
        ],
    }
    try:
        return {**seen, "transformed": str(selector.transform(shouted))}
    except fields.UnknownField as err:
        return {**seen, "transformError": str(err)}


def shouted(field: str, value: str) -> tuple[str, str]:
    """The change that ``transformed`` was recorded with."""
    if field == "metadata.namespace":
        raise fields.UnknownField(f"field label not supported: {field}")
    return ("", "") if field == "x" else (field.upper(), f"{value}!")


def field_escape(row: Mapping[str, Any], _sets: Sets) -> dict[str, Any]:
    escaped = selectors.escape_value(row["in"])
    seen = {"escaped": escaped, "unescaped": selectors.unescape_value(escaped)}
    try:
        return {**seen, "unescapeIn": selectors.unescape_value(row["in"])}
    except selectors.SelectorError as err:
        return {**seen, "unescapeError": str(err)}


def field_label(row: Mapping[str, Any], _sets: Sets) -> dict[str, Any]:
    group, _, version = row["apiVersion"].rpartition("/")
    info = registry.builtin({}).by_kind(group, version, row["kind"])
    assert info is not None
    return {"out": fields.canonical_field(info, row["label"])}


def set_as_selector(row: Mapping[str, Any], _sets: Sets) -> dict[str, Any]:
    text = str(selectors.from_labels(row["set"]))
    return {"selectorString": text, "setString": text}


OPERATIONS: dict[str, Callable[[Mapping[str, Any], Sets], dict[str, Any]]] = {
    "parse": parse,
    "labelSelector": label_selector,
    "parseToLabelSelector": lambda row, _: {"out": selectors.to_structured(selectors.parse_labels(row["in"]))},
    "setAsSelector": set_as_selector,
    "fieldParse": field_parse,
    "fieldEscape": field_escape,
    "fieldLabel": field_label,
}
SETS = {"labelSets", "fieldSets"}
GIVEN = {"name", "op", "in", "set", "apiVersion", "kind", "label"}


def judge(sample: Sample) -> Iterable[Row]:
    sets = {row["op"]: row["sets"] for row in sample.rows if row["op"] in SETS}
    for row in sample.rows:
        if row["op"] in SETS:
            continue
        chosen = sets["fieldSets" if row["op"].startswith("field") else "labelSets"]
        seen = answer(lambda: OPERATIONS[row["op"]](row, chosen), selectors.SelectorError, fields.UnknownField)  # noqa: B023
        got: Answer = seen if "error" in seen else seen["out"]
        expected = {key: value for key, value in row.items() if key not in GIVEN}
        yield Row(row["name"], worded(expected) == got, row, got)


def worded(value: Any) -> Any:
    """The recorded answer in the wording of the release that Argo is built with."""
    if isinstance(value, str):
        text = value.replace("a qualified name must", "a valid label key must")
        return re.sub(r"must be no more than (\d+) characters", r"must be no more than \1 bytes", text)
    if isinstance(value, list):
        return [worded(each) for each in value]
    return {key: worded(each) for key, each in value.items()} if isinstance(value, dict) else value


def recognises(sample: Sample) -> bool:
    return {row.get("op") for row in sample.rows} >= SETS and {row["op"] for row in sample.rows} <= {*OPERATIONS, *SETS}


FORMATS = (Format("kube selectors", recognises, judge),)
