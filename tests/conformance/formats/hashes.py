"""Hashes of pod templates and revisions (``golden/kube/hashes.jsonl``). Nothing is left out.

The table was recorded with Kubernetes 1.34, so templates are hashed as of that release.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from tests.conformance.golden import Format, Row, Sample
from tiphys.machinery import hashes
from tiphys.machinery.hashes.dump import pod_template_text

RELEASE = "1.34"


def recognises(sample: Sample) -> bool:
    return bool(sample.rows) and all(row.get("op") in OPERATIONS for row in sample.rows)


def judge(sample: Sample) -> Iterator[Row]:
    for row in sample.rows:
        expected, got = OPERATIONS[row["op"]](row)
        yield Row(row["name"], expected == got, expected, got)


def template(row: dict[str, Any]) -> tuple[Any, Any]:
    got = {count: hashes.pod_template_hash(row["template"], number(count), RELEASE) for count in row["hashes"]}
    return [row["dumpForHash"], row["hashes"]], [pod_template_text(row["template"], RELEASE), got]


def revision(row: dict[str, Any]) -> tuple[Any, Any]:
    data = row["dataText"].encode()
    found = {count: hashes.revision_hash(data, number(count)) for count in row["revisions"]}
    return row["revisions"], {
        count: {"hash": text, "label": text, "name": f"st-{text}"} for count, text in found.items()
    }


def number(count: str) -> int | None:
    return None if count == "nil" else int(count)


OPERATIONS: dict[str, Callable[[dict[str, Any]], tuple[Any, Any]]] = {
    "pod-template-hash": template,
    "controller-revision": revision,
    "SafeEncodeString": lambda row: (row["out"], hashes.safe_encode(row["in"])),
    "fnv32a": lambda row: (row["out"], hashes.fnv32a(row["in"].encode())),
}

FORMATS = [Format("hashes of templates and revisions", recognises, judge)]
