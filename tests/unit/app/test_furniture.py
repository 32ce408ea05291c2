"""What the node of the cluster says of itself when the server starts, and when it starts again."""

import asyncio
import random
from datetime import timedelta

from tiphys.app.furniture import NODE_NAME, furnish, report_node
from tiphys.client.client import Client
from tiphys.cluster.apiserver.server import ApiServer
from tiphys.cluster.apiserver.store import Store
from tiphys.machinery.resources import LEASES, NODES, ObjectKey
from tiphys.machinery.times import to_micro_time
from tiphys.runtime.ids import SeededIds
from tiphys.runtime.virtual import VirtualClock, VirtualLoop


async def live(clock: VirtualClock) -> None:
    server = await ApiServer.start(Store(), clock, SeededIds(random.Random(7)), ["none"])
    client = Client(server.transport())
    for at in (clock.now(), clock.now() + timedelta(hours=1)):
        await furnish(client)
        await report_node(client, at, sized=True)
        lease = await client.get(LEASES, ObjectKey("kube-node-lease", NODE_NAME))
        assert lease["spec"]["holderIdentity"] == NODE_NAME
        assert lease["spec"]["renewTime"] == to_micro_time(at)
    node = await client.get(NODES, ObjectKey("", NODE_NAME))
    told = {each["type"]: each["status"] for each in node["status"]["conditions"]}
    assert told == {"MemoryPressure": "False", "DiskPressure": "False", "PIDPressure": "False", "Ready": "True"}
    assert node["status"]["nodeInfo"]["kubeletVersion"] == "v1.35.4"
    await server.close()


def test_the_node_is_well_and_lives() -> None:
    clock = VirtualClock()
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(clock)) as runner:
        runner.run(live(clock))
