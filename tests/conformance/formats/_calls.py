"""Shared by the readers of files with one call per row: ``in`` (and more) → ``out`` or ``error``.

Judging a row is comparing two answers, each ``{"out": value}`` or ``{"error": text}``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tests.conformance.golden import Row, Sample

Answer = dict[str, Any]


def apis(sample: Sample) -> set[Any]:
    """The api names of a file; ``None`` stands for rows that name none."""
    return {row.get("api") for row in sample.rows}


def recorded(row: Mapping[str, Any]) -> Answer:
    return {"error": row["error"]} if "error" in row else {"out": row.get("out")}


def answer(call: Callable[[], Any], *errors: type[Exception]) -> Answer:
    """What we say: only the given errors are an answer, any other one is a crash and shows as such."""
    try:
        return {"out": call()}
    except errors as err:
        return {"error": str(err)}


def name(index: int, row: Mapping[str, Any]) -> str:
    return f"{index} {row['api']}" if "api" in row else str(index)


def judge_by(
    ask: Callable[[Mapping[str, Any]], Answer],
    same: Callable[[Answer, Answer, Mapping[str, Any]], bool] = lambda expected, got, _row: expected == got,
) -> Callable[[Sample], Iterable[Row]]:
    """A judge that asks for every row and compares with ``same`` (whole equality unless told)."""

    def judge(sample: Sample) -> Iterable[Row]:
        for index, row in enumerate(sample.rows):
            expected, got = recorded(row), ask(row)
            yield Row(name(index, row), same(expected, got, row), {**row, **expected}, got)

    return judge
