"""``x-kubernetes-validations`` rules judged: what a definition is refused for, or what a value is, and the cost.

Rows: {schema (of .spec), rule, self, oldSelf?} with crdErrors, or valid, errors and cost. Recorded from 1.34, which
shows the type of what breaks a rule where the server we are (1.35) shows its value. Nothing is left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tests.conformance.golden import Format, Row, Sample
from tiphys.machinery.cel_rules import definition_faults, rules_of
from tiphys.machinery.cel_rules.rules import WRITE_COST_MAX, Budget
from tiphys.machinery.structural import Fault

RULES = "x-kubernetes-validations"


def recognises(sample: Sample) -> bool:
    return {"schema", "rule", "self"} <= sample.head.keys() and ("crdErrors" in sample.head or "cost" in sample.head)


def judge(sample: Sample) -> Iterable[Row]:
    for row in sample.rows:
        expected = {key: row[key] for key in ("crdErrors", "valid", "errors", "cost") if key in row}
        got = answer(row)
        yield Row(row["name"], got == expected, expected, got)


def answer(row: dict[str, Any]) -> dict[str, Any]:
    spec = {**row["schema"], RULES: [row["rule"]]}
    schema = {"type": "object", "properties": {"spec": spec}}
    refused = definition_faults(schema, "spec.validation.openAPIV3Schema")
    if refused:
        return {"crdErrors": [str(fault) for fault in refused]}
    rules = rules_of(spec)
    assert rules is not None
    budget, found = Budget(WRITE_COST_MAX, names_types=True), list[Fault]()
    rules.judge(row["self"], row.get("oldSelf"), "spec", budget, found)
    return {"valid": not found, "errors": [str(fault) for fault in found], "cost": budget.used}


FORMATS = [Format("cel rules", recognises, judge)]
