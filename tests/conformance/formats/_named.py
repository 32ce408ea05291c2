"""Shared by the readers of files whose rows have a name: ``{"name", "in", "out" or "error"}``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tests.conformance.formats._calls import Answer
from tests.conformance.golden import Row, Sample

Rows = tuple[dict[str, Any], ...]


def judge_named(
    ask: Callable[[Mapping[str, Any]], Answer],
    same: Callable[[Answer, Answer, Mapping[str, Any]], bool] = lambda expected, got, _row: expected == got,
) -> Callable[[Sample], Iterable[Row]]:
    """A judge that asks for every row and compares with ``same`` (whole equality unless told)."""

    def judge(sample: Sample) -> Iterable[Row]:
        for row in sample.rows:
            expected = {"error": row["error"]} if "error" in row else {"out": row.get("out")}
            got = ask(row)
            yield Row(row["name"], same(expected, got, row), {"in": row["in"], **expected}, got)

    return judge


def all_rows(rows: Rows, fits: Callable[[Mapping[str, Any]], bool]) -> bool:
    """Whether there are rows, all of them named calls whose ``in`` fits."""
    return bool(rows) and all(
        {"name", "in"} <= row.keys() <= {"name", "in", "out", "error"}
        and isinstance(row["in"], dict)
        and fits(row["in"])
        for row in rows
    )
