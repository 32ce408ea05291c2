"""The agent of a workflow: carries out the tasks of its WorkflowTaskSet, http and plugin templates, and reports each.

    task set ── watched ──► new task ─► request ─► result ─► patch of the task set's status

Runs inside the node's agent in place of the agent pod's container (docs/decisions/0032). A task is taken once; after a
restart those without a result are taken again, as by a restarted original. It ends when the workflow has ended.
Source: workflow/executor/agent.go.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tiphys.client.client import Client
from tiphys.machinery.errors import ApiError, Expired, NotFound, ServiceUnavailable, TooManyRequests
from tiphys.machinery.podlife import Ended
from tiphys.machinery.resources import SECRETS, WORKFLOW_TASK_SETS, ObjectKey
from tiphys.runtime.clock import Clock
from tiphys.workflows.executor.errors import ExecutorError
from tiphys.workflows.executor.plugins import Plugin, Plugins
from tiphys.workflows.plan.templates import type_of

if TYPE_CHECKING:
    from tiphys.workflows.executor.http_client import HttpTemplates

Object = Mapping[str, Any]
LABEL_COMPLETED = "workflows.argoproj.io/completed"
FINAL = ("Succeeded", "Failed", "Error")
# Requests of one workflow at a time (the original's ARGO_AGENT_TASK_WORKERS is 16).
WORKERS = 16
WATCH_PAUSE_SECONDS = 1.0


@dataclass(frozen=True)
class TaskAgent:
    """``user_agent`` is what servers see where a template says nothing."""

    client: Client
    clock: Clock
    user_agent: str = "tiphys"

    async def run(
        self, workflow: ObjectKey, say: Callable[[str], None], *, uid: str = "", plugins: Sequence[Plugin] = ()
    ) -> Ended:
        """Serves the workflow's tasks until it has ended, or the API refuses. ``uid`` is the workflow's."""
        work = _Work(self, workflow, say, uid, plugins)
        failures: list[str] = []
        try:
            async with asyncio.TaskGroup() as tasks:
                await work.serve(tasks)
        except* ApiError as group:
            failures += map(str, group.exceptions)
        finally:
            await work.close()
        return Ended(1, failures[0]) if failures else Ended()

    async def results(
        self, workflow: ObjectKey, template: dict[str, Any], *, uid: str = "", plugins: Sequence[Plugin] = ()
    ) -> list[dict[str, Any]]:
        """What one task comes to: the results that the task set's status would show, one after another."""
        work = _Work(self, workflow, lambda _: None, uid, plugins)
        try:
            return [result async for result in work.results(template)]
        finally:
            await work.close()


class _Work:
    """The tasks of one workflow."""

    def __init__(
        self, agent: TaskAgent, workflow: ObjectKey, say: Callable[[str], None], uid: str, plugins: Sequence[Plugin]
    ) -> None:
        about = {"name": workflow.name, "namespace": workflow.namespace, "uid": uid}
        self._plugins = Plugins(plugins, about, agent.clock)
        self._agent = agent
        self._client = agent.client
        self._workflow = workflow
        self._say = say
        self._taken: set[str] = set()
        self._slots = asyncio.Semaphore(WORKERS)
        self._http: HttpTemplates | None = None

    async def close(self) -> None:
        if self._http is not None:
            await self._http.close()

    async def serve(self, tasks: asyncio.TaskGroup) -> None:
        """Takes new tasks as often as the task set changes, until the workflow is complete or the set is gone."""
        while True:
            try:
                current = await self._client.get(WORKFLOW_TASK_SETS, self._workflow)
                if _is_over(current) or await self._watch(current, tasks):
                    return
            except NotFound:
                return
            except Expired:
                continue
            except (ServiceUnavailable, TooManyRequests):
                pass
            clock = self._agent.clock
            await clock.sleep_until(clock.monotonic() + WATCH_PAUSE_SECONDS)

    def _take(self, task_set: Object, tasks: asyncio.TaskGroup) -> None:
        reported = (task_set.get("status") or {}).get("nodes") or {}
        done = {node_id for node_id, result in reported.items() if result.get("phase") in FINAL}
        for node_id, template in ((task_set.get("spec") or {}).get("tasks") or {}).items():
            if node_id not in self._taken and node_id not in done:
                self._taken.add(node_id)
                tasks.create_task(self._carry_out(node_id, template))

    async def _watch(self, current: Object, tasks: asyncio.TaskGroup) -> bool:
        """True when there will be no more tasks; False when the watch ended before."""
        self._take(current, tasks)
        query = {
            "fieldSelector": f"metadata.name={self._workflow.name}",
            "resourceVersion": current["metadata"]["resourceVersion"],
        }
        async with self._client.watch(WORKFLOW_TASK_SETS, self._workflow.namespace, **query) as events:
            async for event in events:
                if event.type == "BOOKMARK":
                    continue
                if event.type == "DELETED" or _is_over(event.object):
                    return True
                self._take(event.object, tasks)
        return False

    async def _carry_out(self, node_id: str, template: dict[str, Any]) -> None:
        async for result in self.results(template):
            self._say(f"{node_id} {result['phase']} {result.get('message', '')}".rstrip())
            try:
                await self._report(node_id, result)
            except NotFound:
                return
            except ApiError as err:
                why = (
                    f"HTTP request completed successfully but an error occurred when patching its result: {err.message}"
                )
                await self._report(node_id, {"phase": "Error", "message": why})

    async def _report(self, node_id: str, result: Object) -> None:
        patch = {"status": {"nodes": {node_id: result}}}
        await self._client.patch(WORKFLOW_TASK_SETS, self._workflow, patch, subresource="status")

    async def results(self, template: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """The task's results; more than one where a plugin wants to be asked again."""
        while True:
            async with self._slots:
                result, again_seconds = await self._result(template)
            if result.get("phase"):
                yield result
            if again_seconds <= 0:
                return
            clock = self._agent.clock
            await clock.sleep_until(clock.monotonic() + again_seconds)

    async def _result(self, template: dict[str, Any]) -> tuple[dict[str, Any], float]:
        kind = type_of(template)
        if kind == "HTTP":
            return await self._sender().run(template["http"], self._secret), 0.0
        if kind == "Plugin":
            return await self._plugins.execute(template, self._sender())
        message = f"error processing task: agent cannot execute: unknown task type: {kind}"
        return {"phase": "Error", "message": message}, 0.0

    def _sender(self) -> HttpTemplates:
        if self._http is None:
            from tiphys.workflows.executor.http_client import HttpTemplates

            self._http = HttpTemplates(self._agent.user_agent)
        return self._http

    async def _secret(self, name: str, key: str) -> str:
        try:
            found = (await self._client.get(SECRETS, ObjectKey(self._workflow.namespace, name))).get("data") or {}
        except ApiError as err:
            raise ExecutorError(err.message) from err
        if key not in found:
            raise ExecutorError(f"secret '{name}' does not have the key '{key}'")
        return base64.b64decode(found[key]).decode("utf-8", "replace")


def _is_over(task_set: Object) -> bool:
    return bool((task_set["metadata"].get("labels") or {}).get(LABEL_COMPLETED) == "true")
