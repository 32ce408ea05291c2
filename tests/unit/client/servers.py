"""API servers for tests: in memory or on disk, reached by every transport."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from tiphys.client.client import Client
from tiphys.cluster.apiserver.server import SHARED_MAPS, ApiServer
from tiphys.cluster.apiserver.store import Store
from tiphys.runtime.clock import SystemClock
from tiphys.runtime.ids import SeededIds


class FixedClock(SystemClock):
    """Wall time stands still; timers are the machine's."""

    TEXT = "2024-05-06T07:08:09Z"

    def now(self) -> datetime:
        return datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)


@asynccontextmanager
async def api_server(path: Path | None = None) -> AsyncIterator[ApiServer]:
    store = Store.open(path, SHARED_MAPS) if path else Store(shared_maps=SHARED_MAPS)
    server = await ApiServer.start(store, FixedClock(), SeededIds(random.Random(7)))
    try:
        yield server
    finally:
        await server.close()


@asynccontextmanager
async def serving(kind: str, folder: Path) -> AsyncIterator[Client]:
    """A client of a fresh server; ``kind`` names transport and store."""
    async with api_server(folder / "cluster.db" if kind == "inprocess-durable" else None) as server:
        yield Client(server.transport())
