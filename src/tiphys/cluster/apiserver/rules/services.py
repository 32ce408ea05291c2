"""Services: ports, addresses and families, what each type allows, and what may change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from tiphys.api import internal_names
from tiphys.cluster.apiserver.problems import Complaint, forbidden_value, invalid_value, required, unsupported
from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.rules.endpoints import endpoint_address, port_complaints
from tiphys.cluster.apiserver.rules.values import (
    Fields,
    address,
    chosen,
    cidr,
    duplicate,
    given_one_of,
    in_form,
    labels,
    port,
    port_or_name,
    sloppy_address,
)
from tiphys.lang import name_rules

_TYPES: Final = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_EXPOSED: Final = ("NodePort", "LoadBalancer")
_HINTS, _MODE = "service.kubernetes.io/topology-aware-hints", "service.kubernetes.io/topology-mode"
_SOURCE_RANGES: Final = "service.beta.kubernetes.io/load-balancer-source-ranges"
_FAMILIES: Final = ("IPv4", "IPv6")
_FAMILY_POLICIES: Final = ("PreferDualStack", "RequireDualStack", "SingleStack")
_ONE_DAY: Final = 86_400
_ONLY_BALANCED: Final = "may only be used when `type` is 'LoadBalancer'"


def service(obj: Object, old: Object | None) -> Iterator[Complaint]:
    spec, annotations = obj.get("spec") or {}, obj["metadata"].get("annotations") or {}
    if old is not None:
        yield from _changes(spec, old.get("spec") or {})
    hints, mode = annotations.get(_HINTS), annotations.get(_MODE)
    if hints is not None and mode is not None and hints != mode:
        text = f"must match annotations[{_HINTS}] when both are specified"
        yield invalid_value(f"metadata.annotations[{_MODE}]", mode, text)
    yield from _of_type(spec)
    names: set[str] = set()
    ports = spec.get("ports") or []
    for number, each in enumerate(ports):
        at = f"spec.ports[{number}]"
        yield from port_complaints(each, at, needs_name=len(ports) > 1, names=names)
        yield from port_or_name(each.get("targetPort") or 0, f"{at}.targetPort")
        if each.get("appProtocol") is not None:
            yield from in_form(each["appProtocol"], f"{at}.appProtocol", name_rules.qualified_name)
    yield from labels(spec, "spec", "selector")
    yield from _affinity(spec)
    if spec.get("type") != "ExternalName":
        yield from address_complaints(spec)
    yield from _external(spec)
    yield from chosen(spec.get("type"), "spec.type", _TYPES)
    yield from _same_ports(spec)
    yield from _source_ranges(spec, annotations)
    yield from _balancer(spec)
    yield from _traffic(spec)


def _is_headless(spec: Fields) -> bool:
    return spec.get("clusterIPs") == ["None"]


def _of_type(spec: Fields) -> Iterator[Complaint]:
    kind, headless = spec.get("type"), _is_headless(spec)
    if not spec.get("ports") and not headless and kind != "ExternalName":
        yield required("spec.ports")
    if kind in _EXPOSED and headless:
        yield invalid_value("spec.clusterIPs[0]", "None", f"may not be set to 'None' for {kind} services")
    if kind == "ExternalName":
        for field in ("clusterIPs", "ipFamilies", "ipFamilyPolicy"):
            if spec.get(field):
                yield forbidden_value(f"spec.{field}", "may not be set for ExternalName services")
        name = (spec.get("externalName") or "").removesuffix(".")
        if name:
            yield from in_form(name, "spec.externalName", name_rules.dns1123_subdomain)
        else:
            yield required("spec.externalName")


def _affinity(spec: Fields) -> Iterator[Complaint]:
    affinity, config, at = spec.get("sessionAffinity"), spec.get("sessionAffinityConfig"), "spec.sessionAffinityConfig"
    yield from chosen(affinity, "spec.sessionAffinity", ("ClientIP", "None"))
    if affinity == "None" and config is not None:
        yield forbidden_value(at, "must not be set when session affinity is None")
    if affinity != "ClientIP":
        return
    client = (config or {}).get("clientIP")
    text = "when session affinity type is ClientIP"
    if config is None:
        yield required(at, text)
    elif client is None:
        yield required(f"{at}.clientIP", text)
    elif client.get("timeoutSeconds") is None:
        yield required(f"{at}.clientIP.timeoutSeconds", text)
    elif not 0 < client["timeoutSeconds"] <= _ONE_DAY:
        limits = f"must be greater than 0 and less than {_ONE_DAY}"
        yield invalid_value(f"{at}.clientIP.timeoutSeconds", client["timeoutSeconds"], limits)


def address_complaints(spec: Fields) -> Iterator[Complaint]:
    """Cluster IPs and their families."""
    first, addresses = spec.get("clusterIP") or "", spec.get("clusterIPs") or []
    families = spec.get("ipFamilies") or []
    if first and not addresses:
        yield required("spec.clusterIPs")
    elif first and addresses[0] != first:
        yield invalid_value("spec.clusterIPs", addresses, "first value must match `clusterIP`")
    elif addresses and not first:
        yield invalid_value("spec.clusterIPs", addresses, "must be empty when `clusterIP` is not specified")
    for number, family in enumerate(families):
        if family not in _FAMILIES:
            yield unsupported(f"spec.ipFamilies[{number}]", family, _FAMILIES)
        if family in families[:number]:
            yield duplicate(f"spec.ipFamilies[{number}]", family)
    yield from given_one_of(spec, "spec", "ipFamilyPolicy", _FAMILY_POLICIES)
    bad = list(_bad_addresses(addresses))
    yield from bad
    if len(addresses) > 2:
        yield invalid_value("spec.clusterIPs", addresses, "may only hold up to 2 values")
    if not any(complaint.field != "spec.clusterIPs" or "'None'" in complaint.message for complaint in bad):
        yield from _address_families(spec, addresses, families)


def _bad_addresses(addresses: Sequence[str]) -> Iterator[Complaint]:
    for number, text in enumerate(addresses):
        if number == 0 and text == "None":
            if len(addresses) > 1:
                yield invalid_value("spec.clusterIPs", addresses, "'None' must be the first and only value")
        else:
            yield from address(text, f"spec.clusterIPs[{number}]")


def _address_families(spec: Fields, addresses: Sequence[str], families: Sequence[str]) -> Iterator[Complaint]:
    versions = [found.version for text in addresses if (found := sloppy_address(text)) is not None]
    if len(addresses) > 1 and len(set(versions)) < 2:
        yield invalid_value("spec.clusterIPs", addresses, "may specify no more than one IP for each IP family")
    if _is_headless(spec):
        return
    for number, (text, family) in enumerate(zip(addresses, families, strict=False)):
        found = sloppy_address(text)
        if found is not None and family in _FAMILIES and family != f"IPv{found.version}":
            expected = f"expected an {family} value as indicated by `ipFamilies[{number}]`"
            yield invalid_value(f"spec.clusterIPs[{number}]", text, expected)


def _external(spec: Fields) -> Iterator[Complaint]:
    for number, text in enumerate(spec.get("externalIPs") or ()):
        bad = list(address(text, f"spec.externalIPs[{number}]"))
        yield from bad or endpoint_address(text, f"spec.externalIPs[{number}]")


def _same_ports(spec: Fields) -> Iterator[Complaint]:
    ports = spec.get("ports") or []
    if spec.get("type") == "ClusterIP":
        for number, each in enumerate(ports):
            if each.get("nodePort"):
                yield forbidden_value(f"spec.ports[{number}].nodePort", "may not be used when `type` is 'ClusterIP'")
    seen: set[tuple[Any, Any]] = set()
    for number, each in enumerate(ports):
        key = (each.get("protocol"), each.get("nodePort"))
        if key[1] and key in seen:
            yield duplicate(f"spec.ports[{number}].nodePort", key[1])
        seen.add(key)
    seen = set()
    for number, each in enumerate(ports):
        key = (each.get("protocol"), each.get("port"))
        if key in seen:
            same = {"protocol": key[0], "port": key[1]}
            yield duplicate(f"spec.ports[{number}]", internal_names.shown("core.ServicePort", same))
        seen.add(key)


def _source_ranges(spec: Fields, annotations: Fields) -> Iterator[Complaint]:
    ranges, balanced = spec.get("loadBalancerSourceRanges") or [], spec.get("type") == "LoadBalancer"
    if ranges:
        if not balanced:
            yield forbidden_value("spec.LoadBalancerSourceRanges", _ONLY_BALANCED)
        for number, text in enumerate(ranges):
            yield from cidr(text.strip(), f"spec.LoadBalancerSourceRanges[{number}]")
    elif _SOURCE_RANGES in annotations:
        at = f"metadata.annotations[{_SOURCE_RANGES}]"
        if not balanced:
            yield forbidden_value(at, _ONLY_BALANCED)
        text = annotations[_SOURCE_RANGES].strip()
        for each in text.split(",") if text else ():
            yield from cidr(each.strip(), at)


def _balancer(spec: Fields) -> Iterator[Complaint]:
    balanced, allocates = spec.get("type") == "LoadBalancer", spec.get("allocateLoadBalancerNodePorts")
    if allocates is not None and not balanced:
        yield forbidden_value("spec.allocateLoadBalancerNodePorts", _ONLY_BALANCED)
    if balanced and allocates is None:
        yield required("allocateLoadBalancerNodePorts")
    yield from _balancer_class(spec)


def _balancer_class(spec: Fields) -> Iterator[Complaint]:
    name = spec.get("loadBalancerClass")
    if name is None:
        return
    if spec.get("type") == "LoadBalancer":
        yield from in_form(name, "spec.loadBalancerClass", name_rules.qualified_name)
    else:
        yield forbidden_value("spec.loadBalancerClass", _ONLY_BALANCED)


def is_exposed(spec: Fields) -> bool:
    """Whether it can be reached from outside."""
    return spec.get("type") in _EXPOSED or (spec.get("type") == "ClusterIP" and bool(spec.get("externalIPs")))


def needs_health_port(spec: Fields) -> bool:
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def _traffic(spec: Fields) -> Iterator[Complaint]:
    policy, health = spec.get("externalTrafficPolicy") or "", spec.get("healthCheckNodePort") or 0
    if is_exposed(spec):
        yield from chosen(policy, "spec.externalTrafficPolicy", ("Cluster", "Local"))
    elif policy:
        text = "may only be set for externally-accessible services"
        yield invalid_value("spec.externalTrafficPolicy", policy, text)
    if needs_health_port(spec):
        if not health:
            yield required("spec.healthCheckNodePort")
        else:
            yield from port(health, "spec.healthCheckNodePort")
    elif health:
        text = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        yield invalid_value("spec.healthCheckNodePort", health, text)
    if spec.get("internalTrafficPolicy") is None and spec.get("type") in (*_EXPOSED, "ClusterIP"):
        yield required("spec.internalTrafficPolicy")
    yield from given_one_of(spec, "spec", "internalTrafficPolicy", ("Cluster", "Local"))
    closest = ("PreferClose", "PreferSameZone", "PreferSameNode")
    yield from given_one_of(spec, "spec", "trafficDistribution", closest)


# Changes


def _changes(spec: Fields, before: Fields) -> Iterator[Complaint]:
    if "ExternalName" not in (spec.get("type"), before.get("type")) and not (
        _is_headless(spec) and _is_headless(before)
    ):
        yield from _address_changes(spec, before)
        yield from _family_changes(spec, before)
    if spec.get("type") == before.get("type") == "LoadBalancer":
        name = spec.get("loadBalancerClass")
        if name != before.get("loadBalancerClass"):
            yield invalid_value("spec.loadBalancerClass", name, "may not change once set")
    yield from _balancer_class(spec)
    both = needs_health_port(spec) and needs_health_port(before)
    if both and spec.get("healthCheckNodePort") != before.get("healthCheckNodePort"):
        yield forbidden_value("spec.healthCheckNodePort", "field is immutable")


def _address_changes(spec: Fields, before: Fields) -> Iterator[Complaint]:
    mine, held = spec.get("clusterIPs") or [], before.get("clusterIPs") or []
    shown = spec.get("clusterIPs")
    if len(mine) == len(held):
        for number, (now, then) in enumerate(zip(mine, held, strict=True)):
            if now != then:
                yield invalid_value(f"spec.clusterIPs[{number}]", mine, "may not change once set")
        return
    if not mine:
        yield invalid_value("spec.clusterIPs[0]", shown, "primary clusterIP can not be unset")
    elif held and mine[0] != held[0]:
        yield invalid_value("spec.clusterIPs[0]", mine, "may not change once set")
    if len(held) > len(mine) == 1 and spec.get("ipFamilyPolicy") != "SingleStack":
        text = "must be set to 'SingleStack' when releasing the secondary clusterIP"
        yield invalid_value("spec.ipFamilyPolicy", spec.get("ipFamilyPolicy"), text)


def _family_changes(spec: Fields, before: Fields) -> Iterator[Complaint]:
    mine, held = spec.get("ipFamilies") or [], before.get("ipFamilies") or []
    if _is_headless(spec) or _is_headless(before):
        return
    if len(mine) == len(held):
        for number, (now, then) in enumerate(zip(mine, held, strict=True)):
            if now != then:
                yield invalid_value(f"spec.ipFamilies[{number}]", mine, "may not change once set")
        return
    if not mine:
        yield invalid_value("spec.ipFamilies[0]", spec.get("ipFamilies"), "primary ipFamily can not be unset")
    elif held and mine[0] != held[0]:
        yield invalid_value("spec.ipFamilies[0]", mine, "may not change once set")
    if len(held) > len(mine) == 1 and spec.get("ipFamilyPolicy") != "SingleStack":
        text = "must be set to 'SingleStack' when releasing the secondary ipFamily"
        yield invalid_value("spec.ipFamilyPolicy", spec.get("ipFamilyPolicy"), text)


def service_status(obj: Object, old: Object) -> Iterator[Complaint]:
    del old
    spec, status = obj.get("spec") or {}, (obj.get("status") or {}).get("loadBalancer") or {}
    if spec.get("type") != "LoadBalancer" and status.get("ingress"):
        text = "may only be used when `spec.type` is 'LoadBalancer'"
        yield forbidden_value("status.loadBalancer.ingress", text)
    else:
        yield from balancer_status(status, has_modes=True)


def balancer_status(status: Fields, *, has_modes: bool) -> Iterator[Complaint]:
    """Where a load balancer is; ``has_modes``: a Service's says how packets come."""
    for number, point in enumerate(status.get("ingress") or ()):
        at = f"status.loadBalancer.ingress[{number}]"
        text, mode, host = point.get("ip") or "", point.get("ipMode"), point.get("hostname") or ""
        if text:
            yield from address(text, f"{at}.ip")
        if has_modes:
            yield from _mode(mode, text, f"{at}.ipMode")
        if host:
            yield from in_form(host, f"{at}.hostname", name_rules.dns1123_subdomain)
            if sloppy_address(host) is not None:
                yield invalid_value(f"{at}.hostname", host, "must be a DNS name, not an IP address")


def _mode(mode: str | None, text: str, at: str) -> Iterator[Complaint]:
    if mode is None and text:
        yield required(at, "must be specified when `ip` is set")
    elif mode is not None and not text:
        yield forbidden_value(at, "may not be specified when `ip` is not set")
    elif mode is not None and mode not in ("Proxy", "VIP"):
        yield unsupported(at, mode, ("Proxy", "VIP"))
