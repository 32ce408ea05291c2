"""Addresses of Services: cluster IPs and node ports, given at creation and kept for the Service's life.

What is in use is read from the store at the first question and kept in step afterwards; an address is taken the moment
it is given, so that two creations at once never get the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from typing import Any, Final

from tiphys.cluster.apiserver.problems import Complaint, invalid_object, invalid_value
from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.registry import ResourceInfo
from tiphys.cluster.apiserver.store import Change, Store
from tiphys.machinery.errors import InternalError

SERVICE_NETWORK: Final = IPv4Network("10.96.0.0/16")
NODE_PORTS: Final = range(30000, 32768)
# The first 256 are left for those that are asked for by name: the API itself, cluster DNS.
_FIRST_GIVEN: Final = 256
_COLLECTION: Final = "services"


class ServiceAddresses:
    """An ``Admit`` of the verbs; gives addresses to new Services, keeps those of changed ones."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._used: set[str | int] | None = None
        self._next_ip = _FIRST_GIVEN
        self._next_port = 0
        store.subscribe(self._published)

    def __call__(self, info: ResourceInfo, obj: Object, old: Object | None) -> None:
        if info.collection != _COLLECTION:
            return
        spec = dict(obj.get("spec") or {})
        before = (old or {}).get("spec") or {}
        if spec.get("type") == "ExternalName":
            obj["spec"] = spec
            return
        self._give_ip(info, obj, spec, before)
        _families(spec)
        if spec.get("type") in ("NodePort", "LoadBalancer") and spec.get("allocateLoadBalancerNodePorts", True):
            self._give_ports(info, obj, spec, before)
        obj["spec"] = spec

    def _give_ip(self, info: ResourceInfo, obj: Object, spec: Object, before: Object) -> None:
        asked = spec.get("clusterIP") or before.get("clusterIP") or ""
        if asked and asked != "None" and asked != before.get("clusterIP"):
            self._take_ip(info, obj, asked)
        spec["clusterIP"] = asked or self._free_ip()
        spec["clusterIPs"] = spec.get("clusterIPs") or before.get("clusterIPs") or [spec["clusterIP"]]

    def _take_ip(self, info: ResourceInfo, obj: Object, asked: str) -> None:
        """An address that the writer chose: of the network, and free."""
        found: list[Complaint] = []
        try:
            inside = IPv4Address(asked) in SERVICE_NETWORK
        except ValueError:
            inside = False
        if not inside:
            text = f"failed to allocate IP {asked}: the provided network does not match the current range"
            found.append(invalid_value("spec.clusterIPs", [asked], text))
        elif asked in self._in_use():
            text = f"failed to allocate IP {asked}: provided IP is already allocated"
            found.append(invalid_value("spec.clusterIPs", [asked], text))
        if found:
            raise invalid_object(info, obj["metadata"].get("name", ""), found)
        self._in_use().add(asked)

    def _free_ip(self) -> str:
        size = SERVICE_NETWORK.num_addresses - 1
        for _ in range(size):
            address = str(SERVICE_NETWORK[self._next_ip])
            self._next_ip = self._next_ip + 1 if self._next_ip + 1 < size else 1
            if address not in self._in_use():
                self._in_use().add(address)
                return address
        raise InternalError("failed to allocate a serviceIP: range is full")

    def _give_ports(self, info: ResourceInfo, obj: Object, spec: Object, before: Object) -> None:
        held = {(p.get("port"), p.get("protocol")): p.get("nodePort") for p in before.get("ports") or ()}
        ports = []
        for at, port in enumerate(spec.get("ports") or ()):
            kept = held.get((port.get("port"), port.get("protocol")))
            number = port.get("nodePort") or kept or self._free_port()
            if number != kept and port.get("nodePort"):
                self._take_port(info, obj, at, number)
            ports.append(port | {"nodePort": number})
        spec["ports"] = ports

    def _take_port(self, info: ResourceInfo, obj: Object, at: int, number: int) -> None:
        if number in self._in_use():
            complaint = invalid_value(f"spec.ports[{at}].nodePort", number, "provided port is already allocated")
            raise invalid_object(info, obj["metadata"].get("name", ""), [complaint])
        self._in_use().add(number)

    def _free_port(self) -> int:
        for _ in NODE_PORTS:
            number = NODE_PORTS[self._next_port]
            self._next_port = (self._next_port + 1) % len(NODE_PORTS)
            if number not in self._in_use():
                self._in_use().add(number)
                return number
        raise InternalError("failed to allocate a nodePort: range is full")

    def _in_use(self) -> set[str | int]:
        if self._used is None:
            records = self._store.collection(_COLLECTION).records.values()
            self._used = {address for record in records for address in _addresses(record.view)}
        return self._used

    def _published(self, changes: list[Change]) -> None:
        for change in changes:
            if change.collection == _COLLECTION and change.type == "DELETED" and self._used is not None:
                self._used.difference_update(_addresses(change.record.view))


def _addresses(service: Object) -> Iterator[str | int]:
    spec: dict[str, Any] = service.get("spec") or {}
    if spec.get("clusterIP") not in (None, "", "None"):
        yield spec["clusterIP"]
    for port in spec.get("ports") or ():
        if port.get("nodePort"):
            yield port["nodePort"]


def _families(spec: Object) -> None:
    """This cluster has IPv4 only; a headless Service without selector promises both."""
    if spec["clusterIP"] == "None" and not spec.get("selector"):
        spec.setdefault("ipFamilies", ["IPv4", "IPv6"])
        spec.setdefault("ipFamilyPolicy", "RequireDualStack")
    spec.setdefault("ipFamilies", ["IPv4"])
    spec.setdefault("ipFamilyPolicy", "SingleStack")
