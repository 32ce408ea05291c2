"""The controller loop: takes keys from a queue, has each reconciled, and knows the four ways that can end.

    done         the reconcile returned None: look again when something changes
    wait         it returned a time: look again then, or when something changes before
    stuck        it returned ``Stuck``: a human is needed; said once, looked at again only when something changes
    bug          an exception: logged with its traceback, tried again with a growing back-off

A failed API call (``ApiError``) is no bug: it is tried again with the same back-off and logged without a traceback.
This is one of the two places in tiphys with ``except Exception`` (the other is the node's worker, one for each pod):
nothing that one key does may stop the others.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Generic

from tiphys.machinery.errors import ApiError
from tiphys.runtime.queue import K, WorkQueue

logger = logging.getLogger(__name__)

_IN_A_ROW = 4


@dataclass(frozen=True, slots=True)
class Stuck:
    """Nothing more can be done until a human acts; ``reason`` tells them what and where."""

    reason: str


Outcome = datetime | Stuck | None
Reconcile = Callable[[K], Awaitable[Outcome]]


class Controller(Generic[K]):
    """``workers`` reconciles at a time, never two for one key."""

    def __init__(self, name: str, queue: WorkQueue[K], reconcile: Reconcile[K], workers: int = 8) -> None:
        self.name = name
        self.queue = queue
        self.bugs = 0
        self._reconcile = reconcile
        self._workers = workers
        self._stuck: dict[K, str] = {}

    async def run(self) -> None:
        """Works until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(self._workers):
                    group.create_task(self._work(), name=f"{self.name}-{number}")
        finally:
            self.queue.close()

    async def _work(self) -> None:
        while True:
            for _ in range(_IN_A_ROW):
                key = await self.queue.get()
                await self._one(key)
            # In process neither the queue nor the API need ever make us wait, but others want a turn: the watches.
            await asyncio.sleep(0)

    async def _one(self, key: K) -> None:
        wake_at: datetime | None = None
        try:
            outcome = await self._reconcile(key)
        except ApiError as err:
            self._try_again(key, f"{err.reason}: {err}")
        except Exception:
            self.bugs += 1
            logger.exception("%s: bug while reconciling %s", self.name, key)
            self._try_again(key, "see the traceback")
        else:
            self.queue.forget(key)
            wake_at = self._settle(key, outcome)
        finally:
            self.queue.done(key, wake_at)

    def _try_again(self, key: K, why: str) -> None:
        failures = self.queue.failures(key) + 1
        seconds = self.queue.retry(key)
        # The first failures are daily life (a conflict, a restart of the server); the many are worth a line.
        level = logging.DEBUG if failures < 4 else logging.WARNING
        logger.log(level, "%s: %s failed %d times: %s; again in %.2f s", self.name, key, failures, why, seconds)

    def _settle(self, key: K, outcome: Outcome) -> datetime | None:
        if isinstance(outcome, Stuck):
            if self._stuck.get(key) != outcome.reason:
                logger.warning("%s: %s is stuck: %s", self.name, key, outcome.reason)
            self._stuck[key] = outcome.reason
            return None
        self._stuck.pop(key, None)
        return outcome
