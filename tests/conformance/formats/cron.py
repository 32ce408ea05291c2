"""Cron schedules: the next moments after one, in UTC and in the schedule's zone.

Rows on which the original panics only have to be refused; ``local`` is compared by moment and by offset.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from tests.conformance.formats._calls import Answer, judge_by
from tests.conformance.golden import Format
from tiphys.lang import cron

Row = Mapping[str, Any]


def ask(row: Row) -> Answer:
    try:
        schedule = cron.parse(cron.with_zone(row["in"], row.get("timezone", "")))
    except cron.CronError as err:
        return {"error": str(err)}
    found: list[datetime] = []
    moment: datetime | None = datetime.fromisoformat(row["from"]).astimezone(UTC)
    while moment is not None and len(found) < row.get("n", 5):
        moment = schedule.next(moment)
        found += [moment] if moment else []
    # a constant pause knows no zone: there ``local`` is in the CronWorkflow's
    zone = getattr(schedule, "zone", None) or ZoneInfo(row.get("timezone") or "UTC")
    return {"out": [shown(each) for each in found], "local": [shown(each.astimezone(zone)) for each in found]}


def shown(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def same(expected: Answer, got: Answer, row: Row) -> bool:
    if "error" in expected:
        return "error" in got and (row["errorKind"] == "panic" or expected == got)
    return got == {"out": row["out"], "local": row["local"]}


FORMATS = (
    Format(
        "cron",
        lambda s: (
            bool(s.rows) and all(row.keys() >= {"in", "from"} and ("local" in row or "error" in row) for row in s.rows)
        ),
        judge_by(ask, same),
    ),
)
