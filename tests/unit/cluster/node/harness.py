"""A node with a real API server, in memory, for tests: create pods, wait for what their status says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tiphys.client.client import Client
from tiphys.cluster.apiserver.server import ApiServer
from tiphys.cluster.apiserver.store import Store
from tiphys.cluster.node.agent import Agent, Effects
from tiphys.cluster.node.extension import PodExtension
from tiphys.cluster.node.hostpaths import HostPaths
from tiphys.cluster.node.images.map import ImageSource
from tiphys.cluster.node.network.attachments import PodNetwork
from tiphys.cluster.node.runtime import Runtime, RuntimeUnusable, choose
from tiphys.cluster.node.runtimes.oci import OciRuntime
from tiphys.cluster.node.runtimes.process import ProcessRuntime
from tiphys.cluster.node.runtimes.sandbox import SandboxRuntime
from tiphys.machinery.errors import NotFound
from tiphys.machinery.resources import PODS, ObjectKey
from tiphys.runtime.clock import SystemClock
from tiphys.runtime.ids import SystemIds

Object = Mapping[str, Any]
RUNTIMES: dict[str, Callable[[Path], Runtime]] = {
    "oci": OciRuntime,
    "process": ProcessRuntime,
    "sandbox": SandboxRuntime,
}
DEADLINE = 15.0


class Node:
    """An API server and the agents that serve it, one after another."""

    def __init__(self, server: ApiServer, runtime: str, directory: Path) -> None:
        self.server = server
        self.client = Client(server.transport())
        self.runtime = runtime
        self.directory = directory
        self.extensions: Sequence[PodExtension] = ()
        self.images: Callable[[Runtime], ImageSource] | None = None
        self.network: PodNetwork | None = None
        self.host_paths = HostPaths()
        self.agent: Agent | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self, effects: Effects | None = None) -> Agent:
        runtime = RUNTIMES[self.runtime](self.directory / "shared")
        self.agent = Agent(
            self.client,
            "node-1",
            [runtime],
            self.directory,
            SystemClock(),
            SystemIds(),
            self.extensions,
            effects=effects,
            images=self.images,
            pod_network=self.network,
            host_paths=self.host_paths,
        )
        self.server.register_log_source(self.agent.log_source)
        self.server.register_stream_source(self.agent.stream_source)
        await self.agent.prepare()
        self._task = asyncio.create_task(self.agent.run())
        return self.agent

    async def kill(self) -> None:
        """The agent is gone between two of its actions, without a chance to tidy up."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    async def create(self, pod: Object) -> ObjectKey:
        await self.client.create(PODS, pod)
        return ObjectKey("default", pod["metadata"]["name"])

    async def until(self, key: ObjectKey, claim: Callable[[Object], bool]) -> Object:
        """The pod, as soon as the claim holds of it."""
        async with asyncio.timeout(DEADLINE):
            query = {"fieldSelector": f"metadata.name={key.name}"}
            async with self.client.watch(PODS, key.namespace, **query) as events:
                async for event in events:
                    if event.type != "BOOKMARK" and claim(event.object):
                        return event.object
        raise AssertionError("the watch ended")

    async def ended(self, key: ObjectKey) -> Object:
        return await self.until(key, lambda pod: phase(pod) in ("Succeeded", "Failed"))

    async def run(self, pod: Object) -> Object:
        return await self.ended(await self.create(pod))

    async def gone(self, key: ObjectKey) -> None:
        async with asyncio.timeout(DEADLINE):
            async with self.client.watch(PODS, key.namespace) as events:
                try:
                    await self.client.get(PODS, key)
                except NotFound:
                    return
                async for event in events:
                    if event.type == "DELETED" and event.object["metadata"]["name"] == key.name:
                        return

    async def log(self, key: ObjectKey, **query: str) -> str:
        async with self.client.logs(key, **query) as chunks:
            return b"".join([chunk async for chunk in chunks]).decode()


@asynccontextmanager
async def node(runtime: str, directory: Path) -> AsyncIterator[Node]:
    """Skips the test where the runtime does not work."""
    try:
        await choose([RUNTIMES[runtime](directory / "try")], directory / "probe")
    except RuntimeUnusable as err:
        pytest.skip(str(err))
    server = await ApiServer.start(Store(), SystemClock(), SystemIds())
    made = Node(server, runtime, directory)
    try:
        yield made
    finally:
        if made.agent is not None:
            await made.kill()
            for place in made.agent.pods_directory.glob("*"):
                made.agent.discard(place.name, place)
        await server.close()


def phase(pod: Object) -> str:
    return str((pod.get("status") or {}).get("phase") or "")


def state(pod: Object, container: str = "c") -> Object:
    status = pod["status"]
    rows = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    found: Object = next(row["state"] for row in rows if row["name"] == container)
    return found


def a_pod(script: str, name: str = "p", **spec: Any) -> dict[str, Any]:
    container = {"name": "c", "image": "busybox", "command": ["sh", "-c", script], **spec.pop("container", {})}
    meta = {"name": name, "namespace": "default", **spec.pop("metadata", {})}
    body = {"restartPolicy": "Never", "containers": [container], "terminationGracePeriodSeconds": 1, **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": body}
