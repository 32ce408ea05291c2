"""metrics.k8s.io: what is measured, for the pods that are there."""

from datetime import UTC, datetime, timedelta

import pytest

from tiphys.client.client import Client
from tiphys.cluster.apiserver.server import ApiServer
from tiphys.cluster.apiserver.store import Store
from tiphys.cluster.apiserver.usage import Measured, Usage
from tiphys.machinery.errors import MethodNotAllowed, NotFound
from tiphys.machinery.resources import NODES, PODS, ObjectKey, Resource
from tiphys.runtime.ids import SystemIds
from tiphys.runtime.virtual import VirtualClock

OF_PODS = Resource("metrics.k8s.io", "v1beta1", "pods", "PodMetrics")
OF_NODES = Resource("metrics.k8s.io", "v1beta1", "nodes", "NodeMetrics", False)
AT = datetime(2026, 1, 1, tzinfo=UTC)


class Source:
    def __init__(self) -> None:
        self.pods: dict[str, Measured] = {}
        self.nodes: dict[str, Measured] = {}

    async def measure(self):
        return self.pods, self.nodes


async def cluster() -> tuple[Client, Source]:
    server, source = await ApiServer.start(Store(), VirtualClock(), SystemIds(), ["none"]), Source()
    server.register_usage_source(source)
    return Client(server.transport()), source


async def test_measured_pods_are_listed_by_their_labels() -> None:
    client, source = await cluster()
    for name in ("a", "b", "c"):
        spec = {"containers": [{"name": "m", "image": "i"}]}
        meta = {"name": name, "namespace": "default", "labels": {"app": name}}
        made = await client.create(PODS, {"metadata": meta, "spec": spec})
        if name != "c":
            parts = {"m": Usage(250_000_000, 3 << 20), "k": Usage(0, 1536)}
            source.pods[made["metadata"]["uid"]] = Measured(AT, timedelta(seconds=10.5), parts)
    found = await client.list(OF_PODS, "default")
    assert [item["metadata"]["name"] for item in found["items"]] == ["a", "b"]
    assert [i["metadata"]["name"] for i in (await client.list(OF_PODS, None, labelSelector="app=b"))["items"]] == ["b"]
    assert await client.get(OF_PODS, ObjectKey("default", "a")) == {
        "kind": "PodMetrics",
        "apiVersion": "metrics.k8s.io/v1beta1",
        "metadata": {
            "name": "a",
            "namespace": "default",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"app": "a"},
        },
        "timestamp": "2026-01-01T00:00:00Z",
        "window": "10.5s",
        "containers": [
            {"name": "k", "usage": {"cpu": "0", "memory": "1Ki"}},
            {"name": "m", "usage": {"cpu": "250m", "memory": "3Mi"}},
        ],
    }
    for name in ("c", "nobody"):
        with pytest.raises(NotFound, match=f'podmetrics.metrics.k8s.io "default/{name}" not found'):
            await client.get(OF_PODS, ObjectKey("default", name))


async def test_nodes_and_what_cannot_be_done() -> None:
    client, source = await cluster()
    await client.create(NODES, {"metadata": {"name": "n"}})
    assert (await client.list(OF_NODES))["items"] == []
    source.nodes["n"] = Measured(AT, timedelta(seconds=1), {"": Usage(1_500_000_000, 1 << 30)})
    (found,) = (await client.list(OF_NODES))["items"]
    assert found["usage"] == {"cpu": "1500m", "memory": "1Gi"}
    with pytest.raises(MethodNotAllowed):
        await client.delete(OF_NODES, ObjectKey("", "n"))
