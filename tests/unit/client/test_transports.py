"""The contract of ``Transport``: one suite, every transport, against the real API server."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.unit.client.servers import FixedClock, serving
from tiphys.client.client import Client
from tiphys.client.transport import Request, WatchEvent
from tiphys.cluster.apiserver.watch import RING_CHANGES_MAX
from tiphys.machinery.actions import PatchType
from tiphys.machinery.errors import AlreadyExists, BadRequest, Conflict, Expired, Forbidden, Invalid, NotFound
from tiphys.machinery.resources import (
    CONFIG_MAPS,
    CUSTOM_RESOURCE_DEFINITIONS,
    DEPLOYMENTS,
    EVENTS,
    NAMESPACES,
    PODS,
    WORKFLOW_TASK_RESULTS,
    WORKFLOWS,
    ObjectKey,
    Resource,
)

WIDGETS = Resource("example.com", "v1", "widgets", "Widget")


@pytest.fixture(params=["inprocess", "inprocess-durable", "http"])
async def client(request: pytest.FixtureRequest, tmp_path) -> AsyncIterator[Client]:
    async with serving(request.param, tmp_path) as client:
        yield client


def config_map(name: str, namespace: str = "default", **data: str) -> dict:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}, "data": data}


def pod(name: str, **spec) -> dict:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"containers": [{"name": "main", "image": "busybox"}]} | spec,
    }


def key(name: str) -> ObjectKey:
    return ObjectKey("default", name)


async def taken(events: AsyncIterator[WatchEvent], count: int) -> list[tuple[str, str]]:
    found = []
    for _ in range(count):
        event = await asyncio.wait_for(anext(events), 5)
        found.append((event.type, event.object["metadata"].get("name", "")))
    return found


async def test_create_then_get_list_and_delete(client: Client) -> None:
    created = await client.create(CONFIG_MAPS, config_map("a", x="1"))
    assert created["metadata"]["uid"]
    assert created["metadata"]["creationTimestamp"] == FixedClock.TEXT
    assert await client.get(CONFIG_MAPS, key("a")) == created
    listed = await client.list(CONFIG_MAPS, "default")
    assert listed["kind"] == "ConfigMapList"
    assert listed["items"] == [created]
    gone = await client.delete(CONFIG_MAPS, key("a"))
    assert (gone["kind"], gone["status"]) == ("Status", "Success")
    with pytest.raises(NotFound, match='configmaps "a" not found'):
        await client.get(CONFIG_MAPS, key("a"))


async def test_what_was_sent_stays_the_sender_s(client: Client) -> None:
    sent = config_map("a", x="1")
    await client.create(CONFIG_MAPS, sent)
    sent["data"]["x"] = "2"
    assert (await client.get(CONFIG_MAPS, key("a")))["data"] == {"x": "1"}


async def test_create_twice(client: Client) -> None:
    await client.create(CONFIG_MAPS, config_map("a"))
    with pytest.raises(AlreadyExists, match='configmaps "a" already exists'):
        await client.create(CONFIG_MAPS, config_map("a"))


async def test_create_in_a_namespace_that_is_not_there(client: Client) -> None:
    with pytest.raises(NotFound, match='namespaces "nowhere" not found'):
        await client.create(CONFIG_MAPS, config_map("a", "nowhere"))


async def test_generated_names(client: Client) -> None:
    obj = {"metadata": {"generateName": "x-", "namespace": "default"}}
    names = {(await client.create(CONFIG_MAPS, obj))["metadata"]["name"] for _ in range(3)}
    assert len(names) == 3
    assert all(name.startswith("x-") and len(name) == 7 for name in names)


async def test_a_bad_name_is_invalid(client: Client) -> None:
    with pytest.raises(Invalid, match=r"metadata\.name: Invalid value") as caught:
        await client.create(CONFIG_MAPS, config_map("Bad_Name"))
    assert caught.value.details["causes"][0]["field"] == "metadata.name"


async def test_replace_needs_the_newest_version(client: Client) -> None:
    first = await client.create(CONFIG_MAPS, config_map("a", x="1"))
    await client.patch(CONFIG_MAPS, key("a"), {"data": {"x": "2"}})
    with pytest.raises(Conflict, match="the object has been modified"):
        await client.replace(CONFIG_MAPS, {**first, "data": {"x": "3"}})


async def test_a_write_that_changes_nothing(client: Client) -> None:
    created = await client.create(CONFIG_MAPS, config_map("a", x="1"))
    patched = await client.patch(CONFIG_MAPS, key("a"), {"data": {"x": "1"}})
    replaced = await client.replace(CONFIG_MAPS, created)
    versions = {o["metadata"]["resourceVersion"] for o in (created, patched, replaced)}
    assert len(versions) == 1


async def test_patch_kinds(client: Client) -> None:
    await client.create(CONFIG_MAPS, config_map("a", x="1", y="2"))
    merged = await client.patch(CONFIG_MAPS, key("a"), {"data": {"x": None, "z": "3"}})
    assert merged["data"] == {"y": "2", "z": "3"}
    operations = [{"op": "replace", "path": "/data/y", "value": "9"}, {"op": "remove", "path": "/data/z"}]
    patched = await client.patch(CONFIG_MAPS, key("a"), operations, PatchType.JSON)
    assert patched["data"] == {"y": "9"}


async def test_a_patch_with_a_stale_version_conflicts(client: Client) -> None:
    first = await client.create(CONFIG_MAPS, config_map("a"))
    await client.patch(CONFIG_MAPS, key("a"), {"data": {"x": "1"}})
    stale = {"metadata": {"resourceVersion": first["metadata"]["resourceVersion"]}, "data": {"x": "2"}}
    with pytest.raises(Conflict):
        await client.patch(CONFIG_MAPS, key("a"), stale)


async def test_status_is_its_own_resource_for_pods(client: Client) -> None:
    created = await client.create(PODS, pod("p") | {"status": {"phase": "Failed"}})
    assert created["status"]["phase"] == "Pending"
    ignored = await client.patch(PODS, key("p"), {"status": {"phase": "Running"}})
    assert ignored["status"]["phase"] == "Pending"
    running = await client.patch(PODS, key("p"), {"status": {"phase": "Running"}}, subresource="status")
    assert (running["status"]["phase"], running["metadata"]["generation"]) == ("Running", 1)


async def test_status_is_a_plain_field_of_workflows(client: Client) -> None:
    workflow = {"metadata": {"name": "w", "namespace": "default"}, "spec": {"entrypoint": "m"}}
    await client.create(WORKFLOWS, workflow)
    nodes = {f"n{i}": {"id": f"n{i}", "phase": "Pending"} for i in range(50)}
    await client.patch(WORKFLOWS, key("w"), {"status": {"phase": "Running", "nodes": nodes}})
    patch = {"status": {"nodes": {"n7": {"phase": "Succeeded"}, "n8": None}}}
    workflow = await client.patch(WORKFLOWS, key("w"), patch)
    assert len(workflow["status"]["nodes"]) == 49
    assert workflow["status"]["nodes"]["n7"] == {"id": "n7", "phase": "Succeeded"}
    assert workflow["status"]["nodes"]["n9"] == {"id": "n9", "phase": "Pending"}
    with pytest.raises(NotFound):
        await client.patch(WORKFLOWS, key("w"), patch, subresource="status")


async def test_scale(client: Client) -> None:
    deployments = Resource("apps", "v1", "deployments", "Deployment")
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"replicas": 2, "selector": {"matchLabels": {"a": "b"}}, "template": template}
    await client.create(deployments, {"metadata": {"name": "d", "namespace": "default"}, "spec": spec})
    scale = await client.get(deployments, key("d"), "scale")
    assert (scale["spec"], scale["status"]) == ({"replicas": 2}, {"replicas": 0, "selector": "a=b"})
    await client.patch(deployments, key("d"), {"spec": {"replicas": 5}}, subresource="scale")
    deployment = await client.get(deployments, key("d"))
    assert (deployment["spec"]["replicas"], deployment["metadata"]["generation"]) == (5, 2)


async def test_finalizers_hold_an_object_back(client: Client) -> None:
    obj = config_map("a")
    obj["metadata"]["finalizers"] = ["example.com/hold"]
    await client.create(CONFIG_MAPS, obj)
    marked = await client.delete(CONFIG_MAPS, key("a"))
    assert marked["metadata"]["deletionTimestamp"] == FixedClock.TEXT
    await client.patch(CONFIG_MAPS, key("a"), {"metadata": {"finalizers": None}})
    with pytest.raises(NotFound):
        await client.get(CONFIG_MAPS, key("a"))


async def test_a_pod_on_a_node_gets_its_grace(client: Client) -> None:
    await client.create(PODS, pod("p", nodeName="n", terminationGracePeriodSeconds=7))
    marked = await client.delete(PODS, key("p"))
    assert marked["metadata"]["deletionGracePeriodSeconds"] == 7
    assert (await client.get(PODS, key("p")))["metadata"]["deletionTimestamp"]
    await client.delete(PODS, key("p"), {"gracePeriodSeconds": 0})
    with pytest.raises(NotFound):
        await client.get(PODS, key("p"))


async def test_a_pod_without_a_node_goes_at_once(client: Client) -> None:
    await client.create(PODS, pod("p"))
    await client.delete(PODS, key("p"))
    with pytest.raises(NotFound):
        await client.get(PODS, key("p"))


async def test_delete_only_the_one_that_was_meant(client: Client) -> None:
    await client.create(CONFIG_MAPS, config_map("a"))
    with pytest.raises(Conflict, match="UID in precondition"):
        await client.delete(CONFIG_MAPS, key("a"), {"preconditions": {"uid": "other"}})


async def test_selectors(client: Client) -> None:
    for name, labels in (("a", {"x": "1"}), ("b", {"x": "2"}), ("c", {})):
        await client.create(CONFIG_MAPS, {"metadata": {"name": name, "namespace": "default", "labels": labels}})

    async def names(**query: str) -> list[str]:
        return [item["metadata"]["name"] for item in (await client.list(CONFIG_MAPS, "default", **query))["items"]]

    assert await names(labelSelector="x") == ["a", "b"]
    assert await names(labelSelector="x in (2,3)") == ["b"]
    assert await names(labelSelector="!x") == ["c"]
    assert await names(fieldSelector="metadata.name=b") == ["b"]
    assert await names(fieldSelector="metadata.name!=b", labelSelector="x") == ["a"]
    with pytest.raises(BadRequest, match="field label not supported: data"):
        await names(fieldSelector="data=x")
    with pytest.raises(BadRequest, match="unable to parse requirement"):
        await names(labelSelector="x in (1")


async def test_pages_show_one_state(client: Client) -> None:
    for n in range(5):
        await client.create(CONFIG_MAPS, config_map(f"c{n}"))
    first = await client.list(CONFIG_MAPS, "default", limit="2")
    assert first["metadata"]["remainingItemCount"] == 3
    await client.create(CONFIG_MAPS, config_map("c2a"))
    await client.delete(CONFIG_MAPS, key("c3"))
    token = first["metadata"]["continue"]
    rest = await client.list(CONFIG_MAPS, "default", **{"continue": token})
    assert [item["metadata"]["name"] for item in rest["items"]] == ["c2", "c3", "c4"]
    assert rest["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


async def test_watch_from_a_list_misses_nothing(client: Client) -> None:
    version = (await client.list(CONFIG_MAPS, "default"))["metadata"]["resourceVersion"]
    await client.create(CONFIG_MAPS, config_map("a"))
    async with client.watch(CONFIG_MAPS, "default", resourceVersion=version) as events:
        await client.patch(CONFIG_MAPS, key("a"), {"data": {"x": "1"}})
        await client.create(CONFIG_MAPS, config_map("other", "kube-system"))
        await client.delete(CONFIG_MAPS, key("a"))
        assert await taken(events, 3) == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]


async def test_watch_without_a_version_begins_with_what_is_there(client: Client) -> None:
    await client.create(CONFIG_MAPS, config_map("a"))
    async with client.watch(CONFIG_MAPS) as events:
        await client.create(CONFIG_MAPS, config_map("b"))
        assert await taken(events, 2) == [("ADDED", "a"), ("ADDED", "b")]


async def test_a_selector_s_watch_sees_objects_enter_and_leave(client: Client) -> None:
    await client.create(CONFIG_MAPS, config_map("a"))
    version = (await client.list(CONFIG_MAPS))["metadata"]["resourceVersion"]
    async with client.watch(CONFIG_MAPS, labelSelector="on=1", resourceVersion=version) as events:
        for on in ("1", "1", "2", "1"):
            await client.patch(CONFIG_MAPS, key("a"), {"metadata": {"labels": {"on": on}}})
        await client.delete(CONFIG_MAPS, key("a"))
        assert await taken(events, 4) == [("ADDED", "a"), ("DELETED", "a"), ("ADDED", "a"), ("DELETED", "a")]


async def test_initial_events_end_with_a_bookmark(client: Client) -> None:
    await client.create(CONFIG_MAPS, config_map("a"))
    query = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}
    async with client.watch(CONFIG_MAPS, "default", **query) as events:
        assert (await anext(events)).type == "ADDED"
        bookmark = await anext(events)
        assert bookmark.type == "BOOKMARK"
        assert bookmark.object["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


async def test_a_watch_from_too_long_ago_is_expired(client: Client) -> None:
    await client.create(CONFIG_MAPS, config_map("a"))
    changes = (client.patch(CONFIG_MAPS, key("a"), {"data": {"n": str(n)}}) for n in range(RING_CHANGES_MAX + 1))
    await asyncio.gather(*changes)
    with pytest.raises(Expired, match="too old resource version"):
        async with client.watch(CONFIG_MAPS, resourceVersion="1") as events:
            await anext(events)


async def test_a_definition_is_a_resource_at_once(client: Client) -> None:
    names = {"plural": "widgets", "kind": "Widget"}
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema}
    spec = {"group": "example.com", "names": names, "scope": "Namespaced", "versions": [version]}
    await client.create(CUSTOM_RESOURCE_DEFINITIONS, {"metadata": {"name": "widgets.example.com"}, "spec": spec})
    definition = await client.get(CUSTOM_RESOURCE_DEFINITIONS, ObjectKey("", "widgets.example.com"))
    assert [c["type"] for c in definition["status"]["conditions"]] == ["NamesAccepted", "Established"]
    await client.create(WIDGETS, {"metadata": {"name": "w", "namespace": "default"}, "spec": {"size": 1}})
    changed = await client.patch(WIDGETS, key("w"), {"spec": {"size": 2}})
    assert changed["metadata"]["generation"] == 2


async def test_a_definition_takes_its_objects_along(client: Client) -> None:
    names = {"plural": "widgets", "kind": "Widget"}
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema}
    spec = {"group": "example.com", "names": names, "scope": "Namespaced", "versions": [version]}
    definition = ObjectKey("", "widgets.example.com")
    await client.create(CUSTOM_RESOURCE_DEFINITIONS, {"metadata": {"name": definition.name}, "spec": spec})
    held = {"metadata": {"name": "w", "namespace": "default", "finalizers": ["example.com/hold"]}}
    await client.create(WIDGETS, held)
    await client.delete(CUSTOM_RESOURCE_DEFINITIONS, definition)
    with pytest.raises(Forbidden, match="while custom resource definition is terminating"):
        await client.create(WIDGETS, {"metadata": {"name": "x", "namespace": "default"}})
    await client.patch(WIDGETS, key("w"), {"metadata": {"finalizers": None}})
    with pytest.raises(NotFound):
        await client.get(CUSTOM_RESOURCE_DEFINITIONS, definition)
    with pytest.raises(NotFound):
        await client.list(WIDGETS, "default")


async def test_versions_show_one_object(client: Client) -> None:
    about = {"kind": "Pod", "namespace": "default", "name": "p"}
    event = {"metadata": {"name": "e", "namespace": "default"}, "involvedObject": about, "reason": "R", "message": "m"}
    await client.create(EVENTS, event)
    newer = Resource("events.k8s.io", "v1", "events", "Event")
    shown = await client.get(newer, key("e"))
    assert (shown["apiVersion"], shown["regarding"], shown["note"]) == ("events.k8s.io/v1", about, "m")
    listed = await client.list(newer, "default", fieldSelector="regarding.name=p")
    assert [item["note"] for item in listed["items"]] == ["m"]


async def test_custom_resources_are_pruned_and_judged(client: Client) -> None:
    result = {"metadata": {"name": "r", "namespace": "default"}, "phase": "Succeeded", "nope": 1}
    created = await client.create(WORKFLOW_TASK_RESULTS, result)
    assert "nope" not in created
    with pytest.raises(Invalid, match=r"phase in body must be of type string"):
        await client.create(WORKFLOW_TASK_RESULTS, {"metadata": {"name": "s", "namespace": "default"}, "phase": 5})


async def test_a_namespace_ends_through_finalize(client: Client) -> None:
    await client.create(NAMESPACES, {"metadata": {"name": "n"}})
    ending = await client.delete(NAMESPACES, ObjectKey("", "n"))
    assert ending["status"]["phase"] == "Terminating"
    with pytest.raises(Forbidden, match="because it is being terminated"):
        await client.create(CONFIG_MAPS, config_map("a", "n"))
    empty = {"metadata": {"name": "n"}, "spec": {"finalizers": []}}
    await client.replace(NAMESPACES, empty, subresource="finalize")
    with pytest.raises(NotFound):
        await client.get(NAMESPACES, ObjectKey("", "n"))


async def test_dry_run_changes_nothing(client: Client) -> None:
    answer = await client.create(CONFIG_MAPS, config_map("a"), dryRun="All")
    assert "resourceVersion" not in answer["metadata"]
    with pytest.raises(NotFound):
        await client.get(CONFIG_MAPS, key("a"))


async def test_a_closed_watch_is_quiet(client: Client) -> None:
    async with client.watch(CONFIG_MAPS):
        pass
    await client.create(CONFIG_MAPS, config_map("a"))


async def test_binding_puts_a_pod_on_a_node_once(client: Client) -> None:
    await client.create(PODS, pod("p"))
    binding = {"metadata": {"name": "p", "namespace": "default"}, "target": {"kind": "Node", "name": "n1"}}
    request = Request("create", PODS, "default", "p", "binding", body=binding)
    await client.transport.call(request)
    bound = await client.get(PODS, key("p"))
    assert bound["spec"]["nodeName"] == "n1"
    assert [c["type"] for c in bound["status"]["conditions"]] == ["PodScheduled"]
    with pytest.raises(Conflict, match='already assigned to node "n1"'):
        await client.transport.call(request)


async def test_what_a_patch_adds_gets_defaults(client: Client) -> None:
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": "web:1"}]}}
    meta = {"name": "web", "namespace": "default"}
    await client.create(
        DEPLOYMENTS, {"metadata": meta, "spec": {"selector": {"matchLabels": labels}, "template": template}}
    )
    probe = {"httpGet": {"path": "/", "port": 80}}
    added = {"name": "main", "ports": [{"containerPort": 80}], "readinessProbe": probe}
    patch = {"spec": {"template": {"spec": {"containers": [added]}}}}
    patched = await client.patch(DEPLOYMENTS, key("web"), patch, PatchType.STRATEGIC)
    container = patched["spec"]["template"]["spec"]["containers"][0]
    assert container["ports"] == [{"containerPort": 80, "protocol": "TCP"}]
    assert (container["readinessProbe"]["httpGet"]["scheme"], container["readinessProbe"]["periodSeconds"]) == (
        "HTTP",
        10,
    )
