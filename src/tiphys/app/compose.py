"""The composition root: the only place that knows every part of the embedded cluster, and the order they start in.

    store ─► API server ─► Node object, service accounts ─► node (agent with a runtime, or a stage)
                                                        └─► controllers (GitOps from the first Application on)

They end in the opposite order. The parts meet only through the API.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tiphys.app.artifacts import artifact_plugins, furnish_artifacts, s3_endpoint
from tiphys.app.cd import Place, run_cd
from tiphys.app.controllers import ClusterControllers
from tiphys.app.datadir import DataDir
from tiphys.app.feed import StoreFeed
from tiphys.app.furniture import NODE_NAME, furnish, report_node
from tiphys.app.guards import OnlyNode
from tiphys.app.names import RegistryNames
from tiphys.app.places import HostPlaces
from tiphys.app.settings import Settings
from tiphys.app.signing import AuthoritySigner
from tiphys.client.client import Client
from tiphys.client.transport import Transport
from tiphys.cluster.apiserver.expiry import EventLimits
from tiphys.cluster.apiserver.server import SHARED_MAPS, ApiServer
from tiphys.cluster.apiserver.services import SERVICE_NETWORK
from tiphys.cluster.apiserver.store import Store
from tiphys.cluster.apiserver.streams import LogSource, StreamSource
from tiphys.cluster.apiserver.usage import UsageSource
from tiphys.cluster.controllers.kit import ACTIONS
from tiphys.cluster.controllers.wakes import SCHEDULER
from tiphys.cluster.node.network.attachments import PodNetwork
from tiphys.cluster.node.network.attachments import choose as choose_network
from tiphys.cluster.node.network.isolation import PodIsolation
from tiphys.cluster.node.network.manager import ServiceNetwork
from tiphys.cluster.node.network.routes import Endpoint
from tiphys.machinery.actions import Emit
from tiphys.runtime.clock import Clock, SystemClock
from tiphys.runtime.correlation import Correlator
from tiphys.runtime.events import EventRecorder
from tiphys.runtime.ids import Ids, SystemIds
from tiphys.runtime.recorder import FlightRecorder
from tiphys.runtime.trace import NO_TRACE, Trace
from tiphys.serving.jwt import SigningKey
from tiphys.workflows.artifact_gc import ArtifactGcController
from tiphys.workflows.controller import WorkflowController
from tiphys.workflows.cron import CronController
from tiphys.workflows.executor.kubectl.names import ResourceNames
from tiphys.workflows.settings import Settings as WorkflowSettings
from tiphys.workflows.ttl import TtlController

if TYPE_CHECKING:
    from tiphys.cluster.apiserver.http.audit import Auditor
    from tiphys.cluster.apiserver.http.listen import Served

GC_THRESHOLDS = (100_000, 50, 1_000)
"""For the whole process: almost all that controllers and the store allocate are plain dicts that stay and form no
cycles, so that Python's default of a collection every 700 allocations mostly walks live objects in vain."""


@dataclass(frozen=True)
class World:
    """Where time, chance and ids come from: the machine's, or a simulation's."""

    clock: Clock = field(default_factory=SystemClock)
    rng: random.Random = field(default_factory=random.Random)
    ids: Ids = field(default_factory=SystemIds)


class Node(Protocol):
    """What makes pods happen: the node agent with a runtime, or a stage."""

    @property
    def runtime_name(self) -> str: ...

    @property
    def runtime_why(self) -> str:
        """One sentence: why this runtime, and what it means for the user."""
        ...

    @property
    def log_source(self) -> LogSource | None:
        """Where the API server finds the logs of this node's pods."""
        ...

    @property
    def stream_source(self) -> StreamSource | None:
        """Where it runs commands in them, and reaches their ports."""
        ...

    @property
    def usage_source(self) -> UsageSource | None:
        """Where it finds what they use."""
        ...

    async def run(self) -> None:
        """Serves the pods of this node until cancelled."""
        ...

    async def end_all(self) -> None:
        """Ends every container, for a cluster whose pods do not outlive it."""
        ...


@dataclass(frozen=True)
class NodeContext:
    """What a node gets; ``node_name`` is the Node object that pods are bound to, ``data_dir`` its own directory.

    ``names`` are the server's for its resources; without them resource templates are left to the runtime.
    """

    client: Client
    world: World
    node_name: str
    data_dir: Path
    trace: Trace = NO_TRACE
    names: ResourceNames | None = None
    network: PodNetwork | None = None


NodeFactory = Callable[[NodeContext], Awaitable[Node]]


@dataclass
class Farewell:
    """What happens to the pods when the cluster ends: they go on for its next life, or end with it."""

    pods_stay: bool


@dataclass(frozen=True)
class Parts:
    """The running parts of an embedded cluster. ``s3`` is the URL of the artifact store's endpoint ("": none).

    ``farewell`` may be changed until the cluster ends.
    """

    server: ApiServer
    client: Client
    node: Node
    served: Served | None
    farewell: Farewell
    s3: str = ""
    network: PodNetwork | None = None


@asynccontextmanager
async def compose(
    settings: Settings,
    *,
    node: NodeFactory | None = None,
    trace: Trace = NO_TRACE,
    world: World | None = None,
    daemon: bool = False,
) -> AsyncIterator[Parts]:
    """A running embedded cluster; everything in it stops when the block ends.

    With ``settings.data_dir`` all of it is durable; without, objects are in memory and files in a temporary place.
    A ``daemon`` listens, and leaves containers that run at its end to its next life, unless ``farewell`` says
    otherwise by then; else they are killed.
    """
    world = world or World()
    async with AsyncExitStack() as stack:
        stack.callback(gc.set_threshold, *gc.get_threshold())
        gc.set_threshold(*GC_THRESHOLDS)
        folder = settings.data_dir or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tiphys-")))
        home = DataDir(folder)
        folder.mkdir(parents=True, exist_ok=True)
        network = await stack.enter_async_context(_network(settings, world, folder)) if daemon else None
        services = network.services if network is not None else SERVICE_NETWORK
        kept = home if settings.data_dir else None
        events = EventLimits(settings.event_ttl, settings.events_max)
        serving = api_server(world, kept, service_network=services, accounts=daemon, event_limits=events)
        server = await stack.enter_async_context(serving)
        feed = StoreFeed(server.store, server.registry)
        only_node = OnlyNode(feed, server.store)
        server.verbs.admission.append(only_node)
        client = Client(_transport(server, trace))
        await furnish(client)
        await report_node(client, world.clock.now(), sized=daemon)
        s3_keys = await furnish_artifacts(client, folder)
        made = node or agent_node(settings)
        names = RegistryNames(server.registry)
        its_node = await made(NodeContext(client, world, NODE_NAME, home.node, trace, names, network))
        if its_node.log_source is not None:
            server.register_log_source(its_node.log_source)
        if its_node.stream_source is not None:
            server.register_stream_source(its_node.stream_source)
        if its_node.usage_source is not None:
            server.register_usage_source(its_node.usage_source)
        await stack.enter_async_context(_background(its_node.run))
        farewell = Farewell(pods_stay=daemon)
        stack.push_async_callback(_end_pods, its_node, farewell)
        if settings.simulated_nodes:
            await stack.enter_async_context(_simulated(server, settings, world))
        await stack.enter_async_context(_controllers(client, settings, world, trace))
        place = Place(home.cd, settings.cd_plugins)
        gitops = partial(run_cd, client, server.registry, feed, place, world.clock, world.rng, settings.gitops)
        await stack.enter_async_context(_background(gitops))
        served = await stack.enter_async_context(_listening(server, settings, folder)) if daemon else None
        endpoint = s3_endpoint(settings, folder, s3_keys, world.clock, daemon=daemon)
        s3 = await stack.enter_async_context(endpoint)
        cluster = ClusterControllers(
            server.transport(),
            feed,
            world.clock,
            world.rng,
            root_ca=lambda: server.ca_certificate.decode(),
            places=HostPlaces(folder.absolute() / "volumes"),
            signer=AuthoritySigner(home.pki) if daemon else None,
            lasting=daemon,
        )
        await stack.enter_async_context(_background(cluster.run))
        if daemon:
            await stack.enter_async_context(_telling(only_node, server, world.clock))
        if network is not None:
            isolation = PodIsolation(client, network, NODE_NAME, world.clock, world.rng)
            await stack.enter_async_context(_background(isolation.run))
        if network is not None and network.name != "host":
            forwarding = ServiceNetwork(client, network, NODE_NAME, world.clock, world.rng, _endpoint_of(served))
            await stack.enter_async_context(_background(forwarding.run))
        yield Parts(server, client, its_node, served, farewell, s3, network)


@asynccontextmanager
async def _telling(only_node: OnlyNode, server: ApiServer, clock: Clock) -> AsyncIterator[None]:
    """What the scheduler would have told of the pods that never came to it; as many as a kubelet tells of starts."""
    from tiphys.cluster.node.agent import EVENTS_BURST, EVENTS_PER_SECOND, Ration

    recorder = EventRecorder(Client(server.transport()), clock, SCHEDULER, ACTIONS[SCHEDULER])
    ration = Ration(EVENTS_PER_SECOND, EVENTS_BURST)

    def tell(event: Emit) -> None:
        if ration.take(1, clock.monotonic()):
            recorder.emit(event)

    only_node.tell = tell
    async with _background(recorder.run):
        yield
    only_node.tell = None


async def _end_pods(node: Node, farewell: Farewell) -> None:
    if not farewell.pods_stay:
        await node.end_all()


def _endpoint_of(served: Served | None) -> Endpoint | None:
    """Where the API listens, as pods may be led to it."""
    if served is None:
        return None
    host, _, port = served.url.removeprefix("https://").rpartition(":")
    return Endpoint(host, int(port))


@asynccontextmanager
async def _network(settings: Settings, world: World, folder: Path) -> AsyncIterator[PodNetwork]:
    """The pods' network; it stays behind with the pods that do."""
    network = await choose_network(settings.network, world.clock, folder)
    try:
        yield network
    finally:
        await (network.close() if network.is_empty else network.release())


@asynccontextmanager
async def _simulated(server: ApiServer, settings: Settings, world: World) -> AsyncIterator[None]:
    """Nodes whose pods follow a table of stages."""
    from tiphys.cluster.node.simulated.nodes import SimulatedNodes
    from tiphys.cluster.node.simulated.stages import load

    names = [f"simulated-{number}" for number in range(1, settings.simulated_nodes + 1)]
    stages = load(settings.simulated_stages)
    nodes = SimulatedNodes(Client(server.transport()), names, clock=world.clock, rng=world.rng, stages=stages)
    await nodes.register()
    async with _background(nodes.run):
        yield


@asynccontextmanager
async def api_server(
    world: World,
    home: DataDir | None = None,
    definitions: Collection[str] = (),
    service_network: IPv4Network = SERVICE_NETWORK,
    *,
    accounts: bool = False,
    event_limits: EventLimits | None = None,
) -> AsyncIterator[ApiServer]:
    """The API server alone, with its objects in ``home`` or in memory; the rest as ``ApiServer.start`` has it."""
    kept = Store(shared_maps=SHARED_MAPS) if home is None else Store.open(home.store, SHARED_MAPS)
    key = SigningKey(home.pki / "sa.key" if home is not None else None)
    server = await ApiServer.start(
        kept,
        world.clock,
        world.ids,
        definitions,
        signing_key=key,
        service_network=service_network,
        accounts=accounts,
        event_limits=event_limits,
    )
    try:
        yield server
    finally:
        await server.close()


def _transport(server: ApiServer, trace: Trace) -> Transport:
    if trace is NO_TRACE:
        return server.transport()
    from tiphys.app.tracing import TracedTransport

    return TracedTransport(server.transport(), trace)


def agent_node(settings: Settings) -> NodeFactory:
    """The node agent with the runtime that the settings name, or with the best that works here."""

    async def make(context: NodeContext) -> Node:
        from tiphys.app.agent import start_agent

        return await start_agent(context, settings)

    return make


@asynccontextmanager
async def _listening(server: ApiServer, settings: Settings, folder: Path) -> AsyncIterator[Served]:
    from tiphys.cluster.apiserver.http.listen import serve

    auditor = _auditor(server, settings)
    served = await serve(server, settings.listen, folder, auditor=auditor)
    try:
        yield served
    finally:
        await served.close()
        if auditor is not None:
            auditor.close()


def _auditor(server: ApiServer, settings: Settings) -> Auditor | None:
    """Raises SpecError for a policy that cannot be read."""
    if settings.audit_policy_file is None or settings.audit_log is None:
        return None
    from tiphys.cluster.apiserver.http import audit

    policy = audit.load(settings.audit_policy_file)
    log = audit.LogFile(settings.audit_log, server.clock, settings.audit_log_max_mb << 20, settings.audit_log_backups)
    return audit.Auditor(policy, log, server.clock, server.ids)


@asynccontextmanager
async def _controllers(client: Client, settings: Settings, world: World, trace: Trace) -> AsyncIterator[None]:
    # all of a workflow's steps are told of as events of the workflow: many, as the original's are allowed to be
    events = EventRecorder(client, world.clock, "workflow-controller", correlator=Correlator(burst=10_000))
    with contextlib.ExitStack() as stack:
        recorder = stack.enter_context(FlightRecorder(settings.flight_record)) if settings.flight_record else None
        chosen = WorkflowSettings(artifact_drivers=artifact_plugins(settings.artifact_drivers))
        workflows = WorkflowController(
            client,
            chosen,
            clock=world.clock,
            rng=world.rng,
            events=events,
            workers=settings.workflow_workers,
            recorder=recorder,
            trace=trace,
        )
        known = workflows.caches.workflows
        ttl = TtlController(client, known, clock=world.clock, rng=world.rng, events=events)
        crons = CronController(client, known, clock=world.clock, rng=world.rng, events=events)
        artifacts = ArtifactGcController(
            client, workflows.caches, chosen, clock=world.clock, rng=world.rng, events=events
        )
        async with _background(events.run, workflows.run, ttl.run, crons.run, artifacts.run):
            yield


@asynccontextmanager
async def _background(*parts: Callable[[], Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Runs ``parts`` beside the block and ends them with it. One that fails ends the block, with its error.

    Not a TaskGroup around the block: errors of the block itself come out as they are, not in a group.
    """

    async def all_parts() -> None:
        async with asyncio.TaskGroup() as group:
            for part in parts:
                group.create_task(part())

    block = asyncio.current_task()
    assert block is not None
    running = asyncio.create_task(all_parts())

    def end_the_block(_: asyncio.Task[None]) -> None:
        block.cancel()

    running.add_done_callback(end_the_block)
    try:
        yield
    except asyncio.CancelledError:
        if running.done() and running.exception() is not None:
            block.uncancel()
            await running
        raise
    finally:
        running.remove_done_callback(end_the_block)
        running.cancel()
        await asyncio.wait([running])
