"""Containers of a pod: names, images, ports, environment, mounts, resources, probes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from tiphys.cluster.apiserver.problems import Complaint, forbidden_value, invalid_value, required, unsupported
from tiphys.cluster.apiserver.rules.values import (
    AT_LEAST_0,
    Fields,
    duplicate,
    in_form,
    inside,
    missing,
    named,
    needed,
    not_negative,
    one_of,
)
from tiphys.lang import name_rules
from tiphys.machinery.quantities import is_quantity, parse

PORT_MAX: Final = 65_535
PORT_NAME_MAX: Final = 15
_PULL_POLICIES: Final = ("Always", "IfNotPresent", "Never")
_PROBES: Final = ("livenessProbe", "readinessProbe", "startupProbe")
_HANDLERS: Final = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")
_TIMES: Final = ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold")
_POD_FIELDS: Final = (
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
)
_SUBSCRIPT: Final = re.compile(r"metadata\.(?:labels|annotations)\['.*'\]")
_AMOUNTS: Final = tuple(
    f"{side}.{name}" for side in ("limits", "requests") for name in ("cpu", "ephemeral-storage", "memory")
)


def container_complaints(spec: Fields, at: str, volumes: set[Any]) -> Iterator[Complaint]:
    """All containers of a pod; ``volumes`` are the names that they may mount."""
    containers = spec.get("containers") or []
    if not containers:
        yield required(f"{at}.containers")
    names: set[str] = set()
    host_ports: set[str] = set()
    for field, group in (("containers", containers), ("initContainers", spec.get("initContainers") or [])):
        for number, container in enumerate(group):
            here = f"{at}.{field}[{number}]"
            yield from _one(container, here, volumes)
            yield from _name_taken(container, here, names)
            stays = field == "containers" or container.get("restartPolicy") == "Always"
            yield from _life_complaints(container, here, stays)
            if stays:
                yield from _host_port_complaints(container, here, host_ports)


def _one(container: Fields, at: str, volumes: set[Any]) -> Iterator[Complaint]:
    yield from named(container, at, "name", name_rules.dns1123_label)
    image = container.get("image") or ""
    if not image:
        yield required(f"{at}.image")
    elif image != image.strip():
        yield invalid_value(f"{at}.image", image, "must not have leading or trailing whitespace")
    yield from one_of(container, at, "terminationMessagePolicy", ("File", "FallbackToLogsOnError"))
    if container.get("ports"):
        yield from _port_complaints(container["ports"], f"{at}.ports")
    for number, variable in enumerate(container.get("env") or ()):
        yield from _variable_complaints(variable, f"{at}.env[{number}]")
    if container.get("volumeMounts"):
        yield from _mount_complaints(container["volumeMounts"], f"{at}.volumeMounts", volumes)
    yield from one_of(container, at, "imagePullPolicy", _PULL_POLICIES)
    if container.get("resources"):
        yield from _resource_complaints(container["resources"], f"{at}.resources")


def _name_taken(container: Fields, at: str, names: set[str]) -> Iterator[Complaint]:
    name = container.get("name") or ""
    if name and name in names:
        yield duplicate(f"{at}.name", name)
    names.add(name)


# Ports


def _port_complaints(ports: list[Fields], at: str) -> Iterator[Complaint]:
    names: set[str] = set()
    for number, port in enumerate(ports):
        here = f"{at}[{number}]"
        name = port.get("name") or ""
        if name:
            yield from in_form(name, f"{here}.name", port_name)
            if name in names:
                yield duplicate(f"{here}.name", name)
            names.add(name)
        if not port.get("containerPort"):
            yield required(f"{here}.containerPort")
        else:
            yield from _port_number(port["containerPort"], f"{here}.containerPort")
        if port.get("hostPort"):
            yield from _port_number(port["hostPort"], f"{here}.hostPort")
        yield from one_of(port, here, "protocol", ("SCTP", "TCP", "UDP"))


def port_name(name: str) -> list[str]:
    """What is wrong with a port's name (IANA service names)."""
    found = []
    if len(name) > PORT_NAME_MAX:
        found.append(f"must be no more than {PORT_NAME_MAX} characters")
    if not re.fullmatch(r"[-a-z0-9]+", name):
        found.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search("[a-z]", name):
        found.append("must contain at least one letter (a-z)")
    if "--" in name:
        found.append("must not contain consecutive hyphens")
    if name.startswith("-") or name.endswith("-"):
        found.append("must not begin or end with a hyphen")
    return found


def _port_number(port: int, at: str) -> Iterator[Complaint]:
    if not 1 <= port <= PORT_MAX:
        yield invalid_value(at, port, f"must be between 1 and {PORT_MAX}, inclusive")


def _host_port_complaints(container: Fields, at: str, taken: set[str]) -> Iterator[Complaint]:
    for number, port in enumerate(container.get("ports") or ()):
        if port.get("hostPort"):
            place = f"{port.get('protocol') or 'TCP'}/{port.get('hostIP') or ''}/{port['hostPort']}"
            if place in taken:
                yield duplicate(f"{at}.ports[{number}].hostPort", place)
            taken.add(place)


# Environment and mounts


def _variable_complaints(variable: Fields, at: str) -> Iterator[Complaint]:
    name, source = variable.get("name") or "", variable.get("valueFrom")
    if not name:
        yield required(f"{at}.name")
    elif "=" in name or not all(" " <= letter <= "~" for letter in name):
        text = "a valid environment variable name must consist only of printable ASCII characters other than '='"
        yield invalid_value(f"{at}.name", name, text)
    if source is None:
        return
    at = f"{at}.valueFrom"
    path = (source.get("fieldRef") or {}).get("fieldPath")
    if path and path not in _POD_FIELDS and not _SUBSCRIPT.fullmatch(path):
        text = f"error converting fieldPath: field label not supported: {path}"
        yield invalid_value(f"{at}.fieldRef.fieldPath", path, text)
    amount = (source.get("resourceFieldRef") or {}).get("resource")
    if amount and amount not in _AMOUNTS and ".hugepages-" not in amount:
        yield unsupported(f"{at}.resourceFieldRef.resource", amount, _AMOUNTS)
    for field in ("configMapKeyRef", "secretKeyRef"):
        if source.get(field) is not None:
            yield from named(source[field], f"{at}.{field}", "key", name_rules.config_map_key)
    if variable.get("value"):
        yield invalid_value(at, "", "may not be specified when `value` is not empty")
    elif sum(value is not None for value in source.values()) > 1:
        yield invalid_value(at, "", "may not have more than one field specified at a time")


def _mount_complaints(mounts: list[Fields], at: str, volumes: set[Any]) -> Iterator[Complaint]:
    paths: set[str] = set()
    for number, mount in enumerate(mounts):
        here = f"{at}[{number}]"
        name, path = mount.get("name") or "", mount.get("mountPath") or ""
        if not name:
            yield required(f"{here}.name")
        if name not in volumes:
            yield missing(f"{here}.name", name)
        if not path:
            yield required(f"{here}.mountPath")
        if path in paths:
            yield invalid_value(f"{here}.mountPath", path, "must be unique")
        paths.add(path)
        for field in ("subPath", "subPathExpr"):
            if mount.get(field):
                yield from inside(mount[field], f"{here}.{field}")


# Resources


def _resource_complaints(resources: Fields, at: str) -> Iterator[Complaint]:
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    for side, amounts in (("limits", limits), ("requests", requests)):
        for name, amount in sorted(amounts.items()):
            if not is_quantity(str(amount)):
                continue
            quantity = parse(str(amount))
            if quantity.sign < 0:
                yield invalid_value(f"{at}.{side}[{name}]", str(amount), AT_LEAST_0)
            elif _is_extended(name) and quantity.as_int64() is None:
                yield invalid_value(f"{at}.{side}[{name}]", str(amount), "must be an integer")
            if side == "requests" and is_quantity(str(limits.get(name, ""))):
                yield from _beside_limit(name, str(amount), str(limits[name]), f"{at}.requests")
    for number, claim in enumerate(resources.get("claims") or ()):
        if claim.get("name") is None:
            yield required(f"{at}.claims[{number}].name")


def _beside_limit(name: str, request: str, limit: str, at: str) -> Iterator[Complaint]:
    order = parse(request).compare(parse(limit))
    if order != 0 and (_is_extended(name) or name.startswith("hugepages-")):
        yield invalid_value(at, request, f"must be equal to {name} limit of {limit}")
    elif order > 0:
        yield invalid_value(at, request, f"must be less than or equal to {name} limit of {limit}")


def _is_extended(name: str) -> bool:
    return "/" in name and "kubernetes.io/" not in name


# Probes and hooks


def _life_complaints(container: Fields, at: str, stays: bool) -> Iterator[Complaint]:
    """Containers that only run before the others have neither probes nor hooks."""
    for field in ("lifecycle", *_PROBES):
        part = container.get(field)
        if part is None:
            continue
        here = f"{at}.{field}"
        if not stays:
            yield forbidden_value(here, "may not be set for init containers without restartPolicy=Always")
        elif field == "lifecycle":
            for hook in ("postStart", "preStop"):
                if part.get(hook) is not None:
                    yield from _handler_complaints(part[hook], f"{here}.{hook}")
        else:
            yield from _handler_complaints(part, here)
            yield from not_negative(part, here, *_TIMES)
            if field == "readinessProbe" and part.get("terminationGracePeriodSeconds") is not None:
                seconds = part["terminationGracePeriodSeconds"]
                text = "must not be set for readinessProbes"
                yield invalid_value(f"{here}.terminationGracePeriodSeconds", seconds, text)


def _handler_complaints(handler: Fields, at: str) -> Iterator[Complaint]:
    kinds = [kind for kind in _HANDLERS if handler.get(kind) is not None]
    if not kinds:
        yield required(at, "must specify a handler type")
        return
    for kind in kinds[1:]:
        yield forbidden_value(f"{at}.{kind}", "may not specify more than 1 handler type")
    action, at = handler[kinds[0]], f"{at}.{kinds[0]}"
    if kinds[0] == "exec":
        yield from needed(action, at, "command")
    elif kinds[0] in ("httpGet", "tcpSocket", "grpc"):
        port = action.get("port") or 0
        yield from in_form(port, f"{at}.port", port_name) if isinstance(port, str) else _port_number(port, f"{at}.port")
