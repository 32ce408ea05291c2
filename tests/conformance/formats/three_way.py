"""golden/kube three-way: the patches that make one object of another, and those that ``kubectl apply`` sends.

op two-way {original, modified}, three-way {original, modified, current, overwrite}, json-three-way (custom resources;
with preconditions apiVersion, kind and the name may not change). ``result`` of the first two is the patch carried out.
Nothing is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.conformance.formats.strategic_merge import schema_of
from tests.conformance.golden import Format, Row, Sample
from tiphys.lang.gofmt import sprint
from tiphys.machinery.patches import merge, strategic, strategic_diff

OPS = ("two-way", "three-way", "json-three-way")


def recognises(sample: Sample) -> bool:
    return sample.head.get("op") in OPS and {"original", "modified"} <= sample.head.keys()


def judge(sample: Sample) -> Iterator[Row]:
    for row in sample.rows:
        expected = {key: row[key] for key in ("patch", "result", "error", "isConflict") if key in row}
        got = answer(row)
        yield Row(row["name"], got == expected, expected, got)


def answer(row: dict[str, Any]) -> dict[str, Any]:
    original, modified, current = ((row.get(key) or {}) for key in ("original", "modified", "current"))
    if row["op"] == "json-three-way":
        return of_custom(original, modified, current, row["preconditions"])
    try:
        schema = schema_of(row["kind"], modified)
        if row["op"] == "two-way":
            patch, target = strategic_diff.two_way(original, modified, schema), original
        else:
            patch = strategic_diff.three_way(original, modified, current, schema, overwrite=row["overwrite"])
            target = current
        return {"patch": patch, "result": strategic.apply(target, patch, schema)}
    except strategic_diff.PatchConflict as err:
        return {"error": str(err), "isConflict": True}
    except strategic.StrategicMergeError as err:
        return {"error": str(err)} | ({"isConflict": False} if row["op"] == "three-way" else {})


def of_custom(original: Any, modified: Any, current: Any, preconditions: bool) -> dict[str, Any]:
    patch = merge.three_way(original, modified, current)
    metadata = patch.get("metadata") or {}
    if preconditions and ({"apiVersion", "kind"} & patch.keys() or "name" in metadata):
        return {"error": f"precondition failed for: {sprint(patch)}"}
    return {"patch": patch}


FORMATS = (Format("three-way patches", recognises, judge),)
