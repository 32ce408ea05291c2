"""The node agent: makes the pods of one node happen, with one of the runtimes that work here.

    agent = Agent(client, "tiphys", [SandboxRuntime(d), ProcessRuntime(d)], data_dir, clock, ids, [extension])
    await agent.run()        # until cancelled or stop(); containers go on, the next agent adopts them

Watches the pods bound to its node (and, with ``binds``, takes those that nobody has bound: a single node needs no
scheduler) and gives each a ``PodWorker``. What earlier lives left behind (pods that are gone) is cleaned first.
"""

from __future__ import annotations

import asyncio
import logging
import random
import shutil
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

from tiphys.client.client import Client
from tiphys.cluster.apiserver.streams import LogOptions
from tiphys.cluster.node import logs, memoryfs, refusals, resizing, services
from tiphys.cluster.node.changes import FileChanges
from tiphys.cluster.node.environment import NodeFacts
from tiphys.cluster.node.extension import PodExtension
from tiphys.cluster.node.hostfiles import NodeNetwork, Resolver, parse_resolv_conf
from tiphys.cluster.node.hostpaths import ALL_HOST_PATHS, HostPaths
from tiphys.cluster.node.images.map import Image, ImageMap, ImageSource, Pulled, PullRequest, search_path
from tiphys.cluster.node.logs import Rotation
from tiphys.cluster.node.metrics import UsageOfNode
from tiphys.cluster.node.network.attachments import PodNetwork
from tiphys.cluster.node.paths import PathLocks
from tiphys.cluster.node.podnames import go_duration
from tiphys.cluster.node.runtime import Choice, Container, Runtime, choose
from tiphys.cluster.node.runtimes.process import is_internal
from tiphys.cluster.node.streams import StreamSource
from tiphys.cluster.node.worker import PodWorker
from tiphys.machinery.actions import Emit
from tiphys.machinery.errors import ApiError, BadRequest, NotFound
from tiphys.machinery.resources import PODS, SECRETS, SERVICES, ObjectKey, Resource, key_of
from tiphys.runtime.clock import Clock
from tiphys.runtime.events import EventRecorder
from tiphys.runtime.ids import Ids
from tiphys.runtime.informer import Informer

Object = Mapping[str, Any]
logger = logging.getLogger(__name__)

WHAT_RUNTIMES_MEAN = {
    "process": "NO ISOLATION: commands run as ordinary processes of this machine, with your rights and your files",
    "engine": "each container runs under this machine's Docker or Podman; the network is that machine's",
    "oci": "each container runs under crun or runc, with its own root file system; the network is this machine's",
    "sandbox": "each container has its own root view, /tmp and process space; the network is this machine's",
}


# How often volumes are compared with the objects that they show (a kubelet takes up to a minute longer), and logs are
# looked at (a kubelet's containerLogMonitorInterval).
REFRESH_SECONDS = 10.0
# How exactly a line of a log is dated, should anybody ask.
LOG_NOTE_SECONDS = 1.0
# The usual events of a start (Pulled, Created, Started), per second and at once: below a kubelet's defaults (50 and
# 100), since here they share the machine with the steps that they tell about.
EVENTS_PER_START = 3
EVENTS_PER_SECOND, EVENTS_BURST = 10.0, 60.0


class Effects(Protocol):
    """Called before every action on the outside (stage, start, signal, status, collect, finish, delete, remove).

    A simulation raises here to crash the agent between any two actions.
    """

    def before(self, action: str, pod: Object) -> None: ...


STATUS_LISTS = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")


class NoEffects:
    def before(self, action: str, pod: Object) -> None:
        return


class Ration:
    """A token bucket: at most ``rate`` per second, ``burst`` at once."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst, self._left, self._at = rate, burst, burst, 0.0

    def take(self, count: int, now: float) -> bool:
        """Whether ``count`` may pass at monotonic ``now``; all of them or none."""
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < count:
            return False
        self._left -= count
        return True


class Agent:
    def __init__(
        self,
        client: Client,
        node_name: str,
        runtimes: Sequence[Runtime],
        data_dir: Path,
        clock: Clock,
        ids: Ids,
        extensions: Sequence[PodExtension] = (),
        *,
        images: Callable[[Runtime], ImageSource] | None = None,
        facts: NodeFacts | None = None,
        network: NodeNetwork | None = None,
        pod_network: PodNetwork | None = None,
        effects: Effects | None = None,
        rotation: Rotation | None = None,
        host_paths: HostPaths = ALL_HOST_PATHS,
        binds: bool = True,
        strict: bool = False,
    ) -> None:
        """``binds``: it takes pods that nobody has bound. ``strict``: as in a real cluster, every start is told of, and
        pods that this node has no room for are refused.
        """
        data_dir = data_dir.resolve()  # whoever collects outputs takes a link on their way for an attack
        self.client = client
        self.node_name = node_name
        self.clock = clock
        self.ids = ids
        self.extensions = tuple(extensions)
        self.effects = effects or NoEffects()
        self.facts = facts or NodeFacts(node_name)
        self.network = network or NodeNetwork(node_name, resolver=this_machines_resolver())
        self.pod_network = pod_network
        self.rotation = rotation or Rotation()
        self.host_paths = host_paths
        self.paths = PathLocks()
        self.pods_directory = data_dir / "pods"
        self.claims_directory = data_dir / "claims"
        self.log_source = LogSource(self)
        self.stream_source = StreamSource(self)
        self.usage_source = UsageOfNode(self)
        self._scratch = data_dir / "probe"
        self._make_images = images
        self._images: ImageSource | None = None
        self._runtimes = tuple(runtimes)
        self._binds = binds
        self._strict = strict
        self._services: Informer | None = None
        self._choice: Choice | None = None
        self._workers: dict[str, PodWorker] = {}
        self._worker_tasks: dict[str, asyncio.Task[None]] = {}
        self._helpers: set[asyncio.Task[None]] = set()
        self._by_key: dict[ObjectKey, str] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._stopping = asyncio.Event()
        self._events = EventRecorder(client, clock, "kubelet")
        self._announced: set[str] = set()
        self._ration = Ration(EVENTS_PER_SECOND, EVENTS_BURST)
        self._has_room = self._gives_room = False

    # What a user is told.

    @property
    def runtime(self) -> Runtime:
        assert self._choice is not None, "prepare() chooses the runtime"
        return self._choice.runtime

    @property
    def images(self) -> ImageSource:
        assert self._images is not None, "prepare() makes the source of images"
        return self._images

    @property
    def runtime_name(self) -> str:
        return self.runtime.name

    @property
    def runtime_why(self) -> str:
        meaning = WHAT_RUNTIMES_MEAN.get(self.runtime.name, "")
        refused = self._choice.refused if self._choice else {}
        others = "; ".join(f"{name} does not work here: {why}" for name, why in refused.items())
        return f"{meaning} ({others})" if others else meaning

    # Its life.

    async def prepare(self) -> None:
        """Chooses the runtime by starting something. Raises ``RuntimeUnusable``. Idempotent."""
        if self._choice is None:
            self._choice = await choose(self._runtimes, self._scratch)
        if self._images is None:
            make = self._make_images
            mapped = ImageMap(search_path=search_path(isolated=self.runtime.isolated))
            self._images = mapped if make is None else make(self.runtime)

    async def run(self) -> None:
        """Serves pods until cancelled or stopped. Containers that run then go on and are adopted by the next agent."""
        await self.prepare()
        rng = random.Random(self.ids.uid())
        if self._binds:
            pods = Informer(self.client, PODS, clock=self.clock, rng=rng)
        else:
            ours = f"spec.nodeName={self.node_name}"
            pods = Informer(self.client, PODS, clock=self.clock, rng=rng, fieldSelector=ours)
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                pods.subscribe(self._pod_changed)
                background = [tasks.create_task(work) for work in (pods.run(), self._events.run(), self._tidy(pods))]
                if self.runtime.uses_files:
                    self._services = Informer(self.client, SERVICES, clock=self.clock, rng=rng)
                    others = (self._services.run(), self._refresh(), self._note_logs())
                    background += [tasks.create_task(work) for work in others]
                await self._stopping.wait()
                for task in (*background, *self._worker_tasks.values(), *self._helpers):
                    task.cancel()
        finally:
            self._tasks = None

    def stop(self) -> None:
        """Lets go of everything; containers stay."""
        self._stopping.set()

    async def end_all(self, grace_seconds: float = 0.0) -> None:
        """Ends every container of this node and waits until they are gone (``tiphys run`` does not outlive itself)."""
        workers = [worker for worker in self._workers.values() if not worker.ended.is_set()]
        for worker in workers:
            worker.end(grace_seconds)
        await asyncio.gather(*(worker.ended.wait() for worker in workers))
        for worker in self._workers.values():  # what is mounted would keep its place from being removed
            memoryfs.release(self.pods_directory / worker.uid / "volumes")

    # Services for the workers.

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task of the agent's own: it ends with the agent."""
        assert self._tasks is not None, "the agent runs"
        task = self._tasks.create_task(work)
        self._helpers.add(task)
        task.add_done_callback(self._helpers.discard)
        return task

    async def fetch(self, resource: Resource, key: ObjectKey) -> Object:
        return await self.client.get(resource, key)

    def is_internal(self, path: str) -> bool:
        return is_internal(path)

    def name_of(self, uid: str) -> str:
        worker = self._workers.get(uid)
        return str(worker.key) if worker else uid

    def emit(self, pod: Object, kind: str, reason: str, message: str, container: str = "") -> None:
        meta = pod["metadata"]
        about = {
            "apiVersion": "v1",
            "kind": "Pod",
            "name": meta["name"],
            "namespace": meta.get("namespace", ""),
            "uid": meta.get("uid", ""),
        }
        if container:
            about["fieldPath"] = f"spec.{_field_of(pod, container)}{{{container}}}"
        self._events.emit(Emit(about, kind, reason, message))

    def tells_of_starts(self) -> bool:
        """Whether the usual events of a start may be written now: they are rationed, as a kubelet's are."""
        return self._strict or self._ration.take(EVENTS_PER_START, self.clock.monotonic())

    def image_used(self, pod: Object, container: str, image: Image, reference: str, *, tells: bool) -> None:
        """An image is there for a container. That it comes from this machine's programs is always said, once."""
        if image.mapped_by and reference not in self._announced:
            self._announced.add(reference)
            said = f'Image "{reference}" is served from this machine\'s programs ({image.image_id}); said once'
            self.emit(pod, "Normal", "ImageMapped", said, container)
        if tells:
            present = f'Container image "{reference}" already present on machine and can be accessed by the pod'
            self.emit(pod, "Normal", "Pulled", present, container)

    def image_pulled(self, pod: Object, container: str, reference: str, pulled: Pulled) -> None:
        """An image came, from a registry or from where its registry was not needed after all."""
        said = f'Container image "{reference}" already present on machine and can be accessed by the pod'
        if pulled.size_bytes:
            took, waited = (
                go_duration(timedelta(seconds=round(t, 3))) for t in (pulled.seconds, pulled.waited_seconds)
            )
            said = f'Successfully pulled image "{reference}" in {took} ({waited} including waiting).'
            said += f" Image size: {pulled.size_bytes} bytes."
        self.emit(pod, "Normal", "Pulled", said, container)
        if pulled.note:
            self.emit(pod, "Warning", "RegistryUnreachable", pulled.note, container)

    async def pull_request(self, pod: Object, container: Object) -> PullRequest:
        """With the pod's image pull secrets; those that are not there are told of, and done without."""
        secrets, missing = [], []
        for row in pod["spec"].get("imagePullSecrets") or ():
            try:
                key = ObjectKey(pod["metadata"].get("namespace", ""), row.get("name", ""))
                secrets.append(await self.fetch(SECRETS, key))
            except NotFound:
                missing.append(row.get("name", ""))
        if missing:
            names = ", ".join(missing)
            said = (
                f"Unable to retrieve some image pull secrets ({names}); attempting to pull the image may not succeed."
            )
            self.emit(pod, "Warning", "FailedToRetrieveImagePullSecret", said)
        policy = container.get("imagePullPolicy") or "IfNotPresent"
        return PullRequest(container.get("image", ""), policy, tuple(secrets))

    def services_for(self, pod: Object) -> tuple[Object, ...]:
        """The services whose variables the pod's containers may get."""
        if self._services is None:
            return ()
        namespaces = {pod["metadata"].get("namespace", ""), services.MASTER_NAMESPACE}
        return tuple(s for s in self._services.objects() if s["metadata"].get("namespace") in namespaces)

    def refusal(self, pod: Object) -> tuple[str, str] | None:
        """(reason, message) where this node cannot take the pod at all."""
        forbidden = refusals.forbidden_sysctl(pod)
        if forbidden is not None or not self._strict:
            return forbidden
        uid = _uid(pod)
        return refusals.no_room(pod, self._others(uid), self._capacity)

    def no_room_to_resize(self, pod: Object) -> tuple[str, str] | None:
        """(reason, message) where a pod that runs cannot be given what it wants (now)."""
        return resizing.no_room_for(pod, self._others(_uid(pod)), self._capacity) if self._strict else None

    def has_more_room(self) -> None:
        """A pod wants less or has ended: those whose resize waits for room are looked at again, in turn."""
        self._has_room = self._strict  # else nothing ever waits
        if self._gives_room:  # to one that has less now and so came here: whoever gives looks again
            return
        self._gives_room = True
        try:
            while self._has_room:
                self._has_room = False
                for worker in self._by_turn():
                    worker.consider_resize()
        finally:
            self._gives_room = False

    def _by_turn(self) -> list[PodWorker]:
        """The workers of pods whose resize waits for room."""
        waiting = [(w, found.since) for w in self._workers.values() if (found := w.deferred) is not None]
        waiting.sort(key=lambda row: resizing.turn(row[0].pod, row[0].as_granted, row[1]))
        return [worker for worker, _ in waiting]

    def _others(self, uid: str) -> list[Object]:
        return [w.as_granted for w in self._workers.values() if w.uid != uid and not w.ended.is_set()]

    @property
    def _capacity(self) -> Mapping[str, str]:
        return {"cpu": self.facts.cpu, "memory": self.facts.memory}

    def discard(self, uid: str, place: Path) -> None:
        """Ends and forgets whatever is left of a pod, so that its directory can be removed."""
        self.runtime.discard(uid, place)
        memoryfs.release(place / "volumes")

    def refused(self, key: ObjectKey, err: ApiError) -> None:
        logger.error("pod %s: the API refused what the node had to say: %s", key, err)

    def failed(self, pod: Object, err: BaseException) -> None:
        """A worker or a probe came to grief: said where people look, and in the log with the place in the code."""
        logger.error("pod %s: %s", key_of(pod), err, exc_info=err)
        self.emit(pod, "Warning", "FailedSync", f"error determining status: {err}")

    # Pods.

    def containers(self) -> Iterator[tuple[str, Container]]:
        """(pod's uid, container) of all that run."""
        for uid, worker in self._workers.items():
            for container in worker.living():
                yield uid, container

    def worker(self, key: ObjectKey) -> PodWorker | None:
        return self._workers.get(self._by_key.get(key, ""))

    def _pod_changed(self, key: ObjectKey, before: Object | None, after: Object | None) -> None:
        if before is not None and (after is None or _uid(after) != _uid(before)):
            worker = self._workers.get(_uid(before))
            if worker is not None:
                worker.gone()
        if after is None or not self._is_mine(after):
            return
        worker = self._workers.get(_uid(after))
        if worker is not None:
            worker.update(after)
            return
        self._take(key, after)

    def _is_mine(self, pod: Object) -> bool:
        spec = pod["spec"]
        node = spec.get("nodeName")
        if node:
            return bool(node == self.node_name)
        return self._binds and not spec.get("schedulingGates") and not pod["metadata"].get("deletionTimestamp")

    def _take(self, key: ObjectKey, pod: Object) -> None:
        assert self._tasks is not None, "the agent runs"
        worker = PodWorker(self, pod)
        self._workers[worker.uid] = worker
        self._by_key[key] = worker.uid
        task = self._tasks.create_task(worker.run())
        self._worker_tasks[worker.uid] = task
        task.add_done_callback(lambda _: self._forget(worker))

    def _forget(self, worker: PodWorker) -> None:
        self._workers.pop(worker.uid, None)
        self._worker_tasks.pop(worker.uid, None)
        if self._by_key.get(worker.key) == worker.uid:
            del self._by_key[worker.key]

    async def _refresh(self) -> None:
        """Keeps what volumes show of the API up to date, and logs bounded."""
        while True:
            await self.clock.sleep_until(self.clock.monotonic() + REFRESH_SECONDS)
            for worker in list(self._workers.values()):
                await worker.refresh_volumes()
                try:
                    worker.rotate_logs()
                except OSError as err:
                    logger.warning("pod %s: its logs cannot be rotated: %s", worker.key, err)

    async def _note_logs(self) -> None:
        """Remembers how long logs were when: their lines carry no times of their own."""
        while True:
            await self.clock.sleep_until(self.clock.monotonic() + LOG_NOTE_SECONDS)
            for worker in self._workers.values():
                worker.note_logs()

    async def _tidy(self, pods: Informer) -> None:
        """Takes away what pods that are gone have left on this machine while no agent was looking."""
        await pods.synced.wait()
        if not self.pods_directory.is_dir():
            return
        alive = {_uid(pod) for pod in pods.objects()}
        for place in list(self.pods_directory.iterdir()):
            if place.name not in alive and place.name not in self._workers:
                self.effects.before("tidy", {"metadata": {"uid": place.name, "name": place.name}})
                self.discard(place.name, place)
                await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)


def this_machines_resolver() -> Resolver:
    try:
        return parse_resolv_conf(Path("/etc/resolv.conf").read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return Resolver()


class LogSource:
    """The agent's answer to ``pods/NAME/log`` (``apiserver.streams.LogSource``)."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._changes = FileChanges()

    @asynccontextmanager
    async def logs(self, pod: Object, options: LogOptions) -> AsyncIterator[AsyncIterator[bytes]]:
        """Opens a container's log. Raises ``BadRequest`` where there is none (yet)."""
        if not pod["spec"].get("nodeName"):  # nothing can have been written yet, and nobody says why not
            yield _nothing()
            return
        worker = self._agent.worker(key_of(pod))
        log = None if worker is None else worker.log_of(options.container, previous=options.previous)
        if log is None:
            raise BadRequest(_no_log(pod, options))
        yield logs.read(log, options, self._changes)


async def _nothing() -> AsyncIterator[bytes]:
    yield b""


def _no_log(pod: Object, options: LogOptions) -> str:
    """Why there is no log, in a kubelet's words (kubelet_pods.go validateContainerLogStatus)."""
    about = f'container "{options.container}" in pod "{pod["metadata"]["name"]}"'
    status = pod.get("status") or {}
    rows = [row for field in STATUS_LISTS for row in status.get(field) or () if row["name"] == options.container]
    if not rows:
        return f"{about} is not available"
    state, last = rows[0]["state"], rows[0].get("lastState") or {}
    if options.previous:
        return f"previous terminated {about} not found"
    if "waiting" not in state:
        return f"{about} is terminated" if "terminated" in state else f"{about} is not available"
    reason = state["waiting"].get("reason") or "ContainerCreating"
    if last.get("terminated") and not last["terminated"].get("containerID"):
        return f"{about} is terminated"
    told = {"ErrImagePull": "image can't be pulled", "ImagePullBackOff": "trying and failing to pull image"}
    return f"{about} is waiting to start: {told.get(reason, reason)}"


def _field_of(pod: Object, container: str) -> str:
    """The list of the pod's specification that the container stands in."""
    spec = pod["spec"]
    for field in ("initContainers", "ephemeralContainers"):
        if any(c["name"] == container for c in spec.get(field) or ()):
            return field
    return "containers"


def _uid(pod: Object) -> str:
    return str(pod["metadata"].get("uid", ""))
