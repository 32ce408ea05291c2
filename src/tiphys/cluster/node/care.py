"""Hooks and probes of a pod's running containers: asks, and writes down what the answers mean.

Every container that has any gets tasks of its own while it runs; a container without costs nothing. What is found out
goes into the container's ``Life`` (started, ready, condemned), and the worker decides what follows.

    start ─► postStart ─► startup probe ─► started ─► liveness probe, readiness probe ─► … ─► preStop ─► signal
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, Protocol

from tiphys.cluster.node import hooks, probes
from tiphys.cluster.node.lives import Condemned, Life
from tiphys.cluster.node.prober import Asker
from tiphys.cluster.node.probes import Answer, Probe
from tiphys.cluster.node.runtime import Command, Container, Launch, Runtime, StartFailure, finish
from tiphys.machinery.errors import DriverError
from tiphys.runtime.clock import Clock

Object = Mapping[str, Any]

HOOK_OUTPUT_BYTES_MAX = 10 << 10
# How long a container may take from its start to its first process.
BEGINNING_LOOKS, BEGINNING_LOOK_SECONDS = 250, 0.02


class Home(Protocol):
    """What the worker offers."""

    pod: Object

    def emit(self, kind: str, reason: str, message: str, container: str) -> None: ...

    def changed(self) -> None:
        """Something of a life has changed: decide again, and write the status."""
        ...

    def failed(self, err: BaseException) -> None:
        """What nobody foresaw: told where people look, and in our log."""
        ...


class Nurse:
    """For one pod. ``address`` is what its containers are reached at."""

    def __init__(self, home: Home, runtime: Runtime, clock: Clock, address: str, grace_seconds: float) -> None:
        self._home = home
        self._runtime = runtime
        self._clock = clock
        self.address = address
        self._grace = grace_seconds
        self._tasks: dict[str, list[asyncio.Task[None]]] = {}

    def begin(self, spec: Object, life: Life, container: Container, launch: Launch, *, adopted: bool = False) -> None:
        """The container runs from now on. One that an earlier agent started has had its postStart hook."""
        kinds = probes.probes_of(spec)
        handler = None if adopted else hooks.hook_of(spec, hooks.POST_START)
        if not kinds and handler is None:
            life.started = life.ready = True
            return
        life.hooking = handler is not None
        self._do(spec["name"], self._accompany(spec, life, self._asker(spec, container, launch), handler, kinds))

    def end(self, name: str) -> None:
        """The container is asked to stop, or is gone: nobody asks it anything any more."""
        for task in self._tasks.pop(name, ()):
            task.cancel()

    def end_all(self) -> None:
        for name in list(self._tasks):
            self.end(name)

    async def before_end(self, spec: Object, container: Container, launch: Launch, grace_seconds: float) -> None:
        """The preStop hook, within the grace period; what goes wrong with it is only told."""
        handler = hooks.hook_of(spec, hooks.PRE_STOP)
        if handler is None:
            return
        asker = self._asker(spec, container, launch)
        try:
            work = hooks.run(handler, spec, self._home.pod, asker, self._sleep)
            await hooks.no_longer_than(work, grace_seconds)
        except hooks.HookFailed:
            self._home.emit("Warning", "FailedPreStopHook", "PreStopHook failed", spec["name"])

    # Probes.

    async def _accompany(
        self, spec: Object, life: Life, asker: Asker, handler: Object | None, kinds: Sequence[Probe]
    ) -> None:
        name = spec["name"]
        if handler is not None and not await self._after_start(spec, life, asker, handler):
            return
        for probe in kinds:
            if probe.kind == "startup":
                await self._watch(name, life, asker, probe)
        if not life.running or life.condemned is not None:
            return
        life.started = True
        life.ready = not any(probe.kind == "readiness" for probe in kinds)
        self._home.changed()
        for probe in kinds:
            if probe.kind != "startup":
                self._do(name, self._watch(name, life, asker, probe))

    async def _after_start(self, spec: Object, life: Life, asker: Asker, handler: Object) -> bool:
        """The postStart hook; a container whose hook fails is ended."""
        try:
            await hooks.run(handler, spec, self._home.pod, asker, self._sleep)
        except hooks.HookFailed as err:
            life.complaint = ("PostStartHookError", str(err))
            life.condemned = Condemned("FailedPostStartHook", alone=True)
            self._home.emit("Warning", "FailedPostStartHook", "PostStartHook failed", spec["name"])
        life.hooking = False
        self._home.changed()
        return life.condemned is None

    async def _watch(self, name: str, life: Life, asker: Asker, probe: Probe) -> None:
        """Asks until the container ends; a startup probe only until it has succeeded."""
        record = probes.Record(probe)
        await self._sleep(probes.first_ask_seconds(probe, self._running_seconds(life)))
        due = self._clock.monotonic()
        while life.running:
            answer, output = await asker.ask(probe.action, probe.timeout_seconds)
            if life.exit is not None:
                return
            self._tell(name, probe, answer, output)
            if record.add(answer):
                self._conclude(name, life, record)
                if life.condemned is not None or probe.kind == "startup":
                    return
            now = self._clock.monotonic()
            due = max(due + probe.period_seconds, now)
            await self._sleep(due - now)

    def _tell(self, name: str, probe: Probe, answer: Answer, output: str) -> None:
        said = probes.event_message(probe, answer, output)
        if said is not None:
            self._home.emit("Warning", *said, name)

    def _conclude(self, name: str, life: Life, record: probes.Record) -> None:
        probe = record.probe
        if record.condemns:
            grace = self._grace if probe.grace_seconds is None else probe.grace_seconds
            life.condemned = Condemned(f"Container {name} failed {probe.kind} probe", grace)
            self._home.changed()
        elif probe.kind == "readiness" and life.ready is not record.verdict:
            life.ready = bool(record.verdict)
            self._home.changed()

    def _running_seconds(self, life: Life) -> float:
        since = life.running_since
        return 0.0 if since is None else (self._clock.now() - since).total_seconds()

    # Means.

    def _asker(self, spec: Object, container: Container, launch: Launch) -> Asker:
        async def run(command: Sequence[str]) -> tuple[int, bytes]:
            for _ in range(BEGINNING_LOOKS):
                try:
                    session = self._runtime.exec(container, launch, Command(tuple(command)))
                except StartFailure as err:
                    if err.reason != "ContainerGone" or container.ended.done():
                        raise
                    await self._sleep(BEGINNING_LOOK_SECONDS)  # it was started, but is not there yet
                else:
                    return await finish(session, HOOK_OUTPUT_BYTES_MAX)
            raise StartFailure("ContainerGone", f'container not found ("{launch.container}")')

        ports = {p["name"]: int(p["containerPort"]) for p in spec.get("ports") or () if p.get("name")}
        return Asker(self.address, run, ports)

    async def _sleep(self, seconds: float) -> None:
        if seconds > 0:
            await self._clock.sleep_until(self._clock.monotonic() + seconds)

    def _do(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        async def quietly() -> None:
            with contextlib.suppress(DriverError, StartFailure):
                await work

        task = asyncio.get_running_loop().create_task(quietly())
        task.add_done_callback(self._done)
        self._tasks.setdefault(name, []).append(task)

    def _done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (err := task.exception()) is not None:
            self._home.failed(err)
