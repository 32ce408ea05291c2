"""The rows of ``kubectl get`` tables (``golden/kube/table-printers.jsonl``): an object in, cells and conditions out.

"AGO:n" in an object is the present minus n seconds. Ages of fixed dates were recorded at the recorder's present, which
is worked out from the file itself (the first fixed creation time whose age is shown in days), to the day.

Left out: rows of ``Status`` tables (an error is answered as a Status, never as a table), and lists, which are judged
row by row.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.conformance.golden import Format, Row, Sample
from tiphys.cluster.apiserver.printers import PRINTERS
from tiphys.cluster.apiserver.tables import columns_of

FIXED = datetime(2024, 1, 15, 10, 0, tzinfo=UTC)
SHOWN = re.compile(r"(\d+)y(\d+)d")


def recognises(sample: Sample) -> bool:
    return bool(sample.rows) and {"name", "table"} <= sample.head.keys() and "columnDefinitions" in sample.head


def present(sample: Sample) -> datetime:
    """The recorder's present: the age shown for the fixed date, added to it."""
    for row in sample.rows:
        if FIXED.strftime("%Y-%m-%dT%H:%M:%SZ") in str(row.get("object")):
            for cells in row["rows"]:
                found = SHOWN.search(str(cells["cells"]))
                if found:
                    years, days = map(int, found.groups())
                    return FIXED + timedelta(days=years * 365 + days, hours=12)
    return datetime(2025, 1, 1, tzinfo=UTC)


def dated(value: Any, now: datetime) -> Any:
    if isinstance(value, str) and value.startswith("AGO:"):
        return (now - timedelta(seconds=float(value[4:]))).strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, Mapping):
        return {key: dated(member, now) for key, member in value.items()}
    return [dated(item, now) for item in value] if isinstance(value, list) else value


def judge(sample: Sample) -> Iterator[Row]:
    now = present(sample)
    for row in sample.rows:
        table = row["table"]
        if table == "/Status":
            continue
        if "columnDefinitions" in row:
            got: Any = columns_of(table.removesuffix("List"))
            yield Row(row["name"], got == row["columnDefinitions"], row["columnDefinitions"], got)
            continue
        obj = dated(row["object"], now)
        printer = PRINTERS.get(table.removesuffix("List"))
        items = obj.get("items", []) if table.endswith("List") else [obj]
        got = [printed(printer(item, now)) for item in items] if printer else "no printer"
        expected = [{key: value for key, value in each.items() if value} for each in row["rows"]]
        yield Row(row["name"], got == expected, expected, got)


def printed(row: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"cells": row.cells}
    if row.conditions:
        found["conditions"] = list(row.conditions)
    return found


FORMATS = (Format("table printers", recognises, judge),)
