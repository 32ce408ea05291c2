"""Following workflows on a real API server (in process): the end, Ctrl-C, deadlines, logs."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import pytest

from tiphys.cli.following import Following
from tiphys.cli.pod_logs import LogStream, lines_of
from tiphys.cli.progress import Workflow
from tiphys.cli.tree import Look
from tiphys.client.client import Client
from tiphys.cluster.apiserver.server import ApiServer
from tiphys.cluster.apiserver.store import Store
from tiphys.cluster.apiserver.streams import LogOptions
from tiphys.machinery.resources import PODS, WORKFLOWS, ObjectKey
from tiphys.runtime.clock import SystemClock
from tiphys.runtime.ids import SystemIds

KEY = ObjectKey("default", "wf")


class Notes:
    """A view that remembers."""

    moves = True

    def __init__(self) -> None:
        self.said: list[str] = []
        self.phases: list[str] = []
        self.began = asyncio.Event()

    def state(self, workflow: Workflow) -> None:
        self.began.set()
        self.phases.append((workflow.get("status") or {}).get("phase", ""))

    def say(self, text: str) -> None:
        self.said.append(text)

    def refresh(self, now: datetime) -> None: ...

    def close(self, now: datetime) -> None: ...


@asynccontextmanager
async def a_server() -> AsyncIterator[ApiServer]:
    server = await ApiServer.start(Store(), SystemClock(), SystemIds())
    try:
        yield server
    finally:
        await server.close()


async def make_workflow(client: Client) -> None:
    await client.create(
        WORKFLOWS,
        {
            "apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow",
            "metadata": {"name": "wf", "namespace": "default"},
            "spec": {"entrypoint": "main", "templates": [{"name": "main", "container": {"image": "x"}}]},
        },
    )  # fmt: skip


async def set_phase(client: Client, phase: str) -> None:
    await client.patch(WORKFLOWS, KEY, {"status": {"phase": phase}})


async def shutdown_of(client: Client, wanted: str) -> None:
    """Returns when the workflow's spec says so."""
    async with client.watch(WORKFLOWS, "default") as events:
        current = await client.get(WORKFLOWS, KEY)
        if current["spec"].get("shutdown") == wanted:
            return
        async for event in events:
            if event.object["spec"].get("shutdown") == wanted:
                return


async def test_the_end_is_the_outcome() -> None:
    async with a_server() as server:
        client, notes = Client(server.transport()), Notes()
        await make_workflow(client)
        async with asyncio.TaskGroup() as tasks:
            outcome = tasks.create_task(Following(client, [KEY], notes, SystemClock()).to_the_end())
            await set_phase(client, "Running")
            await set_phase(client, "Succeeded")
        assert outcome.result().all_succeeded
        assert notes.phases[-1] == "Succeeded"


async def test_a_failed_workflow_has_not_succeeded() -> None:
    async with a_server() as server:
        client = Client(server.transport())
        await make_workflow(client)
        await set_phase(client, "Failed")
        outcome = await Following(client, [KEY], Notes(), SystemClock()).to_the_end()
        assert not outcome.all_succeeded and not outcome.cut_short


async def test_interrupts_stop_then_terminate() -> None:
    async with a_server() as server:
        client, notes = Client(server.transport()), Notes()
        await make_workflow(client)
        async with asyncio.TaskGroup() as tasks:
            outcome = tasks.create_task(Following(client, [KEY], notes, SystemClock()).to_the_end())
            await notes.began.wait()
            os.kill(os.getpid(), signal.SIGINT)
            await shutdown_of(client, "Stop")
            os.kill(os.getpid(), signal.SIGINT)
            await shutdown_of(client, "Terminate")
            await set_phase(client, "Failed")
        assert not outcome.result().all_succeeded
        assert [text.split()[1] for text in notes.said] == ["stopping", "terminating"]


async def test_a_third_interrupt_leaves() -> None:
    async with a_server() as server:
        client, notes = Client(server.transport()), Notes()
        await make_workflow(client)
        async with asyncio.TaskGroup() as tasks:
            outcome = tasks.create_task(Following(client, [KEY], notes, SystemClock()).to_the_end())
            await notes.began.wait()
            for wanted in ("Stop", "Terminate"):
                os.kill(os.getpid(), signal.SIGINT)
                await shutdown_of(client, wanted)
            os.kill(os.getpid(), signal.SIGINT)
        assert outcome.result().cut_short == "interrupted"


async def test_a_deadline_terminates_and_does_not_count_as_success() -> None:
    async with a_server() as server:
        client, notes = Client(server.transport()), Notes()
        await make_workflow(client)
        async with asyncio.TaskGroup() as tasks:
            following = Following(client, [KEY], notes, SystemClock(), timeout_seconds=0.01)
            outcome = tasks.create_task(following.to_the_end())
            await shutdown_of(client, "Terminate")
            await set_phase(client, "Succeeded")
        assert outcome.result().cut_short == "not finished after 10ms"
        assert not outcome.result().all_succeeded


class LogsOf:
    """A source of logs: what the node agent is to the API server."""

    def __init__(self, **chunks: list[bytes]) -> None:
        self.chunks = chunks

    @asynccontextmanager
    async def logs(self, pod: Mapping[str, Any], options: LogOptions) -> AsyncIterator[AsyncIterator[bytes]]:
        yield each(self.chunks[pod["metadata"]["name"]])


async def each(chunks: list[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def test_logs_come_with_their_step_in_front_even_of_pods_that_are_gone_at_once() -> None:
    async with a_server() as server:
        server.register_log_source(LogsOf(early=[b"one\ntw", b"o\n"], late=[b"three"]))
        client, notes = Client(server.transport()), Notes()
        await make_workflow(client)
        async with asyncio.TaskGroup() as tasks:
            logs = LogStream(notes.say, Look())
            following = Following(client, [KEY], notes, SystemClock(), logs=logs)
            tasks.create_task(following.to_the_end())
            await notes.began.wait()
            await a_pod(client, "early", "wf.first")
            await a_pod(client, "late", "wf[0].second")
            await set_phase(client, "Succeeded")
        assert sorted(notes.said) == ["[0].second: three", "first: one", "first: two"]


async def a_pod(client: Client, name: str, node: str) -> None:
    meta = {
        "name": name, "namespace": "default", "labels": {"workflows.argoproj.io/workflow": "wf"},
        "annotations": {"workflows.argoproj.io/node-name": node},
    }  # fmt: skip
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": meta,
        "spec": {"containers": [{"name": "main", "image": "x"}]},
    }
    await client.create(PODS, pod)
    await client.patch(PODS, ObjectKey("default", name), {"status": {"phase": "Running"}}, subresource="status")


@pytest.mark.parametrize(
    ("chunks", "lines"),
    [
        ([b"a\nb", b"c\n"], ["a", "bc"]),
        ([b"no end"], ["no end"]),
        ([b"\xff\r\n"], ["\ufffd"]),
        ([b""], []),
    ],
)
async def test_chunks_become_lines(chunks: list[bytes], lines: list[str]) -> None:
    assert [line async for line in lines_of(each(chunks))] == lines


async def test_an_endless_line_is_cut() -> None:
    lines = [line async for line in lines_of(each([b"x" * 40_000] * 4))]
    assert sum(map(len, lines)) == 160_000 and max(map(len, lines)) <= 64 * 1024
