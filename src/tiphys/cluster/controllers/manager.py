"""Starts the controllers, each when the first object that it is for exists; ends them all together.

What exists is told by ``presence``, the side of the API server that knows of every write: a cluster in which only
workflows run starts none of these.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from tiphys.cluster.controllers.kit import Controller, Kit
from tiphys.machinery.resources import Resource

Object = Mapping[str, Any]


class Presence(Protocol):
    def once(self, resource: Resource, when: Callable[[Object], bool] | None, call: Callable[[], None]) -> None:
        """Calls back once, as soon as an object of ``resource`` exists for which ``when`` holds (None: any)."""
        ...


class Manager:
    def __init__(self, kit: Kit, presence: Presence, kinds: Sequence[type[Controller]]) -> None:
        self._kit = kit
        self._presence = presence
        self._kinds = kinds
        self.running: dict[str, Controller] = {}
        self._ending = False

    async def run(self) -> None:
        """Works until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._kit.caches.begin(tasks)
            self._kit.sinks.begin(tasks)
            for kind in self._kinds:
                self._arm(kind, tasks)
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self._ending = True  # what exists from now on is for those who come after

    def _arm(self, kind: type[Controller], tasks: asyncio.TaskGroup) -> None:
        def start() -> None:
            if kind.name not in self.running and not self._ending:
                controller = self.running[kind.name] = kind(self._kit)
                tasks.create_task(controller.run(), name=kind.name)

        for wake in kind.wakes:
            self._presence.once(wake.resource, wake.when, start)
        if not kind.wakes:
            start()
