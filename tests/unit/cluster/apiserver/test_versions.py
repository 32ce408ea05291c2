"""Several versions of a custom kind: webhooks that convert, what is stored, how it is migrated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.cluster.apiserver.test_admission import webhook
from tiphys.client.client import Client
from tiphys.client.transport import Request
from tiphys.cluster.apiserver.conversion import ConversionFailed
from tiphys.cluster.apiserver.server import ApiServer
from tiphys.machinery.actions import PatchType
from tiphys.machinery.errors import Invalid, NotFound
from tiphys.machinery.resources import CUSTOM_RESOURCE_DEFINITIONS, ObjectKey, Resource

V1 = Resource("x.io", "v1", "ports", "Port", True)
V2 = Resource("x.io", "v2", "ports", "Port", True)
DEFINITION = ObjectKey("", "ports.x.io")
A = ObjectKey("default", "a")


def version(name: str, *fields: str, **more: Any) -> dict[str, Any]:
    spec = {"type": "object", "properties": {field: {"type": "string"} for field in fields}}
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}
    return {"name": name, "served": True, "storage": False, "schema": schema} | more


def definition(*versions: dict[str, Any], **more: Any) -> dict[str, Any]:
    names = {"plural": "ports", "kind": "Port"}
    spec = {"group": "x.io", "scope": "Namespaced", "names": names, "versions": list(versions), **more}
    return {"metadata": {"name": DEFINITION.name}, "spec": spec}


def converting(config: dict[str, Any]) -> dict[str, Any]:
    """v1 has host and port, v2 both in one."""
    asked = {"strategy": "Webhook", "webhook": {"clientConfig": config, "conversionReviewVersions": ["v1"]}}
    return definition(version("v1", "host", "port", storage=True), version("v2", "at"), conversion=asked)


async def split_or_join(request: dict[str, Any]) -> dict[str, Any]:
    wanted, found = request["desiredAPIVersion"], []
    for obj in request["objects"]:
        spec = obj["spec"]
        if wanted == "x.io/v1":
            spec = dict(zip(("host", "port"), spec["at"].split(":"), strict=True))
        else:
            spec = {"at": f"{spec['host']}:{spec['port']}"}
        meta = obj["metadata"] | {"labels": {"from": obj["apiVersion"].replace("/", "-")}, "generation": 99}
        found.append(obj | {"apiVersion": wanted, "spec": spec, "metadata": meta})
    return {"convertedObjects": found, "result": {"status": "Success"}}


def port(at: str, name: str = "a") -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "default"}, "spec": {"at": at}}


async def test_a_webhook_converts_what_is_written_read_listed_and_watched(
    client: Client, server: ApiServer, tmp_path: Path
) -> None:
    async with webhook(tmp_path / "hook", split_or_join) as config:
        await client.create(CUSTOM_RESOURCE_DEFINITIONS, converting(config))
        made = await client.create(V2, port("h:80"))
        assert (made["apiVersion"], made["spec"]) == ("x.io/v2", {"at": "h:80"})
        assert made["metadata"]["generation"] == 1
        assert (await client.get(V1, A))["spec"] == {"host": "h", "port": "80"}
        assert (await client.get(V2, A))["metadata"]["labels"] == {"from": "x.io-v1"}
        watcher = server.open_watch(Request("watch", V2, "default"))
        assert (await anext(watcher)).record.view["spec"] == {"at": "h:80"}
        await client.patch(V2, A, {"spec": {"at": "h:81"}})
        await client.create(V1, {"metadata": {"name": "b", "namespace": "default"}, "spec": {"host": "i", "port": "1"}})
        assert [(await anext(watcher)).record.view["spec"]["at"] for _ in range(2)] == ["h:81", "i:1"]
        listed = await client.list(V2, "default")
        assert [each["spec"]["at"] for each in listed["items"]] == ["h:81", "i:1"]
        applied = port("h:82") | {"kind": "Port", "apiVersion": "x.io/v2"}
        changed = await client.patch(V2, A, applied, PatchType.APPLY, fieldManager="me", force="true")
        assert changed["spec"] == {"at": "h:82"}
        assert (await client.get(V1, A))["spec"] == {"host": "h", "port": "82"}
        await client.delete(V2, A)
        with pytest.raises(NotFound):
            await client.get(V2, A)


async def refuse(request: dict[str, Any]) -> dict[str, Any]:
    return {"result": {"status": "Failure", "message": "not today"}}


async def rename(request: dict[str, Any]) -> dict[str, Any]:
    meta = {"metadata": {"name": "other", "namespace": "default"}, "apiVersion": request["desiredAPIVersion"]}
    return {"convertedObjects": [obj | meta for obj in request["objects"]], "result": {"status": "Success"}}


async def forget(request: dict[str, Any]) -> dict[str, Any]:
    return {"convertedObjects": [], "result": {"status": "Success"}}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (refuse, "conversion webhook for x.io/v2, Kind=Port failed: not today"),
        (rename, "conversion webhook for x.io/v2, Kind=Port returned invalid converted object at index 0: must have"),
        (forget, "conversion webhook for x.io/v2, Kind=Port returned 0 objects, expected 1"),
    ],
)
async def test_a_conversion_that_fails_stores_nothing(
    answer: Any, message: str, client: Client, tmp_path: Path
) -> None:
    async with webhook(tmp_path / "hook", answer) as config:
        await client.create(CUSTOM_RESOURCE_DEFINITIONS, converting(config))
        with pytest.raises(ConversionFailed, match=message):
            await client.create(V2, port("h:80"))
        assert (await client.list(V1, "default"))["items"] == []


async def test_objects_move_to_a_new_storage_version_with_their_next_write(client: Client, server: ApiServer) -> None:
    old, new = version("v1", "at"), version("v2", "at")
    await client.create(CUSTOM_RESOURCE_DEFINITIONS, definition(old | {"storage": True}, new))
    made = await client.create(V1, port("h:80"))
    held = await client.get(CUSTOM_RESOURCE_DEFINITIONS, DEFINITION)
    moved = {**held, "spec": {**held["spec"], "versions": [old | {"served": False}, new | {"storage": True}]}}
    changed = await client.replace(CUSTOM_RESOURCE_DEFINITIONS, moved)
    assert changed["status"]["storedVersions"] == ["v1", "v2"]
    with pytest.raises(NotFound):
        await client.get(V1, A)
    unmoved = await client.get(V2, A)
    assert (unmoved["apiVersion"], unmoved["metadata"]["resourceVersion"]) == (
        "x.io/v2",
        made["metadata"]["resourceVersion"],
    )
    written = await client.replace(V2, unmoved)
    assert written["metadata"]["resourceVersion"] != unmoved["metadata"]["resourceVersion"]
    assert (await client.replace(V2, written))["metadata"]["resourceVersion"] == written["metadata"]["resourceVersion"]
    record = server.store.get("ports.x.io", "default/a")
    assert record is not None and record.view["apiVersion"] == "x.io/v2"
    with pytest.raises(Invalid, match="v1 was previously a storage version"):
        await client.replace(
            CUSTOM_RESOURCE_DEFINITIONS, {**changed, "spec": {**moved["spec"], "versions": [new | {"storage": True}]}}
        )


async def test_what_an_unserved_version_stores_is_shown_at_the_others(client: Client, server: ApiServer) -> None:
    await client.create(
        CUSTOM_RESOURCE_DEFINITIONS, definition(version("v1", "at", storage=True, served=False), version("v2", "at"))
    )
    assert (await client.create(V2, port("h:80")))["apiVersion"] == "x.io/v2"
    record = server.store.get("ports.x.io", "default/a")
    assert record is not None and record.view["apiVersion"] == "x.io/v1"
