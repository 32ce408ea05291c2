"""Containers of all three kinds: names, images, ports, mounts, devices, restarts."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tiphys.cluster.apiserver.problems import Complaint, forbidden_value, invalid_value, required, unsupported
from tiphys.cluster.apiserver.rules.amounts import requirement_complaints
from tiphys.cluster.apiserver.rules.environment import environment_source_complaints, variable_complaints
from tiphys.cluster.apiserver.rules.handlers import PROBES, lifecycle_complaints, probe_complaints
from tiphys.cluster.apiserver.rules.security import container_context
from tiphys.cluster.apiserver.rules.values import (
    PROTOCOLS,
    Fields,
    chosen,
    duplicate,
    in_form,
    inside,
    missing,
    named,
    port,
    port_name,
    too_long,
    without_dots,
)
from tiphys.lang import name_rules

_POLICIES: Final = ("Always", "Never", "OnFailure")
_ONLY_SIDECARS: Final = "may not be set for init containers without restartPolicy=Always"


@dataclass(frozen=True)
class Around:
    """What the containers of a pod need to know of it. ``grace``: its seconds to end; ``system``: its operating system,
    None where it names none; ``volumes`` and ``claims`` by name."""

    volumes: Mapping[str, Fields]
    claims: Collection[str]
    grace: int | None
    system: str | None
    restart_policy: str
    host_users: bool


def container_complaints(spec: Fields, at: str, around: Around) -> Iterator[Complaint]:
    """All containers of a pod."""
    containers, init = spec.get("containers") or [], spec.get("initContainers") or []
    if not containers:
        yield required(f"{at}.containers")
    yield from _plain(containers, f"{at}.containers", around)
    yield from _initial(init, f"{at}.initContainers", around, {c.get("name") or "" for c in containers})
    ephemeral = spec.get("ephemeralContainers") or []
    others = {c.get("name") or "" for c in (*containers, *init)}
    yield from _ephemeral(ephemeral, f"{at}.ephemeralContainers", around, others)


def _plain(containers: Sequence[Fields], at: str, around: Around) -> Iterator[Complaint]:
    names: set[str] = set()
    for number, container in enumerate(containers):
        here, name = f"{at}[{number}]", container.get("name") or ""
        yield from _common(container, here, around)
        if name in names:
            yield duplicate(f"{here}.name", name)
        names.add(name)
        yield from _life(container, here, around)
        yield from _restart_rules(container, here)
    yield from _host_ports(containers, at)


def _initial(containers: Sequence[Fields], at: str, around: Around, names: set[str]) -> Iterator[Complaint]:
    for number, container in enumerate(containers):
        here, name = f"{at}[{number}]", container.get("name") or ""
        policy, rules = container.get("restartPolicy"), container.get("restartPolicyRules") or []
        yield from _common(container, here, around)
        if policy == "Always" and rules:
            text = "restartPolicyRules are not allowed for init containers with restart policy Always"
            yield forbidden_value(f"{here}.restartPolicyRules", text)
        elif policy != "Always" and (policy is not None or not rules):
            yield from _restart_rules(container, here)
        elif policy is None:
            yield required(f"{here}.restartPolicy", "must specify restartPolicy when restart rules are used")
        if name in names:
            yield duplicate(f"{here}.name", name)
        if name:
            names.add(name)
        yield from _host_ports([container], at)
        if policy == "Always":
            yield from _life(container, here, around)
        else:
            for field in ("lifecycle", *PROBES):
                if container.get(field) is not None:
                    yield forbidden_value(f"{here}.{field}", _ONLY_SIDECARS)


def _life(container: Fields, at: str, around: Around) -> Iterator[Complaint]:
    if container.get("lifecycle") is not None:
        yield from lifecycle_complaints(container["lifecycle"], f"{at}.lifecycle", around.grace, around.system)
    yield from probe_complaints(container, at, around.grace)


def _ephemeral(containers: Sequence[Fields], at: str, around: Around, others: set[str]) -> Iterator[Complaint]:
    names = set(others)
    for number, container in enumerate(containers):
        here, name = f"{at}[{number}]", container.get("name") or ""
        yield from _common(container, here, around)
        yield from untrimmed_image(container, here)
        if name in names:
            yield duplicate(f"{here}.name", name)
        names.add(name)
        target = container.get("targetContainerName") or ""
        if target and target not in others:
            yield missing(f"{here}.targetContainerName", target)
        yield from _only_for_lasting(container, here)
        for index, mount in enumerate(container.get("volumeMounts") or ()):
            for field in ("subPath", "subPathExpr"):
                if mount.get(field):
                    text = "cannot be set for an Ephemeral Container"
                    yield forbidden_value(f"{here}.volumeMounts[{index}].{field}", text)


_LASTING_FIELDS: Final = (
    "ports",
    "resources",
    "resizePolicy",
    "restartPolicy",
    "restartPolicyRules",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
)


def _only_for_lasting(container: Fields, at: str) -> Iterator[Complaint]:
    for field in _LASTING_FIELDS:
        if container.get(field):
            yield forbidden_value(f"{at}.{field}", "cannot be set for an Ephemeral Container")


def untrimmed_image(container: Fields, at: str) -> Iterator[Complaint]:
    image = container.get("image") or ""
    if image != image.strip():
        yield invalid_value(f"{at}.image", image, "must not have leading or trailing whitespace")


def _common(container: Fields, at: str, around: Around) -> Iterator[Complaint]:
    yield from named(container, at, "name", name_rules.dns1123_label)
    if not container.get("image"):
        yield required(f"{at}.image")
    policy = container.get("terminationMessagePolicy")
    yield from chosen(policy, f"{at}.terminationMessagePolicy", ("File", "FallbackToLogsOnError"))
    if container.get("ports"):
        yield from _ports(container["ports"], f"{at}.ports")
    yield from variable_complaints(container.get("env") or (), f"{at}.env")
    yield from environment_source_complaints(container.get("envFrom") or (), f"{at}.envFrom")
    yield from _mounts(container, f"{at}.volumeMounts", around)
    yield from _devices(container, f"{at}.volumeDevices", around)
    yield from chosen(container.get("imagePullPolicy"), f"{at}.imagePullPolicy", ("Always", "IfNotPresent", "Never"))
    if container.get("resources"):
        yield from requirement_complaints(container["resources"], f"{at}.resources", around.claims)
    yield from _resize_policies(container.get("resizePolicy") or (), f"{at}.resizePolicy", around.restart_policy)
    if container.get("securityContext"):
        context = container["securityContext"]
        yield from container_context(context, f"{at}.securityContext", host_users=around.host_users)


# Ports


def _ports(ports: Sequence[Fields], at: str) -> Iterator[Complaint]:
    names: set[str] = set()
    for number, each in enumerate(ports):
        here, name = f"{at}[{number}]", each.get("name") or ""
        problems = port_name(name) if name else []
        yield from in_form(name, f"{here}.name", lambda _, found=problems: found)  # type: ignore[misc]
        if name and not problems:
            if name in names:
                yield duplicate(f"{here}.name", name)
            names.add(name)
        if not each.get("containerPort"):
            yield required(f"{here}.containerPort")
        else:
            yield from port(each["containerPort"], f"{here}.containerPort")
        if each.get("hostPort"):
            yield from port(each["hostPort"], f"{here}.hostPort")
        yield from chosen(each.get("protocol"), f"{here}.protocol", PROTOCOLS)


def _host_ports(containers: Sequence[Fields], at: str) -> Iterator[Complaint]:
    taken: set[str] = set()
    for number, container in enumerate(containers):
        for index, each in enumerate(container.get("ports") or ()):
            if each.get("hostPort"):
                place = f"{each.get('protocol') or ''}/{each.get('hostIP') or ''}/{each['hostPort']}"
                if place in taken:
                    yield duplicate(f"{at}[{number}].ports[{index}].hostPort", place)
                taken.add(place)


# Mounts and devices


def _mounts(container: Fields, at: str, around: Around) -> Iterator[Complaint]:
    devices = {each.get("name") or "": each.get("devicePath") or "" for each in container.get("volumeDevices") or ()}
    paths: set[str] = set()
    for number, mount in enumerate(container.get("volumeMounts") or ()):
        here = f"{at}[{number}]"
        name, path = mount.get("name") or "", mount.get("mountPath") or ""
        if not name:
            yield required(f"{here}.name")
        if name not in around.volumes:
            yield missing(f"{here}.name", name)
        if not path:
            yield required(f"{here}.mountPath")
        if path in paths:
            yield invalid_value(f"{here}.mountPath", path, "must be unique")
        paths.add(path)
        if name in devices:
            yield invalid_value(f"{here}.name", name, "must not already exist in volumeDevices")
        if path in devices.values():
            text = "must not already exist as a path in volumeDevices"
            yield invalid_value(f"{here}.mountPath", path, text)
        yield from _sub_paths(mount, at, here)
        yield from _propagation(mount, container, at)


def _sub_paths(mount: Fields, at: str, here: str) -> Iterator[Complaint]:
    """Paths are told of the whole list, as the original does."""
    path, expression = mount.get("subPath") or "", mount.get("subPathExpr") or ""
    if path:
        yield from inside(path, f"{at}.subPath")
    if expression:
        if path:
            text = "subPathExpr and subPath are mutually exclusive"
            yield invalid_value(f"{here}.subPathExpr", expression, text)
        yield from inside(expression, f"{at}.subPathExpr")


def _propagation(mount: Fields, container: Fields, at: str) -> Iterator[Complaint]:
    mode, recursive = mount.get("mountPropagation"), mount.get("recursiveReadOnly")
    if mode is not None:
        modes = ("Bidirectional", "HostToContainer", "None")
        if mode not in modes:
            yield unsupported(f"{at}.mountPropagation", mode, modes)
        if mode == "Bidirectional" and not (container.get("securityContext") or {}).get("privileged"):
            text = "Bidirectional mount propagation is available only to privileged containers"
            yield forbidden_value(f"{at}.mountPropagation", text)
    if recursive in ("Enabled", "IfPossible"):
        if not mount.get("readOnly"):
            yield forbidden_value(f"{at}.recursiveReadOnly", "may only be specified when readOnly is true")
        if mode not in (None, "None"):
            text = "may only be specified when mountPropagation is None or not specified"
            yield forbidden_value(f"{at}.recursiveReadOnly", text)
    elif recursive not in (None, "Disabled"):
        yield unsupported(f"{at}.recursiveReadOnly", recursive, ("Disabled", "Enabled", "IfPossible"))


def _devices(container: Fields, at: str, around: Around) -> Iterator[Complaint]:
    mounts = {each.get("name") or "": each.get("mountPath") or "" for each in container.get("volumeMounts") or ()}
    paths: set[str] = set()
    names: set[str] = set()
    for number, device in enumerate(container.get("volumeDevices") or ()):
        here = f"{at}[{number}]"
        name, path = device.get("name") or "", device.get("devicePath") or ""
        volume = around.volumes.get(name)
        if not name:
            yield required(f"{here}.name")
        if name in names:
            yield invalid_value(f"{here}.name", name, "must be unique")
        if volume is None:
            yield missing(f"{here}.name", name)
        elif volume.get("persistentVolumeClaim") is None and volume.get("ephemeral") is None:
            text = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"
            yield invalid_value(f"{here}.name", name, text)
        if not path:
            yield required(f"{here}.devicePath")
        if path in paths:
            yield invalid_value(f"{here}.devicePath", path, "must be unique")
        if list(without_dots(path, "")):
            yield invalid_value(f"{here}.devicePath", path, "can not contain backsteps ('..')")
        else:
            paths.add(path)
        if name in mounts:
            yield invalid_value(f"{here}.name", name, "must not already exist in volumeMounts")
        if path in mounts.values():
            yield invalid_value(f"{here}.devicePath", path, "must not already exist as a path in volumeMounts")
        if name:
            names.add(name)


# Policies


def _resize_policies(policies: Sequence[Fields], at: str, restart_policy: str) -> Iterator[Complaint]:
    seen: set[str] = set()
    for number, each in enumerate(policies):
        name, policy = each.get("resourceName") or "", each.get("restartPolicy") or ""
        if name in seen:
            yield duplicate(f"{at}[{number}]", name)
        seen.add(name)
        yield from chosen(name, at, ("cpu", "memory"))
        yield from chosen(policy, at, ("NotRequired", "RestartContainer"))
        if restart_policy == "Never" and policy != "NotRequired":
            yield invalid_value(at, policy, "must be 'NotRequired' when `restartPolicy` is 'Never'")


def _restart_rules(container: Fields, at: str) -> Iterator[Complaint]:
    policy, rules = container.get("restartPolicy"), container.get("restartPolicyRules") or []
    if policy is None and rules:
        yield required(f"{at}.restartPolicy", "must specify restartPolicy when restart rules are used")
    elif policy is not None and policy not in _POLICIES:
        yield unsupported(f"{at}.restartPolicy", policy, _POLICIES)
    if len(rules) > 20:
        yield too_long(f"{at}.restartPolicyRules", 20)
    for number, rule in enumerate(rules):
        here, codes = f"{at}.restartPolicyRules[{number}]", rule.get("exitCodes")
        action: Any = rule.get("action") or ""
        if action != "Restart":
            yield unsupported(f"{here}.action", action, ("Restart",))
        if codes is None:
            yield required(f"{here}.exitCodes", "must be specified")
            continue
        operator = codes.get("operator") or ""
        if operator not in ("In", "NotIn"):
            yield unsupported(f"{here}.exitCodes.operator", operator, ("In", "NotIn"))
        if len(codes.get("values") or ()) > 255:
            yield too_long(f"{here}.exitCodes.values", 255)
