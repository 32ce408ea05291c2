"""A server on disk without custom kinds, and its administrator."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tiphys.client.client import Client
from tiphys.cluster.apiserver.server import ApiServer
from tiphys.cluster.apiserver.store import Store
from tiphys.runtime.clock import SystemClock
from tiphys.runtime.ids import SystemIds


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ApiServer]:
    made = await ApiServer.start(Store.open(tmp_path / "cluster.db"), SystemClock(), SystemIds(), ("none",))
    yield made
    await made.close()


@pytest.fixture
def client(server: ApiServer) -> Client:
    return Client(server.transport())
