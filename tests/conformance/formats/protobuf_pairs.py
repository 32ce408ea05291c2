"""golden/kube proto-pairs: objects as JSON and as protobuf, both ways, and bytes that are refused.

Left out on purpose: the text of an unknown kind's error names a Go source line; ours names kind and version.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
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
            frame = row["json"]
            got: Any = (both_ways(lambda: protobuf.encode_watch_event(frame["type"], frame["object"]), data),
                        both_ways(lambda: protobuf.decode_watch_event(data), (frame["type"], frame["object"])))  # fmt: skip
            yield Row(row["name"], got == ("", ""), "", got)
        else:
            expected = row.get("decoded", row["json"])
            got = (both_ways(lambda: protobuf.encode(row["json"]), data),
                   both_ways(lambda: protobuf.decode(data), expected))  # fmt: skip
            yield Row(row["name"], got == ("", ""), "", got)


def both_ways(act: Any, expected: Any) -> str:
    """Empty where the answer is the expected one."""
    try:
        answer = act()
    except protobuf.ProtobufError as err:
        return f"error: {err}"
    return "" if answer == expected else f"expected {expected!r}, got {answer!r}"


def refused(row: dict[str, Any], data: bytes) -> Row:
    try:
        got = str(protobuf.decode(data))
    except protobuf.ProtobufError as err:
        got = str(err)
    expected = row["error"]
    same = got == expected or ("gvk" in row and row["gvk"] in got and "is registered for version" in got)
    return Row(row["name"], same, expected, got)


FORMATS = (Format("protobuf-pairs", recognises, judge),)
