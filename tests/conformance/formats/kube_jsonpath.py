"""kubectl's JSONPath: the library, the relaxed form, and the output of kubectl.

Compared are the whole texts and the stage of an error. Of kubectl's errors only the first sentence is compared: what
follows is a dump of the object as a Go literal. Rows on which the original panics only have to be refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from tests.conformance.formats._calls import Answer, apis, judge_by
from tests.conformance.golden import Format
from tiphys.lang import jsonpath

Row = Mapping[str, Any]


def data_of(row: Row) -> Any:
    """Numbers that fit int64 are integers, all others float64, as apimachinery's JSON reader makes them."""
    return json.loads(row["data"], parse_int=lambda text: int(text) if -(2**63) <= int(text) < 2**63 else float(text))


def lib(row: Row) -> str:
    return jsonpath.compile(row["in"]).render(data_of(row), allow_missing_keys=row["allowMissingKeys"])


def relaxed(row: Row) -> str:
    template = jsonpath.compile(jsonpath.relaxed(row["in"]))
    return template.render(data_of(row), allow_missing_keys=row["allowMissingKeys"])


CALLS: dict[str, Callable[[Row], str]] = {
    "lib": lib,
    "relaxed": relaxed,
    "kubectl": lambda row: jsonpath.kubectl_output(row["in"], data_of(row)),
}


def ask(row: Row) -> Answer:
    try:
        return {"out": CALLS[row["api"]](row)}
    except jsonpath.JsonPathError as err:
        return {"error": str(err), "kind": "compile" if err.is_syntax else "run"}


def same(expected: Answer, got: Answer, row: Row) -> bool:
    if "error" not in expected:
        return expected == got
    if row["errorKind"] == "panic":
        return "error" in got
    text = expected["error"].split(" Printing more information")[0]
    return got == {"error": text, "kind": row["errorKind"]}


FORMATS = (
    Format(
        "kube-jsonpath",
        lambda s: bool(s.rows) and apis(s) <= set(CALLS) and all("data" in row for row in s.rows),
        judge_by(ask, same),
    ),
)
