"""A cluster of one node in which recorded pods live again: our API server, our node agent, a real runtime.

Every case has a namespace of its own, so that many live side by side: their clocks are the machine's, and most of a
case is waiting. What the recorder's script did is done at the moment at which the recorded pod was as far: a step
follows the last status seen before it. The case is over when the pod is where the recorded one was when the script
stopped looking, or when it took much longer than that.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.conformance.kubectl import Kubectl, Said
from tests.conformance.kubelet_images import fill, registry
from tiphys.app.controllers import ClusterControllers
from tiphys.app.feed import StoreFeed
from tiphys.app.places import HostPlaces
from tiphys.client.client import Client
from tiphys.cluster.apiserver.server import ApiServer
from tiphys.cluster.apiserver.store import Store
from tiphys.cluster.node.agent import Agent
from tiphys.cluster.node.environment import NodeFacts
from tiphys.cluster.node.hostfiles import NodeNetwork, Resolver
from tiphys.cluster.node.images.map import ImageMap
from tiphys.cluster.node.images.pulling import Images
from tiphys.cluster.node.images.store import Store as ImageStore
from tiphys.cluster.node.runtime import Runtime
from tiphys.machinery.actions import PatchType
from tiphys.machinery.errors import AlreadyExists, ApiError, DriverError, Invalid, NotFound
from tiphys.machinery.resources import (
    CONFIG_MAPS,
    EVENTS,
    NAMESPACES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    SECRETS,
    SERVICE_ACCOUNTS,
    SERVICES,
    ObjectKey,
)
from tiphys.runtime.clock import SystemClock
from tiphys.runtime.ids import SystemIds

Object = Mapping[str, Any]

NODE, HOST_IP, DNS = "node-1", "127.0.0.2", "10.96.0.10"
FIXTURE = "/hostpath-fixture"
NODE_CPU, NODE_MEMORY = 2, 25171656704


RESOURCES = {
    "Pod": PODS, "ConfigMap": CONFIG_MAPS, "Secret": SECRETS, "Service": SERVICES, "ServiceAccount": SERVICE_ACCOUNTS,
    "PersistentVolumeClaim": PERSISTENT_VOLUME_CLAIMS,
}  # fmt: skip
BY_PLURAL = {resource.plural: resource for resource in RESOURCES.values()}
AT_ONCE = 24
# How much longer than the recorded pod ours may take.
SLACK_SECONDS = 25.0
EVENTS_SLACK_SECONDS = 14.0
OUTPUT_SECONDS, LATE_OUTPUT_SECONDS = 2.0, 90.0
# Cases whose containers listen: the pods share this machine's ports, so these live one after another.
LISTENS = re.compile(r"httpGet|tcpSocket|httpd:1|nc -l")


@dataclass
class Seen:
    """What became of one case. ``statuses`` are (pod, object) in the order of the watch."""

    statuses: list[tuple[str, Object]] = field(default_factory=list)
    events: list[Object] = field(default_factory=list)
    logs: list[Said] = field(default_factory=list)
    exec: list[Said] = field(default_factory=list)
    cleanup_from: int = 0
    events_cleanup_from: int = 0
    trouble: str = ""

    def latest(self, pod: str) -> Object | None:
        return next((obj for name, obj in reversed(self.statuses) if name == pod), None)


@dataclass
class World:
    client: Client
    agent: Agent
    fixtures: Path
    room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    ports: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def live(self, case: Object) -> Seen:
        text = json.dumps(case["objects"])
        async with self.room:
            if not LISTENS.search(text):
                return await Replay(self, case).run()
            async with self.ports:
                return await Replay(self, case).run()


@contextlib.asynccontextmanager
async def world(runtime: Runtime, directory: Path) -> AsyncIterator[World]:
    """``runtime`` is offered alone: raises RuntimeUnusable where it does not work."""
    store, ids, clock = Store(), SystemIds(), SystemClock()
    server = await ApiServer.start(store, clock, ids, accounts=True)
    client = Client(server.transport())
    image_store = ImageStore(directory / "images")
    in_registry = fill(image_store, directory / "layouts")
    resolver = Resolver((HOST_IP,), ("node.example",), ("timeout:1", "attempts:1"))
    hosts = f"127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n{HOST_IP} {NODE}\n"
    agent = Agent(
        client,
        NODE,
        [runtime],
        directory / "node",
        clock,
        ids,
        images=lambda _: Images(image_store, ImageMap(()), clock),
        facts=NodeFacts(NODE, HOST_IP, cpu=str(NODE_CPU), memory=str(NODE_MEMORY)),
        network=NodeNetwork(NODE, DNS, resolver=resolver, hosts=hosts),
        binds=False,
        strict=True,
    )
    server.register_log_source(agent.log_source)
    server.register_stream_source(agent.stream_source)
    await agent.prepare()
    await client.create(NODES, {"metadata": {"name": NODE}})
    room = {
        "cpu": str(NODE_CPU),
        "memory": str(NODE_MEMORY),
        "pods": "250",
        "example.com/foo": "1",
        "ephemeral-storage": "50Gi",
    }
    ready = {"type": "Ready", "status": "True"}
    status = {"status": {"capacity": room, "allocatable": room, "conditions": [ready]}}
    await client.patch(NODES, ObjectKey("", NODE), status, subresource="status")
    ports = {"ports": [{"name": "https", "port": 443}], "clusterIP": "10.96.0.1"}
    with contextlib.suppress(AlreadyExists, Invalid):  # the server may have made its own
        await client.create(SERVICES, {"metadata": {"name": "kubernetes", "namespace": "default"}, "spec": ports})
    places = HostPlaces(directory / "claims")
    feed = StoreFeed(store, server.registry)
    controllers = ClusterControllers(server.transport(), feed, clock, random.Random(1), lambda: "CA\n", places)
    work = [asyncio.create_task(agent.run()), asyncio.create_task(controllers.run())]
    try:
        async with registry(in_registry):
            yield World(client, agent, directory / "fixtures")
    finally:
        for task in work:
            task.cancel()
        await asyncio.wait(work)
        for place in agent.pods_directory.glob("*"):
            agent.discard(place.name, place)
        await server.close()


class Replay:
    """One case."""

    def __init__(self, world: World, case: Object) -> None:
        self.world = world
        self.case = case
        self.name = case["name"]
        self.seen = Seen()
        self.fixture = world.fixtures / self.name
        self._changed = asyncio.Event()
        self._kubectl = Kubectl(world.client, world.agent, self.name, self.fixture)
        self._early: list[asyncio.Task[Said]] = []
        self._marks: set[str] = set()
        self._asked = False

    async def run(self) -> Seen:
        self._prepare_fixture()
        await self._furnish()
        async with asyncio.TaskGroup() as watching:
            tasks = [watching.create_task(self._watch_pods()), watching.create_task(self._watch_events())]
            try:
                await self._play()
            except (ApiError, DriverError, TimeoutError) as err:
                self.seen.trouble = f"{type(err).__name__}: {err}"
            finally:
                for task in tasks:
                    task.cancel()
        return self.seen

    def _prepare_fixture(self) -> None:
        (self.fixture / "dir").mkdir(parents=True)
        (self.fixture / "file").write_text("filedata\n")
        (self.fixture / "dir/in").write_text("indata\n")

    async def _furnish(self) -> None:
        client = self.world.client
        await client.create(NAMESPACES, {"metadata": {"name": self.name}})
        with contextlib.suppress(AlreadyExists):
            await client.create(SERVICE_ACCOUNTS, {"metadata": {"name": "default", "namespace": self.name}})
        ca = {"metadata": {"name": "kube-root-ca.crt", "namespace": self.name}, "data": {"ca.crt": "CA\n"}}
        with contextlib.suppress(AlreadyExists):
            await client.create(CONFIG_MAPS, ca)

    async def _play(self) -> None:
        late = {step["create"] for step in self.case["steps"] if "create" in step}
        objects = [self._ours(obj) for obj in self.case["objects"]]
        for obj in objects:
            if f"{obj['kind']}/{obj['metadata']['name']}" not in late:
                await self._create(obj)
        if any(while_running(entry) for entry in self._streams()):
            await self._until(lambda: self._runs())
            for entry in self._streams():
                if while_running(entry):
                    self._early.append(asyncio.create_task(self._kubectl.run(entry["cmd"], entry.get("stdin"))))
        for step in self.case["steps"]:
            await self._step(step, objects)
        await self._until(self._finished, self._recorded_seconds())
        await self._until(self._all_events_seen, EVENTS_SLACK_SECONDS)
        await self._ask()
        self.seen.cleanup_from, self.seen.events_cleanup_from = len(self.seen.statuses), len(self.seen.events)
        await self._clean()

    def _ours(self, obj: Object) -> Object:
        """The manifest with our fixture in the place of the recorder's."""
        parsed: Object = json.loads(json.dumps(obj).replace(FIXTURE, str(self.fixture)))
        return parsed

    async def _create(self, obj: Object) -> None:
        await self.world.client.create(RESOURCES[obj["kind"]], obj)

    def _streams(self) -> Sequence[Object]:
        return (*self.case["exec"], *self.case["logs"])

    def _runs(self) -> bool:
        latest = self.seen.latest(first_pod(self.case))
        rows = [] if latest is None else (latest.get("status") or {}).get("containerStatuses") or ()
        return any("running" in row["state"] for row in rows)

    async def _step(self, step: Object, objects: Sequence[Object]) -> None:
        if "mark" in step:
            self._marks.add(step["mark"])
            return
        wanted = self._digests_before(step["at"])
        await self._until(lambda: self._at(wanted), self._recorded_seconds(step["at"]))
        await self._until(lambda: self._events_seen(step["at"]), EVENTS_SLACK_SECONDS)
        client = self.world.client
        if "delete" in step:
            grace = step.get("gracePeriodSeconds")
            options = {} if grace is None else {"gracePeriodSeconds": grace}
            await client.delete(PODS, ObjectKey(self.name, step["delete"]), options)
        elif "create" in step:
            kind, _, name = step["create"].partition("/")
            await self._create(next(o for o in objects if o["kind"] == kind and o["metadata"]["name"] == name))
        else:
            plural, name, *rest = step["patch"].split("/")
            body = step["body"]
            await client.patch(
                BY_PLURAL[plural], ObjectKey(self.name, name), body,
                PatchType.STRATEGIC, subresource=rest[0] if rest else None,
            )  # fmt: skip

    async def _ask(self) -> None:
        early = iter(self._early)
        for entry in self.case["exec"]:
            said = await next(early) if while_running(entry) else await self._exec(entry)
            self.seen.exec.append(said)
        self._asked = True
        await self._until(self._finished)
        await self._until(self._all_events_seen, EVENTS_SLACK_SECONDS)
        for entry in self.case["logs"]:
            self.seen.logs.append(await next(early) if while_running(entry) else await self._patiently(entry))

    async def _exec(self, entry: Object) -> Said:
        """Where the script waited for a change to be seen, so do we."""
        if "seen" in self._marks:
            return await self._patiently(entry, LATE_OUTPUT_SECONDS)
        return await self._kubectl.run(entry["cmd"], entry.get("stdin"), entry.get("request", ""))

    async def _patiently(self, entry: Object, seconds: float = OUTPUT_SECONDS) -> Said:
        """What has just begun may not have been written yet."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while True:
            said = await self._kubectl.run(entry["cmd"], entry.get("stdin"))
            if entry.get("stdout") is None or said.stdout == entry["stdout"] or loop.time() > end:
                return said
            await asyncio.sleep(0.3)

    async def _clean(self) -> None:
        client = self.world.client
        for pod in {name for name, _ in self.seen.statuses}:
            with contextlib.suppress(NotFound):
                key = ObjectKey(self.name, pod)
                await client.patch(PODS, key, {"metadata": {"finalizers": None}})
                await client.delete(PODS, key, {"gracePeriodSeconds": 1})
        await self._until(self._all_gone, 20.0)

    def _all_gone(self) -> bool:
        return all(
            (latest := self.seen.latest(name)) is not None and latest.get("_deleted")
            for name in {name for name, _ in self.seen.statuses}
        )

    # Waiting.

    async def _until(self, claim: Any, seconds: float = SLACK_SECONDS) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not claim():
                    self._changed.clear()
                    await self._changed.wait()

    def _digests_before(self, at: float) -> dict[str, Any]:
        """Where the recorded pods were at a moment: a digest of each one's last status until then."""
        return {s["pod"]: digest(s["status"]) for s in recorded(self.case) if s["at"] <= at}

    def _at(self, wanted: Mapping[str, Any]) -> bool:
        return all(
            (latest := self.seen.latest(pod)) is not None and digest(latest.get("status") or {}) == where
            for pod, where in wanted.items()
        )

    def _finished(self) -> bool:
        made = {o["metadata"]["name"] for o in self.case["objects"]}
        for pod, last in last_recorded(self.case).items():
            if pod not in made and not self._asked:  # a command makes it
                continue
            latest = self.seen.latest(pod)
            if latest is None or whereabouts(latest) != whereabouts(last):
                return False
            if (last["type"] == "DELETED") != bool(latest.get("_deleted")):
                return False
        return True

    def _all_events_seen(self) -> bool:
        return self._events_seen(1e9)

    def _events_seen(self, until: float) -> bool:
        """Whether all the kinds of events were seen that were recorded until then."""
        need = {
            (e["reason"], e["object"], e.get("fieldPath", ""))
            for e in self.case["events"]
            if counts(e) and e["at"][0] < until
        }
        abouts = [(e["reason"], e["involvedObject"]) for e in self.seen.events]
        return need <= {(reason, f"{a['kind']}/{a['name']}", a.get("fieldPath", "")) for reason, a in abouts}

    def _recorded_seconds(self, until: float = 1e9) -> float:
        times = [s["at"] for s in recorded(self.case) if s["at"] <= until]
        return max(times, default=0.0) + SLACK_SECONDS

    async def _watch_pods(self) -> None:
        async with self.world.client.watch(PODS, self.name) as events:
            async for event in events:
                if event.type == "BOOKMARK":
                    continue
                deleted = {"_deleted": True} if event.type == "DELETED" else {}
                self.seen.statuses.append((event.object["metadata"]["name"], {**event.object, **deleted}))
                self._changed.set()

    async def _watch_events(self) -> None:
        async with self.world.client.watch(EVENTS, self.name) as events:
            async for event in events:
                if event.type == "ADDED":
                    self.seen.events.append(event.object)
                    self._changed.set()


def recorded(case: Object) -> list[Object]:
    """The recorded statuses until the recorder cleaned up."""
    return [s for s in case["statuses"] if not s.get("cleanup")]


def last_recorded(case: Object) -> dict[str, Object]:
    return {s["pod"]: s for s in recorded(case)}


def first_pod(case: Object) -> str:
    return str(next(o["metadata"]["name"] for o in case["objects"] if o["kind"] == "Pod"))


def counts(event: Object) -> bool:
    """Whether an event is the node's, and not the recorder's cleaning up."""
    return event["source"] == "kubelet" and not event.get("cleanup")


def while_running(entry: Object) -> bool:
    """Whether a command was given while the pod ran, and followed it."""
    words = entry["cmd"].split()
    return entry.get("rc") == 0 and ("attach" in words or "-f" in words)


def whereabouts(pod: Object) -> Any:
    """Where a pod is, with its conditions."""
    status = pod.get("status") or {}
    return digest(status), {c["type"]: c["status"] for c in status.get("conditions") or ()}


def digest(status: Object) -> Any:
    """Where a pod is, without times and texts."""
    rows = []
    for kind in ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"):
        for row in status.get(kind) or ():
            rows.append((row["name"], row["restartCount"], row["ready"], row["started"], _state(row["state"])))
    return status.get("phase"), status.get("reason"), tuple(rows)


def _state(state: Object) -> Any:
    for kind, body in state.items():
        reason = body.get("reason", "")
        # Which of the two is seen depends on the moment.
        return kind, "pull" if reason in ("ErrImagePull", "ImagePullBackOff") else reason, body.get("exitCode")
    return "none", "", None


def live_all(cases: Sequence[Object], runtime: Runtime) -> Iterator[tuple[Object, Seen]]:
    """All cases, side by side."""

    async def all_of_them(directory: Path) -> list[Seen]:
        async with world(runtime, directory) as made:
            return await asyncio.gather(*(made.live(case) for case in cases))

    with tempfile.TemporaryDirectory(prefix="tiphys-kubelet-") as directory:
        yield from zip(cases, asyncio.run(all_of_them(Path(directory))), strict=True)
