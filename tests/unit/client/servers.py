"""API servers for tests: in memory or on disk, reached by every transport."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from tiphys.client import kubeconfig
from tiphys.client.client import Client
from tiphys.client.http import HttpTransport
from tiphys.cluster.apiserver.http.listen import serve
from tiphys.cluster.apiserver.server import SHARED_MAPS, ApiServer
from tiphys.cluster.apiserver.store import Store
from tiphys.machinery.times import to_time
from tiphys.runtime.clock import SystemClock
from tiphys.runtime.ids import SeededIds

NOW = datetime.now(UTC).replace(microsecond=0)


class FixedClock(SystemClock):
    """Wall time stands still (at the tests' start, for the sake of certificates); timers are the machine's."""

    TEXT = to_time(NOW)

    def now(self) -> datetime:
        return NOW


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
        if kind != "http":
            yield Client(server.transport())
            return
        served = await serve(server, "127.0.0.1:0", folder)
        kubeconfig.write(folder / "kubeconfig", served.kubeconfig)
        transport = HttpTransport.from_kubeconfig(folder / "kubeconfig")
        try:
            yield Client(transport)
        finally:
            await transport.close()
            await served.close()
