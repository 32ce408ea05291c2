"""A node agent as a process of its own, for tests that kill it: ``python -m … KUBECONFIG RUNTIME DIRECTORY``.

Says ``up`` on its standard output when it serves pods.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.unit.cluster.node.harness import RUNTIMES
from tiphys.client.client import Client
from tiphys.client.http import HttpTransport
from tiphys.cluster.node.agent import Agent
from tiphys.runtime.clock import SystemClock
from tiphys.runtime.ids import SystemIds


async def serve(kubeconfig: str, runtime: str, directory: Path) -> None:
    client = Client(HttpTransport.from_kubeconfig(kubeconfig))
    runtimes = [RUNTIMES[runtime](directory / "shared")]
    agent = Agent(client, "node-1", runtimes, directory, SystemClock(), SystemIds())
    await agent.prepare()
    print("up", flush=True)
    await agent.run()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
