"""Golden rows of a whole step (its command, then what is collected), run by the native executor in a real sandbox.

Recognised by ``out.main`` with ``out.wait``. Compared: the command's exit code, its standard output where it is wanted
as the result (else it is one log with standard error here), its termination message, the outputs that are reported,
the failure's words, and what artifact servers received.

Left out, because the native executor has no wait container: the sequence of API calls (it reports once, and nothing at
all where there is nothing to report), ``staging`` and the exit code 64 of a failed wait (the failure is compared).
``main.error`` is the original wrapper's own log line. A program that does not exist is not started at all here (128,
as a kubelet says) where the wrapper is, and ends with 64: of that row the failure of the step is compared.
"""

from __future__ import annotations

import asyncio
import base64
import json
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.conformance.formats.executor_wait import _uploaded
from tests.conformance.formats.executor_world import Served, World, serving
from tests.conformance.golden import Format, Row, Sample
from tests.unit.cluster.node.harness import Node, a_pod, phase, state
from tiphys.cluster.apiserver.server import ApiServer
from tiphys.cluster.apiserver.store import Store
from tiphys.machinery.errors import NotFound
from tiphys.machinery.resources import PODS, SECRETS, WORKFLOW_TASK_RESULTS, ObjectKey
from tiphys.runtime.clock import SystemClock
from tiphys.runtime.ids import SystemIds
from tiphys.workflows.drivers.artifacts.registry import native_executor
from tiphys.workflows.executor import native

# A directory that only the container has.
DIR = "/tmp/scratch-dir"


def recognises(sample: Sample) -> bool:
    out = sample.head.get("out")
    return isinstance(out, dict) and "main" in out and "wait" in out


def judge(sample: Sample) -> Iterable[Row]:
    return asyncio.run(_judge_all(sample))


async def _judge_all(sample: Sample) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        server = await ApiServer.start(Store(), SystemClock(), SystemIds())
        node = Node(server, "sandbox", Path(folder))
        node.extensions = (native_executor(node.client, Path(folder) / "artifacts"),)
        await node.start()
        rows = []
        for number, row in enumerate(sample.rows):
            expected, got = _expected(row["in"], row["out"]), await _run(node, row["in"], f"step-{number}")
            rows.append(Row(row["name"], got == expected, expected, got))
        await node.kill()
        await server.close()
        return rows


def _expected(given: Mapping[str, Any], out: Mapping[str, Any]) -> dict[str, Any]:
    main, wait = out["main"], out["wait"]
    reported = [call["body"]["outputs"] for call in wait["api"] if "outputs" in call["body"]]
    found = reported[-1] if reported else {}
    started = main["exit"] != 64
    wanted = {
        "exit": main["exit"] if started else 128,
        "stdout": main["stdout"] if given["includeScriptOutput"] else None,
        "message": (main["terminationMessage"] or "") if started else None,
        "outputs": found,
        "error": wait.get("error"),
        "uploads": wait.get("uploads", []),
    }
    return wanted


async def _run(node: Node, given: dict[str, Any], name: str) -> dict[str, Any]:
    http, s3 = Served(), Served(s3=True)
    with serving(http) as art, serving(s3) as store, tempfile.TemporaryDirectory() as root:
        world = World(Path(root), {"$DIR": DIR, "$ART": f"http://{art}", "$S3": store})
        given = world.fill_in(given)
        await _secrets(node, given.get("files") or ())
        await node.run(_pod(given, name))
        key = ObjectKey("default", name)
        pod = await node.client.get(PODS, key)
        ended = state(pod, "main")["terminated"]
        try:
            result: Mapping[str, Any] = await node.client.get(WORKFLOW_TASK_RESULTS, ObjectKey("default", f"{name}-id"))
        except NotFound:
            result = {"outputs": {}}
        outputs = json.loads(json.dumps(result["outputs"], default=dict).replace(f"wf/{name}", "wf/pod-1"))
        failed = any(row["name"] == "wait" for row in pod["status"]["containerStatuses"])
        uploads = [{"data": _uploaded(u["body"]), "path": u["path"]} for u in (*http.uploads, *s3.uploads)]
        return _as_recorded(world, given, pod, ended, outputs, failed, uploads, await _stdout(node, name))


def _as_recorded(
    world: World,
    given: Mapping[str, Any],
    pod: Mapping[str, Any],
    ended: Mapping[str, Any],
    outputs: Mapping[str, Any],
    failed: bool,
    uploads: list[Any],
    stdout: str,
) -> dict[str, Any]:
    started = ended["reason"] != "StartError"
    assert phase(pod) in ("Succeeded", "Failed")
    got: dict[str, Any] = world.take_out(
        {
            "exit": ended["exitCode"],
            "stdout": stdout if given["includeScriptOutput"] else None,
            "message": ended.get("message", "") if started else None,
            "outputs": {name: value for name, value in outputs.items() if value},
            "error": state(pod, "wait")["terminated"]["message"] if failed else None,
            "uploads": uploads,
        }
    )
    return got


async def _stdout(node: Node, name: str) -> str:
    """What the command wrote to its standard output: the node keeps it apart, because the pod asks for it."""
    assert node.agent is not None
    worker = node.agent.worker(ObjectKey("default", name))
    log = worker.log_of("main", previous=False) if worker else None
    return log.files[0].read_text() if log and log.files and log.files[0].exists() else ""


def _pod(given: Mapping[str, Any], name: str) -> dict[str, Any]:
    template = dict(given["template"])
    if "container" in template:
        template["container"] = {**template["container"], "command": given["args"]}
    annotations = {native.TEMPLATE: json.dumps(template), native.NODE_ID: f"{name}-id"}
    if given.get("includeScriptOutput"):
        annotations[native.CAPTURES] = "true"
    if "archiveLocation" in template:
        annotations[native.ARCHIVE] = json.dumps(template["archiveLocation"])
    pod = a_pod("", name)
    owner = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "name": "wf", "uid": "wf-uid"}
    pod["metadata"] |= {"annotations": annotations, "labels": {native.LABEL_WORKFLOW: "wf"}, "ownerReferences": [owner]}
    # The recordings' scratch directory exists; what a container declares of it is made there.
    made = ["sh", "-c", f'mkdir -p {DIR}; exec "$@"', "x", *given["args"]]
    missing = given["args"][0] == "no-such"
    container = {"name": "main", "image": "busybox", "command": list(given["args"]) if missing else made}
    pod["spec"]["containers"] = [container]
    return pod


async def _secrets(node: Node, files: Iterable[Mapping[str, Any]]) -> None:
    data: dict[str, dict[str, str]] = {}
    for file in files:
        _, _, name, key = file["path"].rsplit("/", 3)
        data.setdefault(name, {})[key] = base64.b64encode(file["text"].encode()).decode()
    for name, entries in data.items():
        try:
            await node.client.get(SECRETS, ObjectKey("default", name))
        except NotFound:
            await node.client.create(SECRETS, {"metadata": {"name": name, "namespace": "default"}, "data": entries})


FORMATS = [Format("executor-pipeline", recognises, judge)]
