"""Conditions of resource templates: the outcome for one state of an object, texts and stage of errors included."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.conformance.formats._calls import Answer, judge_by
from tests.conformance.golden import Format
from tiphys.machinery import resource_conditions

Row = Mapping[str, Any]


def ask(row: Row) -> Answer:
    try:
        conditions = resource_conditions.parse(row.get("success", ""), row.get("failure", ""))
        outcome = resource_conditions.evaluate(conditions, row["data"])
    except resource_conditions.ConditionError as err:
        return {"error": str(err), "kind": "compile" if err.is_syntax else "run"}
    said = {"message": outcome.message} if outcome.message else {}
    return {"out": {**said, "result": outcome.result, "retry": outcome.result == "waiting"}}


def same(expected: Answer, got: Answer, row: Row) -> bool:
    return got == (expected | {"kind": row["errorKind"]} if "error" in expected else expected)


FORMATS = (
    Format(
        "resource-conditions",
        lambda s: bool(s.rows) and all("data" in r and ("success" in r or "failure" in r) for r in s.rows),
        judge_by(ask, same),
    ),
)
