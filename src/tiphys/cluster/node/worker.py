"""One pod's life on this node, from the first look at it to its removal.

    take it ─► admit ─► prepare (volumes, extension, paths) ─► decide ⟲ (start, signal, wait) ─► collect ─► final status
                                                                  ▲ containers end, probes, timers, the pod changes
    deletion ─► containers asked to stop, then killed ─► grace-0 delete ─► directory removed

Decisions are ``lifecycle.decide``; this file carries them out and keeps the pod's status written. It can be killed
between any two actions: everything it needs again is in the pod object, in the pod's directory and with the runtime.
What a start needs is put together in ``launching.py``; hooks and probes are ``care.py``'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import signal
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tiphys.cluster.node import backoff, eviction, hooks, launching, lifecycle, messages, resizing, status, volumes
from tiphys.cluster.node.care import Nurse
from tiphys.cluster.node.extension import PodExtension
from tiphys.cluster.node.images.map import Image, ImageUnavailable
from tiphys.cluster.node.inprocess import InProcessContainer
from tiphys.cluster.node.lifecycle import Ask, Stop
from tiphys.cluster.node.lives import Condemned, Life
from tiphys.cluster.node.logs import LifeLog, rotate
from tiphys.cluster.node.network.attachments import UNATTACHED, NetworkError
from tiphys.cluster.node.podnames import full_name, go_duration
from tiphys.cluster.node.resizing import Resizing
from tiphys.cluster.node.runtime import ConfigError, Container, Launch, LimitRefused, StartFailure
from tiphys.cluster.node.tokens import PodTokens
from tiphys.cluster.node.writer import StatusWriter
from tiphys.machinery.errors import NotFound, TiphysError
from tiphys.machinery.podlife import Exit, Failure, Harvest, PodDirs, Staged
from tiphys.machinery.resources import ObjectKey, key_of
from tiphys.machinery.times import parse_time

if TYPE_CHECKING:
    from tiphys.cluster.node.agent import Agent

Object = Mapping[str, Any]

# How often what a pod lacks (a ConfigMap, a volume) is looked for again; a kubelet's sync is of that order.
RETRY_SECONDS = 2.0
# What a container is left to end in after its preStop hook has used up the grace period (kubelet's
# minimumGracePeriodInSeconds).
AFTER_HOOK_SECONDS = 2.0
# A pod that uses too much is not asked for long.
EVICTION_GRACE_SECONDS = 0.0
CONFIG_SEEN, CONFIG_SOURCE = "kubernetes.io/config.seen", "kubernetes.io/config.source"
DEADLINE_MESSAGE = "Pod was active on the node longer than the specified deadline"
# Reasons of failed starts that leave the container waiting instead of ended.
IMAGE_REASONS = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
WAITING_REASONS = frozenset({"CreateContainerError", "CreateContainerConfigError"})


class PodWorker:
    """Owns one pod (by uid). ``update`` and ``gone`` are called by the agent; ``run`` is its task."""

    def __init__(self, agent: Agent, pod: Object) -> None:
        self.pod = pod
        self.uid: str = pod["metadata"]["uid"]
        self.key: ObjectKey = key_of(pod)
        self.directory: Path = agent.pods_directory / self.uid
        self.launches: dict[tuple[str, int], Launch] = {}
        self.logs: dict[tuple[str, int], LifeLog] = {}
        self.ended = asyncio.Event()
        self._agent = agent
        self._runtime = agent.runtime
        self._shape = lifecycle.shape_of(pod)
        self._lives = {name: Life() for name in self._shape.names}
        self._containers: dict[str, Container] = {}
        self._adopted: dict[tuple[str, int], Container] = {}
        self._wake = asyncio.Event()
        self._volumes: dict[str, Path] = {}
        self._prepared = False
        self._staged = Staged()
        self._harvest: Harvest | None = None
        self._images: dict[str, Image] = {}
        self._tokens = PodTokens(agent.client, pod, agent.clock)
        self._seen = agent.clock.now()
        self._look_at = self._seen + timedelta(seconds=eviction.LOOK_SECONDS) if eviction.is_limited(pod) else None
        self._times: dict[str, tuple[str, str]] = _condition_times(pod)
        self._started_at = _start_time(pod) or agent.clock.now()
        self._stop: Stop | None = None
        self._attachment = UNATTACHED
        self._retired = False
        self._resizing = Resizing(pod)
        self._resize_at: datetime | None = None
        self._absent = False
        self._resumed = False
        self._nurse = Nurse(self, agent.runtime, agent.clock, agent.facts.host_ip, self._shape.grace_seconds)
        spec = pod["spec"]
        gated = bool(spec.get("readinessGates"))
        self._writer = StatusWriter(agent, self.key, self.uid, bind=not spec.get("nodeName"), shares_conditions=gated)
        self._extension: PodExtension | None = next((e for e in agent.extensions if e.claims(pod)), None)

    # What the agent tells.

    def update(self, pod: Object) -> None:
        """The pod object changed: it is to end, or something that its containers see is different."""
        before, self.pod = self.pod, pod
        meta = pod["metadata"]
        if meta.get("deletionTimestamp"):
            self.end(float(meta.get("deletionGracePeriodSeconds") or 0))
        if before is not pod and not self.ended.is_set() and _differs(before, pod):
            self._heed(before)

    def end(self, grace_seconds: float) -> None:
        """The pod is to end; a shorter grace period than before counts, a longer one does not."""
        now = self._agent.clock.now()
        if self._stop is None:
            self._stop = Stop(now, grace_seconds)
            self._nurse.end_all()
        elif grace_seconds < self._stop.grace_seconds:
            self._stop = replace(self._stop, at=now, grace_seconds=grace_seconds, shortened=True)
        self._wake.set()

    def gone(self) -> None:
        """The pod object is not there any more: nothing of it may go on."""
        self._absent = True
        self.end(0)

    def _heed(self, before: Object) -> None:
        """Takes note of a changed specification: other images, ephemeral containers, labels shown in volumes."""
        old = {c["name"]: c.get("image") for c in launching.every_container(before)}
        self._shape = lifecycle.shape_of(self.pod, self._staged.main, self._staged.after)
        for container in launching.every_container(self.pod):
            name = container["name"]
            life = self._lives.setdefault(name, Life())
            if name in old and old[name] != container.get("image"):
                if life.running:
                    life.condemned = Condemned(f"Container {name} definition changed", restarts=True)
                else:
                    life.not_before, life.pull_delay_seconds = None, 0.0
        self.consider_resize()
        self._agent.spawn(self.refresh_volumes())
        self._post()
        self._wake.set()

    def consider_resize(self) -> None:
        """Grants the containers what the specification wants for them now, as far as there is room, and gives it."""
        if self._stop is not None or self.ended.is_set():
            return
        self._tell(self._resizing.consider(self.pod, self._agent.no_room_to_resize, self._agent.clock.now()))
        self._resize()

    @property
    def deferred(self) -> resizing.Condition | None:
        """The resize that waits for room."""
        pending = self._resizing.pending
        return pending if pending is not None and pending.reason == resizing.DEFERRED else None

    @property
    def as_granted(self) -> Object:
        """The pod with the resources that this node has granted it."""
        return self._resizing.as_granted(self.pod)

    def _resize(self) -> None:
        """Gives running containers what was granted; those that want to be started again for it get it then."""
        self._resize_at = None
        left = self._resizing.outstanding(self._containers)
        for name in left:
            life, before = self._lives[name], self._resizing.given[name]
            container = launching.container_of(self.pod, name)
            if resizing.needs_restart(container, before, self._resizing.granted[name]):
                if life.condemned is None:
                    said = f"Container {name} resize requires restart"
                    life.condemned = Condemned(said, restarts=True, silently=True)
                continue
            try:
                self._give(name)
            except LimitRefused as err:
                self._tell(self._resizing.fail(self.pod, str(err)))
                self._resize_at = self._agent.clock.now() + timedelta(seconds=resizing.RETRY_SECONDS)
        if self._resizing.progress is not None and not self._resizing.outstanding(self._containers):
            self._tell(self._resizing.complete(self.pod))
            self._agent.has_more_room()
        self._post()

    def _give(self, name: str) -> None:
        launch, container = self.launches.get((name, self._lives[name].attempt)), self._containers[name]
        if launch is not None and not isinstance(container, InProcessContainer):
            self._runtime.resize(container, replace(launch, pod=self.as_granted))
        self._resizing.give(name)

    def _tell(self, events: Sequence[resizing.Event]) -> None:
        for event in events:
            self.emit(*event)

    async def refresh_volumes(self) -> None:
        """Shows in the pod's volumes what the API says now; what cannot be read now stays as it is."""
        if self.ended.is_set() or not self._prepared or not volumes.is_refreshed(self.pod):
            return
        with contextlib.suppress(TiphysError, OSError):
            await self._prepare_volumes()

    # What its nurse tells (``care.Home``).

    def emit(self, kind: str, reason: str, message: str, container: str = "") -> None:
        self._agent.emit(self.pod, kind, reason, message, container)

    def changed(self) -> None:
        self._post_soon()
        self._wake.set()

    def failed(self, err: BaseException) -> None:
        self._agent.failed(self.pod, err)

    # Its life.

    async def run(self) -> None:
        """Until the pod is gone from the API and from this machine."""
        self.update(self.pod)
        try:
            if (self.pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed"):
                await self._live()
            self.ended.set()
            self._agent.paths.release(self.uid)
            self._agent.has_more_room()
            await self._leave()
        except Exception as err:  # noqa: BLE001 - nothing that one pod does may stop the others
            self._agent.failed(self.pod, err)
        finally:
            self.ended.set()
            self._nurse.end_all()
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

    def note_logs(self) -> None:
        """Dates what the running containers have written."""
        for name in self._containers:
            log = self.logs.get((name, self._lives[name].attempt))
            if log is not None:
                log.note()

    def rotate_logs(self) -> None:
        """Bounds what running containers have written. A workflow's step keeps all: its output is its result."""
        if self._extension is not None:
            return
        for name in self._containers:
            log = self.logs.get((name, self._lives[name].attempt))
            for path in log.files if log is not None else ():
                rotate(path, self._agent.rotation)

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
        if not self._resumed and await self._refuse():
            return
        failure = await self._prepare()
        if failure is None:
            await self._go_round()
        if not self._absent:
            await self._finish(failure)

    async def _refuse(self) -> bool:
        """Whether this node cannot take the pod at all; it has failed then."""
        refusal = self._agent.refusal(self.pod)
        if refusal is None:
            return False
        reason, message = refusal
        self.emit("Warning", reason, message)
        await self._writer.finish((), status.rejected_status(self.pod, reason, message, self._agent.clock.now()))
        return True

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
            if container.attempt:
                life.delay_seconds = backoff.longer(life.delay_seconds)
            life.attempt = container.attempt
            self._adopted[container.name, container.attempt] = container
        if self._resumed:
            self._resizing.resume(self.pod)

    async def _prepare(self) -> Failure | None:
        """Volumes, the extension's files, the paths it needs; waits for what is missing until told to stop."""
        if self._runtime.uses_files:
            self.directory.mkdir(parents=True, exist_ok=True)
        said = ""
        while self._stop is None:
            try:
                await self._attach()
                await self._prepare_volumes()
                failure = await self._stage()
            except (volumes.VolumeError, ConfigError, ImageUnavailable, NetworkError) as err:
                if str(err) != said:
                    said = str(err)
                    why = "FailedCreatePodSandBox" if isinstance(err, NetworkError) else "FailedMount"
                    self.emit("Warning", why, said)
                    self._post()
                await self._rest(RETRY_SECONDS)
                self._watch_deadline(self._agent.clock.now())
            else:
                self._prepared = True
                return failure
        return None

    async def _attach(self) -> None:
        """Puts the pod on the network, at the address it had if an earlier agent put it there."""
        network = self._agent.pod_network
        if network is None or self._attachment.address:
            return
        known = self.directory / "address"
        before = known.read_text() if self._runtime.uses_files and known.exists() else ""
        self._attachment = await network.attach(self.uid, self.pod, before)
        self._nurse.address = self._attachment.address
        if self._runtime.uses_files and self._attachment.address != before:
            known.write_text(self._attachment.address)

    async def _retire(self) -> None:
        """Nothing new is led to a pod whose containers are about to be asked to stop."""
        network = self._agent.pod_network
        if network is not None and not self._retired:
            self._retired = True
            with contextlib.suppress(NetworkError):  # its Services' endpoints tell as well, a little later
                await network.retire(self.uid)

    async def _detach(self) -> None:
        if self._agent.pod_network is not None:
            await self._agent.pod_network.detach(self.uid)

    async def _prepare_volumes(self) -> None:
        if self._runtime.uses_files and self.pod["spec"].get("volumes"):
            agent = self._agent
            places = volumes.VolumePlaces(self.directory / "volumes", agent.claims_directory, agent.host_paths)
            means = volumes.Means(
                agent.facts, agent.fetch, self._tokens.get, self._image_root, agent.clock.now(),
                same_users=self._runtime.same_users,
            )  # fmt: skip
            self._volumes = await volumes.prepare(self._as_seen(), places, means)

    def _as_seen(self) -> Object:
        """The pod with the annotations that a kubelet adds to what containers are shown of it."""
        annotations = self.pod["metadata"].get("annotations")
        seen = {CONFIG_SEEN: self._seen.strftime("%Y-%m-%dT%H:%M:%S.%f000Z"), CONFIG_SOURCE: "api"}
        return {**self.as_granted, "metadata": {**self.pod["metadata"], "annotations": {**(annotations or {}), **seen}}}

    async def _image_root(self, source: Object) -> Path:
        """The root of an image volume."""
        reference, policy = source.get("reference", ""), source.get("pullPolicy") or "IfNotPresent"
        image = self._agent.images.at_hand(reference, policy)
        if image is None:
            wanted = {"image": reference, "imagePullPolicy": policy}
            image = (await self._agent.images.pull(await self._agent.pull_request(self.pod, wanted))).image
        if not self._prepared:
            said = f'Container image "{reference}" already present on machine and can be accessed by the pod'
            self.emit("Normal", "Pulled", said)
        if image.root is None:
            raise volumes.VolumeError(f'image "{reference}" is served from this machine and has no files of its own')
        return image.root

    async def _stage(self) -> Failure | None:
        if self._extension is None:
            await self._take_paths(frozenset())
            return None
        self._agent.effects.before("stage", self.pod)
        self._staged = await self._extension.stage(self.pod, self._dirs())
        self._shape = lifecycle.shape_of(self.pod, self._staged.main, self._staged.after)
        if self._staged.failure is not None:
            return self._staged.failure
        await self._take_paths(self._staged.paths)
        return None if self._staged.claimed is None else self._staged.claimed()

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
            if self._stop is not None:
                await self._retire()
            now = self._agent.clock.now()
            if self._resize_at is not None and self._resize_at <= now:
                self._resize()
            deadline = _earliest(self._watch_deadline(now), await self._watch_usage(now), self._resize_at)
            decision = lifecycle.decide(self._shape, self._lives, self._stop, now)
            for name in decision.start:
                await self._start(name)
                if self._lives[name].hooking:
                    break
            if any(ask.name in self._staged.helpers for ask in decision.ask):
                await self._collect_with_helpers()
            for ask in decision.ask:
                self._ask_to_stop(ask, now)
            for name in decision.kill:
                self._kill(name)
            for name in decision.backing_off:
                self._tell_of_backoff(name)
            if decision.over:
                return
            if decision.start:
                self._post_soon()
                continue
            await self._wait_for_change(_earliest(decision.wake_at, deadline))

    def _watch_deadline(self, now: datetime) -> datetime | None:
        """When a deadline will have passed; once one has, the pod is stopped."""
        if self._stop is not None:
            return None
        asked = self._staged.deadline
        if asked is not None and asked <= now:
            self.stop_because("", "")
            return None
        if self._shape.deadline_seconds is None:
            return asked
        due = self._started_at + timedelta(seconds=self._shape.deadline_seconds)
        if due > now:
            return _earliest(due, asked)
        self.emit("Normal", "DeadlineExceeded", DEADLINE_MESSAGE)
        self.stop_because("DeadlineExceeded", DEADLINE_MESSAGE)
        return None

    async def _watch_usage(self, now: datetime) -> datetime | None:
        """When to look again how much disk the pod uses; one that uses too much is evicted."""
        if self._look_at is None or self._stop is not None or not self._runtime.uses_files:
            return None
        if self._look_at <= now:
            self._look_at = now + timedelta(seconds=eviction.LOOK_SECONDS)
            written = {name: self._written_by(name) for name in self._shape.main}
            said = await asyncio.to_thread(eviction.complaint, self.pod, self._volumes, written)
            if said:
                self.emit("Warning", "Evicted", said)
                self.stop_because("Evicted", said, EVICTION_GRACE_SECONDS)
                return None
        return self._look_at

    def _written_by(self, name: str) -> list[Path]:
        """What a container has written outside of its volumes: its log, and the life's own directory."""
        launch = self._latest_launch(name)
        if launch is None:
            return []
        return [*self._runtime.log_files(launch.place, launch.split_output), *_siblings(launch.place)]

    def stop_because(self, reason: str, message: str, grace_seconds: float | None = None) -> None:
        """Ends the pod as a failure with this reason, unless it is ending already."""
        if self._stop is None:
            grace = self._shape.grace_seconds if grace_seconds is None else grace_seconds
            self._stop = Stop(self._agent.clock.now(), grace, reason, message)
            self._nurse.end_all()
            self._wake.set()

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
            self._note_end(name, container.ended.result())
            self._wake.set()
            if self._work_left(name):
                self._post_soon()

    def _note_end(self, name: str, end: Exit) -> None:
        life = self._lives[name]
        self._nurse.end(name)
        launch = self.launches.get((name, life.attempt))
        if launch is not None and not end.message and self._runtime.uses_files and self._runtime.isolated:
            container = launching.container_of(self.pod, name)
            end = replace(end, message=messages.termination_message(container, launch, end.code, self._runtime))
        complaint = life.complaint
        backoff.note_exit(life, end)
        if complaint is not None and self._stop is None and self._shape.restarts(name, end):
            life.waiting = complaint
        log = self.logs.get((name, life.attempt))
        if log is not None:
            log.end(end.finished_at)

    def _work_left(self, name: str) -> bool:
        """Whether the pod goes on after this container's end, so that its end is worth a write of its own."""
        return len(self._lives) > 1 or self._shape.policies[name] != "Never"

    # Containers.

    async def _start(self, name: str) -> None:
        life = self._lives[name]
        if life.exit is not None:
            life = self._lives[name] = backoff.next_life(life)
        adopted = self._adopted.pop((name, life.attempt), None)
        tells = adopted is None and self._agent.tells_of_starts()
        resumed = adopted is not None
        try:
            if not await self._find_image(name, life, tells=tells):
                return
            launch = await self._launch(name, life.attempt)
            if adopted is None:
                self._agent.effects.before("start", self.pod)
                adopted = self._start_own(launch) or self._runtime.start(launch)
        except (ImageUnavailable, ConfigError, StartFailure, NotFound) as err:
            self._not_started(name, life, err, tells=tells)
            return
        life.waiting = life.not_before = life.tell_at = None
        life.running_since = adopted.started_at
        self._containers[name] = adopted
        if not resumed or name not in self._resizing.given:
            self._resizing.give(name)
        if self._runtime.uses_files:
            files = self._runtime.log_files(launch.place, launch.split_output)
            self.logs[name, life.attempt] = LifeLog(files, adopted.started_at, self._agent.clock.now)
        adopted.ended.add_done_callback(self._rouse)
        if tells:
            self.emit("Normal", "Created", "Container created", name)
            self.emit("Normal", "Started", "Container started", name)
        self._forget_lives_before(name, life.attempt - 1)
        self._nurse.begin(launching.container_of(self.pod, name), life, adopted, launch, adopted=resumed)
        if resumed or self._resizing.progress is not None:
            self.consider_resize()

    def _forget_lives_before(self, name: str, attempt: int) -> None:
        """Two lives of a container are kept, as by a kubelet: the latest, and the one before for its log."""
        for kept in (self.launches, self.logs):
            for key in [key for key in kept if key[0] == name and key[1] < attempt]:
                del kept[key]
        if attempt > 0 and self._runtime.uses_files:
            self._agent.spawn(asyncio.to_thread(_remove_lives, self.directory, name, attempt))

    async def _find_image(self, name: str, life: Life, *, tells: bool) -> bool:
        """False where the pod was asked to end meanwhile. Raises ``ImageUnavailable``."""
        container = launching.container_of(self.pod, name)
        reference = container.get("image", "")
        if name in self._staged.in_process:
            self._images[name] = Image(reference, "")
            return True
        self._images.pop(name, None)
        image = self._agent.images.at_hand(reference, container.get("imagePullPolicy") or "IfNotPresent")
        if image is None:
            image = await self._pull(container, tells=tells)
            tells = False
        if image is None:
            return False
        self._images[name] = image
        first = life.waiting is None or life.waiting[0] in IMAGE_REASONS
        self._agent.image_used(self.pod, name, image, reference, tells=tells and first)
        return True

    async def _pull(self, container: Object, *, tells: bool) -> Image | None:
        """Waits for the image, and for nothing longer than the pod is wanted."""
        request = await self._agent.pull_request(self.pod, container)
        pull = asyncio.ensure_future(self._agent.images.pull(request))
        pull.add_done_callback(lambda _: self._wake.set())
        self.emit("Normal", "Pulling", f'Pulling image "{request.reference}"', container["name"])
        try:
            while not pull.done():
                due = self._watch_deadline(self._agent.clock.now())
                if self._stop is not None:
                    return None
                await self._wait_for_change(due)
            pulled = await pull
        finally:
            pull.cancel()
        if tells:
            self._agent.image_pulled(self.pod, container["name"], request.reference, pulled)
        return pulled.image

    def _start_own(self, launch: Launch) -> Container | None:
        """A container that the extension carries out itself, unless the runtime only plays containers anyway."""
        work = self._staged.in_process.get(launch.container)
        if work is None or not self._runtime.uses_files:
            return None
        log = self._runtime.log_files(launch.place, launch.split_output)[0]
        return InProcessContainer(launch, work, log, self._agent)

    def _not_started(self, name: str, life: Life, err: Exception, *, tells: bool) -> None:
        now = self._agent.clock.now()
        if isinstance(err, ImageUnavailable):
            self._image_missing(name, life, err, now)
        elif isinstance(err, StartFailure) and err.reason not in WAITING_REASONS:
            if tells:
                self.emit("Normal", "Created", "Container created", name)
            self.emit("Warning", "Failed", f"Error: {err}", name)
            nothing = self.logs[name, life.attempt] = LifeLog((), now, self._agent.clock.now)
            nothing.end(now)
            life.complaint = ("RunContainerError", str(err))
            self._note_end(name, Exit(err.code, _EPOCH, now, err.reason, str(err)))
        else:
            reason = err.reason if isinstance(err, StartFailure) else "CreateContainerConfigError"
            self._images.pop(name, None)
            self._complain(name, life, (reason, str(err)), (("Warning", "Failed", f"Error: {err}"),))
            life.not_before = now + timedelta(seconds=RETRY_SECONDS)
        self._post()

    def _image_missing(self, name: str, life: Life, err: ImageUnavailable, now: datetime) -> None:
        reference = launching.container_of(self.pod, name).get("image", "")
        failed = ("Warning", "Failed", f"Error: {err.reason}")
        if err.reason == "ErrImagePull":
            self.emit("Warning", "Failed", f'Failed to pull image "{reference}": {err}', name)
            self.emit(*failed, name)
            life.waiting = (err.reason, str(err))
            backoff.note_failed_pull(life, now)
            return
        first = "InspectFailed" if err.reason == "InvalidImageName" else err.reason
        self._complain(name, life, (err.reason, str(err)), (("Warning", first, str(err)), failed))
        life.not_before = now + timedelta(seconds=RETRY_SECONDS)

    def _complain(
        self, name: str, life: Life, complaint: tuple[str, str], events: tuple[tuple[str, str, str], ...]
    ) -> None:
        """The container waits for this reason; told once, however often it is tried."""
        if life.waiting != complaint:
            life.waiting = complaint
            for event in events:
                self.emit(*event, name)

    def _tell_of_backoff(self, name: str) -> None:
        life = self._lives[name]
        life.tell_at = None
        if life.exit is None:
            reference = launching.container_of(self.pod, name).get("image", "")
            message = f'Back-off pulling image "{reference}"'
            cause = ": ".join(life.waiting) if life.waiting else "ErrImagePull"
            life.waiting = ("ImagePullBackOff", f"{message}: {cause}")
            self.emit("Normal", "BackOff", message, name)
            self.emit("Warning", "Failed", "Error: ImagePullBackOff", name)
        else:
            pod = full_name(self.pod)
            delay = go_duration(timedelta(seconds=life.delay_seconds))
            life.waiting = ("CrashLoopBackOff", f"back-off {delay} restarting failed container={name} pod={pod}")
            self.emit("Warning", "BackOff", f"Back-off restarting failed container {name} in pod {pod}", name)
        self._post_soon()

    def _rouse(self, _: asyncio.Future[Exit]) -> None:
        self._wake.set()

    def _ask_to_stop(self, ask: Ask, now: datetime) -> None:
        name, life = ask.name, self._lives[ask.name]
        life.asked, life.kill_at = now, now + timedelta(seconds=ask.grace_seconds)
        life.replaced, life.dismissed = ask.again, not ask.message
        self._nurse.end(name)
        self.emit("Normal", "Killing", ask.message or f"Stopping container {name}", name)
        container = launching.container_of(self.pod, name)
        if ask.grace_seconds > 0 and hooks.hook_of(container, hooks.PRE_STOP) is not None:
            life.kill_at = None
            self._agent.spawn(self._stop_with_hook(ask, life, container, self._containers[name]))
            return
        self._agent.effects.before("signal", self.pod)
        self._containers[name].signal(self._stop_signal(name, container))
        self._wake.set()

    async def _stop_with_hook(self, ask: Ask, life: Life, spec: Object, container: Container) -> None:
        """The preStop hook and the signal; the hook's time is taken from the grace period."""
        began = self._agent.clock.now()
        await self._nurse.before_end(spec, container, self.launches[ask.name, life.attempt], ask.grace_seconds)
        now = self._agent.clock.now()
        left = max(AFTER_HOOK_SECONDS, ask.grace_seconds - (now - began).total_seconds())
        life.kill_at = now + timedelta(seconds=left)
        if not container.ended.done():
            self._agent.effects.before("signal", self.pod)
            container.signal(self._stop_signal(ask.name, spec))
        self._wake.set()

    def _stop_signal(self, name: str, container: Object) -> int:
        """The pod's own wish, else the image's, else SIGTERM."""
        image = self._images.get(name)
        wish = (container.get("lifecycle") or {}).get("stopSignal") or (image.stop_signal if image else "")
        return signal_number(wish)

    def _kill(self, name: str) -> None:
        self._lives[name].killed = True
        self._agent.effects.before("signal", self.pod)
        self._containers[name].signal(signal.SIGKILL)

    async def _launch(self, name: str, attempt: int) -> Launch:
        """Everything the runtime needs for this life."""
        known = self.launches.get((name, attempt))
        if known is None:
            agent = self._agent
            around = launching.Surroundings(
                self._runtime, agent.facts, agent.network, agent.fetch, self.directory, self._volumes, self._staged,
                agent.services_for(self.pod), self._attachment, volumes.guarded(self.pod, agent.host_paths),
            )  # fmt: skip
            container = launching.container_of(self.pod, name)
            known = await launching.launch_of(container, self._seen_from_inside(), attempt, self._images[name], around)
            self.launches[name, attempt] = known
        return known

    @property
    def own_address(self) -> str:
        """The pod's address where it has a network of its own, else ""."""
        return self._attachment.address if self._attachment.namespace else ""

    def _seen_from_inside(self) -> Object:
        """The pod with its address, which its containers may ask for before the API has heard of it."""
        pod = self.as_granted
        status = pod.get("status") or {}
        if not self._attachment.address or status.get("podIP"):
            return pod
        return {**pod, "status": {**status, "podIP": self._attachment.address}}

    def living(self) -> list[Container]:
        """The containers that run."""
        return [container for container in self._containers.values() if not container.ended.done()]

    def running(self, name: str) -> tuple[Container, Launch] | None:
        """The container while it runs, and how it was started."""
        container = self._containers.get(name)
        launch = self._latest_launch(name)
        return None if container is None or launch is None else (container, launch)

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
        return launching.path_in_volumes(launching.container_of(self.pod, container), path, self._volumes)

    def _latest_launch(self, container: str) -> Launch | None:
        attempts = [attempt for name, attempt in self.launches if name == container]
        return self.launches[container, max(attempts)] if attempts else None

    # The end.

    async def _finish(self, failure: Failure | None) -> None:
        """Collects, then writes the final status in one group with what was collected."""
        harvest = self._harvest or Harvest(failure=failure)
        if self._harvest is None and self._extension is not None:
            harvest = await self._collect(self._extension, failure)
        if not self._runtime.isolated:
            self._tidy_machine(harvest)
        final = self._status(over=True, failure=harvest.failure)
        await self._writer.finish(harvest.objects, final)
        await self._detach()

    async def _collect_with_helpers(self) -> None:
        """Collects while the sidecars that the extension needs for it are still there, all others having ended."""
        alone = not any(self._lives[name].running for name in self._shape.main)
        if self._harvest is None and alone and self._extension is not None:
            self._harvest = await self._collect(self._extension, None)

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
        """Waits for the deletion of the ended pod, removes what is left of it here, and confirms."""
        while not self._absent and not self.pod["metadata"].get("deletionTimestamp"):
            await self._wake.wait()
            self._wake.clear()
        await self._detach()
        self._agent.effects.before("remove", self.pod)
        self._agent.discard(self.uid, self.directory)
        if self._runtime.uses_files:
            await asyncio.to_thread(shutil.rmtree, self.directory, ignore_errors=True)
        if not self._absent:  # last: when the object is gone, so are its secrets
            self._agent.effects.before("delete", self.pod)
            await self._writer.confirm_deletion()

    # Status.

    def _status(self, *, over: bool = False, failure: Failure | None = None) -> dict[str, Any]:
        images = {name: status.ImageFacts(image.reference, image.image_id) for name, image in self._images.items()}
        users = {}
        for name, life in self._lives.items():
            launch = self.launches.get((name, life.attempt))
            if launch is not None and self._runtime.isolated:
                who = launch.identity
                users[name] = status.UserFacts(who.uid or 0, who.gid or 0, who.groups)
        return status.pod_status(
            status.Facts(
                pod=self.as_granted,
                shape=self._shape,
                lives=self._lives,
                started_at=self._started_at,
                now=self._agent.clock.now(),
                over=over,
                prepared=self._prepared,
                stop=self._stop if self._stop is not None and (self._stop.reason or over) else None,
                failure=failure,
                images=images,
                users=users,
                resources=self._resizing.given,
                resize=() if over else self._resizing.conditions(),
                host_ip=self._agent.facts.host_ip,
                pod_ip=(self._attachment.address or self._agent.facts.host_ip) if self._prepared else "",
                times=self._times,
            )
        )

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


def _differs(before: Object, after: Object) -> bool:
    """Whether what a user may change is different; our own status writes are not."""
    old, new = before["metadata"], after["metadata"]
    return (
        old.get("generation") != new.get("generation")
        or old.get("labels") != new.get("labels")
        or old.get("annotations") != new.get("annotations")
        or (bool(after["spec"].get("readinessGates")) and before.get("status") != after.get("status"))
    )


def signal_number(name: str) -> int:
    """``SIGUSR1``, ``USR1`` or ``10``; SIGTERM for what is no signal."""
    if name.isdigit():
        return int(name)
    upper = name.upper()
    return int(getattr(signal, upper if upper.startswith("SIG") else f"SIG{upper}", signal.SIGTERM))


def _siblings(place: Path) -> list[Path]:
    """The directories that runtimes keep for a life, beside its other files."""
    with contextlib.suppress(OSError):
        return [entry for entry in place.parent.iterdir() if entry.name.startswith(f"{place.name}.") and entry.is_dir()]
    return []


def _remove_lives(directory: Path, name: str, before: int) -> None:
    """Takes away what a container's lives of earlier attempts left, but for the notes that they have been."""
    with contextlib.suppress(OSError):
        for place in list(directory.glob(f"{name}.*")):  # no name of a container has a dot
            attempt = place.name.split(".")[1]
            if attempt.isdigit() and int(attempt) < before and place.suffix != ".life":
                _remove(place)


def _earliest(*moments: datetime | None) -> datetime | None:
    return min((moment for moment in moments if moment is not None), default=None)


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
