"""The agent of http templates on a real node: every task once, results in the task set, an end with the workflow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from aiohttp import web

from tests.unit.cluster.node.harness import Node, a_pod, node, phase
from tiphys.client.client import Client
from tiphys.client.transport import Request, Transport
from tiphys.machinery.errors import Forbidden
from tiphys.machinery.podlife import Ended
from tiphys.machinery.resources import WORKFLOW_TASK_SETS, ObjectKey
from tiphys.runtime.clock import SystemClock
from tiphys.workflows.drivers.artifacts.registry import native_executor
from tiphys.workflows.executor.agent import LABEL_COMPLETED, TaskAgent

Object = Mapping[str, Any]
WORKFLOW = ObjectKey("default", "wf")


@asynccontextmanager
async def a_server(asked: list[str]) -> AsyncIterator[str]:
    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(text=f"answer to {request.path}", status=500 if request.path == "/broken" else 200)

    app = web.Application()
    app.router.add_get("/{tail:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Node]:
    async with node("process", tmp_path) as made:
        agent = TaskAgent(made.client, SystemClock())
        made.extensions = (native_executor(made.client, tmp_path / "artifacts", agent=agent),)
        await made.start()
        yield made


def agent_pod() -> Object:
    pod = a_pod("", "wf-agent", restartPolicy="OnFailure")
    pod["metadata"]["labels"] = {
        "workflows.argoproj.io/workflow": "wf",
        "workflows.argoproj.io/component": "agent",
    }
    pod["spec"]["containers"] = [{"name": "main", "image": "tiphys/executor", "command": ["tiphys-executor", "agent"]}]
    return pod


def task_set(**tasks: str) -> Object:
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "WorkflowTaskSet",
        "metadata": {"name": "wf", "namespace": "default"},
        "spec": {"tasks": {name: {"name": "t", "http": {"url": url}} for name, url in tasks.items()}},
    }


async def results(here: Node, count: int) -> Object:
    """The task set's results, once there are so many."""
    query = {"fieldSelector": "metadata.name=wf"}
    async with asyncio.timeout(15), here.client.watch(WORKFLOW_TASK_SETS, "default", **query) as events:
        async for event in events:
            found: Object = (event.object.get("status") or {}).get("nodes") or {}
            if len(found) == count:
                return found
    raise AssertionError("the watch ended")


async def test_tasks_are_carried_out_once_and_the_agent_ends_with_the_workflow(here: Node) -> None:
    asked: list[str] = []
    async with a_server(asked) as url:
        await here.client.create(WORKFLOW_TASK_SETS, task_set(one=f"{url}/one", two=f"{url}/broken"))
        key = await here.create(agent_pod())
        found = await results(here, 2)
        assert found["one"] == {"phase": "Succeeded", "outputs": {"result": "answer to /one"}}
        assert found["two"]["message"] == "received non-2xx response code: 500"

        more = {"spec": {"tasks": {"three": {"name": "t", "http": {"url": f"{url}/three"}}}}}
        await here.client.patch(WORKFLOW_TASK_SETS, WORKFLOW, more)
        await results(here, 3)
        await here.client.patch(WORKFLOW_TASK_SETS, WORKFLOW, {"metadata": {"labels": {LABEL_COMPLETED: "true"}}})
        assert phase(await here.ended(key)) == "Succeeded"
    assert sorted(asked) == ["/broken", "/one", "/three"]


async def test_a_restarted_agent_does_not_ask_again_for_what_is_reported(here: Node) -> None:
    asked: list[str] = []
    async with a_server(asked) as url:
        await here.client.create(WORKFLOW_TASK_SETS, task_set(one=f"{url}/one"))
        key = await here.create(agent_pod())
        await results(here, 1)
        await here.kill()
        await here.start()
        await here.client.patch(WORKFLOW_TASK_SETS, WORKFLOW, {"metadata": {"labels": {LABEL_COMPLETED: "true"}}})
        assert phase(await here.ended(key)) == "Succeeded"
    assert asked == ["/one"]


async def test_an_api_that_refuses_ends_the_agent_not_the_node() -> None:
    class Refusing:
        async def call(self, request: Request) -> Object:
            raise Forbidden("no")

    agent = TaskAgent(Client(cast("Transport", Refusing())), SystemClock())
    assert await agent.run(WORKFLOW, print) == Ended(1, "no")
