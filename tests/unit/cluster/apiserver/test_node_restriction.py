"""What the kubelet of a node may write, whatever its roles say."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.unit.client.servers import api_server
from tiphys.client.client import Client
from tiphys.client.transport import Request
from tiphys.cluster.apiserver.server import Answer, ApiServer
from tiphys.cluster.apiserver.users import User
from tiphys.cluster.apiserver.verbs import Writer
from tiphys.machinery.errors import Forbidden
from tiphys.machinery.resources import NODES, PODS, SERVICE_ACCOUNTS, Resource

LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease")
SLICES = Resource("resource.k8s.io", "v1", "resourceslices", "ResourceSlice", namespaced=False)
KUBELET = User("system:node:one", ("system:nodes", "system:authenticated"))
TAINT = {"key": "a", "effect": "NoSchedule"}
MIRROR = {"kubernetes.io/config.mirror": "x"}


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    async with api_server() as made:
        client = Client(made.transport())
        for name in ("one", "two"):
            await client.create(NODES, {"metadata": {"name": name}})
            await client.create(PODS, pod(f"on-{name}", nodeName=name, serviceAccountName="default"))
        yield made


def pod(name: str, annotations: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    meta = {"name": name, "namespace": "default", "annotations": annotations or {}}
    return {"metadata": meta, "spec": {"containers": [{"name": "c", "image": "i"}], **spec}}


async def ask(server: ApiServer, request: Request, user: User = KUBELET) -> Answer:
    return await server.answer(request, Writer("kubelet", trusted=False, user=user))


def patched(resource: Resource, name: str, patch: Any, subresource: str | None = None) -> Request:
    namespace = "default" if resource.namespaced else None
    return Request("patch", resource, namespace, name, subresource, {}, patch, "application/merge-patch+json")


def token(pod_name: str, uid: str) -> Request:
    bound = {"kind": "Pod", "apiVersion": "v1", "name": pod_name, "uid": uid}
    body = {"spec": {"audiences": ["a"], "boundObjectRef": bound}}
    return Request("create", SERVICE_ACCOUNTS, "default", "default", "token", body=body)


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (patched(NODES, "two", {"metadata": {"labels": {"a": "b"}}}), 'node "one" is not allowed to modify node "two"'),
        (
            patched(NODES, "one", {"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}}),
            "not allowed to modify taints",
        ),
        (
            patched(NODES, "one", {"metadata": {"labels": {"node-restriction.kubernetes.io/a": "b", "mine": "c"}}}),
            "is not allowed to modify labels: node-restriction.kubernetes.io/a",
        ),
        (
            patched(PODS, "on-two", {"status": {"phase": "Running"}}, "status"),
            "can only update pod status for pods with",
        ),
        (
            patched(PODS, "on-one", {"metadata": {"labels": {"a": "b"}}}, "status"),
            "cannot update labels through pod status",
        ),
        (patched(PODS, "on-one", {"metadata": {"labels": {"a": "b"}}}), 'unexpected operation "UPDATE"'),
        (Request("delete", PODS, "default", "on-two"), "can only delete pods with spec.nodeName set to itself"),
        (Request("create", PODS, "default", "on-two", "eviction", body={}), "can only evict pods with"),
        (Request("create", PODS, "default", body=pod("new", nodeName="one")), "can only create mirror pods"),
        (Request("create", PODS, "default", body=pod("new", MIRROR, nodeName="two")), "set to itself"),
        (Request("create", PODS, "default", body=pod("new", MIRROR, nodeName="one")), "with an owner reference"),
        (
            Request("create", LEASES, "default", body={"metadata": {"name": "one"}}),
            '"kube-node-lease" system namespace',
        ),
        (
            Request("create", LEASES, "kube-node-lease", body={"metadata": {"name": "two"}}),
            "same name as the requesting",
        ),
    ],
)
async def test_what_is_not_its_own_is_refused(server: ApiServer, request_: Request, why: str) -> None:
    with pytest.raises(Forbidden) as caught:
        await ask(server, request_)
    assert why in str(caught.value)


async def test_what_is_its_own_is_not(server: ApiServer) -> None:
    await ask(server, patched(NODES, "one", {"metadata": {"labels": {"kubernetes.io/os": "linux", "mine": "c"}}}))
    await ask(server, patched(PODS, "on-one", {"status": {"phase": "Running"}}, "status"))
    await ask(server, Request("create", LEASES, "kube-node-lease", body={"metadata": {"name": "one"}}))
    await ask(server, Request("delete", PODS, "default", "on-one"))
    someone = User("system:node:one", ("system:authenticated",))
    await ask(server, patched(NODES, "two", {"metadata": {"labels": {"a": "b"}}}), someone)


async def test_resource_slices_are_of_its_own_devices(server: ApiServer) -> None:
    def slice_of(node: str) -> dict[str, Any]:
        pool = {"name": node, "generation": 1, "resourceSliceCount": 1}
        return {"metadata": {"name": f"of-{node}"}, "spec": {"driver": "d.example.com", "pool": pool, "nodeName": node}}

    await ask(server, Request("create", SLICES, body=slice_of("one")))
    await ask(server, Request("delete", SLICES, name="of-one"))
    with pytest.raises(Forbidden, match="can only create ResourceSlice with the same NodeName"):
        await ask(server, Request("create", SLICES, body=slice_of("two")))
    await Client(server.transport()).create(SLICES, slice_of("two"))
    with pytest.raises(Forbidden, match="can only delete ResourceSlice with the same NodeName"):
        await ask(server, Request("delete", SLICES, name="of-two"))


async def test_a_mirror_pod_has_its_node_as_owner_and_refers_to_nothing(server: ApiServer) -> None:
    node = server.store.get(NODES.key, "one")
    assert node is not None
    owner = {"apiVersion": "v1", "kind": "Node", "name": "one", "uid": node.view["metadata"]["uid"], "controller": True}
    secret = [{"name": "v", "secret": {"secretName": "s"}}]
    for name, volumes, refused in (("a", [], False), ("b", secret, True)):
        made = pod(name, MIRROR, nodeName="one", volumes=volumes)
        made["metadata"]["ownerReferences"] = [owner]
        asked = Request("create", PODS, "default", body=made)
        if not refused:
            await ask(server, asked)
            continue
        with pytest.raises(Forbidden, match="can not create pods that reference secrets"):
            await ask(server, asked)


async def test_tokens_are_for_its_pods(server: ApiServer) -> None:
    await Client(server.transport()).create(SERVICE_ACCOUNTS, {"metadata": {"name": "default", "namespace": "default"}})
    uids = {}
    for name in ("on-one", "on-two"):
        record = server.store.get(PODS.key, f"default/{name}")
        assert record is not None
        uids[name] = record.view["metadata"]["uid"]
    assert (await ask(server, token("on-one", uids["on-one"]))).code == 201
    for request, why in (
        (token("on-two", uids["on-two"]), "a different node"),
        (token("on-one", "other"), "does not match the UID"),
        (token("on-one", ""), "without a uid"),
        (Request("create", SERVICE_ACCOUNTS, "default", "default", "token", body={"spec": {}}), "not bound to a pod"),
    ):
        with pytest.raises(Forbidden, match=why):
            await ask(server, request)
