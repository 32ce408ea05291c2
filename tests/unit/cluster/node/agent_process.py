"""A node agent as a process of its own, for tests that kill it; says through ``up`` that it serves pods."""

from __future__ import annotations

import asyncio
from multiprocessing.connection import Connection
from pathlib import Path

from tests.unit.cluster.node.harness import RUNTIMES
from tiphys.client.client import Client
from tiphys.client.http import HttpTransport
from tiphys.cluster.node.agent import Agent
from tiphys.runtime.clock import SystemClock
from tiphys.runtime.ids import SystemIds


def main(kubeconfig: Path, runtime: str, directory: Path, up: Connection) -> None:
    asyncio.run(serve(str(kubeconfig), runtime, directory, up))


async def serve(kubeconfig: str, runtime: str, directory: Path, up: Connection) -> None:
    client = Client(HttpTransport.from_kubeconfig(kubeconfig))
    runtimes = [RUNTIMES[runtime](directory / "shared")]
    agent = Agent(client, "node-1", runtimes, directory, SystemClock(), SystemIds())
    await agent.prepare()
    up.send("up")
    await agent.run()
