"""What a fresh cluster has at its start, whichever order its first writes run in."""

import asyncio
import random

import pytest

from tiphys.cluster.apiserver.server import SHARED_MAPS, ApiServer
from tiphys.cluster.apiserver.store import Store
from tiphys.runtime.ids import SeededIds
from tiphys.runtime.virtual import VirtualClock, VirtualLoop


async def started(clock: VirtualClock) -> Store:
    store = Store(shared_maps=SHARED_MAPS)
    ids = SeededIds(random.Random(7))
    server = await ApiServer.start(store, clock, ids, definitions=["workflows.argoproj.io"], roles=True)
    await server.close()
    return store


@pytest.mark.parametrize("seed", range(8))
def test_any_order_of_tasks_will_do(seed: int) -> None:
    clock = VirtualClock()
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(clock, random.Random(seed))) as runner:
        store = runner.run(started(clock))
    assert store.get("namespaces", "default") is not None
    assert store.get("services", "default/kubernetes") is not None
