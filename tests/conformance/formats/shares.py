"""Numbers or percentages (``golden/kube/intorstring.jsonl``). Nothing is left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from tests.conformance.golden import Format, Row, Sample
from tiphys.machinery import shares
from tiphys.machinery.shares import ShareError


def recognises(sample: Sample) -> bool:
    return bool(sample.rows) and all(row.get("op") in OPERATIONS for row in sample.rows)


def judge(sample: Sample) -> Iterator[Row]:
    for row in sample.rows:
        try:
            got = OPERATIONS[row["op"]](row)
        except ShareError as err:
            got = {"error": str(err)}
        expected = {key: value for key, value in row.items() if key not in INPUTS}
        yield Row(row["name"], same(expected, got), expected, got)


def same(one: Any, other: Any) -> bool:
    return repr(one) == repr(other) or (one == other and type(one) is dict)


INPUTS = ("name", "op", "in", "total", "roundUp", "maxSurge", "maxUnavailable", "replicas")


def scaled(row: dict[str, Any]) -> dict[str, Any]:
    return {"out": shares.scaled(row["in"], row["total"], up=row["roundUp"])}


def fenceposts(row: dict[str, Any]) -> dict[str, Any]:
    surge, unavailable = shares.fenceposts(row["maxSurge"], row["maxUnavailable"], row["replicas"])
    found = {"surge": surge, "unavailable": unavailable}
    if "MaxSurge()" in row:
        bound = shares.RollingBounds.of(row["maxSurge"], row["maxUnavailable"], row["replicas"])
        found |= {
            "MaxSurge()": bound.surge,
            "MaxUnavailable()": bound.unavailable,
            "MinAvailable()": bound.available_min,
        }
    return found


def unmarshal(row: dict[str, Any]) -> dict[str, Any]:
    value = shares.read(row["in"])
    is_text = isinstance(value, str)
    return {
        "intValue": int(value) if not is_text else 0,
        "json": f'"{value}"' if is_text else str(value),
        "string": str(value),
        "type": int(is_text),
    }


def parse(row: dict[str, Any]) -> dict[str, Any]:
    value = shares.parse(row["in"])
    return {"json": str(value) if isinstance(value, int) else f'"{value}"'}


OPERATIONS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "scaled": scaled,
    "fenceposts": fenceposts,
    "unmarshal": unmarshal,
    "parse": parse,
}

FORMATS = [Format("numbers or percentages", recognises, judge)]
