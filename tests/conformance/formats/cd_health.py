"""The health of one object as the built-in checks see it: ``in`` is the object, ``out`` the verdict or null."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.conformance.formats._calls import Answer, judge_by
from tests.conformance.golden import Format
from tiphys.cd.plan.health import Health, HealthError, resource_health

Row = Mapping[str, Any]


def ask(row: Row) -> Answer:
    try:
        return {"out": shown(resource_health(row["in"], others=False))}
    except HealthError as err:
        return {"error": str(err)}


def shown(health: Health | None) -> Any:
    return None if health is None else {"status": health.status, "message": health.message}


def same(expected: Answer, got: Answer, row: Row) -> bool:
    if "error" in expected:
        return got == {"error": row["error"]}
    return got == {"out": row["out"]}


def recognised(rows: tuple[Row, ...]) -> bool:
    return bool(rows) and all(
        row.keys() <= {"name", "in", "out", "error"}
        and {"apiVersion", "kind"} <= row["in"].keys()
        and (row.get("out") is None or row["out"].keys() == {"status", "message"})
        for row in rows
    )


FORMATS = (Format("cd health", lambda s: recognised(s.rows), judge_by(ask, same)),)
