"""One pod's life on this node, from the first look at it to its removal.

    take it ─► prepare (volumes, extension, paths) ─► decide ⟲ (start, signal, wait) ─► collect ─► final status
                                                          ▲ containers end, timers, the pod changes
    deletion ─► containers asked to stop, then killed ─► grace-0 delete ─► directory removed

Decisions are ``lifecycle.decide``; this file carries them out and keeps the pod's status written. It can be killed
between any two actions: everything it needs again is in the pod object, in the pod's directory and with the runtime.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tiphys.cluster.node import environment, lifecycle, status, volumes
from tiphys.cluster.node.extension import PodExtension
from tiphys.cluster.node.images.map import Image, ImageUnavailable
from tiphys.cluster.node.inprocess import InProcessContainer
from tiphys.cluster.node.lifecycle import Life, Stop
from tiphys.cluster.node.logs import LifeLog
from tiphys.cluster.node.runtime import USUAL_UMASK, Container, Identity, Launch, Mount, StartFailure
from tiphys.cluster.node.writer import StatusWriter
from tiphys.machinery.errors import NotFound, TiphysError
from tiphys.machinery.podlife import Exit, Failure, Harvest, PodDirs, Staged
from tiphys.machinery.resources import ObjectKey, key_of
from tiphys.machinery.times import parse_time

if TYPE_CHECKING:
    from tiphys.cluster.node.agent import Agent

Object = Mapping[str, Any]

# How often what a pod lacks (a ConfigMap, an image) is looked for again; a kubelet's sync is of that order.
RETRY_SECONDS = 2.0
TERMINATION_MESSAGE_MAX = 4096
DEADLINE_MESSAGE = "Pod was active on the node longer than the specified deadline"


class PodWorker:
    """Owns one pod (by uid). ``update`` and ``gone`` are called by the agent; ``run`` is its task."""

    def __init__(self, agent: Agent, pod: Object) -> None:
        self.pod = pod
        self.uid: str = pod["metadata"]["uid"]
        self.key: ObjectKey = key_of(pod)
        self.directory: Path = agent.pods_directory / self.uid
        self.launches: dict[tuple[str, int], Launch] = {}
        self.logs: dict[tuple[str, int], LifeLog] = {}
        self._agent = agent
        self._runtime = agent.runtime
        self._shape = lifecycle.shape_of(pod)
        self._lives = {name: Life() for name in (*self._shape.init, *self._shape.main)}
        self._containers: dict[str, Container] = {}
        self._adopted: dict[tuple[str, int], Container] = {}
        self._wake = asyncio.Event()
        self._volumes: dict[str, Path] = {}
        self._staged = Staged()
        self._images: dict[str, Image] = {}
        self._times: dict[str, tuple[str, str]] = _condition_times(pod)
        self._started_at = _start_time(pod) or agent.clock.now()
        self._stop: Stop | None = None
        self._absent = False
        self._resumed = False
        self.ended = asyncio.Event()
        self._writer = StatusWriter(agent, self.key, self.uid, bind=not pod["spec"].get("nodeName"))
        self._extension: PodExtension | None = next((e for e in agent.extensions if e.claims(pod)), None)

    # What the agent tells.

    def update(self, pod: Object) -> None:
        """The pod object changed: only the wish to end it matters while it runs."""
        self.pod = pod
        meta = pod["metadata"]
        if meta.get("deletionTimestamp"):
            self.end(float(meta.get("deletionGracePeriodSeconds") or 0))

    def end(self, grace_seconds: float) -> None:
        """The pod is to end; a shorter grace period than before counts, a longer one does not."""
        if self._stop is None:
            self._stop = Stop(self._agent.clock.now(), grace_seconds)
        elif grace_seconds < self._stop.grace_seconds:
            self._stop = replace(self._stop, grace_seconds=grace_seconds)
        self._wake.set()

    def gone(self) -> None:
        """The pod object is not there any more: nothing of it may go on."""
        self._absent = True
        self.end(0)

    # Its life.

    async def run(self) -> None:
        """Until the pod is gone from the API and from this machine."""
        self.update(self.pod)
        try:
            if (self.pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed"):
                await self._live()
            self.ended.set()
            self._agent.paths.release(self.uid)
            await self._leave()
        except (TiphysError, OSError, ValueError, LookupError, TypeError) as err:
            self._agent.failed(self.pod, err)
        finally:
            self.ended.set()
            self._agent.paths.release(self.uid)
            self._writer.close()

    def log_of(self, container: str, *, previous: bool) -> LifeLog | None:
        """The log of the container's latest life, or of the one before; None where there is none."""
        attempts = sorted(attempt for name, attempt in self.logs if name == container)
        if not attempts:
            self._find_logs()
            attempts = sorted(attempt for name, attempt in self.logs if name == container)
        if previous:
            attempts = attempts[:-1]
        return self.logs[container, attempts[-1]] if attempts else None

    def _find_logs(self) -> None:
        """The logs of a pod that had ended before this agent began."""
        if not self._runtime.uses_files:
            return
        for container in self._runtime.adopt(self.uid, self.directory):
            end = container.ended.result() if container.ended.done() else None
            log = LifeLog(
                self._runtime.log_files(self.directory / f"{container.name}.{container.attempt}"),
                container.started_at,
                self._agent.clock.now,
            )
            if end is not None:
                log.end(end.finished_at)
            self.logs[container.name, container.attempt] = log

    async def _live(self) -> None:
        self._adopt()
        failure = await self._prepare()
        if failure is None:
            await self._go_round()
        if not self._absent:
            await self._finish(failure)

    def _adopt(self) -> None:
        """Finds the containers that an earlier agent started; they count from the latest attempt on."""
        if self._runtime.uses_files and not self.directory.is_dir():
            return
        for container in self._runtime.adopt(self.uid, self.directory):
            self._resumed = True
            life = self._lives.get(container.name)
            if life is None:
                continue
            earlier = self._adopted.get((container.name, container.attempt - 1))
            if earlier is not None and earlier.ended.done():
                life.last = earlier.ended.result()
            life.attempt = life.crashes = container.attempt
            self._adopted[container.name, container.attempt] = container

    async def _prepare(self) -> Failure | None:
        """Volumes, the extension's files, the paths it needs; waits for what is missing until told to stop."""
        if self._runtime.uses_files:
            self.directory.mkdir(parents=True, exist_ok=True)
        while self._stop is None:
            try:
                await self._prepare_volumes()
                return await self._stage()
            except (volumes.VolumeError, environment.ConfigError) as err:
                self._agent.emit(self.pod, "Warning", "FailedMount", str(err))
                self._post()
                await self._rest(RETRY_SECONDS)
        return None

    async def _prepare_volumes(self) -> None:
        if self._runtime.uses_files and self.pod["spec"].get("volumes"):
            places = volumes.VolumePlaces(self.directory / "volumes", self._agent.claims_directory)
            self._volumes = await volumes.prepare(self.pod, places, self._agent.facts, self._agent.fetch)

    async def _stage(self) -> Failure | None:
        if self._extension is None:
            await self._take_paths(frozenset())
            return None
        self._agent.effects.before("stage", self.pod)
        self._staged = await self._extension.stage(self.pod, self._dirs())
        self._shape = lifecycle.shape_of(self.pod, self._staged.main, self._staged.after)
        if self._staged.failure is None:
            await self._take_paths(self._staged.paths)
        return self._staged.failure

    async def _take_paths(self, paths: frozenset[str]) -> None:
        """Where containers share this machine's files, pods with the same paths take turns."""
        if self._runtime.isolated or not self._runtime.uses_files:
            return
        spec = self.pod["spec"]
        every = (*(spec.get("initContainers") or ()), *spec["containers"])
        mounted = {m["mountPath"] for c in every for m in c.get("volumeMounts") or ()}
        wanted = {p for p in paths | mounted if not self._agent.is_internal(p)}
        if wanted:
            await self._agent.paths.take(self.uid, wanted, self._path_is_taken)

    def _path_is_taken(self, path: str, holder: str) -> None:
        message = f"waits for {path}, which pod {self._agent.name_of(holder)} uses on this machine"
        for life in self._lives.values():
            life.waiting = ("ContainerCreating", message)
        self._post()

    async def _go_round(self) -> None:
        """Decides and acts until nothing runs and nothing will."""
        while True:
            now = self._agent.clock.now()
            deadline = self._watch_deadline(now)
            decision = lifecycle.decide(self._shape, self._lives, self._stop, now)
            for name in decision.start:
                await self._start(name)
            for name in decision.term:
                self._ask_to_stop(name, now)
            for name in decision.kill:
                self._kill(name)
            if decision.over:
                return
            if decision.start:
                self._post_soon()
                if any(not self._lives[name].running for name in decision.start):
                    continue
            await self._wait_for_change(_earliest(decision.wake_at, deadline))

    def _watch_deadline(self, now: datetime) -> datetime | None:
        """When a deadline will have passed; once one has, the pod is stopped."""
        if self._stop is not None:
            return None
        asked = self._staged.deadline
        if asked is not None and asked <= now:
            self._stop = Stop(now, self._shape.grace_seconds)
            return None
        if self._shape.deadline_seconds is None:
            return asked
        due = self._started_at + timedelta(seconds=self._shape.deadline_seconds)
        if due > now:
            return _earliest(due, asked)
        self._stop = Stop(now, self._shape.grace_seconds, "DeadlineExceeded", DEADLINE_MESSAGE)
        self._agent.emit(self.pod, "Normal", "DeadlineExceeded", DEADLINE_MESSAGE)
        return None

    async def _wait_for_change(self, until: datetime | None) -> None:
        self._collect_ends()
        if self._wake.is_set():
            self._wake.clear()
            return
        timer = None
        if until is not None:
            clock = self._agent.clock
            timer = clock.call_at(clock.monotonic() + (until - clock.now()).total_seconds(), self._wake.set)
        await self._wake.wait()
        self._wake.clear()
        if timer is not None:
            timer.cancel()
        self._collect_ends()

    def _collect_ends(self) -> None:
        """Takes note of the containers that have ended."""
        for name, container in list(self._containers.items()):
            if not container.ended.done():
                continue
            del self._containers[name]
            life = self._lives[name]
            life.exit = container.ended.result()
            log = self.logs.get((name, life.attempt))
            if log is not None:
                log.end(life.exit.finished_at)
            self._wake.set()
            if not self._work_left(name):
                continue
            self._post_soon()

    def _work_left(self, name: str) -> bool:
        """Whether the pod goes on after this container's end, so that its end is worth a write of its own."""
        return len(self._lives) > 1 or self._shape.policies[name] != "Never"

    # Containers.

    async def _start(self, name: str) -> None:
        life = self._lives[name]
        if life.exit is not None:
            life = self._lives[name] = lifecycle.next_attempt(life, self._agent.clock.now())
            if life.not_before is not None and life.not_before > self._agent.clock.now():
                return
        adopted = self._adopted.pop((name, life.attempt), None)
        try:
            launch = await self._launch(name, life.attempt)
            if adopted is None:
                self._agent.effects.before("start", self.pod)
                adopted = self._start_own(launch) or self._runtime.start(launch)
        except (ImageUnavailable, environment.ConfigError, StartFailure, NotFound) as err:
            await self._not_started(name, life, err)
            return
        life.waiting = None
        life.running_since = adopted.started_at
        self._containers[name] = adopted
        if self._runtime.uses_files:
            files = self._runtime.log_files(launch.place, launch.split_output)
            self.logs[name, life.attempt] = LifeLog(files, adopted.started_at, self._agent.clock.now)
        adopted.ended.add_done_callback(self._rouse)
        self._agent.started(self.pod, name, self._images[name])

    def _start_own(self, launch: Launch) -> Container | None:
        """A container that the extension carries out itself, unless the runtime only plays containers anyway."""
        work = self._staged.in_process.get(launch.container)
        if work is None or not self._runtime.uses_files:
            return None
        log = self._runtime.log_files(launch.place, launch.split_output)[0]
        return InProcessContainer(launch, work, log, self._agent)

    async def _not_started(self, name: str, life: Life, err: Exception) -> None:
        now = self._agent.clock.now()
        if isinstance(err, StartFailure) and err.reason != "CreateContainerError":
            life.exit = Exit(err.code, _EPOCH, now, err.reason, str(err))
            nothing = self.logs[name, life.attempt] = LifeLog((), now, self._agent.clock.now)
            nothing.end(now)
            self._agent.emit(self.pod, "Warning", "Failed", f"Error: {err}", name)
            return
        reason = err.reason if isinstance(err, (ImageUnavailable, StartFailure)) else "CreateContainerConfigError"
        life.waiting = (reason, str(err))
        life.not_before = now + timedelta(seconds=RETRY_SECONDS)
        self._agent.emit(self.pod, "Warning", "Failed", f"Error: {err}", name)
        self._post()

    def _rouse(self, _: asyncio.Future[Exit]) -> None:
        self._wake.set()

    def _ask_to_stop(self, name: str, now: datetime) -> None:
        self._lives[name].asked = now
        self._agent.effects.before("signal", self.pod)
        self._containers[name].signal(signal.SIGTERM)

    def _kill(self, name: str) -> None:
        self._lives[name].killed = True
        self._agent.effects.before("signal", self.pod)
        self._containers[name].signal(signal.SIGKILL)

    async def _launch(self, name: str, attempt: int) -> Launch:
        """Everything the runtime needs for this life."""
        known = self.launches.get((name, attempt))
        if known is not None:
            return known
        spec = self.pod["spec"]
        container = next(c for c in (*(spec.get("initContainers") or ()), *spec["containers"]) if c["name"] == name)
        own = name in self._staged.in_process
        image = Image(container.get("image", ""), "") if own else self._agent.images.image(container.get("image", ""))
        self._images[name] = image
        agent = self._agent
        hostname = spec.get("hostname") or self.key.name[:63]
        base = {**self._runtime.base_env, **image.env, **self._staged.env}
        if self._runtime.isolated:
            base["HOSTNAME"] = hostname
        env = await environment.build(container, self.pod, base, agent.facts, agent.fetch)
        command = [environment.expand(str(word), env) for word in container.get("command") or ()]
        arguments = [environment.expand(str(word), env) for word in container.get("args") or ()]
        argv = command + arguments if command else [*image.entrypoint, *(arguments or image.cmd)]
        if not argv and not own:
            raise StartFailure("RunContainerError", "no command specified", 127)
        launch = Launch(
            pod_uid=self.uid,
            container=name,
            attempt=attempt,
            place=self.directory / f"{name}.{attempt}",
            argv=tuple(argv),
            env=env,
            cwd=container.get("workingDir") or image.workdir or "/",
            hostname=hostname,
            host_aliases=_host_aliases(spec),
            mounts=self._mounts(container, env),
            programs=image.programs,
            identity=_identity(container, spec),
            read_only_root=bool((container.get("securityContext") or {}).get("readOnlyRootFilesystem")),
            split_output=name in self._staged.split_output,
            kept=self._kept(container),
            umask=USUAL_UMASK if self._staged.umask is None else self._staged.umask,
            pod=self.pod,
        )
        self.launches[name, attempt] = launch
        return launch

    def _mounts(self, container: Object, env: Mapping[str, str]) -> tuple[Mount, ...]:
        if not self._runtime.uses_files:
            return ()
        mounts = volumes.container_mounts(container, self._volumes, env, volumes.generated(self.pod))
        staged = self._staged
        if staged.containers is None or container["name"] in staged.containers:
            mounts += [Mount(source, target, read_only) for source, target, read_only in staged.mounts]
        return tuple(mounts)

    def _kept(self, container: Object) -> frozenset[str]:
        """Container paths that are looked at after its end."""
        kept = (
            self._staged.paths if self._staged.main is None or container["name"] in self._staged.main else frozenset()
        )
        message = container.get("terminationMessagePath")
        return kept | {message} if message and message != "/dev/termination-log" else kept

    def _dirs(self) -> PodDirs:
        def host_path(container: str, path: str) -> Path | None:
            launch = self._latest_launch(container)
            return None if launch is None else self._runtime.host_path(launch, path)

        def log_files(container: str) -> list[Path]:
            launch = self._latest_launch(container)
            return [] if launch is None else list(self._runtime.log_files(launch.place, launch.split_output))

        return PodDirs(self.directory / "extension", self._runtime.isolated, host_path, self._volume_path, log_files)

    def _volume_path(self, container: str, path: str) -> Path | None:
        """A container's path inside one of its volumes; None where it lies in none, or links lead out of it."""
        spec = self.pod["spec"]
        every = (*(spec.get("initContainers") or ()), *spec["containers"])
        mounts = next((c.get("volumeMounts") or () for c in every if c["name"] == container), ())
        return volumes.path_in_volume(path, mounts, self._volumes)

    def _latest_launch(self, container: str) -> Launch | None:
        attempts = [attempt for name, attempt in self.launches if name == container]
        return self.launches[container, max(attempts)] if attempts else None

    # The end.

    async def _finish(self, failure: Failure | None) -> None:
        """Collects, then writes the final status in one group with what was collected."""
        harvest = Harvest(failure=failure)
        if self._extension is not None:
            harvest = await self._collect(self._extension, failure)
        if not self._runtime.isolated:
            self._tidy_machine(harvest)
        final = self._status(over=True, failure=harvest.failure)
        await self._writer.finish(harvest.objects, final)

    async def _collect(self, extension: PodExtension, failure: Failure | None) -> Harvest:
        kept = self.directory / "harvest.json"
        if self._resumed and not self._runtime.isolated and kept.exists():
            return _read_harvest(kept)
        self._agent.effects.before("collect", self.pod)
        exits = {name: life.exit for name, life in self._lives.items() if life.exit is not None}
        harvest = await extension.collect(self.pod, self._dirs(), exits)
        return harvest if failure is None else replace(harvest, failure=failure)

    def _tidy_machine(self, harvest: Harvest) -> None:
        """Takes what the pod made on this machine away, before anybody hears of its end.

        The harvest is kept first: another agent could not collect it again afterwards.
        """
        if not harvest.remove and not any(launch.mounts for launch in self.launches.values()):
            return
        _write_harvest(self.directory / "harvest.json", harvest)
        self._agent.effects.before("tidy", self.pod)
        for place in harvest.remove:
            _remove(place)
        self._runtime.discard(self.uid, self.directory)

    async def _leave(self) -> None:
        """Waits for the deletion of the ended pod, confirms it, and removes what is left of the pod here."""
        while not self._absent and self._stop is None:
            await self._wake.wait()
            self._wake.clear()
            if self.pod["metadata"].get("deletionTimestamp"):
                break
        if not self._absent:
            self._agent.effects.before("delete", self.pod)
            await self._writer.confirm_deletion()
        self._agent.effects.before("remove", self.pod)
        self._runtime.discard(self.uid, self.directory)
        if self._runtime.uses_files:
            await asyncio.to_thread(shutil.rmtree, self.directory, ignore_errors=True)

    # Status.

    def _status(self, *, over: bool = False, failure: Failure | None = None) -> dict[str, Any]:
        images = {name: status.ImageFacts(image.reference, image.image_id) for name, image in self._images.items()}
        return status.pod_status(
            status.Facts(
                pod=self.pod,
                shape=self._shape,
                lives=self._lives,
                started_at=self._started_at,
                now=self._agent.clock.now(),
                over=over,
                stop=self._stop if self._stop is not None and (self._stop.reason or over) else None,
                failure=failure,
                images=images,
                termination_messages=self._termination_messages(),
                host_ip=self._agent.facts.host_ip,
                pod_ip=self._agent.facts.host_ip if self._images else "",
                ready=frozenset(name for name, life in self._lives.items() if life.running),
                times=self._times,
            )
        )

    def _termination_messages(self) -> dict[str, str]:
        """What containers left in their termination message file, else (if asked for) the end of their log."""
        found: dict[str, str] = {}
        if not (self._runtime.uses_files and self._runtime.isolated):
            return found
        spec = self.pod["spec"]
        for container in (*(spec.get("initContainers") or ()), *spec["containers"]):
            name = container["name"]
            life = self._lives[name]
            launch = self.launches.get((name, life.attempt))
            if life.exit is None or launch is None:
                continue
            place = self._termination_place(launch, container.get("terminationMessagePath"))
            text = _head(place, TERMINATION_MESSAGE_MAX) if place is not None else ""
            wants_log = container.get("terminationMessagePolicy") == "FallbackToLogsOnError" and life.exit.code != 0
            if not text and wants_log:
                text = _tail(self._runtime.log_files(launch.place, launch.split_output)[-1])
            if text:
                found[name] = text
        return found

    def _termination_place(self, launch: Launch, path: str | None) -> Path | None:
        if path in (None, "", "/dev/termination-log"):
            return self._runtime.termination_message(launch)
        return self._runtime.host_path(launch, path or "")

    def _post(self) -> None:
        self._writer.post(self._status)

    def _post_soon(self) -> None:
        """A write that may be overtaken: a step that ends at once never shows as Running."""
        self._writer.post_later(self._status)

    async def _rest(self, seconds: float) -> None:
        clock = self._agent.clock
        timer = clock.call_at(clock.monotonic() + seconds, self._wake.set)
        await self._wake.wait()
        self._wake.clear()
        timer.cancel()


_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


def _condition_times(pod: Object) -> dict[str, tuple[str, str]]:
    rows = (pod.get("status") or {}).get("conditions") or ()
    return {row["type"]: (row["status"], row["lastTransitionTime"]) for row in rows if row.get("lastTransitionTime")}


def _start_time(pod: Object) -> datetime | None:
    text = (pod.get("status") or {}).get("startTime")
    return parse_time(text) if text else None


def _host_aliases(spec: Object) -> tuple[str, ...]:
    """Lines of /etc/hosts: an address and its names."""
    return tuple("\t".join((alias["ip"], *(alias.get("hostnames") or ()))) for alias in spec.get("hostAliases") or ())


def _identity(container: Object, spec: Object) -> Identity:
    pod_context, own = spec.get("securityContext") or {}, container.get("securityContext") or {}
    uid = own.get("runAsUser", pod_context.get("runAsUser"))
    gid = own.get("runAsGroup", pod_context.get("runAsGroup"))
    return Identity(
        uid=uid,
        gid=gid,
        groups=tuple(pod_context.get("supplementalGroups") or ()),
        privileged=bool(own.get("privileged")),
    )


def _earliest(*moments: datetime | None) -> datetime | None:
    return min((moment for moment in moments if moment is not None), default=None)


def _head(path: Path, limit: int) -> str:
    with (
        contextlib.suppress(OSError),
        os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file,
    ):
        return file.read(limit).decode("utf-8", "replace")
    return ""


def _tail(path: Path, lines: int = 80, limit: int = 2048) -> str:
    with contextlib.suppress(OSError), path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - limit))
        return "\n".join(file.read(limit).decode("utf-8", "replace").splitlines()[-lines:])
    return ""


def _write_harvest(place: Path, harvest: Harvest) -> None:
    failure = harvest.failure
    kept = {
        "objects": list(harvest.objects),
        "failure": None if failure is None else [failure.container, failure.message, failure.code],
        "remove": [str(path) for path in harvest.remove],
    }
    draft = place.with_suffix(".new")
    draft.write_text(json.dumps(kept), encoding="utf-8")
    draft.replace(place)


def _read_harvest(place: Path) -> Harvest:
    kept = json.loads(place.read_text(encoding="utf-8"))
    failure = None if kept["failure"] is None else Failure(*kept["failure"])
    return Harvest(kept["objects"], failure, [Path(path) for path in kept["remove"]])


def _remove(place: Path) -> None:
    with contextlib.suppress(OSError):
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        else:
            place.unlink()
