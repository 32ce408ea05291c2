"""Endpoints and EndpointSlices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Network
from typing import Any, Final

from tiphys.cluster.apiserver.metadata import label_complaints
from tiphys.cluster.apiserver.problems import Complaint, invalid_value, required
from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.rules.values import (
    PROTOCOLS,
    Fields,
    address,
    chosen,
    duplicate,
    immutable,
    in_form,
    in_form_if_given,
    port,
    sloppy_address,
    too_many,
)
from tiphys.lang import name_rules
from tiphys.machinery.equality import same

_ENDPOINTS_MAX: Final = 1000
_ADDRESSES_MAX: Final = 100
_PORTS_MAX: Final = 20_000
_HINTS_MAX: Final = 8
_LABELS_MAX: Final = 16
# Where the embedded cluster has no rights on the network, pods have addresses from here: of each cluster of a machine
# from one of 16 (``node/network``).
_PODS_ON_LOOPBACK: Final = tuple(IPv4Network(f"127.{50 - number}.0.0/16") for number in range(16))
_TYPES: Final = ("FQDN", "IPv4", "IPv6")


def endpoint_address(text: str, at: str) -> Iterator[Complaint]:
    """An address that something may be reached at."""
    found = sloppy_address(text)
    if found is None:
        yield invalid_value(at, text, "must be a valid IP address")
        return
    if found.is_unspecified:
        yield invalid_value(at, text, f"may not be unspecified ({text})")
    if found.is_loopback and not any(found in pods for pods in _PODS_ON_LOOPBACK):
        yield invalid_value(at, text, "may not be in the loopback range (127.0.0.0/8, ::1/128)")
    if found.is_link_local:
        yield invalid_value(at, text, "may not be in the link-local range (169.254.0.0/16, fe80::/10)")
    if text.startswith("224.0.0.") or (found.version == 6 and found.packed[0] == 0xFF and found.packed[1] & 15 == 2):
        yield invalid_value(at, text, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")


def port_complaints(each: Fields, at: str, *, needs_name: bool, names: set[str] | None = None) -> Iterator[Complaint]:
    """Name, number and protocol of a port; ``names`` are those of the ports before it."""
    name = each.get("name") or ""
    if needs_name and not name:
        yield required(f"{at}.name")
    elif name:
        yield from in_form(name, f"{at}.name", name_rules.dns1123_label)
        if names is not None:
            if name in names:
                yield duplicate(f"{at}.name", name)
            names.add(name)
    yield from port(each.get("port") or 0, f"{at}.port")
    yield from chosen(each.get("protocol"), f"{at}.protocol", PROTOCOLS)


def endpoints(obj: Object, old: Object | None) -> Iterator[Complaint]:
    subsets = obj.get("subsets") or []
    if old is not None and same(subsets, old.get("subsets") or []):
        return
    for number, subset in enumerate(subsets):
        at, ports = f"subsets[{number}]", subset.get("ports") or []
        if not subset.get("addresses") and not subset.get("notReadyAddresses"):
            yield required(at, "must specify `addresses` or `notReadyAddresses`")
        for field in ("addresses", "notReadyAddresses"):
            for index, each in enumerate(subset.get(field) or ()):
                yield from _address(each, f"{at}.{field}[{index}]")
        for index, each in enumerate(ports):
            here = f"{at}.ports[{index}]"
            yield from port_complaints(each, here, needs_name=len(ports) > 1)
            if each.get("appProtocol") is not None:
                yield from in_form(each["appProtocol"], f"{here}.appProtocol", name_rules.qualified_name)


def _address(each: Fields, at: str) -> Iterator[Complaint]:
    text = each.get("ip") or ""
    yield from address(text, f"{at}.ip")
    yield from in_form_if_given(each, at, "hostname", name_rules.dns1123_label)
    if each.get("nodeName") is not None:
        yield from in_form(each["nodeName"], f"{at}.nodeName", name_rules.dns1123_subdomain)
    yield from endpoint_address(text, f"{at}.ip")


def endpoint_slice(obj: Object, old: Object | None) -> Iterator[Complaint]:
    kind, held = obj.get("addressType") or "", obj.get("endpoints") or []
    yield from chosen(kind, "addressType", _TYPES)
    yield from _slice_ports(obj.get("ports") or [])
    if old is None or not same(held, old.get("endpoints") or []):
        yield from _slice_endpoints(held, kind)
    if old is not None:
        yield from immutable("addressType", kind, old.get("addressType"))


def _slice_ports(ports: Sequence[Fields]) -> Iterator[Complaint]:
    if len(ports) > _PORTS_MAX:
        yield too_many("ports", len(ports), _PORTS_MAX)
        return
    names: list[str] = []
    for number, each in enumerate(ports):
        at, name = f"ports[{number}]", each.get("name") or ""
        yield from in_form_if_given(each, at, "name", name_rules.dns1123_label)
        if name in names:
            yield duplicate(f"{at}.name", name)
        names.append(name)
        protocol = each.get("protocol")
        yield from chosen("TCP" if protocol is None else protocol, f"{at}.protocol", PROTOCOLS)
        if each.get("appProtocol") is not None:
            yield from in_form(each["appProtocol"], f"{at}.appProtocol", name_rules.qualified_name)


def _slice_endpoints(held: Sequence[Fields], kind: str) -> Iterator[Complaint]:
    if len(held) > _ENDPOINTS_MAX:
        yield too_many("endpoints", len(held), _ENDPOINTS_MAX)
        return
    for number, each in enumerate(held):
        at = f"endpoints[{number}]"
        addresses = each.get("addresses") or []
        if not addresses:
            yield required(f"{at}.addresses", "must contain at least 1 address")
        elif len(addresses) > _ADDRESSES_MAX:
            yield too_many(f"{at}.addresses", len(addresses), _ADDRESSES_MAX)
        for index, text in enumerate(addresses):
            yield from _slice_address(text, kind, f"{at}.addresses", index)
        if each.get("nodeName") is not None:
            yield from in_form(each["nodeName"], f"{at}.nodeName", name_rules.dns1123_subdomain)
        topology = each.get("deprecatedTopology") or {}
        if len(topology) > _LABELS_MAX:
            yield too_many(f"{at}.deprecatedTopology", len(topology), _LABELS_MAX)
        yield from label_complaints(topology, f"{at}.deprecatedTopology")
        if each.get("hostname") is not None:
            yield from in_form(each["hostname"], f"{at}.hostname", name_rules.dns1123_label)
        yield from _hints(each.get("hints") or {}, f"{at}.hints")


def _slice_address(text: str, kind: str, at: str, index: int) -> Iterator[Complaint]:
    if kind == "FQDN":
        yield from qualified_domain(text, f"{at}[{index}]")
    elif kind in _TYPES:
        found = sloppy_address(text)
        if found is None:
            yield from address(text, f"{at}[{index}]")
            return
        if kind == "IPv6" and str(found) != text:
            yield invalid_value(f"{at}[{index}]", text, f'must be in canonical form ("{found}")')
            return
        if kind != f"IPv{found.version}":
            yield invalid_value(at, text, f"must be an {kind} address")
        yield from endpoint_address(text, f"{at}[{index}]")


def qualified_domain(name: str, at: str) -> Iterator[Complaint]:
    if not name:
        yield required(at)
        return
    plain = name.removesuffix(".")
    problems = name_rules.dns1123_subdomain(plain)
    if problems:
        yield invalid_value(at, plain, ",".join(problems))
    elif "." not in plain:
        yield invalid_value(at, plain, "should be a domain with at least two segments separated by dots")
    else:
        for label in plain.split("."):
            found = name_rules.dns1123_label(label)
            if found:
                yield invalid_value(at, label, ",".join(found))
                return


def _hints(hints: Fields, at: str) -> Iterator[Complaint]:
    rules: tuple[tuple[str, Any], ...] = (
        ("forZones", name_rules.label_value),
        ("forNodes", name_rules.dns1123_subdomain),
    )
    for field, rule in rules:
        held = hints.get(field) or []
        if len(held) > _HINTS_MAX:
            yield too_many(f"{at}.{field}", len(held), _HINTS_MAX)
            return
        names: list[str] = []
        for number, each in enumerate(held):
            name = each.get("name") or ""
            if name in names:
                yield duplicate(f"{at}.{field}[{number}].name", name)
            names.append(name)
            yield from in_form(name, f"{at}.{field}[{number}].name", rule)
