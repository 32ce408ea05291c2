"""jq: Argo's jqFilter (text), all values of a filter, and Argo CD's jqPathExpressions.

Everything is compared, texts and stage of errors and the values before one included. Numbers compare by value: the
recording shows whole floats as integers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tests.conformance.formats._calls import Answer, apis, judge_by
from tests.conformance.golden import Format
from tiphys.lang import jq

Row = Mapping[str, Any]
NOW = 1_700_000_000.0


def argo(row: Row) -> Answer:
    return {"out": jq.argo_filter(row["in"], row["data"], now=NOW)}


def all_values(row: Row) -> Answer:
    found: list[Any] = []
    try:
        for value in jq.evaluate(row["in"], json.loads(row["data"], parse_int=float), now=NOW):
            found.append(value)
    except jq.JqSyntaxError:
        raise
    except jq.JqError as err:
        return {"error": str(err), "errorKind": "run", "before": found}
    return {"out": found}


def cd_ignore(row: Row) -> Answer:
    return {"out": jq.delete_matching(row["in"], json.loads(row["data"], parse_int=float))}


CALLS = {"argo": argo, "values": all_values, "cdIgnore": cd_ignore}


def ask(row: Row) -> Answer:
    try:
        return CALLS[row["api"]](row)
    except jq.JqError as err:
        return {"error": str(err), "errorKind": "compile" if err.is_syntax else "run"}


def same(_expected: Answer, got: Answer, row: Row) -> bool:
    wanted = {key: row[key] for key in ("out", "error", "errorKind", "before") if key in row}
    if row["api"] == "cdIgnore" and "out" in wanted:
        wanted["out"] = json.loads(wanted["out"])
    if row["api"] == "argo":
        got = {key: value for key, value in got.items() if key != "errorKind"}
    return got == wanted


FORMATS = (
    Format(
        "jq", lambda s: bool(s.rows) and apis(s) <= set(CALLS) and all("data" in r for r in s.rows), judge_by(ask, same)
    ),
)
