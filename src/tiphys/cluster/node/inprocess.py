"""Containers without a process: an extension does their work inside the agent (``podlife.InProcess``).

They look like a runtime's containers to the rest of the agent: a log file, a signal that ends them, an exit. Unlike
those they end with the agent; the next one begins their work again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Protocol

from tiphys.cluster.node.runtime import Launch
from tiphys.machinery.errors import TiphysError
from tiphys.machinery.podlife import Ended, Exit, InProcess
from tiphys.runtime.clock import Clock


class Owner(Protocol):
    """The agent, as far as its own containers need it."""

    clock: Clock

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]: ...


class InProcessContainer:
    """A ``runtime.Container``; it runs from the beginning."""

    def __init__(self, launch: Launch, work: InProcess, log: Path, owner: Owner) -> None:
        self.name = launch.container
        self.attempt = launch.attempt
        self.started_at = owner.clock.now()
        self.ended: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self._clock = owner.clock
        self._log = log
        self._signal = 0
        log.touch()
        self._task = owner.spawn(self._run(work))

    def signal(self, number: int) -> None:
        if not self.ended.done():
            self._signal = number
            self._task.cancel()

    async def _run(self, work: InProcess) -> None:
        try:
            end = await work(self._say)
        except asyncio.CancelledError:
            if not self._signal:  # the agent goes: the next one begins again
                raise
            end = Ended(128 + self._signal)
        except (TiphysError, OSError, ValueError, LookupError, TypeError) as err:
            end = Ended(1, str(err))
        if end.message:
            self._say(end.message)
        self.ended.set_result(
            Exit(end.code, self.started_at, self._clock.now(), message=end.message, outputs=end.outputs)
        )

    def _say(self, line: str) -> None:
        with self._log.open("a", encoding="utf-8") as log:
            log.write(f"{line}\n")
