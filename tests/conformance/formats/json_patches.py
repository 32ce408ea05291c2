"""JSON patch and JSON merge patch (``golden/kube``: json-patch, merge-patch): texts in, the patched text or error out.

Texts are compared as values: how a number or an escape is written is the encoder's business, except where a patch's
outcome depends on it (``test`` with 1.0 for 1). The row that panics in the original is in ``deliberate.toml``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tests.conformance.golden import Format, Row, Sample
from tiphys.machinery.patches import json as json_patch
from tiphys.machinery.patches import merge


def recognises(sample: Sample) -> bool:
    keys = sample.head.keys()
    return bool(sample.rows) and ({"docText", "name", "patchText"} <= keys or {"originalText", "modifiedText"} <= keys)


def is_json_patch(sample: Sample) -> bool:
    """A JSON patch is a list of operations; a merge patch file has objects."""
    return any('"op"' in row.get("patchText", "") for row in sample.rows)


def merged(row: dict[str, Any]) -> Any:
    if row.get("op") == "create":
        try:
            return merge.create(json.loads(row["originalText"]), json.loads(row["modifiedText"]))
        except ValueError as err:
            return {"error": str(err)}
    try:
        document, patch = json.loads(row["docText"]), json.loads(row["patchText"])
    except json.JSONDecodeError:
        return {"error": "Invalid JSON Patch"}
    # The library takes texts. What is no object never comes to the patch: patching.py refuses it as the server does.
    if document is None:
        return {"error": "Invalid JSON Document"}
    if not isinstance(patch, dict | list):
        return {"error": "Invalid JSON Patch"}
    return merge.apply(document, patch)


def patched(row: dict[str, Any]) -> Any:
    try:
        patch = json.loads(row["patchText"])
    except json.JSONDecodeError:
        return {"error": "unexpected end of JSON input"}
    try:
        return json_patch.apply(json.loads(row["docText"]), patch)
    except json_patch.JsonPatchError as err:
        return {"error": str(err)}


def judge(sample: Sample) -> Iterator[Row]:
    answer = patched if is_json_patch(sample) else merged
    for row in sample.rows:
        if "error" in row:
            expected: Any = {"error": row["error"]}
        else:
            expected = json.loads(row["patchText"] if row.get("op") == "create" else row["resultText"])
        got = answer(row)
        yield Row(row["name"], got == expected, expected, got)


FORMATS = (Format("JSON patches", recognises, judge),)
