"""Logs of a workflow's pods as lines, each with the name of its step in front, while they are written.

A pod's log is opened once the pod has started (an earlier request would be refused) and read to its end. Lines of
different pods come as they come; lines are never mixed. At most ``_OPEN_MAX`` logs are open at once, a line is cut at
``_LINE_BYTES_MAX``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tiphys.cli.tree import Look
from tiphys.client.client import Client
from tiphys.machinery.errors import ApiError, BadRequest, NotFound
from tiphys.machinery.resources import PODS, ObjectKey, key_of

WORKFLOW_LABEL = "workflows.argoproj.io/workflow"
NODE_NAME = "workflows.argoproj.io/node-name"

_OPEN_MAX = 64
_LINE_BYTES_MAX = 64 * 1024
_COLOURS = (32, 33, 34, 35, 36, 37)
_STARTED = ("Running", "Succeeded", "Failed")


@dataclass
class LogStream:
    """``say`` gets each line. ``query`` are the log's query parameters (container, tailLines, sinceSeconds …)."""

    say: Callable[[str], None]
    look: Look
    query: Mapping[str, str] = field(default_factory=dict)
    wanted: Callable[[Mapping[str, Any]], bool] = lambda pod: True
    keep: Callable[[str], bool] = lambda line: True
    prefix: bool = True
    forgiving: bool = True  # a log that cannot be read is left out: of a run, the tree says what happened to the pod
    _seen: set[str] = field(default_factory=set)
    _open: set[asyncio.Task[None]] = field(default_factory=set)
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_OPEN_MAX))

    async def follow(self, client: Client, workflow: ObjectKey) -> None:
        """Streams the logs of all pods of a workflow, those to come included, until cancelled."""
        selector = f"{WORKFLOW_LABEL}={workflow.name}"
        async with asyncio.TaskGroup() as tasks:
            async for pod in self._pods(client, workflow.namespace, selector):
                self._start(client, pod, tasks, follow=True)

    async def print_all(self, client: Client, workflow: ObjectKey, selector: str = "") -> int:
        """The logs of now that were not streamed, pod after pod as they were made; returns how many pods there are."""
        labels = ",".join(filter(None, (f"{WORKFLOW_LABEL}={workflow.name}", selector)))
        listed = await client.list(PODS, workflow.namespace, labelSelector=labels)
        pods = sorted(listed["items"], key=lambda pod: (pod["metadata"].get("creationTimestamp") or "", key_of(pod)))
        for pod in pods:
            if self._is_due(pod):
                await self._read(client, pod, follow=False)
        return len(pods)

    async def drained(self) -> None:
        """Returns when every log that was opened has been read to its end."""
        while self._open:
            await asyncio.wait(self._open)
            await asyncio.sleep(0)

    async def _pods(self, client: Client, namespace: str, selector: str) -> AsyncIterator[Mapping[str, Any]]:
        listed = await client.list(PODS, namespace, labelSelector=selector)
        for pod in listed["items"]:
            yield pod
        version = listed["metadata"]["resourceVersion"]
        async with client.watch(PODS, namespace, labelSelector=selector, resourceVersion=version) as events:
            async for event in events:
                if event.type in ("ADDED", "MODIFIED"):
                    yield event.object

    def _start(self, client: Client, pod: Mapping[str, Any], tasks: asyncio.TaskGroup, follow: bool) -> None:
        if not self._is_due(pod):
            return
        task = tasks.create_task(self._read(client, pod, follow))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    def _is_due(self, pod: Mapping[str, Any]) -> bool:
        """Whether the pod's log can be read and was not opened before; from now on it was."""
        uid = pod["metadata"]["uid"]
        if uid in self._seen or (pod.get("status") or {}).get("phase") not in _STARTED or not self.wanted(pod):
            return False
        self._seen.add(uid)
        return True

    async def _read(self, client: Client, pod: Mapping[str, Any], follow: bool) -> None:
        prefix = self._prefix(pod) if self.prefix else ""
        query = {"container": "main", **self.query, **({"follow": "true"} if follow else {})}
        async with self._slots:
            try:
                async with client.logs(key_of(pod), **query) as chunks:
                    async for line in lines_of(chunks):
                        if self.keep(line):
                            self.say(f"{prefix}{line}")
            except ApiError as err:
                if not self.forgiving or not isinstance(err, NotFound | BadRequest):
                    self.say(f"{prefix}(log not readable: {err})")

    def _prefix(self, pod: Mapping[str, Any]) -> str:
        name = step_name(pod)
        return self.look.paint(f"{name}: ", _COLOURS[sum(name.encode()) % len(_COLOURS)])


def step_name(pod: Mapping[str, Any]) -> str:
    """The node's name without the workflow's: ``hello[0].say(1:x)`` → ``[0].say(1:x)``, a DAG's task as ``task``."""
    meta = pod["metadata"]
    workflow = (meta.get("labels") or {}).get(WORKFLOW_LABEL, "")
    name: str = (meta.get("annotations") or {}).get(NODE_NAME) or meta["name"]
    return name.removeprefix(workflow).lstrip(".") or name


async def lines_of(chunks: AsyncIterator[bytes]) -> AsyncIterator[str]:
    """Whole lines without their ends; what is not UTF-8 is replaced, what is too long is cut into pieces."""
    rest = b""
    async for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.decode("utf-8", "replace").removesuffix("\r")
        while len(rest) > _LINE_BYTES_MAX:
            yield rest[:_LINE_BYTES_MAX].decode("utf-8", "replace")
            rest = rest[_LINE_BYTES_MAX:]
    if rest:
        yield rest.decode("utf-8", "replace")
