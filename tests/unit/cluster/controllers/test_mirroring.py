"""Endpoints written by hand become EndpointSlices, and follow them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.unit.cluster.controllers.world import World, in_world
from tiphys.machinery.resources import ENDPOINT_SLICES, ENDPOINTS, EVENTS, SERVICES, ObjectKey

Object = Mapping[str, Any]
KEY = ObjectKey("default", "db")
PORTS = [{"name": "sql", "port": 5432}]


async def slices(world: World) -> list[Object]:
    await world.settle()
    found = [each for each in await world.all(ENDPOINT_SLICES) if each["metadata"]["labels"].get("app") == "db"]
    return sorted(found, key=lambda each: str(each["addressType"]))


def shown(piece: Object) -> dict[str, bool]:
    return {each["addresses"][0]: each["conditions"]["ready"] for each in piece["endpoints"] or ()}


async def make(world: World, *subsets: Mapping[str, Any], **labels: str) -> None:
    await world.make(SERVICES, "db", spec={"ports": PORTS})
    metadata = {"labels": {"app": "db", **labels}}
    await world.make(ENDPOINTS, "db", metadata=metadata, subsets=list(subsets))


def subset(*ips: str, **more: Any) -> dict[str, Any]:
    return {"addresses": [{"ip": ip} for ip in ips], "ports": PORTS, **more}


def test_a_slice_for_each_kind_of_address() -> None:
    async def test(world: World) -> None:
        await make(world, subset("192.0.2.1", "fd00::1", notReadyAddresses=[{"ip": "192.0.2.2", "hostname": "two"}]))
        four, six = await slices(world)
        assert (shown(four), shown(six)) == ({"192.0.2.1": True, "192.0.2.2": False}, {"fd00::1": True})
        assert four["endpoints"][1]["hostname"] == "two"
        assert four["ports"] == [{"name": "sql", "port": 5432, "protocol": "TCP"}]
        labels = four["metadata"]["labels"]
        assert labels["kubernetes.io/service-name"] == "db"
        assert labels["endpointslice.kubernetes.io/managed-by"] == "endpointslicemirroring-controller.k8s.io"
        assert four["metadata"]["ownerReferences"][0]["kind"] == "Endpoints"

    in_world(test)


def test_changes_are_followed_in_the_same_slice() -> None:
    async def test(world: World) -> None:
        await make(world, subset("192.0.2.1"))
        (before,) = await slices(world)
        await world.patch(ENDPOINTS, "db", {"subsets": [subset("192.0.2.9", ports=[{"port": 6}])]})
        (after,) = await slices(world)
        assert shown(after) == {"192.0.2.9": True} and after["ports"][0]["port"] == 6
        assert after["metadata"]["name"] == before["metadata"]["name"]
        await world.patch(ENDPOINTS, "db", {"subsets": None})
        assert await slices(world) == []

    in_world(test)


def test_nothing_is_written_when_nothing_changed() -> None:
    async def test(world: World) -> None:
        await make(world, subset("192.0.2.1"), subset("192.0.2.2"))
        (before,) = await slices(world)
        assert shown(before) == {"192.0.2.1": True, "192.0.2.2": True}
        await world.patch(SERVICES, "db", {"metadata": {"labels": {"a": "b"}}})
        assert await slices(world) == [before]

    in_world(test)


def test_who_does_not_want_it_is_left_alone() -> None:
    async def test(world: World) -> None:
        await make(world, subset("192.0.2.1"), **{"endpointslice.kubernetes.io/skip-mirror": "true"})
        assert await slices(world) == []
        await world.patch(ENDPOINTS, "db", {"metadata": {"labels": {"endpointslice.kubernetes.io/skip-mirror": None}}})
        assert len(await slices(world)) == 1
        await world.patch(SERVICES, "db", {"spec": {"selector": {"app": "other"}}})
        assert await slices(world) == []

    in_world(test)


def test_slices_go_with_their_service() -> None:
    async def test(world: World) -> None:
        await make(world, subset("192.0.2.1"))
        assert len(await slices(world)) == 1
        await world.client.delete(SERVICES, KEY)
        assert await slices(world) == []

    in_world(test)


def test_no_more_than_a_thousand_and_it_is_said() -> None:
    async def test(world: World) -> None:
        many = [f"192.0.{n // 250}.{n % 250 + 1}" for n in range(1002)]
        await make(world, subset(*many))
        (piece,) = await slices(world)
        assert len(piece["endpoints"]) == 1000
        (event,) = [each for each in await world.all(EVENTS) if each["reason"] == "TooManyAddressesToMirror"]
        assert event["message"].endswith("per Endpoints subset. 2 addresses were skipped")

    in_world(test)
