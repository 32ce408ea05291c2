"""Services, endpoints, ingresses and what belongs to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from tiphys.cluster.apiserver.printers.row import (
    NONE,
    UNSET,
    Row,
    age_of,
    labels_text,
    name_of,
    part,
    selector_text,
)
from tiphys.cluster.apiserver.record import Object

_SHOWN_MAX: Final = 3


def shortened(values: Sequence[str], otherwise: str) -> str:
    """The first three, and how many more."""
    if not values:
        return otherwise
    text = ",".join(values[:_SHOWN_MAX])
    return f"{text} + {len(values) - _SHOWN_MAX} more..." if len(values) > _SHOWN_MAX else text


def service(obj: Object, now: datetime) -> Row:
    spec = obj.get("spec") or {}
    cluster_ips = spec.get("clusterIPs") or ()
    return Row(
        [
            name_of(obj),
            spec.get("type") or "ClusterIP",
            cluster_ips[0] if cluster_ips else NONE,
            _external_ip(obj),
            ",".join(_port(port) for port in spec.get("ports") or ()) or NONE,
            age_of(obj, now),
            labels_text(spec.get("selector")),
        ]
    )


def _external_ip(obj: Object) -> str:
    spec = obj.get("spec") or {}
    external = [str(ip) for ip in spec.get("externalIPs") or ()]
    match spec.get("type"):
        case "LoadBalancer":
            return ",".join([*_balancer(obj), *external]) or "<pending>"
        case "ExternalName":
            return str(spec.get("externalName", ""))
    return ",".join(external) or NONE


def _balancer(obj: Object) -> list[str]:
    points = part(obj, "status", "loadBalancer", "ingress") or ()
    return [str(point.get("ip") or point.get("hostname") or "") for point in points]


def _port(port: Mapping[str, Any]) -> str:
    node = f":{port['nodePort']}" if port.get("nodePort") else ""
    return f"{port.get('port')}{node}/{port.get('protocol') or 'TCP'}"


def ingress(obj: Object, now: datetime) -> Row:
    spec = obj.get("spec") or {}
    hosts = [str(rule.get("host") or "*") for rule in spec.get("rules") or ()]
    return Row(
        [
            name_of(obj),
            spec.get("ingressClassName") or NONE,
            shortened(hosts, "*"),
            ",".join(_balancer(obj)),
            "80, 443" if spec.get("tls") else "80",
            age_of(obj, now),
        ]
    )


def ingress_class(obj: Object, now: datetime) -> Row:
    parameters = part(obj, "spec", "parameters")
    shown = NONE
    if parameters is not None:
        group = parameters.get("apiGroup")
        kind = f"{parameters.get('kind')}.{group}" if group else parameters.get("kind")
        shown = f"{kind}/{parameters.get('name')}"
    return Row([name_of(obj), part(obj, "spec", "controller") or "", shown, age_of(obj, now)])


def network_policy(obj: Object, now: datetime) -> Row:
    return Row([name_of(obj), selector_text(part(obj, "spec", "podSelector") or {}), age_of(obj, now)])


def endpoints(obj: Object, now: datetime) -> Row:
    found: list[str] = []
    for subset in obj.get("subsets") or ():
        addresses = [str(address.get("ip", "")) for address in subset.get("addresses") or ()]
        ports = subset.get("ports") or ()
        if not ports:
            found += addresses
        for port in ports:
            found += [f"[{ip}]:{port['port']}" if ":" in ip else f"{ip}:{port['port']}" for ip in addresses]
    return Row([name_of(obj), shortened(found, NONE), age_of(obj, now)])


def endpoint_slice(obj: Object, now: datetime) -> Row:
    ports = [str(port.get("port") or "*") for port in obj.get("ports") or ()]
    addresses = [str(ip) for endpoint in obj.get("endpoints") or () for ip in endpoint.get("addresses") or ()]
    cells = [name_of(obj), obj.get("addressType", ""), shortened(ports, UNSET), shortened(addresses, UNSET)]
    return Row([*cells, age_of(obj, now)])


def service_cidr(obj: Object, now: datetime) -> Row:
    return Row([name_of(obj), ",".join(part(obj, "spec", "cidrs") or ()), age_of(obj, now)])


def ip_address(obj: Object, now: datetime) -> Row:
    parent = part(obj, "spec", "parentRef") or {}
    steps = [parent.get(name) for name in ("resource", "group", "namespace", "name")]
    resource = f"{steps[0]}.{steps[1]}" if steps[1] else steps[0]
    shown = "/".join(str(step) for step in (resource, steps[2], steps[3]) if step)
    return Row([name_of(obj), shown, age_of(obj, now)])


PRINTERS: Final[dict[str, Callable[[Object, datetime], Row]]] = {
    "/Service": service,
    "/Endpoints": endpoints,
    "discovery.k8s.io/EndpointSlice": endpoint_slice,
    "networking.k8s.io/Ingress": ingress,
    "networking.k8s.io/IngressClass": ingress_class,
    "networking.k8s.io/NetworkPolicy": network_policy,
    "networking.k8s.io/ServiceCIDR": service_cidr,
    "networking.k8s.io/IPAddress": ip_address,
}
