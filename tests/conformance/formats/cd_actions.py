"""Resource actions of Argo CD: what is offered and what each does.

``$NOW`` and ``$TS`` stand for moments in the recording. Of errors that Lua itself raised (``<string>:6: attempt …``)
only that there is one is compared: our actions are no Lua and name the field. Texts that a script raised must be equal.
Annotations that a script creates and leaves empty become ``[]`` there, which no API server takes; we make none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from tests.conformance.golden import Format, Row, Sample
from tiphys.cd.plan.actions import ActionError, discover, run

NOW = datetime(2037, 11, 23, 4, 58, 9, tzinfo=UTC)
STAMPS = (("2037-11-23T04:58:09", "$NOW"), ("2037-11-23T23:04:58", "$NOW"))
MINUTES = ("203711230458", "3711230458")
LUA_ERROR = re.compile(r"<string>:\d+: ")


def asked(row: dict[str, Any]) -> Any:
    if row["op"] == "discovery":
        return discover(row["object"])
    parameters = {one["name"]: one["value"] for one in row.get("params") or ()}
    found = run(row["object"], row["action"], parameters, NOW)
    return [{"operation": impact.operation, "resource": without_times(impact.resource)} for impact in found]


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_times(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [without_times(inner) for inner in value]
    if isinstance(value, str):
        for stamp, symbol in STAMPS:
            value = value.replace(stamp, symbol)
        for minutes in MINUTES:
            value = value.replace(minutes, "$TS")
    return value


def judge(sample: Sample) -> Iterable[Row]:
    for row in sample.rows:
        expected: dict[str, Any] = {key: row[key] for key in ("out", "error") if key in row}
        try:
            got: dict[str, Any] = {"out": asked(row["in"])}
        except ActionError as err:
            got = {"error": "some Lua error" if LUA_ERROR.match(expected.get("error", "")) else str(err)}
        if LUA_ERROR.match(expected.get("error", "")):
            expected = {"error": "some Lua error"}
        for impact in expected.get("out", ()):
            metadata = impact.get("resource", {}).get("metadata", {})
            if metadata.get("annotations") == []:
                del metadata["annotations"]
        yield Row(row["name"], got == expected, expected, got)


FORMATS = [
    Format(
        "resource actions",
        lambda sample: isinstance(sample.head.get("in"), dict) and sample.head["in"].get("op") in ("discovery", "run"),
        judge,
    )
]
