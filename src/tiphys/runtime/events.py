"""Writes Kubernetes Events, without ever holding up the work that they tell about.

``emit`` only puts into a bounded queue; a background task writes a little later, many at a time, so that events do not
cost commits of their own. The same event again (same object, reason, message)
raises the count of the first one instead of adding another. When the queue is full events are dropped and counted:
they are hints for people, not state. Aggregation follows client-go's tools/record, with its 10 minutes and its bound.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from tiphys.client.client import Client
from tiphys.machinery.actions import Emit
from tiphys.machinery.errors import ApiError, NotFound
from tiphys.machinery.resources import EVENTS, ObjectKey
from tiphys.machinery.times import to_micro_time
from tiphys.runtime.clock import Clock

logger = logging.getLogger(__name__)

_QUEUE_MAX = 10_000
_KNOWN_MAX = 4096
_SAME_EVENT_FOR = timedelta(minutes=10)
# How many writes may be on their way at once (in process they share one commit), and how long they gather.
_AT_ONCE = 256
_GATHER_SECONDS = 0.1
_MESSAGE_MAX = 1024  # the API refuses more


@dataclass(slots=True)
class _Known:
    key: ObjectKey
    count: int
    last: datetime


class EventRecorder:
    """``actions`` (reason → action) makes events of the newer form, which name one and count no repetitions."""

    def __init__(self, client: Client, clock: Clock, component: str, actions: Mapping[str, str] | None = None) -> None:
        self._actions = actions
        self.dropped = 0
        self._client = client
        self._clock = clock
        self._component = component
        self._queue: asyncio.Queue[tuple[Emit, datetime]] = asyncio.Queue(_QUEUE_MAX)
        self._known: OrderedDict[tuple[str, ...], _Known] = OrderedDict()
        self._last_stamp = 0

    def emit(self, event: Emit) -> None:
        try:
            self._queue.put_nowait((event, self._clock.now()))
        except asyncio.QueueFull:
            self.dropped += 1

    async def run(self) -> None:
        """Writes until cancelled; what is queued then is lost."""
        while True:
            batch = [await self._queue.get()]
            await self._clock.sleep_until(self._clock.monotonic() + _GATHER_SECONDS)
            while len(batch) < _AT_ONCE and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            await asyncio.gather(*(self._write(event, at) for event, at in batch))
            for _ in batch:
                self._queue.task_done()

    async def drain(self) -> None:
        """Waits until all that was emitted is written (``run`` must be running)."""
        await self._queue.join()

    async def _write(self, event: Emit, at: datetime) -> None:
        about = event.about
        about_what = (str(about.get("uid")), about["kind"], about["name"], about.get("fieldPath", ""))
        identity = (*about_what, event.type, event.reason, event.message)
        known = self._known.get(identity)
        try:
            if (
                self._actions is None
                and known is not None
                and at - known.last < _SAME_EVENT_FOR
                and await self._count(known, at)
            ):
                return
            obj = self._event(event, at)
            self._remember(identity, _Known(ObjectKey(obj["metadata"]["namespace"], obj["metadata"]["name"]), 1, at))
            await self._client.create(EVENTS, obj)
        except ApiError as err:
            self.dropped += 1
            logger.debug("event %s about %s not written: %s", event.reason, about.get("name"), err)

    async def _count(self, known: _Known, at: datetime) -> bool:
        known.count += 1
        known.last = at
        try:
            await self._client.patch(EVENTS, known.key, {"count": known.count, "lastTimestamp": _timestamp(at)})
        except NotFound:
            return False  # expired meanwhile
        return True

    def _remember(self, identity: tuple[str, ...], known: _Known) -> None:
        self._known[identity] = known
        self._known.move_to_end(identity)
        if len(self._known) > _KNOWN_MAX:
            self._known.popitem(last=False)

    def _event(self, event: Emit, at: datetime) -> dict[str, Any]:
        about = event.about
        namespace = about.get("namespace") or "default"
        metadata: dict[str, Any] = {"name": f"{about['name']}.{self._stamp(at):x}", "namespace": namespace}
        if event.annotations:
            metadata["annotations"] = dict(event.annotations)
        found: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": metadata,
            "involvedObject": _reference(about),
            "reason": event.reason,
            "message": event.message[:_MESSAGE_MAX],
            "type": event.type,
            "reportingComponent": self._component,
        }
        return found | (self._counted(at) if self._actions is None else self._acted(event, at))

    def _counted(self, at: datetime) -> dict[str, Any]:
        return {
            "count": 1,
            "firstTimestamp": _timestamp(at),
            "lastTimestamp": _timestamp(at),
            "eventTime": None,
            "source": {"component": self._component},
            "reportingInstance": "",
        }

    def _acted(self, event: Emit, at: datetime) -> dict[str, Any]:
        assert self._actions is not None
        return {
            "action": self._actions.get(event.reason, event.reason),
            "firstTimestamp": None,
            "lastTimestamp": None,
            "eventTime": to_micro_time(at),
            "source": {},
            "reportingInstance": f"{self._component}-tiphys",
        }

    def _stamp(self, at: datetime) -> int:
        """Nanoseconds, as in client-go's event names, made unique within this process."""
        self._last_stamp = max(self._last_stamp + 1, int(at.timestamp() * 1_000_000) * 1000)
        return self._last_stamp


def _reference(about: Mapping[str, Any]) -> dict[str, Any]:
    """Objects of the cluster have no namespace, though the events about them are in ``default``."""
    return {field: about[field] for field in _REFERENCE_FIELDS if about.get(field)}


_REFERENCE_FIELDS = ("apiVersion", "kind", "namespace", "name", "uid", "resourceVersion", "fieldPath")


def _timestamp(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
