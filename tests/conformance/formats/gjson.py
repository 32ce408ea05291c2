"""gjson: every view of a found value (raw text, string, type, plain data, int, bool). Everything is compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.conformance.formats._calls import Answer, answer, judge_by
from tests.conformance.golden import Format
from tiphys.lang import gjson

VIEWS = {"bool", "exists", "int", "raw", "string", "type", "value"}


def views(row: Mapping[str, Any]) -> dict[str, Any]:
    found = gjson.get(row["data"], row["in"])
    return {
        "bool": bool(found),
        "exists": found.exists,
        "int": int(found),
        "raw": found.raw,
        "string": str(found),
        "type": found.kind,
        "value": found.value,
    }


def ask(row: Mapping[str, Any]) -> Answer:
    return answer(lambda: views(row), gjson.GjsonError)


FORMATS = (
    Format(
        "gjson",
        lambda s: bool(s.rows) and all(isinstance(r.get("out"), dict) and r["out"].keys() == VIEWS for r in s.rows),
        judge_by(ask),
    ),
)
