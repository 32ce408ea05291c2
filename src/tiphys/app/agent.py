"""The node agent as a part of the embedded cluster: its runtimes, and what the products do around pods."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tiphys import __version__
from tiphys.app.compose import Node, NodeContext
from tiphys.app.images import image_source
from tiphys.app.settings import Settings
from tiphys.app.tracing import TracedExtension
from tiphys.cluster.node.agent import Agent, this_machines_resolver
from tiphys.cluster.node.amounts import amount
from tiphys.cluster.node.extension import PodExtension
from tiphys.cluster.node.hostfiles import NodeNetwork
from tiphys.cluster.node.hostpaths import HostPaths
from tiphys.cluster.node.logs import Rotation
from tiphys.cluster.node.runtime import Runtime
from tiphys.cluster.node.runtimes.oci import OciRuntime
from tiphys.cluster.node.runtimes.process import ProcessRuntime
from tiphys.cluster.node.runtimes.sandbox import SandboxRuntime
from tiphys.machinery.errors import SpecError
from tiphys.runtime.trace import NO_TRACE
from tiphys.workflows.drivers.artifacts.registry import native_executor
from tiphys.workflows.executor.agent import TaskAgent
from tiphys.workflows.executor.native import MakeResources

if TYPE_CHECKING:
    from tiphys.workflows.executor.resource import ResourceExecutor


async def start_agent(context: NodeContext, settings: Settings) -> Node:
    """Raises RuntimeUnusable (a DriverError) when the wanted runtime, or every one, does not work here."""
    artifacts = context.data_dir.parent / "artifacts"
    tasks = TaskAgent(context.client, context.world.clock, f"tiphys/{__version__}")
    executor: PodExtension = native_executor(
        context.client, artifacts, _resources(context), tasks, settings.s3_names.split(",")
    )
    if context.trace is not NO_TRACE:
        executor = TracedExtension(executor, context.trace)
    agent = Agent(
        context.client,
        context.node_name,
        _candidates(settings.runtime, context.data_dir),
        context.data_dir,
        context.world.clock,
        context.world.ids,
        extensions=(executor,),
        images=partial(image_source, context.world.clock, settings),
        binds=False,
        network=_told(context),
        pod_network=context.network,
        rotation=_rotation(settings),
        host_paths=_host_paths(settings, context),
    )
    await agent.prepare()
    return agent


def _rotation(settings: Settings) -> Rotation:
    """How much of a log is kept. Raises SpecError."""
    text = settings.container_log_max_size
    try:
        size = int(amount(text))
    except ValueError as err:
        raise SpecError("container_log_max_size", str(err)) from err
    if size < 1:
        raise SpecError("container_log_max_size", f"must be positive, got {text}")
    return Rotation(size, settings.container_log_max_files)


def _host_paths(settings: Settings, context: NodeContext) -> HostPaths:
    """What pods may see of this machine, and the places of the cluster's own volumes. Raises SpecError."""
    try:
        return HostPaths.of(settings.host_paths, own=[context.data_dir.parent / "volumes"])
    except ValueError as err:
        raise SpecError("host_paths", str(err)) from err


def _told(context: NodeContext) -> NodeNetwork:
    """What pods are told of the network: cluster DNS where there is one they can reach."""
    dns = context.network.resolver_address if context.network is not None else ""
    return NodeNetwork(context.node_name, dns=dns or None, resolver=this_machines_resolver())


def _resources(context: NodeContext) -> MakeResources | None:
    names = context.names
    if names is None:
        return None

    def make() -> ResourceExecutor:
        from tiphys.workflows.executor.resource import ResourceExecutor

        return ResourceExecutor(context.client, names, context.world.clock)

    return make


def _candidates(runtime: str, data_dir: Path) -> Sequence[Runtime]:
    """Best isolated first; ``auto`` takes the first that really starts something."""
    known: dict[str, Runtime] = {
        "sandbox": SandboxRuntime(data_dir),
        "oci": OciRuntime(data_dir),
        "process": ProcessRuntime(data_dir),
    }
    if runtime == "engine":
        from tiphys.cluster.node.runtimes.engine import EngineRuntime

        return (EngineRuntime(data_dir),)
    if runtime == "auto":
        return tuple(known.values())
    if runtime not in known:
        raise SpecError("runtime", f"this cluster cannot run pods with {runtime!r}; it can with {', '.join(known)}")
    return (known[runtime],)
