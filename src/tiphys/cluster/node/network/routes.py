"""What Services and EndpointSlices say, as forwards: an address and port, and the back ends behind it. Pure.

A service port finds the endpoint port of the same name in every slice of the service. Back ends that are ready serve;
while none is, those that are terminating but still serve do (kube-proxy's rule). A traffic policy of Local keeps to the
back ends of this node.

The pods' network speaks IPv4: addresses of other kinds are left out, as kube-proxy of such a cluster does.

A forward with no back end is kept: a connection to it is refused at once, as kube-proxy does, instead of hanging.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from typing import Any

Object = Mapping[str, Any]

SERVICE_NAME = "kubernetes.io/service-name"
AFFINITY_SECONDS = 10800
_HEADLESS = ("", "None")


@dataclass(frozen=True, order=True)
class Endpoint:
    """A back end: where it listens."""

    address: str
    port: int


@dataclass(frozen=True, order=True)
class Forward:
    """Connections to ``address:port`` go to one of ``endpoints``.

    ``address`` is "" for a node port: it listens on every address of the node that node ports are offered on.
    ``affinity`` is how many seconds a client stays with its back end, 0 where it does not.
    """

    address: str
    port: int
    protocol: str
    endpoints: tuple[Endpoint, ...]
    affinity: int = 0
    name: str = ""
    """``namespace/name:port`` of the service, for people."""


def forwards(services: Iterable[Object], slices: Iterable[Object], node: str) -> tuple[Forward, ...]:
    """All forwards of a cluster as ``node`` has to offer them, sorted."""
    of_service: dict[tuple[str, str], list[Object]] = {}
    for found in slices:
        metadata = found["metadata"]
        name = (metadata.get("labels") or {}).get(SERVICE_NAME)
        if name:
            of_service.setdefault((metadata.get("namespace", ""), name), []).append(found)
    made: list[Forward] = []
    for service in services:
        key = (service["metadata"].get("namespace", ""), service["metadata"]["name"])
        made.extend(_of_service(service, of_service.get(key, ()), node))
    return tuple(sorted(made))


def _of_service(service: Object, slices: Sequence[Object], node: str) -> Iterable[Forward]:
    spec = service.get("spec") or {}
    if spec.get("type") == "ExternalName" or spec.get("clusterIP", "") in _HEADLESS:
        return
    internal_local = spec.get("internalTrafficPolicy") == "Local"
    external_local = spec.get("externalTrafficPolicy") == "Local"
    affinity = _affinity(spec)
    for port in spec.get("ports") or ():
        inside = endpoints(slices, port, node if internal_local else "")
        outside = endpoints(slices, port, node if external_local else "")
        protocol = port.get("protocol") or "TCP"
        name = _port_name(service, port)
        for address in filter(is_ipv4, _own_addresses(spec)):
            yield Forward(address, int(port["port"]), protocol, inside, affinity, name)
        for address in filter(is_ipv4, _load_balancer_addresses(service)):
            yield Forward(address, int(port["port"]), protocol, outside, affinity, name)
        if port.get("nodePort"):
            yield Forward("", int(port["nodePort"]), protocol, outside, affinity, name)


def endpoints(slices: Iterable[Object], port: Object, node: str = "") -> tuple[Endpoint, ...]:
    """The back ends of a service's port; with ``node`` only those on it."""
    ready: set[Endpoint] = set()
    serving: set[Endpoint] = set()
    for found in slices:
        number = _endpoint_port(found, port)
        if number is None or found.get("addressType", "IPv4") != "IPv4":
            continue
        for one in found.get("endpoints") or ():
            if node and one.get("nodeName") != node:
                continue
            conditions = one.get("conditions") or {}
            into = ready if conditions.get("ready") is not False else serving
            if into is ready or (conditions.get("serving") and conditions.get("terminating")):
                into.update(Endpoint(address, number) for address in one.get("addresses") or ())
    return tuple(sorted(ready or serving))


def without(forwards: Iterable[Forward], addresses: Set[str]) -> tuple[Forward, ...]:
    """The forwards with other back ends than these, where there are others."""
    return tuple(replace(one, endpoints=_others(one.endpoints, addresses)) for one in forwards)


def _others(endpoints: tuple[Endpoint, ...], addresses: Set[str]) -> tuple[Endpoint, ...]:
    return tuple(end for end in endpoints if end.address not in addresses) or endpoints


def is_ipv4(text: str) -> bool:
    """Whether this is an address that the pods' network speaks."""
    try:
        IPv4Address(text)
    except ValueError:
        return False
    return True


def _own_addresses(spec: Object) -> Iterable[str]:
    return (*spec.get("clusterIPs", (spec["clusterIP"],)), *(spec.get("externalIPs") or ()))


def _endpoint_port(found: Object, port: Object) -> int | None:
    for one in found.get("ports") or ():
        same = (one.get("name") or "") == (port.get("name") or "")
        if same and (one.get("protocol") or "TCP") == (port.get("protocol") or "TCP"):
            return None if one.get("port") is None else int(one["port"])
    return None


def _affinity(spec: Object) -> int:
    if spec.get("sessionAffinity") != "ClientIP":
        return 0
    config = (spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}
    return int(config.get("timeoutSeconds") or AFFINITY_SECONDS)


def _load_balancer_addresses(service: Object) -> Iterable[str]:
    ingress = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    return [one["ip"] for one in ingress if one.get("ip")]


def _port_name(service: Object, port: Object) -> str:
    metadata = service["metadata"]
    return f"{metadata.get('namespace', '')}/{metadata['name']}:{port.get('name') or port['port']}"
