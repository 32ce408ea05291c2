"""Golden rows of the executor's init container: what is staged for the containers, and what is refused.

Recognised by ``out.argoexecCopied``. Left out: ``argoexecCopied`` itself (the mode of the original's binary in the
shared volume; ours has no binary to copy) and ``template`` (the original's typed copy of the template for its other
processes; ours hand over the annotation as it is).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.conformance.formats.executor_world import DIR, Served, World, content_of, serving
from tests.conformance.golden import Format, Row, Sample
from tiphys.workflows.drivers.artifacts.registry import Drivers
from tiphys.workflows.executor import inputs
from tiphys.workflows.executor.errors import ExecutorError, go_error
from tiphys.workflows.executor.wait import read_template

LEFT_OUT = ("argoexecCopied", "template")


def recognises(sample: Sample) -> bool:
    head = sample.head
    return isinstance(head.get("out"), dict) and "argoexecCopied" in head["out"]


def judge(sample: Sample) -> Iterable[Row]:
    for row in sample.rows:
        expected = {key: value for key, value in row["out"].items() if key not in LEFT_OUT}
        got = run(row["in"], with_mirror="mainctrfs" in expected, with_manifest="manifest" in expected)
        yield Row(row["name"], got == expected, expected, got)


def run(given: dict[str, Any], *, with_mirror: bool, with_manifest: bool) -> dict[str, Any]:
    http = Served(scripts=dict(given.get("script") or {}))
    s3 = Served(s3=True, blobs={f"/{key}": content_of(blob) for key, blob in (given.get("s3") or {}).items()})
    http.blobs = {path: content_of(blob) for path, blob in (given.get("blobs") or {}).items()}
    with tempfile.TemporaryDirectory() as root, serving(http) as art, serving(s3) as store:
        world = World(Path(root), {"$DIR": DIR, "$ART": f"http://{art}", "$S3": store})
        given = world.fill_in(given)
        for file in given.get("files") or ():
            world.make(file)
        out: dict[str, Any] = {"exit": 0, "terminationMessage": None}
        template = given["template"]
        if template is None:
            return {**template_error(world), "inputs": {}, "staging": {}}
        for directory in ("/argo/staging", "/argo/inputs/artifacts"):
            world.place(directory).real.mkdir(parents=True, exist_ok=True)
        try:
            inputs.write_staged_file(template, world.place)
            inputs.load_artifacts(template, world.place, Drivers(world.secret))
        except ExecutorError as err:
            out |= {"exit": 64, "error": str(err), "terminationMessage": str(err)}
        out["inputs"] = world.tree("/argo/inputs/artifacts")
        out["staging"] = world.tree("/argo/staging")
        if with_mirror:
            out["mainctrfs"] = world.tree("/mainctrfs")
        if with_manifest:
            out["manifest"] = world.tree("/tmp").get("/tmp/manifest.yaml")
        result: dict[str, Any] = world.take_out(out)
        return result


def template_error(world: World) -> dict[str, Any]:
    """What comes of a pod without its template."""
    try:
        read_template(world.place, {})
    except (OSError, ValueError) as err:
        text = str(go_error("open", "/var/run/argo/template", err) if isinstance(err, OSError) else err)
        return {"exit": 2, "error": f"panic: {text}", "terminationMessage": text}
    return {"exit": 0}


FORMATS = [Format("executor-init", recognises, judge)]
