"""Writes Kubernetes Events, without ever holding up the work that they tell about.

``emit`` only puts into a bounded queue; a background task writes a little later, many at a time, so that events do not
cost commits of their own. Which of them are one and only counted is ``correlation.py``'s. When the queue is full events
are dropped and counted: they are hints for people, not state.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from tiphys.client.client import Client
from tiphys.machinery.actions import Emit
from tiphys.machinery.errors import ApiError, NotFound
from tiphys.machinery.resources import EVENTS, ObjectKey
from tiphys.machinery.times import to_micro_time
from tiphys.runtime.clock import Clock
from tiphys.runtime.correlation import Correlator, Identity, Recent, Told, continues, is_worth_writing, series_of

logger = logging.getLogger(__name__)

_QUEUE_MAX = 10_000
# How many writes may be on their way at once (in process they share one commit), and how long they gather.
_AT_ONCE = 256
_GATHER_SECONDS = 0.1
_MESSAGE_MAX = 1024  # the API refuses more


class EventRecorder:
    """``actions`` (reason → action) makes events of the newer form, which name one and are counted as series.

    ``correlator`` says which of the others are one.
    """

    def __init__(
        self,
        client: Client,
        clock: Clock,
        component: str,
        actions: Mapping[str, str] | None = None,
        correlator: Correlator | None = None,
    ) -> None:
        self._actions = actions
        self.dropped = 0
        self._client = client
        self._clock = clock
        self._component = component
        self._correlator = correlator or Correlator()
        self._queue: asyncio.Queue[tuple[Emit, datetime]] = asyncio.Queue(_QUEUE_MAX)
        self._told: Recent[Told] = Recent()
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
            found = filter(None, (self._tell(event, at) for event, at in batch))
            await asyncio.gather(*(self._write(*one) for one in {id(one[0]): one for one in found}.values()))
            for _ in batch:
                self._queue.task_done()

    async def drain(self) -> None:
        """Waits until all that was emitted is written (``run`` must be running)."""
        await self._queue.join()

    def _tell(self, event: Emit, at: datetime) -> tuple[Told, Emit] | None:
        """By what the event is told, and how it is put there; None where nothing is to be written of it."""
        if self._actions is not None:
            told = self._note(series_of(event), event, at)
            return (told, event) if is_worth_writing(told) else None
        identity, message = self._correlator.identify(event, at)
        told = self._note(identity, event, at)
        return (told, replace(event, message=message)) if self._correlator.passes(event, at) else None

    def _note(self, identity: Identity, event: Emit, at: datetime) -> Told:
        told = self._told.get(identity)
        if told is None or (self._actions is not None and not continues(told, at)):
            key = ObjectKey(event.about.get("namespace") or "default", f"{event.about['name']}.{self._stamp(at):x}")
            return self._told.put(identity, Told(key, at, at))
        told.count += 1
        told.last = at
        return told

    async def _write(self, told: Told, event: Emit) -> None:
        is_new, told.written = told.written is None, told.last
        try:
            if is_new or not await self._repeat(told, event):
                await self._client.create(EVENTS, self._event(told, event))
        except ApiError as err:
            self.dropped += 1
            logger.debug("event %s about %s not written: %s", event.reason, event.about.get("name"), err)

    async def _repeat(self, told: Told, event: Emit) -> bool:
        again: dict[str, Any] = {"series": _series(told)}
        if self._actions is None:
            message = event.message[:_MESSAGE_MAX]
            again = {"count": told.count, "lastTimestamp": _timestamp(told.last), "message": message}
        try:
            await self._client.patch(EVENTS, told.key, again)
        except NotFound:
            return False  # expired meanwhile: it is told anew, with its count
        return True

    def _event(self, told: Told, event: Emit) -> dict[str, Any]:
        metadata: dict[str, Any] = {"name": told.key.name, "namespace": told.key.namespace}
        if event.annotations:
            metadata["annotations"] = dict(event.annotations)
        found: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": metadata,
            "involvedObject": _reference(event.about),
            "reason": event.reason,
            "message": event.message[:_MESSAGE_MAX],
            "type": event.type,
            "reportingComponent": self._component,
        }
        return found | (self._counted(told) if self._actions is None else self._acted(told, event))

    def _counted(self, told: Told) -> dict[str, Any]:
        return {
            "count": told.count,
            "firstTimestamp": _timestamp(told.first),
            "lastTimestamp": _timestamp(told.last),
            "eventTime": None,
            "source": {"component": self._component},
            "reportingInstance": "",
        }

    def _acted(self, told: Told, event: Emit) -> dict[str, Any]:
        assert self._actions is not None
        found: dict[str, Any] = {
            "action": self._actions.get(event.reason, event.reason),
            "firstTimestamp": None,
            "lastTimestamp": None,
            "eventTime": to_micro_time(told.first),
            "source": {},
            "reportingInstance": f"{self._component}-tiphys",
        }
        return found | ({"series": _series(told)} if told.count > 1 else {})

    def _stamp(self, at: datetime) -> int:
        """Nanoseconds, as in client-go's event names, made unique within this process."""
        self._last_stamp = max(self._last_stamp + 1, int(at.timestamp() * 1_000_000) * 1000)
        return self._last_stamp


def _reference(about: Mapping[str, Any]) -> dict[str, Any]:
    """Objects of the cluster have no namespace, though the events about them are in ``default``."""
    return {field: about[field] for field in _REFERENCE_FIELDS if about.get(field)}


_REFERENCE_FIELDS = ("apiVersion", "kind", "namespace", "name", "uid", "resourceVersion", "fieldPath")


def _series(told: Told) -> dict[str, Any]:
    return {"count": told.count, "lastObservedTime": to_micro_time(told.last)}


def _timestamp(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
