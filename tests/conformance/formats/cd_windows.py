"""Sync windows: which concern an application, which are active, and whether a sync may go; validation."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tests.conformance.formats._calls import Answer, answer
from tests.conformance.formats._named import all_rows, judge_named
from tests.conformance.golden import Format
from tiphys.cd.plan.windows import Destination, Window, WindowError, Windows

Given = Mapping[str, Any]


def ask(row: Mapping[str, Any]) -> Answer:
    given = row["in"]
    return answer(lambda: _validate(given) if given["op"] == "validate" else _sync(given), WindowError)


def _validate(given: Given) -> str:
    Window.of(given["window"]).check()
    return "valid"


def _sync(given: Given) -> Any:
    windows, now = Windows.of(given["windows"]), datetime.fromisoformat(given["now"])
    out: dict[str, Any] = {}
    if "app" in given:
        destination = given["app"]["spec"]["destination"]
        to = Destination(destination.get("server", ""), destination.get("name", ""), destination.get("namespace", ""))
        concerning = windows.concerning(given["app"]["metadata"]["name"], to)
        out["matches"] = _indexes(windows, concerning)
    else:
        concerning = windows
    try:
        out["active"] = _indexes(windows, concerning.active(now))
    except WindowError as err:
        raise WindowError(f"active: {err}") from err
    out["inactiveAllows"] = _indexes(windows, concerning.inactive_allows(now))
    started = given.get("operationStartTime")
    started_at = datetime.fromisoformat(started) if started else None
    out["canSync"] = concerning.can_sync(now, manual=given.get("manual", False), started_at=started_at)
    return out


def _indexes(windows: Windows, found: Windows) -> list[int]:
    return [index for index, each in enumerate(windows.windows) if any(each is other for other in found.windows)]


def same(expected: Answer, got: Answer, row: Mapping[str, Any]) -> bool:
    return got == ({"error": row["error"]} if "error" in row else expected)


FORMATS = (
    Format(
        "cd sync windows",
        lambda s: all_rows(s.rows, lambda given: "now" in given and ("windows" in given or "window" in given)),
        judge_named(ask, same),
    ),
)
