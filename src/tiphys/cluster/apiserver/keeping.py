"""What the server itself keeps true of its objects: something is done after writes of the collections it follows from.

One task at a time; what is heard while it runs makes it run once more. Nothing waits for it, nothing is lost with it:
``tend`` looks at all there is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection

from tiphys.cluster.apiserver.store import Change, Store


class Keeper:
    """Awaits ``tend()`` after every change of ``collections``; it must not raise."""

    def __init__(self, store: Store, collections: Collection[str], tend: Callable[[], Awaitable[None]]) -> None:
        self._collections = frozenset(collections)
        self._tend = tend
        self._is_due = False
        self._is_closed = False
        self._task: asyncio.Task[None] | None = None
        store.subscribe(self._heard)

    def wake(self) -> None:
        """Needs a running loop."""
        self._is_due = True
        if not self._is_closed and (self._task is None or self._task.done()):
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """From now on nothing is done: what is still written while the store closes begins no task that outlives it."""
        self._is_closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def _heard(self, changes: list[Change]) -> None:
        if any(change.collection in self._collections for change in changes):
            self.wake()

    async def _run(self) -> None:
        while self._is_due:
            self._is_due = False
            await self._tend()
