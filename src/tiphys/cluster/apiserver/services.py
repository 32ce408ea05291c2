"""Addresses of Services: cluster IPs and node ports, given at creation and kept for the Service's life.

What is in use is read from the store at the first question and kept in step afterwards; an address is taken the moment
it is given, so that two creations at once never get the same, and free again where the write then failed.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network
from typing import Any, Final

from tiphys.cluster.apiserver.problems import Complaint, invalid_object, invalid_value
from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.registry import ResourceInfo
from tiphys.cluster.apiserver.rules.services import address_complaints, is_exposed, needs_health_port
from tiphys.cluster.apiserver.rules.values import sloppy_address
from tiphys.cluster.apiserver.store import Change, Store
from tiphys.machinery.errors import InternalError

SERVICE_NETWORK: Final = IPv4Network("10.96.0.0/16")
NODE_PORTS: Final = range(30000, 32768)
_PORTS_APART: Final = 173
"""Clusters of one machine, whose service networks are neighbours, begin with node ports of their own."""
# The first 256 are left for those that are asked for by name: the API itself, cluster DNS.
_FIRST_GIVEN: Final = 256
_COLLECTION: Final = "services"
_FAMILY: Final = "IPv4"  # all that this cluster has


class ServiceAddresses:
    """An ``Admit`` of the verbs; gives addresses to new Services, keeps those of changed ones."""

    def __init__(self, store: Store, network: IPv4Network = SERVICE_NETWORK) -> None:
        self._store = store
        self._network = network
        self._used: set[str | int] | None = None
        self._last: tuple[str, set[str | int]] = ("", set())
        self._next_ip = _FIRST_GIVEN
        self._next_port = (int(network.network_address) >> 16) * _PORTS_APART % len(NODE_PORTS)
        store.subscribe(self._published)

    def __call__(self, info: ResourceInfo, obj: Object, old: Object | None) -> None:
        if info.collection != _COLLECTION:
            return
        self._settle()
        meta = obj["metadata"]
        self._last = (f"{meta.get('namespace')}/{meta.get('name')}", set())
        spec = dict(obj.get("spec") or {})
        before: Object = (old or {}).get("spec") or {}
        if old is not None:
            _keep(spec, before)
        _normalize(spec, before, is_new=old is None)
        if spec.get("type") != "ExternalName":
            self._families(info, obj, spec, before)
            self._give_ip(info, obj, spec, before)
        if spec.get("type") in ("NodePort", "LoadBalancer"):
            self._give_ports(info, obj, spec, before)
        if needs_health_port(spec) and not (needs_health_port(before) and before.get("healthCheckNodePort")):
            self._give_health_port(spec)
        if old is not None:
            _drop_unfitting(spec, before)
        obj["spec"] = spec

    # Families

    def _families(self, info: ResourceInfo, obj: Object, spec: Object, before: Object) -> None:
        lone = spec.get("clusterIP") == "None" and not spec.get("selector")
        if spec.get("ipFamilyPolicy") is None:
            usual = "RequireDualStack" if lone else "SingleStack"
            spec["ipFamilyPolicy"] = before.get("ipFamilyPolicy") or usual
        self._refuse(info, obj, list(address_complaints(spec)))
        policy, families = spec["ipFamilyPolicy"], list(spec.get("ipFamilies") or ())
        addresses = spec.get("clusterIPs") or []
        self._refuse(info, obj, list(_family_complaints(policy, families, addresses)))
        if not families:
            families = [_FAMILY]
        if lone and len(families) < 2 and policy != "SingleStack":
            families.append("IPv6" if families[0] == _FAMILY else _FAMILY)
        if not lone:
            self._refuse(info, obj, list(_unconfigured(policy, families)))
        spec["ipFamilies"] = families

    def _refuse(self, info: ResourceInfo, obj: Object, found: list[Complaint]) -> None:
        if found:
            raise invalid_object(info, obj["metadata"].get("name", ""), found)

    # Cluster IPs

    def _give_ip(self, info: ResourceInfo, obj: Object, spec: Object, before: Object) -> None:
        asked = (spec.get("clusterIPs") or [""])[0]
        if asked == "None" or (before and before.get("type") != "ExternalName"):
            return
        if asked:
            self._take_ip(info, obj, spec, asked)
        else:
            spec["clusterIP"] = self._free_ip()
            spec["clusterIPs"] = [spec["clusterIP"]]

    def _take_ip(self, info: ResourceInfo, obj: Object, spec: Object, asked: str) -> None:
        """An address that the writer chose: of the network, and free."""
        found, problem = sloppy_address(asked), ""
        if found is None or found.version != self._network.version or found not in self._network:
            problem = "the provided network does not match the current range"
        elif asked in self._in_use():
            problem = "provided IP is already allocated"
        if problem:
            text = f"failed to allocate IP {asked}: {problem}"
            self._refuse(info, obj, [invalid_value("spec.clusterIPs", spec["clusterIPs"], text)])
        self._take(asked)

    def _free_ip(self) -> str:
        size = self._network.num_addresses - 1
        for _ in range(size):
            address = str(self._network[self._next_ip])
            self._next_ip = self._next_ip + 1 if self._next_ip + 1 < size else 1
            if address not in self._in_use():
                self._take(address)
                return address
        raise InternalError("failed to allocate a serviceIP: range is full")

    # Node ports

    def _give_ports(self, info: ResourceInfo, obj: Object, spec: Object, before: Object) -> None:
        held = {port["nodePort"] for port in before.get("ports") or () if port.get("nodePort")}
        given: dict[Any, int] = {}
        ports = []
        for at, port in enumerate(spec.get("ports") or ()):
            number = port.get("nodePort") or 0
            if not number and not spec.get("allocateLoadBalancerNodePorts", True):
                ports.append(port)
                continue
            same = given.get(port.get("port"), 0)
            if number:
                if number not in held and number != same:
                    self._take_port(info, obj, at, number)
            else:
                number = same or self._free_port()
            given[port.get("port")] = number
            ports.append(port | {"nodePort": number})
        if ports:
            spec["ports"] = ports

    def _give_health_port(self, spec: Object) -> None:
        asked = spec.get("healthCheckNodePort")
        if not asked:
            spec["healthCheckNodePort"] = self._free_port()
            return
        problem = self._port_problem(asked)
        if problem:
            why = f"failed to allocate requested HealthCheck NodePort {asked}: {problem}"
            raise InternalError(f"Internal error occurred: {why}", {"causes": [{"message": why}]})
        self._take(asked)

    def _take_port(self, info: ResourceInfo, obj: Object, at: int, number: int) -> None:
        problem = self._port_problem(number)
        if problem:
            self._refuse(info, obj, [invalid_value(f"spec.ports[{at}].nodePort", number, problem)])
        self._take(number)

    def _port_problem(self, number: int) -> str:
        if number not in NODE_PORTS:
            valid = f"{NODE_PORTS.start}-{NODE_PORTS.stop - 1}"
            return f"provided port is not in the valid range. The range of valid ports is {valid}"
        return "provided port is already allocated" if number in self._in_use() else ""

    def _free_port(self) -> int:
        for _ in NODE_PORTS:
            number = NODE_PORTS[self._next_port]
            self._next_port = (self._next_port + 1) % len(NODE_PORTS)
            if number not in self._in_use():
                self._take(number)
                return number
        raise InternalError("failed to allocate a nodePort: range is full")

    # What is in use

    def _take(self, address: str | int) -> None:
        self._in_use().add(address)
        self._last[1].add(address)

    def _settle(self) -> None:
        """What was given last and not stored is free again."""
        key, given = self._last
        if given and self._used is not None:
            record = self._store.latest(_COLLECTION, key)
            stored = set() if record is None else set(_addresses(self._store.view(record)))
            self._used.difference_update(given - stored)

    def _in_use(self) -> set[str | int]:
        if self._used is None:
            records = self._store.collection(_COLLECTION).records.values()
            self._used = {address for record in records for address in _addresses(record.view)}
        return self._used

    def _published(self, changes: list[Change]) -> None:
        for change in changes:
            if change.collection != _COLLECTION or self._used is None:
                continue
            if change.type == "DELETED":
                self._used.difference_update(_addresses(change.record.view))
            elif change.previous is not None:
                self._used.difference_update(
                    set(_addresses(change.previous.view)) - set(_addresses(change.record.view))
                )


def _addresses(service: Object) -> Iterator[str | int]:
    spec: dict[str, Any] = service.get("spec") or {}
    if spec.get("clusterIP") not in (None, "", "None"):
        yield spec["clusterIP"]
    for port in spec.get("ports") or ():
        if port.get("nodePort"):
            yield port["nodePort"]
    if spec.get("healthCheckNodePort"):
        yield spec["healthCheckNodePort"]


def _family_complaints(policy: str, families: list[str], addresses: list[str]) -> Iterator[Complaint]:
    """Adds the families of addresses to ``families``."""
    at = "spec.ipFamilyPolicy"
    text = "must be 'RequireDualStack' or 'PreferDualStack' when multiple {} are specified"
    if policy == "SingleStack" and len(addresses) == 2:
        yield invalid_value(at, policy, text.format("cluster IPs"))
    if policy == "SingleStack" and len(families) == 2:
        yield invalid_value(at, policy, text.format("IP families"))
    for number, address in enumerate(addresses):
        found = sloppy_address(address)
        if found is None:
            return
        if number >= len(families):
            if f"IPv{found.version}" != _FAMILY:
                text = f"IPv{found.version} is not configured on this cluster"
                yield invalid_value(f"spec.clusterIPs[{number}]", addresses, text)
            else:
                families.append(_FAMILY)


def _unconfigured(policy: str, families: list[str]) -> Iterator[Complaint]:
    if policy == "RequireDualStack":
        yield invalid_value("spec.ipFamilyPolicy", policy, "this cluster is not configured for dual-stack services")
    for number, family in enumerate(families):
        if family != _FAMILY:
            yield invalid_value(f"spec.ipFamilies[{number}]", family, "not configured on this cluster")


def _keep(spec: Object, before: Object) -> None:
    """What was given and is not asked for otherwise stays."""
    if "ExternalName" not in (spec.get("type"), before.get("type")):
        if not spec.get("clusterIP") and before.get("clusterIP"):
            spec["clusterIP"] = before["clusterIP"]
        if not spec.get("clusterIPs") and before.get("clusterIPs"):
            spec["clusterIPs"] = before["clusterIPs"]
    exposed = ("NodePort", "LoadBalancer")
    if spec.get("type") in exposed and before.get("type") in exposed:
        held = {port.get("name"): port.get("nodePort") for port in before.get("ports") or ()}
        mine = {port.get("nodePort") for port in spec.get("ports") or ()}
        ports = []
        for port in spec.get("ports") or ():
            kept = held.get(port.get("name"))
            ports.append(port | {"nodePort": kept} if kept and not port.get("nodePort") and kept not in mine else port)
        if ports:
            spec["ports"] = ports
    if needs_health_port(spec) and needs_health_port(before) and not spec.get("healthCheckNodePort"):
        spec["healthCheckNodePort"] = before.get("healthCheckNodePort") or 0


def _normalize(spec: Object, before: Object, *, is_new: bool) -> None:
    """The older field for one address and the newer one for all go together."""
    first, addresses = spec.get("clusterIP") or "", spec.get("clusterIPs") or []
    if is_new:
        if first and not addresses:
            spec["clusterIPs"] = [first]
        return
    held, all_held = before.get("clusterIP") or "", before.get("clusterIPs") or []
    if all_held and not addresses and first == held:
        spec["clusterIPs"] = all_held
    elif first != held and addresses == all_held:
        if first:
            spec["clusterIPs"] = [first]
        else:
            spec.pop("clusterIPs", None)


def _drop_unfitting(spec: Object, before: Object) -> None:
    """What the new type has no use for goes, unless the writer changed it, too."""
    if before.get("type") != "ExternalName" and spec.get("type") == "ExternalName":
        for fields in (("clusterIP", "clusterIPs"), ("ipFamilies",), ("ipFamilyPolicy",), ("internalTrafficPolicy",)):
            if all(not spec.get(field) or spec.get(field) == before.get(field) for field in fields):
                for field in fields:
                    spec.pop(field, None)
    exposed = ("NodePort", "LoadBalancer")
    if before.get("type") in exposed and spec.get("type") not in exposed:
        held = [port.get("nodePort") for port in before.get("ports") or ()]
        if [port.get("nodePort") for port in spec.get("ports") or ()] == held:
            spec["ports"] = [{k: v for k, v in port.items() if k != "nodePort"} for port in spec["ports"]]
    gone = []
    if needs_health_port(before) and not needs_health_port(spec):
        gone.append("healthCheckNodePort")
    if before.get("type") == "LoadBalancer" != spec.get("type"):
        gone += ["allocateLoadBalancerNodePorts", "loadBalancerClass"]
    if is_exposed(before) and not is_exposed(spec):
        gone.append("externalTrafficPolicy")
    for field in gone:
        if spec.get(field) == before.get(field):
            spec.pop(field, None)
