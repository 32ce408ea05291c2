"""Runs the upstream examples for real, under every runtime that this machine has, and keeps the page about it true.

All files of a runtime share one cluster and run side by side. ``TIPHYS_WRITE_PAGES=1`` writes the page;
``TIPHYS_CONFORMANCE=all`` also runs those that only sleep for minutes.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from tests.conformance import examples
from tiphys.app.follow import follow
from tiphys.app.local import LocalCluster
from tiphys.app.settings import Settings
from tiphys.cli import kinds
from tiphys.client.client import Client
from tiphys.machinery.errors import AlreadyExists, ApiError, DriverError
from tiphys.machinery.resources import WORKFLOWS, ObjectKey, key_of

PLACE = examples.folder()
RUNTIMES = ("process", "sandbox")
AT_ONCE = 12
SECONDS_EACH = 60 if os.environ.get("TIPHYS_CONFORMANCE") != "all" else 400

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.skipif(PLACE is None, reason="no corpus beside the project; set TIPHYS_CORPUS"),
]


async def test_the_examples_end_as_they_are_meant_to() -> None:
    assert PLACE is not None
    every = examples.examples(PLACE)
    verdicts: dict[str, dict[str, str]] = {}
    unavailable: dict[str, str] = {}
    for runtime in RUNTIMES:
        try:
            verdicts[runtime] = await run_all(every, runtime)
        except DriverError as err:
            unavailable[runtime] = str(err)
    page = examples.page(every, verdicts)
    if os.environ.get("TIPHYS_WRITE_PAGES"):
        examples.PAGE.write_text(page, encoding="utf-8")
    wrong = [
        f"{runtime}: {file}: {how}" for runtime, found in verdicts.items() for file, how in found.items() if "**" in how
    ]
    assert not wrong, "\n".join(wrong)
    if unavailable:
        pytest.skip(f"the other runtimes are right; not here: {unavailable}")
    assert examples.rows(page).keys() == examples.rows(examples.PAGE.read_text(encoding="utf-8")).keys()


def test_the_page_is_complete() -> None:
    """Every example is on the committed page, with what it needs or how it went under each runtime."""
    assert PLACE is not None
    rows = examples.rows(examples.PAGE.read_text(encoding="utf-8"))
    every = examples.examples(PLACE)
    assert list(rows) == [example.file for example in every]
    for example in every:
        for runtime, cell in zip(RUNTIMES, rows[example.file], strict=True):
            assert cell == why_not if (why_not := example.why_not(runtime)) else "**" not in cell, (example.file, cell)


async def run_all(every: Iterable[examples.Example], runtime: str) -> dict[str, str]:
    """File → verdict, of all that can be run."""
    assert PLACE is not None
    async with LocalCluster.start(replace(Settings(), runtime=runtime)) as cluster:
        for obj in sorted(examples.companions(PLACE), key=kinds.apply_order):
            await create(cluster.client, obj)
        slots = asyncio.Semaphore(AT_ONCE)
        todo = [example for example in every if not example.why_not(runtime)]
        async with asyncio.TaskGroup() as tasks:
            running = {e.file: tasks.create_task(run_one(cluster.client, e, slots)) for e in todo}
    return {file: task.result() for file, task in running.items()}


async def create(client: Client, obj: dict[str, Any]) -> None:
    resource = kinds.resource_of(obj)
    meta = {"namespace": "default"} | obj["metadata"] if resource.namespaced else obj["metadata"]
    try:
        await client.create(resource, obj | {"metadata": meta})
    except AlreadyExists:
        await client.patch(resource, key_of({"metadata": meta}), obj)


async def run_one(client: Client, example: examples.Example, slots: asyncio.Semaphore) -> str:
    async with slots:
        ends = [await run_workflow(client, workflow, example.resume) for workflow in example.workflows]
    return example.verdict([phase for phase, _ in ends], [message for _, message in ends])


async def run_workflow(client: Client, workflow: dict[str, Any], resume: str) -> tuple[str, str]:
    """``(phase, message)`` of its end."""
    wanted = workflow | {"metadata": {"namespace": "default"} | workflow["metadata"]}
    try:
        key = key_of(await client.create(WORKFLOWS, wanted))
    except ApiError as err:
        return "Refused", str(err)
    latest: Any = {}
    try:
        async with asyncio.timeout(SECONDS_EACH):
            async for latest in follow(client, [key]):
                if resume:
                    await let_go(client, key, latest, resume)
    except TimeoutError:
        waiting = [
            n for n in latest.get("status", {}).get("nodes", {}).values() if n["phase"] in ("Running", "Pending")
        ]
        return "Unfinished", "; ".join(f"{n['name']} {n['phase']} {n.get('message', '')}" for n in waiting)
    return latest["status"]["phase"], message_of(latest)


def message_of(workflow: Any) -> str:
    status = workflow["status"]
    return status.get("message") or next(
        (f"{n['name']}: {n['message']}" for n in status.get("nodes", {}).values() if n.get("message")), ""
    )


async def let_go(client: Client, key: ObjectKey, workflow: Any, step: str) -> None:
    """Resumes the suspended step of that name, as ``tiphys resume`` does."""
    for node in workflow.get("status", {}).get("nodes", {}).values():
        if node["type"] == "Suspend" and node["phase"] == "Running" and node["displayName"] == step:
            await client.patch(WORKFLOWS, key, {"status": {"nodes": {node["id"]: {"phase": "Succeeded"}}}})
