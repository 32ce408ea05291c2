"""Addresses of Services."""

import asyncio

import pytest

from tests.unit.client.servers import api_server
from tiphys.client.client import Client
from tiphys.machinery.errors import Invalid
from tiphys.machinery.resources import ObjectKey, Resource

SERVICES = Resource("", "v1", "services", "Service")


def service(name: str, **spec) -> dict:
    return {"metadata": {"name": name, "namespace": "default"}, "spec": {"ports": [{"port": 80}]} | spec}


async def test_every_service_has_an_address_of_its_own() -> None:
    async with api_server() as server:
        client = Client(server.transport())
        made = await asyncio.gather(*(client.create(SERVICES, service(f"s{n}")) for n in range(20)))
        addresses = {each["spec"]["clusterIP"] for each in made}
        assert len(addresses) == 20
        assert all(address.startswith("10.96.") for address in addresses)


async def test_an_address_stays_and_is_given_again_after_deletion() -> None:
    async with api_server() as server:
        client = Client(server.transport())
        first = await client.create(SERVICES, service("s", clusterIP="10.96.7.7"))
        changed = await client.patch(SERVICES, ObjectKey("default", "s"), {"spec": {"selector": {"a": "b"}}})
        assert changed["spec"]["clusterIP"] == first["spec"]["clusterIP"] == "10.96.7.7"
        with pytest.raises(Invalid, match="already allocated"):
            await client.create(SERVICES, service("t", clusterIP="10.96.7.7"))
        await client.delete(SERVICES, ObjectKey("default", "s"))
        await client.create(SERVICES, service("t", clusterIP="10.96.7.7"))


async def test_node_ports_and_headless() -> None:
    async with api_server() as server:
        client = Client(server.transport())
        node_port = await client.create(SERVICES, service("n", type="NodePort"))
        assert 30000 <= node_port["spec"]["ports"][0]["nodePort"] < 32768
        headless = await client.create(SERVICES, service("h", clusterIP="None"))
        assert headless["spec"]["clusterIPs"] == ["None"]
        with pytest.raises(Invalid, match="does not match the current range"):
            await client.create(SERVICES, service("x", clusterIP="192.168.1.1"))
