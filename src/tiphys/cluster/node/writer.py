"""Writes one pod's status: never two writes at once, the newest state wins, the final one in a group.

``post_later`` waits a moment before it writes, so that a step which ends at once costs one write and not two.
A status is computed when it is written, not when it was asked for. API failures that may pass are tried again;
a pod that is gone (or is another one of the same name) needs no status.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tiphys.client.transport import Request
from tiphys.machinery.actions import PatchType
from tiphys.machinery.errors import AlreadyExists, ApiError, Conflict, NotFound
from tiphys.machinery.resources import PODS, WORKFLOW_TASK_RESULTS, ObjectKey, Resource, key_of

if TYPE_CHECKING:
    from tiphys.cluster.node.agent import Agent

Object = Mapping[str, Any]
# A step shorter than this is never seen Running. Well below what a person notices.
LATER_SECONDS = 0.05
_RETRY_FIRST_SECONDS, _RETRY_CAP_SECONDS = 0.1, 10.0
# Names the object that was written with the final status. They come to a controller through different watches: this
# tells it that there is more to come, whichever it sees first.
REPORTED_IN = "workflows.argoproj.io/reported-in"
# What extensions may write; the API's resource by kind.
_RESOURCES: Mapping[str, Resource] = {"WorkflowTaskResult": WORKFLOW_TASK_RESULTS}


# What a condition may lack must be taken away where conditions are merged.
_EMPTY_CONDITION: dict[str, Any] = {"reason": None, "message": None}


class StatusWriter:
    def __init__(self, agent: Agent, key: ObjectKey, uid: str, *, bind: bool, shares_conditions: bool = False) -> None:
        """``bind``: nobody has bound the pod yet, the first write does. ``shares_conditions``: others write conditions
        too (readiness gates), so that ours must go beside theirs; that costs more than a plain merge.
        """
        self._shares_conditions = shares_conditions
        self._agent = agent
        self._key = key
        self._uid = uid
        self._next: Callable[[], dict[str, Any]] | None = None
        self._due = 0.0
        self._timer: Any = None
        self._task: asyncio.Task[None] | None = None
        self._last: dict[str, Any] | None = None
        self._closed = False
        self._bind = bind

    def post(self, status: Callable[[], dict[str, Any]]) -> None:
        """Writes soon, in the background."""
        self._next = status
        self._go()

    def post_later(self, status: Callable[[], dict[str, Any]]) -> None:
        """Writes after a moment, unless something overtakes it."""
        self._next = status
        if self._timer is None and self._task is None and not self._closed:
            clock = self._agent.clock
            self._timer = clock.call_at(clock.monotonic() + LATER_SECONDS, self._go)

    async def finish(self, objects: Sequence[Object], status: dict[str, Any]) -> None:
        """Writes ``objects`` and the final status in one group, after whatever is being written."""
        self.close()
        if self._task is not None:
            await asyncio.wait([self._task])
        self._agent.effects.before("finish", {"metadata": {"name": self._key.name, "uid": self._uid}})
        writes = [self._put(obj) for obj in objects]
        reported = {REPORTED_IN: objects[0]["metadata"]["name"]} if objects else None
        await asyncio.gather(*writes, self._write(status, reported))

    def close(self) -> None:
        self._closed = True
        self._next = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def confirm_deletion(self) -> None:
        """The agent's word that nothing of the pod runs here any more: the object may go."""
        self.close()
        options = {"gracePeriodSeconds": 0, "preconditions": {"uid": self._uid}}

        async def call() -> None:
            await self._agent.client.delete(PODS, self._key, options)

        await self._insist(call)

    def _go(self) -> None:
        self._timer = None
        if self._task is None and self._next is not None and not self._closed:
            self._task = self._agent.spawn(self._drain())

    async def _drain(self) -> None:
        try:
            while self._next is not None and not self._closed:
                status, self._next = self._next(), None
                if status != self._last:
                    self._agent.effects.before("status", {"metadata": {"name": self._key.name, "uid": self._uid}})
                    await self._write(status)
        finally:
            self._task = None

    async def _write(self, status: dict[str, Any], annotations: Mapping[str, str] | None = None) -> None:
        self._last = status
        if self._shares_conditions:
            status = status | {"conditions": [_EMPTY_CONDITION | row for row in status.get("conditions") or ()]}
        patch: dict[str, Any] = {"metadata": {"uid": self._uid}, "status": status}
        if annotations:
            patch["metadata"]["annotations"] = dict(annotations)

        kind = PatchType.STRATEGIC if self._shares_conditions else PatchType.MERGE

        async def call() -> None:
            await self._agent.client.patch(PODS, self._key, patch, kind, subresource="status")

        if self._bind:
            self._bind = False
            await asyncio.gather(self._insist(self._bind_pod), self._insist(call))
        else:
            await self._insist(call)

    async def _bind_pod(self) -> None:
        target = {"apiVersion": "v1", "kind": "Node", "name": self._agent.node_name}
        body = {"metadata": {"name": self._key.name, "uid": self._uid}, "target": target}
        request = Request("create", PODS, self._key.namespace, self._key.name, "binding", body=body)
        await self._agent.client.transport.call(request)

    async def _put(self, obj: Object) -> None:
        """Creates, or overwrites what an earlier life of the agent wrote."""
        resource = _RESOURCES[obj["kind"]]

        async def call() -> None:
            try:
                await self._agent.client.create(resource, obj)
            except AlreadyExists:
                await self._agent.client.patch(resource, key_of(obj), obj)

        await self._insist(call)

    async def _insist(self, call: Callable[[], Any]) -> None:
        """Until it is done, or pointless because the pod is gone."""
        wait = _RETRY_FIRST_SECONDS
        while True:
            try:
                with contextlib.suppress(NotFound, Conflict):
                    await call()
                return
            except ApiError as err:
                if err.code < 500 and err.code != 429:
                    self._agent.refused(self._key, err)
                    return
            clock = self._agent.clock
            await clock.sleep_until(clock.monotonic() + wait)
            wait = min(wait * 2, _RETRY_CAP_SECONDS)
