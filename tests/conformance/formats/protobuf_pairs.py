"""golden/kube proto-pairs: objects as JSON and as protobuf, both ways, and bytes that are refused.

Left out on purpose: the text of an unknown kind's error names a Go source line; ours names kind and version.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from typing import Any

from tests.conformance.golden import Format, Row, Sample
from tiphys.api import protobuf


def recognises(sample: Sample) -> bool:
    return bool(sample.rows) and all("pb" in row and ("json" in row or "error" in row) for row in sample.rows)


def judge(sample: Sample) -> Iterator[Row]:
    for row in sample.rows:
        data = base64.b64decode(row["pb"])
        if "error" in row:
            yield refused(row, data)
        elif "stream" in row:
            event = (row["json"]["type"], row["json"]["object"])
            told = answer(protobuf.encode_watch_event, *event), answer(protobuf.decode_watch_event, data)
            yield Row(row["name"], told == (data, event), (data, event), told)
        else:
            expected = row.get("decoded", row["json"])
            both = answer(protobuf.encode, row["json"]), answer(protobuf.decode, data)
            yield Row(row["name"], both == (data, expected), (data, expected), both)


def answer(act: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return act(*arguments)
    except protobuf.ProtobufError as err:
        return f"error: {err}"


def refused(row: dict[str, Any], data: bytes) -> Row:
    try:
        got = str(protobuf.decode(data))
    except protobuf.ProtobufError as err:
        got = str(err)
    expected = row["error"]
    same = got == expected or ("gvk" in row and row["gvk"] in got and "is registered for version" in got)
    return Row(row["name"], same, expected, got)


FORMATS = (Format("protobuf-pairs", recognises, judge),)
