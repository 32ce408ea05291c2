"""Runs the upstream manifests for real, under every runtime that this machine has, and keeps the page about it true.

All files of a suite share one cluster and run side by side. ``TIPHYS_WRITE_PAGES=1`` writes the page;
``TIPHYS_CONFORMANCE=all`` also runs those that only sleep for minutes. ``TIPHYS_EXAMPLE=text`` runs only files whose
name contains the text, and compares no page.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import tempfile
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from tests.conformance import examples
from tests.conformance.examples import Example, Suite
from tests.conformance.golden import corpus
from tests.services import S3, Files, HttpBin, serving
from tests.unit.workflows.drivers import stores
from tiphys.app.follow import follow
from tiphys.app.local import LocalCluster
from tiphys.cli import kinds
from tiphys.client.client import Client
from tiphys.cluster.apiserver.streams import RemoteOptions, StreamSource
from tiphys.cluster.node.runtime import STDERR, STDOUT, StartFailure, finish
from tiphys.machinery.errors import AlreadyExists, ApiError, DriverError
from tiphys.machinery.resources import NAMESPACES, PODS, SERVICE_ACCOUNTS, WORKFLOWS, ObjectKey, key_of
from tiphys.workflows.executor import native

PLACE = corpus()
RUNTIMES = ("process", "sandbox")
AT_ONCE = 12
SECONDS_EACH = 400 if examples.PATIENT else 60
SECONDS_WAITED = 10
"""For what is meant to wait without end."""
LEAVES = ("Pod", "HTTP", "Plugin")
ONLY = os.environ.get("TIPHYS_EXAMPLE", "")

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.skipif(PLACE is None, reason="no corpus beside the project; set TIPHYS_CORPUS"),
]


async def test_the_manifests_end_as_they_are_meant_to() -> None:
    assert PLACE is not None
    suites = {suite.name: examples.examples(suite, PLACE) for suite in examples.SUITES}
    verdicts: dict[str, dict[str, str]] = {}
    unavailable: dict[str, str] = {}
    for runtime in RUNTIMES:
        try:
            found = [await run_all(suite, suites[suite.name], runtime) for suite in examples.SUITES]
            verdicts[runtime] = {file: how for part in found for file, how in part.items()}
        except DriverError as err:
            unavailable[runtime] = str(err)
    wrong = [
        f"{runtime}: {file}: {how}" for runtime, found in verdicts.items() for file, how in found.items() if "**" in how
    ]
    page = examples.page(suites, verdicts, examples.rows(examples.PAGE.read_text(encoding="utf-8")))
    if os.environ.get("TIPHYS_WRITE_PAGES") and not ONLY:
        examples.PAGE.write_text(page, encoding="utf-8")
    assert not wrong, "\n".join(wrong)
    if unavailable:
        pytest.skip(f"the other runtimes are right; not here: {unavailable}")
    assert ONLY or examples.rows(page).keys() == examples.rows(examples.PAGE.read_text(encoding="utf-8")).keys()


def test_the_page_is_complete() -> None:
    """Every file is on the committed page, with what it needs or how it went under each runtime."""
    assert PLACE is not None
    rows = examples.rows(examples.PAGE.read_text(encoding="utf-8"))
    every = {f"{suite.name}/{e.file}": e for suite in examples.SUITES for e in examples.examples(suite, PLACE)}
    assert list(rows) == list(every)
    for file, example in every.items():
        for runtime, cell in zip(RUNTIMES, rows[file], strict=True):
            why_not = example.why_not(runtime)
            assert cell == why_not if why_not else not cell.startswith(("**", examples.NOT_RUN)), (file, cell)


@dataclass
class Stage:
    """Where the files of a suite are run."""

    client: Client
    streams: StreamSource
    suite: Suite
    pool: list[dict[str, Any]]
    addresses: Mapping[str, str]
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    async def run(self, example: Example) -> str:
        async with self.slots:
            namespace = "default" if self.suite.shares else await self._namespace(example)
            ends = [await self._workflow(workflow, namespace, example) for workflow in example.workflows]
        return example.verdict([phase for phase, _ in ends], [message for _, message in ends])

    async def _namespace(self, example: Example) -> str:
        """A namespace with all that the file mentions."""
        name = re.sub(r"[^a-z0-9]+", "-", example.file.lower().removesuffix(".yaml"))[-60:].strip("-")
        await self.client.create(NAMESPACES, {"metadata": {"name": name}})
        with suppress(AlreadyExists):
            await self.client.create(SERVICE_ACCOUNTS, {"metadata": {"name": "default", "namespace": name}})
        for obj in sorted(examples.needed(self.suite, example, self.pool), key=kinds.apply_order):
            await self.apply(obj, name)
        return name

    async def apply(self, obj: dict[str, Any], namespace: str) -> None:
        resource = kinds.resource_of(obj)
        meta = obj["metadata"] | ({"namespace": namespace} if resource.namespaced else {})
        with suppress(AlreadyExists):
            await self.client.create(resource, self._addressed(obj | {"metadata": meta}))

    async def _workflow(self, workflow: dict[str, Any], namespace: str, example: Example) -> tuple[str, str]:
        """``(phase, message)`` of its end."""
        wanted = self._addressed(workflow | {"metadata": workflow["metadata"] | {"namespace": namespace}})
        try:
            key = key_of(await self.client.create(WORKFLOWS, wanted))
        except ApiError as err:
            return "Refused", str(err)
        latest: Any = {}
        done: set[str] = set()
        try:
            async with asyncio.timeout(SECONDS_WAITED if example.expect == ("Unfinished",) else SECONDS_EACH):
                async for latest in follow(self.client, [key]):
                    await self._intervene(key, latest, example.when, done)
        except TimeoutError:
            nodes = latest.get("status", {}).get("nodes", {}).values()
            waiting = [n for n in nodes if n["phase"] in ("Running", "Pending")]
            return "Unfinished", "; ".join(f"{n['name']} {n['phase']} {n.get('message', '')}" for n in waiting)
        return latest["status"]["phase"], message_of(latest)

    async def _intervene(self, key: ObjectKey, workflow: Any, when: Mapping[str, str], done: set[str]) -> None:
        """What a person does to the workflow, once for each step: as ``tiphys resume``, ``stop``, ``terminate`` do, or
        by hand in a container."""
        for node in workflow.get("status", {}).get("nodes", {}).values():
            what = next((what for name, what in when.items() if fnmatchcase(node["displayName"], name)), None)
            if what is None or node["id"] in done or node["phase"] != "Running":
                continue
            if what == "resume" and node["type"] == "Suspend":
                await self.client.patch(WORKFLOWS, key, {"status": {"nodes": {node["id"]: {"phase": "Succeeded"}}}})
            elif what in ("stop", "terminate") and node["type"] in ("Pod", "Suspend"):
                await self.client.patch(WORKFLOWS, key, {"spec": {"shutdown": what.capitalize()}})
            elif what in ("before", "after"):
                await self._let_go(key, node["id"], what)
            else:
                continue
            done.add(node["id"])

    async def _let_go(self, key: ObjectKey, node_id: str, moment: str) -> None:
        """Makes the file that a paused step waits for."""
        ours = f"workflows.argoproj.io/workflow={key.name}"
        pods = await self.client.list(PODS, key.namespace, labelSelector=ours)
        pod = next(p for p in pods["items"] if p["metadata"]["annotations"][native.NODE_ID] == node_id)
        touch = ("touch", f"/var/run/argo/ctr/main/{moment}")
        while True:
            try:
                session = self.streams.exec(pod, RemoteOptions("main", frozenset({STDOUT, STDERR}), touch))
                break
            except StartFailure:  # it runs, but cannot be entered yet
                await asyncio.sleep(0.1)
        await finish(session)  # its code says nothing: the container may be gone before it has ended

    def _addressed(self, obj: dict[str, Any]) -> dict[str, Any]:
        text = json.dumps(obj, default=str)
        for theirs, ours in self.addresses.items():
            text = text.replace(theirs, ours)
        made: dict[str, Any] = json.loads(text)
        return made


async def run_all(suite: Suite, every: list[Example], runtime: str) -> dict[str, str]:
    """``suite/file`` → verdict, of all that can be run."""
    async with AsyncExitStack() as stack:
        pages = stack.enter_context(serving(HttpBin())).endpoint
        name_node = stack.enter_context(stores.serving(stores.Hadoop)).endpoint
        addresses = {
            examples.MINIO: stack.enter_context(serving(S3())).endpoint,
            examples.HTTPBIN: pages,
            examples.WEBHDFS: f"http://{pages}",
            examples.ARTIFACTORY: stack.enter_context(serving(Files())).endpoint,
            **dict.fromkeys(examples.NAME_NODES, name_node),
        }
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        cluster = await stack.enter_async_context(LocalCluster.start(examples.settings(runtime, place)))
        streams = cluster.parts.node.stream_source
        assert streams is not None
        stage = Stage(cluster.client, streams, suite, examples.companions(suite, every), addresses)
        if suite.shares:
            for obj in sorted(stage.pool, key=kinds.apply_order):
                await stage.apply(obj, "default")
        todo = [
            example for example in every if not (example.why_not(runtime) or example.aside) and ONLY in example.file
        ]
        async with asyncio.TaskGroup() as tasks:
            running = {f"{suite.name}/{e.file}": tasks.create_task(stage.run(e)) for e in todo}
    return {file: task.result() for file, task in running.items()}


def message_of(workflow: Any) -> str:
    status = workflow["status"]
    nodes = status.get("nodes", {}).values()
    said = [f"{n['name']}: {n['message']}" for n in nodes if n.get("message") and n["type"] in LEAVES]
    return "; ".join(filter(None, (status.get("message"), *said[:2])))


def test_the_tables_name_files(tmp_path: Path) -> None:
    """A file that is kept aside may be missing from the corpus, so only the form of the tables is judged here."""
    known = {"expect", "needs", "slow", "programs", "when", "not_yet", "process", "sandbox", "parameters", "differs"}
    for suite in examples.SUITES:
        for file, said in suite.table().items():
            assert file.endswith(".yaml") and said.keys() <= known, (suite.name, file)
