"""Ingresses and their classes, network policies, service networks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import ip_address, ip_network
from typing import Any, Final

from tiphys.api import internal_names
from tiphys.cluster.apiserver.problems import Complaint, forbidden_value, invalid_value, required, unsupported
from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.rules.paths import named_segment, prefixed_path, segment
from tiphys.cluster.apiserver.rules.values import (
    IMMUTABLE,
    Fields,
    cidr,
    immutable,
    in_form,
    in_form_if_given,
    port,
    port_name,
    selector,
    sloppy_address,
    sloppy_network,
    too_long,
)
from tiphys.lang import name_rules

CONTROLLER_MAX: Final = 250
_OLD_CLASS: Final = "kubernetes.io/ingress.class"
_PATH_TYPES: Final = ("Exact", "ImplementationSpecific", "Prefix")
_BAD_SEQUENCES: Final = ("//", "/./", "/../", "%2f", "%2F")
_BAD_ENDS: Final = ("/..", "/.")


def ingress(obj: Object, old: Object | None) -> Iterator[Complaint]:
    spec, annotations = obj.get("spec") or {}, obj["metadata"].get("annotations") or {}
    rules, default = spec.get("rules") or [], spec.get("defaultBackend")
    if not rules and default is None:
        told: list[Any] | None = None if spec.get("rules") is None else []
        yield invalid_value("spec", told, "either `defaultBackend` or `rules` must be specified")
    if default is not None:
        yield from _backend(default, "spec.defaultBackend")
    for number, rule in enumerate(rules):
        yield from _rule(rule, f"spec.rules[{number}]")
    for number, tls in enumerate(spec.get("tls") or ()):
        for index, host in enumerate(tls.get("hosts") or ()):
            yield from in_form(host, f"spec.tls[{number}].hosts[{index}]", _host_rule)
        yield from in_form_if_given(tls, f"spec.tls[{number}]", "secretName", name_rules.dns1123_subdomain)
    if spec.get("ingressClassName") is not None:
        yield from in_form(spec["ingressClassName"], "spec.ingressClassName", name_rules.dns1123_subdomain)
        said = annotations.get(_OLD_CLASS)
        if old is None and said is not None and said != spec["ingressClassName"]:
            text = "must match `ingressClassName` when both are specified"
            yield invalid_value(f"annotations.{_OLD_CLASS}", said, text)


def _host_rule(host: str) -> list[str]:
    return name_rules.wildcard_subdomain(host) if "*" in host else name_rules.dns1123_subdomain(host)


def _rule(rule: Fields, at: str) -> Iterator[Complaint]:
    host, http = rule.get("host") or "", rule.get("http")
    if host:
        if sloppy_address(host) is not None:
            yield invalid_value(f"{at}.host", host, "must be a DNS name, not an IP address")
        yield from in_form(host, f"{at}.host", _host_rule)
    if http is None:
        return
    paths = http.get("paths") or []
    if not paths:
        yield required(f"{at}.http.paths")
    for number, path in enumerate(paths):
        yield from _path(path, f"{at}.http.paths[{number}]")


def _path(path: Fields, at: str) -> Iterator[Complaint]:
    kind, text = path.get("pathType"), path.get("path") or ""
    if kind is None:
        yield required(f"{at}.pathType", "pathType must be specified")
        return
    if kind in ("Exact", "Prefix"):
        if not text.startswith("/"):
            yield invalid_value(f"{at}.path", text, "must be an absolute path")
        for bad in _BAD_SEQUENCES:
            if bad in text:
                yield invalid_value(f"{at}.path", text, f"must not contain '{bad}'")
        for bad in _BAD_ENDS:
            if text.endswith(bad):
                yield invalid_value(f"{at}.path", text, f"cannot end with '{bad}'")
    elif kind == "ImplementationSpecific":
        if text and not text.startswith("/"):
            yield invalid_value(f"{at}.path", text, "must be an absolute path")
    else:
        yield unsupported(f"{at}.pathType", kind, _PATH_TYPES)
    yield from _backend(path.get("backend") or {}, f"{at}.backend")


def _backend(backend: Fields, at: str) -> Iterator[Complaint]:
    resource, service = backend.get("resource"), backend.get("service")
    if resource is not None and service is not None:
        yield invalid_value(at, "", "cannot set both resource and service backends")
    elif resource is not None:
        yield from _typed_reference(resource, f"{at}.resource")
    elif service is not None:
        yield from _service_backend(service, at)
    else:
        yield invalid_value(at, "", "resource or service backend is required")


def _service_backend(service: Fields, at: str) -> Iterator[Complaint]:
    if not service.get("name"):
        yield required(f"{at}.service.name")
    else:
        yield from in_form(service["name"], f"{at}.service.name", name_rules.dns1035_label)
    name, number = ((service.get("port") or {}).get(field) for field in ("name", "number"))
    if name and number:
        yield invalid_value(at, "", "cannot set both port name & port number")
    elif name:
        yield from in_form(name, f"{at}.service.port.name", port_name)
    elif number:
        yield from port(number, f"{at}.service.port.number")
    else:
        yield required(at, "port name or number is required")


def _typed_reference(reference: Fields, at: str) -> Iterator[Complaint]:
    if reference.get("apiGroup") is not None:
        yield from in_form(reference["apiGroup"], f"{at}.apiGroup", name_rules.dns1123_subdomain)
    yield from named_segment(reference, at, "kind")
    yield from named_segment(reference, at, "name")


def ingress_class(obj: Object, old: Object | None) -> Iterator[Complaint]:
    spec = obj.get("spec") or {}
    controller, parameters = spec.get("controller") or "", spec.get("parameters")
    if old is not None:
        yield from immutable("spec.controller", controller, (old.get("spec") or {}).get("controller"))
    if len(controller.encode()) > CONTROLLER_MAX:
        yield too_long("spec.controller", CONTROLLER_MAX)
    yield from prefixed_path(controller, "spec.controller")
    if parameters is not None:
        yield from _parameters(parameters, "spec.parameters")


def _parameters(parameters: Fields, at: str) -> Iterator[Complaint]:
    yield from _typed_reference(parameters, at)
    scope, namespace = parameters.get("scope"), parameters.get("namespace")
    if scope is None:
        yield required(f"{at}.scope")
    elif scope not in ("Cluster", "Namespace"):
        yield unsupported(f"{at}.scope", scope, ("Cluster", "Namespace"))
    elif scope == "Namespace":
        if namespace is None:
            yield required(f"{at}.namespace", "`parameters.scope` is set to 'Namespace'")
        else:
            yield from in_form(namespace, f"{at}.namespace", name_rules.dns1123_label)
    elif namespace is not None:
        yield forbidden_value(f"{at}.namespace", "`parameters.scope` is set to 'Cluster'")


# Network policies


def network_policy(obj: Object, old: Object | None) -> Iterator[Complaint]:
    del old
    spec = obj.get("spec") or {}
    yield from selector(spec.get("podSelector"), "spec.podSelector")
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        for number, rule in enumerate(spec.get(direction) or ()):
            at = f"spec.{direction}[{number}]"
            for index, each in enumerate(rule.get("ports") or ()):
                yield from _policy_port(each, f"{at}.ports[{index}]")
            for index, peer in enumerate(rule.get(peers) or ()):
                yield from _peer(peer, f"{at}.{peers}[{index}]")
    kinds = spec.get("policyTypes") or []
    if len(kinds) > 2:
        yield invalid_value("spec.policyTypes", kinds, "may not specify more than two policyTypes")
        return
    for number, kind in enumerate(kinds):
        if kind not in ("Ingress", "Egress"):
            yield unsupported(f"spec.policyTypes[{number}]", kind, ("Ingress", "Egress"))


def _policy_port(each: Fields, at: str) -> Iterator[Complaint]:
    protocol, number, end = each.get("protocol"), each.get("port"), each.get("endPort")
    if protocol not in (None, "TCP", "UDP", "SCTP"):
        yield unsupported(f"{at}.protocol", protocol, ("TCP", "UDP", "SCTP"))
    if isinstance(number, str):
        if end is not None:
            yield invalid_value(f"{at}.endPort", end, "may not be specified when `port` is non-numeric")
        yield from in_form(number, f"{at}.port", port_name)
    elif number is not None:
        yield from port(number, f"{at}.port")
        if end is not None:
            if end < number:
                yield invalid_value(f"{at}.endPort", number, "must be greater than or equal to `port`")
            yield from port(end, f"{at}.endPort")
    elif end is not None:
        yield invalid_value(f"{at}.endPort", end, "may not be specified when `port` is not specified")


def _peer(peer: Fields, at: str) -> Iterator[Complaint]:
    given = [field for field in ("podSelector", "namespaceSelector", "ipBlock") if peer.get(field) is not None]
    for field in given:
        if field != "ipBlock":
            yield from selector(peer[field], f"{at}.{field}")
        else:
            yield from _block(peer[field], f"{at}.{field}")
    if not given:
        yield required(at, "must specify a peer")
    elif len(given) > 1 and "ipBlock" in given:
        yield forbidden_value(at, "may not specify both ipBlock and another peer")


def _block(block: Fields, at: str) -> Iterator[Complaint]:
    if not block.get("cidr"):
        yield required(f"{at}.cidr")
        return
    yield from cidr(block["cidr"], f"{at}.cidr")
    whole = sloppy_network(block["cidr"])
    for number, text in enumerate(block.get("except") or () if whole is not None else ()):
        yield from cidr(text, f"{at}.except[{number}]")
        part = sloppy_network(text)
        if part is not None and whole is not None and not _is_inside(part, whole):
            yield invalid_value(f"{at}.except[{number}]", text, "must be a strict subset of `cidr`")


def _is_inside(part: Any, whole: Any) -> bool:
    if part.version != whole.version:
        return False
    return part.network_address in whole and whole.prefixlen < part.prefixlen


# Service networks


def ip_address_object(obj: Object, old: Object | None) -> Iterator[Complaint]:
    reference = (obj.get("spec") or {}).get("parentRef")
    if old is not None:
        before = (old.get("spec") or {}).get("parentRef")
        yield from immutable("spec.parentRef", reference, before, "*networking.ParentReference")
        return
    if reference is None:
        yield required("spec.parentRef")
        return
    yield from in_form_if_given(reference, "spec.parentRef", "group", name_rules.dns1123_subdomain)
    yield from named_segment(reference, "spec.parentRef", "resource")
    yield from named_segment(reference, "spec.parentRef", "name")
    yield from in_form_if_given(reference, "spec.parentRef", "namespace", segment)


def address_name(name: str) -> list[str]:
    """The rule of names of IPAddress objects."""
    try:
        found = ip_address(name)
    except ValueError:
        return ["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]
    plain = str(found)
    return [] if plain == name else [f'must be in canonical form ("{plain}")']


def service_cidr(obj: Object, old: Object | None) -> Iterator[Complaint]:
    networks = (obj.get("spec") or {}).get("cidrs") or []
    if old is not None:
        held = (old.get("spec") or {}).get("cidrs") or []
        if len(held) == len(networks) or (len(held) == 1 and len(networks) == 2):
            for number, (before, now) in enumerate(zip(held, networks, strict=False)):
                if before != now:
                    yield invalid_value(f"spec.cidrs[{number}]", now, IMMUTABLE)
            if len(held) == len(networks):
                return
        else:
            yield invalid_value("spec.cidrs", networks, IMMUTABLE)
            return
    yield from _networks(obj, networks)


def _networks(obj: Object, networks: Sequence[str]) -> Iterator[Complaint]:
    if not networks:
        yield required("spec.cidrs", "at least one CIDR required")
    elif len(networks) > 2:
        told = internal_names.shown("networking.ServiceCIDRSpec", obj.get("spec"))
        yield invalid_value("spec.cidrs", told, "may only hold up to 2 values")
    else:
        for number, text in enumerate(networks):
            yield from _canonical_network(text, f"spec.cidrs[{number}]")
        versions = [network.version for text in networks if (network := sloppy_network(text)) is not None]
        if len(versions) == 2 and versions[0] == versions[1]:
            text = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"
            yield invalid_value("spec.cidrs", list(networks), text)


def _canonical_network(text: str, at: str) -> Iterator[Complaint]:
    try:
        found = ip_network(text, strict=False)
    except ValueError:
        yield from cidr(text, at)
        return
    if "/" not in text:
        yield invalid_value(at, text, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)")
    elif str(found) != text:
        if str(found.network_address) != text.partition("/")[0]:
            rest = "must not have bits set beyond the prefix length"
            yield invalid_value(at, text, rest)
        else:
            yield invalid_value(at, text, f'must be in canonical form ("{found}")')
