"""Starts the controllers, each when the first object that it is for exists; ends them all together.

What exists is told by ``presence``, the side of the API server that knows of every write: a cluster in which only
workflows run starts none of these.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from tiphys.cluster.controllers.kit import Component, Kit
from tiphys.cluster.controllers.wakes import CONTROLLERS, Row
from tiphys.machinery.resources import Resource

Object = Mapping[str, Any]


class Presence(Protocol):
    def once(self, resource: Resource, when: Callable[[Object], bool] | None, call: Callable[[], None]) -> None:
        """Calls back once, as soon as an object of ``resource`` exists for which ``when`` holds (None: any)."""
        ...


class Manager:
    def __init__(self, kit: Kit, presence: Presence, rows: Iterable[Row] = CONTROLLERS) -> None:
        self._kit = kit
        self._presence = presence
        self._rows = tuple(rows)
        self.running: dict[str, Component] = {}
        self._started: set[str] = set()
        self._ending = False

    async def run(self) -> None:
        """Works until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._kit.caches.begin(tasks)
            self._kit.sinks.begin(tasks)
            for row in self._rows:
                self._arm(row, tasks)
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self._ending = True  # what exists from now on is for those who come after

    def _arm(self, row: Row, tasks: asyncio.TaskGroup) -> None:
        def start() -> None:
            if row.kind not in self._started and not self._ending:
                self._started.add(row.kind)
                controller = load(row)(self._kit)
                self.running[controller.name] = controller
                tasks.create_task(controller.run(), name=controller.name)

        for wake in row.wakes:
            self._presence.once(wake.resource, wake.when, start)


def load(row: Row) -> type[Component]:
    """The class of a controller; its code is read now."""
    module = importlib.import_module(f"{__package__}.{row.module}")
    found: type[Component] = getattr(module, row.kind)
    return found
