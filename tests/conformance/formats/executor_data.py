"""Golden rows of data templates: the result, or the message of a failure.

Recognised by ``out.api`` beside a template whose first row has ``data``. Left out: ``s3Requests`` (how a store is
asked is its client's business: ours asks for no location first) and of ``api`` what is not ``outputs`` (labels and
order of the writes are the node agent's: ``executor_pipeline.py``).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.conformance.formats.executor_world import DIR, Served, World, content_of, serving
from tests.conformance.golden import Format, Row, Sample
from tiphys.workflows.drivers.artifacts.registry import Drivers
from tiphys.workflows.executor import data
from tiphys.workflows.executor.errors import ExecutorError


def recognises(sample: Sample) -> bool:
    given, out = sample.head.get("in"), sample.head.get("out")
    return (
        isinstance(given, dict) and isinstance(out, dict) and "api" in out and "data" in (given.get("template") or {})
    )


def judge(sample: Sample) -> Iterable[Row]:
    for row in sample.rows:
        expected = wanted(row["out"])
        got = run(row["in"])
        yield Row(row["name"], got == expected, expected, got)


def wanted(out: Mapping[str, Any]) -> dict[str, Any]:
    reports = [call["body"]["outputs"] for call in out["api"] if (call.get("body") or {}).get("outputs")]
    outputs = reports[-1] if reports else None
    return {"exit": out["exit"], "message": out["terminationMessage"] or "", "outputs": outputs}


def run(given: Mapping[str, Any]) -> dict[str, Any]:
    store = Served(s3=True, blobs={f"/{key}": content_of(blob) for key, blob in (given.get("s3") or {}).items()})
    with tempfile.TemporaryDirectory() as root, serving(Served()) as art, serving(store) as address:
        world = World(Path(root), {"$DIR": DIR, "$ART": f"http://{art}", "$S3": address})
        filled = world.fill_in(given)
        for file in filled.get("files") or ():
            world.make(file)
        try:
            result = data.process(filled["template"], Drivers(world.secret))
        except ExecutorError as err:
            failure: dict[str, Any] = world.take_out({"exit": 64, "message": str(err), "outputs": None})
            return failure
        return {"exit": 0, "message": "", "outputs": {"result": result}}


FORMATS = [Format("executor-data", recognises, judge)]
