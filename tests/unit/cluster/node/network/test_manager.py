"""What keeps forwards in step with Services, with a real API server and networks that do not do what they should."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence

import pytest

from tiphys.client.client import Client
from tiphys.cluster.apiserver.server import ApiServer
from tiphys.cluster.apiserver.store import Store
from tiphys.cluster.node.network import manager
from tiphys.cluster.node.network.attachments import HostNetwork, NetworkError
from tiphys.cluster.node.network.manager import ServiceNetwork
from tiphys.cluster.node.network.routes import Forward
from tiphys.runtime.clock import SystemClock
from tiphys.runtime.ids import SystemIds

SECONDS_MAX = 15


class Awkward(HostNetwork):
    """Refuses the first forwards it is given."""

    def __init__(self, resolver_address: str = "") -> None:
        super().__init__()
        self.resolver_address = resolver_address
        self.refusals = 2
        self.forwarded = asyncio.Event()

    async def forward(self, forwards: Sequence[Forward]) -> None:
        if self.refusals:
            self.refusals -= 1
            raise NetworkError("the kernel is busy")
        self.forwarded.set()


@pytest.fixture
async def client(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    monkeypatch.setattr(manager, "RETRY_SECONDS", 0.05)
    server = await ApiServer.start(Store(), SystemClock(), SystemIds())
    yield Client(server.transport())
    await server.close()


async def runs_until_forwarded(client: Client, network: Awkward) -> None:
    made = ServiceNetwork(client, network, "here", SystemClock(), random.Random(1))
    running = asyncio.create_task(made.run())
    forwarded = asyncio.create_task(network.forwarded.wait())
    done, _ = await asyncio.wait([running, forwarded], timeout=SECONDS_MAX, return_when=asyncio.FIRST_COMPLETED)
    running.cancel()
    forwarded.cancel()
    ended = await asyncio.gather(running, return_exceptions=True)
    assert done == {forwarded}, ended


async def test_what_the_kernel_refused_is_tried_again(client: Client) -> None:
    await runs_until_forwarded(client, Awkward())


async def test_a_taken_port_of_dns_ends_nothing(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    # a reserved address: nobody can listen on it
    await runs_until_forwarded(client, Awkward(resolver_address="240.0.0.1"))
    assert "Pods do not find Services by name" in caplog.text
