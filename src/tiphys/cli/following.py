"""Follows workflows to their end: shows them, streams their logs, passes on Ctrl-C, keeps a deadline.

    Ctrl-C once     stop: what runs is ended, exit handlers still run        (spec.shutdown: Stop)
    twice           terminate: everything is ended, exit handlers are not run (spec.shutdown: Terminate)
    three times     give up waiting at once

The deadline (``--timeout``) terminates. After a termination the end is awaited for ``_LAST_WORDS_SECONDS`` at most, so
that the command always comes back.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from tiphys.app.follow import follow, is_finished
from tiphys.cli.pod_logs import LogStream
from tiphys.cli.progress import Pace, View
from tiphys.client.client import Client
from tiphys.lang import durations
from tiphys.machinery.errors import ApiError, NotFound
from tiphys.machinery.resources import WORKFLOWS, ObjectKey, key_of
from tiphys.runtime.clock import Clock, SystemClock

Workflow = Mapping[str, Any]

_LAST_WORDS_SECONDS = 30.0
_LOGS_DRAIN_SECONDS = 5.0
_TICK_SECONDS = 1.0  # the durations of what runs move on


@dataclass
class Outcome:
    """The last known state of each workflow. ``cut_short`` says why the end was not awaited; "" if it was."""

    workflows: dict[ObjectKey, Workflow] = field(default_factory=dict)
    cut_short: str = ""

    @property
    def all_succeeded(self) -> bool:
        return not self.cut_short and all(
            (w.get("status") or {}).get("phase") == "Succeeded" for w in self.workflows.values()
        )


class Following:
    """One use: ``await Following(client, keys, view, clock).to_the_end()``."""

    def __init__(
        self,
        client: Client,
        keys: Collection[ObjectKey],
        view: View,
        clock: Clock,
        *,
        timeout_seconds: float | None = None,
        logs: LogStream | None = None,
        stop_on_interrupt: bool = True,
    ) -> None:
        self._client = client
        self._keys = list(keys)
        self._view = view
        self._clock = clock
        self._timeout_seconds = timeout_seconds
        self._logs = logs
        self._stop_on_interrupt = stop_on_interrupt
        self._outcome = Outcome()
        self._news = asyncio.Event()
        self._give_up = asyncio.Event()
        self._interrupts = 0
        self._requests: asyncio.Queue[str] = asyncio.Queue(maxsize=8)

    async def to_the_end(self) -> Outcome:
        """Returns when all have finished, or when it gave up. The view is closed by the caller."""
        async with asyncio.TaskGroup() as tasks:
            helpers = [tasks.create_task(self._paint()), tasks.create_task(self._obey())]
            if self._timeout_seconds is not None:
                helpers.append(tasks.create_task(self._deadline(self._timeout_seconds)))
            if self._logs is not None:
                helpers += [tasks.create_task(self._logs.follow(self._client, key)) for key in self._keys]
            with self._interruptible():
                await self._until_finished_or_given_up(tasks)
            await self._last_logs()
            for helper in helpers:
                helper.cancel()
        return self._outcome

    async def _until_finished_or_given_up(self, tasks: asyncio.TaskGroup) -> None:
        watching = tasks.create_task(self._watch())
        leaving = tasks.create_task(self._give_up.wait())
        await asyncio.wait({watching, leaving}, return_when=asyncio.FIRST_COMPLETED)
        watching.cancel()
        leaving.cancel()

    async def _watch(self) -> None:
        async for workflow in follow(self._client, self._keys):
            self._outcome.workflows[key_of(workflow)] = workflow
            self._view.state(workflow)
            self._news.set()

    async def _paint(self) -> None:
        pace = Pace()
        # in virtual time an hour of ticks would have to be drawn while nothing happens
        tick = _TICK_SECONDS if self._view.moves and isinstance(self._clock, SystemClock) else None
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(tick):
                    await self._news.wait()
            now = self._clock.monotonic()
            await self._clock.sleep_until(now + pace.wait_seconds(now))
            self._news.clear()
            began = self._clock.monotonic()
            self._view.refresh(self._clock.now())
            pace.drew(began, self._clock.monotonic())

    async def _last_logs(self) -> None:
        if self._logs is None:
            return
        try:
            async with asyncio.timeout(_LOGS_DRAIN_SECONDS):
                await self._logs.drained()
                for key in self._keys:  # a pod may have come and gone while we looked at the others
                    await self._logs.print_all(self._client, key)
        except TimeoutError:
            self._view.say("tiphys: the rest of the logs did not come in time")

    # --- ending it early ---------------------------------------------------------------------------------------------

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        signals = (signal.SIGINT, signal.SIGTERM)
        for number in signals:
            loop.add_signal_handler(number, self._interrupted)
        try:
            yield
        finally:
            for number in signals:
                loop.remove_signal_handler(number)

    def _interrupted(self) -> None:
        self._interrupts += 1
        if not self._stop_on_interrupt or self._interrupts > 2:
            self._leave("interrupted")
        elif self._interrupts == 1:
            self._view.say("tiphys: stopping (exit handlers run; Ctrl-C again to terminate)")
            self._requests.put_nowait("Stop")
        else:
            self._view.say("tiphys: terminating (Ctrl-C again to leave at once)")
            self._requests.put_nowait("Terminate")

    async def _deadline(self, seconds: float) -> None:
        await self._clock.sleep_until(self._clock.monotonic() + seconds)
        allowed = durations.format(int(seconds * durations.SECOND))
        self._view.say(f"tiphys: not finished after {allowed}: terminating")
        self._outcome.cut_short = f"not finished after {allowed}"
        self._requests.put_nowait("Terminate")

    async def _obey(self) -> None:
        """Writes the wanted shutdown into every workflow that has not finished."""
        while True:
            strategy = await self._requests.get()
            for key in self._keys:
                if not is_finished(self._outcome.workflows.get(key) or {}):
                    await self._shut_down(key, strategy)
            if strategy == "Terminate":
                break
        await self._clock.sleep_until(self._clock.monotonic() + _LAST_WORDS_SECONDS)
        self._view.say(f"tiphys: still not ended {_LAST_WORDS_SECONDS:.0f} s after the termination: leaving")
        self._leave(self._outcome.cut_short or "did not end")

    async def _shut_down(self, key: ObjectKey, strategy: str) -> None:
        try:
            await self._client.patch(WORKFLOWS, key, {"spec": {"shutdown": strategy}})
        except NotFound:
            pass  # deleted meanwhile: it runs no more
        except ApiError as err:
            self._view.say(f"tiphys: {key.name} could not be told to {strategy.lower()}: {err}")

    def _leave(self, why: str) -> None:
        self._outcome.cut_short = why
        self._give_up.set()
