"""golden/kube quantities: parse, unmarshalJSON, arith, format.

Left out on purpose: ``approxFloat`` beyond 14 digits, since the original multiplies where Python divides.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tests.conformance.golden import Format, Row, Sample
from tiphys.lang import gojson
from tiphys.machinery.quantities import Quantity, QuantityError, parse

OPS = {"parse", "unmarshalJSON", "arith", "format"}


def recognises(sample: Sample) -> bool:
    return bool(sample.rows) and all(r.get("op") in OPS for r in sample.rows) and any("mul3" in r for r in sample.rows)


def judge(sample: Sample) -> Iterator[Row]:
    for row in sample.rows:
        try:
            got = ANSWERS[row["op"]](row)
        except QuantityError as err:
            got = {"error": str(err)}
        expected = {
            key: row[key] for key in row.keys() - {"name", "op", "in", "a", "b", "value" * (row["op"] == "format")}
        }
        if row["op"] == "format":
            expected.pop("format", None)
        if "approxFloat" in expected:
            expected["approxFloat"], got["approxFloat"] = rounded(expected["approxFloat"]), rounded(got["approxFloat"])
        yield Row(row["name"], got == expected, expected, got)


def rounded(text: str) -> float:
    return float(f"{float(text):.14g}")


def parsed(row: dict[str, Any]) -> dict[str, Any]:
    q = parse(row["in"])
    up, exact = q.rounded_up(0)
    answer = {
        "canonical": str(q),
        "format": q.format,
        "isZero": not q.mantissa,
        "json": gojson.dumps(str(q)),
        "jsonRoundTrip": gojson.dumps(str(parse(str(q)))),
        "milliValue": q.value(-3),
        "value": q.value(),
        "scaledValueMega": q.value(6),
        "sign": q.sign,
        "neg": str(-q),
        "roundUp0": str(up),
        "roundUpExact": exact,
        "approxFloat": str(float(q)),
    }
    return answer | {"asInt64": q.as_int64()}


def unmarshalled(row: dict[str, Any]) -> dict[str, Any]:
    value = json.loads(row["in"], parse_float=str, parse_int=str)
    q = parse(value.strip() if isinstance(value, str) else row["in"])
    return {"canonical": str(q), "json": gojson.dumps(str(q))}


def computed(row: dict[str, Any]) -> dict[str, Any]:
    a, b = parse(row["a"]), parse(row["b"])
    order = a.compare(b)
    return {"add": str(a + b), "sub": str(a - b), "cmp": order, "equal": order == 0, "mul3": str(a.times(3))}


def printed(row: dict[str, Any]) -> dict[str, Any]:
    whole, milli = (Quantity(row["value"], scale, row["format"]) for scale in (0, -3))
    return {"newQuantity": str(whole), "newMilliQuantity": str(milli)}


ANSWERS = {"parse": parsed, "unmarshalJSON": unmarshalled, "arith": computed, "format": printed}
FORMATS = (Format("quantities", recognises, judge),)
