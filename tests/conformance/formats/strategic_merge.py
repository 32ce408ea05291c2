"""Strategic merge patches (``golden/kube/strategic-merge.jsonl``): an object and a patch in, the patched object out.

``bad-input`` rows give texts: what is not JSON is refused before patching. ``mergePatches`` rows join patches. The
``decodeError`` of some results is what reading the result as its Go type says; that is not a patch's business and is
left out here (field validation judges it).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tests.conformance.golden import Format, Row, Sample
from tiphys.api.kube_types import strategic_schema
from tiphys.machinery.patches import strategic

API_VERSIONS = ("v1", "apps/v1", "batch/v1", "networking.k8s.io/v1", "autoscaling/v2", "rbac.authorization.k8s.io/v1")


def recognises(sample: Sample) -> bool:
    return bool(sample.rows) and {"kind", "name", "original", "patch"} <= sample.head.keys() and "op" not in sample.head


def schema_of(kind: str, obj: Any) -> Any:
    versions = [obj["apiVersion"]] if isinstance(obj, dict) and obj.get("apiVersion") else API_VERSIONS
    found = next((s for version in versions if (s := strategic_schema(version, kind)) is not None), None)
    assert found is not None, kind
    return found


def parsed(text: str) -> Any:
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        raise strategic.StrategicMergeError("invalid JSON document") from None
    if value is not None and not isinstance(value, dict):
        raise strategic.StrategicMergeError("invalid JSON document")
    return value or {}


def answer(row: dict[str, Any]) -> Any:
    try:
        if row.get("op") == "mergePatches":
            return strategic.combine([parsed(p) for p in row["patches"]], schema_of(row["kind"], None))
        if "originalText" in row:
            original, patch = parsed(row["originalText"]), parsed(row["patchText"])
        else:
            original, patch = row["original"], row["patch"]
        return strategic.apply(original, patch, schema_of(row["kind"], original))
    except strategic.StrategicMergeError as err:
        return {"error": str(err)}


def judge(sample: Sample) -> Iterator[Row]:
    for row in sample.rows:
        expected = {"error": row["error"]} if "error" in row else row["result"]
        if isinstance(expected, str):
            expected = json.loads(expected)
        got = answer(row)
        yield Row(row["name"], got == expected, expected, got)


FORMATS = (Format("strategic merge patches", recognises, judge),)
