"""What a fresh cluster has at its start, whichever order its first writes run in."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable

import pytest

from tiphys.client.client import Client
from tiphys.cluster.apiserver import crds
from tiphys.cluster.apiserver.admission.chain import Attributes
from tiphys.cluster.apiserver.admission.classes import system_classes
from tiphys.cluster.apiserver.bootstrap import first_roles
from tiphys.cluster.apiserver.keeping import Keeper
from tiphys.cluster.apiserver.server import SHARED_MAPS, ApiServer
from tiphys.cluster.apiserver.store import Store
from tiphys.machinery.errors import Forbidden, NotFound
from tiphys.machinery.resources import CUSTOM_RESOURCE_DEFINITIONS, ObjectKey, Resource
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


SERVICES = Resource("apiregistration.k8s.io", "v1", "apiservices", "APIService", namespaced=False)
SCHEMAS = Resource("flowcontrol.apiserver.k8s.io", "v1", "flowschemas", "FlowSchema", namespaced=False)
LEVELS = Resource(SCHEMAS.group, "v1", "prioritylevelconfigurations", "PriorityLevelConfiguration", namespaced=False)
DEFINITION = {
    "metadata": {"name": "widgets.example.com"},
    "spec": {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "widgets", "kind": "Widget", "singular": "widget"},
        "versions": [
            {"name": name, "served": True, "storage": name == "v1", "schema": {"openAPIV3Schema": {"type": "object"}}}
            for name in ("v1", "v2")
        ],
    },
}


def in_cluster(test: Callable[[ApiServer, Client], Awaitable[None]]) -> None:
    """A cluster that others reach, until nothing is left to do in it."""
    clock = VirtualClock()

    async def live() -> None:
        ids = SeededIds(random.Random(7))
        server = await ApiServer.start(Store(shared_maps=SHARED_MAPS), clock, ids, ["none"], roles=True, accounts=True)
        await asyncio.sleep(1)
        await test(server, Client(server.transport()))
        await server.close()

    with asyncio.Runner(loop_factory=lambda: VirtualLoop(clock, random.Random(1))) as runner:
        runner.run(live())


def test_every_group_version_has_its_api_service_as_long_as_it_is_served() -> None:
    async def test(server: ApiServer, client: Client) -> None:
        services = {each["metadata"]["name"]: each for each in (await client.list(SERVICES))["items"]}
        assert len(services) == 21
        assert services["v1.apps"]["status"]["conditions"][0]["reason"] == "Local"
        await client.create(CUSTOM_RESOURCE_DEFINITIONS, DEFINITION)
        await asyncio.sleep(1)
        names = {each["metadata"]["name"] for each in (await client.list(SERVICES))["items"]}
        assert names - services.keys() == {"v1.example.com", "v2.example.com"}
        await client.delete(SERVICES, ObjectKey("", "v1.example.com"))
        spec = {"group": "theirs.org", "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1}
        await client.create(SERVICES, {"metadata": {"name": "v1.theirs.org"}, "spec": spec})
        await asyncio.sleep(1)
        names = {each["metadata"]["name"] for each in (await client.list(SERVICES))["items"]}
        assert "v1.example.com" in names
        await client.delete(CUSTOM_RESOURCE_DEFINITIONS, ObjectKey("", "widgets.example.com"))
        await asyncio.sleep(1)
        names = {each["metadata"]["name"] for each in (await client.list(SERVICES))["items"]}
        assert names - services.keys() == {"v1.theirs.org"}

    in_cluster(test)


@pytest.mark.parametrize("resource", [SERVICES, SCHEMAS, LEVELS])
def test_what_is_put_there_is_what_a_request_would_make(resource: Resource) -> None:
    async def test(server: ApiServer, client: Client) -> None:
        for held in (await client.list(resource))["items"]:
            await client.delete(resource, ObjectKey("", held["metadata"]["name"]))
            owner = held["metadata"]["managedFields"][-1]
            asked = {key: value for key, value in held.items() if key not in ("metadata", "status")}
            asked["metadata"] = {
                key: held["metadata"][key] for key in ("name", "labels", "annotations") if key in held["metadata"]
            }
            made = await client.create(resource, asked, fieldManager=owner["manager"])
            entry = made["metadata"]["managedFields"][0]
            assert entry["fieldsV1"] == owner["fieldsV1"]
            assert made["spec"] == held["spec"]
            assert made["metadata"].keys() == held["metadata"].keys()

    in_cluster(test)


def test_a_flow_schema_says_whether_its_level_is_there() -> None:
    async def test(server: ApiServer, client: Client) -> None:
        await client.delete(LEVELS, ObjectKey("", "system"))
        await asyncio.sleep(1)
        told = {}
        for schema in (await client.list(SCHEMAS))["items"]:
            [condition] = schema["status"]["conditions"]
            told[schema["metadata"]["name"]] = condition["status"], condition["reason"]
        assert told.pop("system-nodes") == ("True", "NotFound")
        assert set(told.values()) == {("False", "Found")}
        assert len(told) == 10

    in_cluster(test)


def test_a_schema_that_may_not_be_written_keeps_no_other_from_it() -> None:
    async def test(server: ApiServer, client: Client) -> None:
        def refuse(request: Attributes) -> None:
            if request.name == "system-nodes" and request.operation == "UPDATE":
                raise Forbidden("not this one")

        chain = server.verbs.chain
        chain.validating = (*chain.validating, refuse)
        for schema in ("catch-all", "system-nodes"):
            assert await dangling(client, schema) == "False"
        for level in ("catch-all", "system"):
            await client.delete(LEVELS, ObjectKey("", level))
        await asyncio.sleep(1)
        assert await dangling(client, "system-nodes") == "False"
        assert await dangling(client, "catch-all") == "True"

    async def dangling(client: Client, name: str) -> str:
        schema = await client.get(SCHEMAS, ObjectKey("", name))
        return str(schema["status"]["conditions"][0]["status"])

    in_cluster(test)


async def test_who_keeps_something_true_stops_when_told_to() -> None:
    store, seen = Store(), list[int]()

    async def tend() -> None:
        seen.append(store.version)

    keeper = Keeper(store, ["things"], tend)
    await store.put("things", "a", {"metadata": {"name": "a"}})
    await asyncio.sleep(0)
    await keeper.close()
    await store.put("things", "b", {"metadata": {"name": "b"}})
    await asyncio.sleep(0)
    assert seen == [1]


def test_what_a_server_brings_is_right_though_it_is_not_judged_at_the_start() -> None:
    async def test(server: ApiServer, client: Client) -> None:
        brought = [("customresourcedefinitions", definition) for definition in crds.bundled()]
        brought += [
            ("priorityclasses", each | {"metadata": {"name": f"a-{number}"}, "value": number})
            for number, each in enumerate(system_classes())
        ]
        brought += list(first_roles())
        for plural, obj in brought:
            info = next(info for info in server.registry if info.resource.plural == plural)
            name = obj["metadata"]["name"]
            with contextlib.suppress(NotFound):
                await client.delete(info.resource, ObjectKey(obj["metadata"].get("namespace") or "", name))
            made = await client.create(info.resource, obj)
            assert made["metadata"]["name"] == name

    in_cluster(test)
