"""Why a node does not take a pod at all: no room, ports taken, kernel parameters that it does not hand out. Pure.

A kubelet's last word on a pod that a scheduler (or its own ``nodeName``) sent here; the pod fails with the reason
(kubernetes pkg/kubelet/lifecycle/predicate.go, pkg/kubelet/sysctl).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tiphys.cluster.node.amounts import amount

Object = Mapping[str, Any]

# What belongs to one namespace alone and cannot harm others (sysctl/safe_sysctls.go).
SAFE_SYSCTLS = frozenset(
    {
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ping_group_range",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.tcp_wmem",
    }
)
COUNTED = ("cpu", "memory")


def forbidden_sysctl(pod: Object) -> tuple[str, str] | None:
    """(reason, message)"""
    for row in (pod["spec"].get("securityContext") or {}).get("sysctls") or ():
        name = str(row.get("name", "")).replace("/", ".")
        if name not in SAFE_SYSCTLS:
            return "SysctlForbidden", f'forbidden sysctl: "{name}" not allowlisted'
    return None


def no_room(pod: Object, others: Iterable[Object], capacity: Mapping[str, str]) -> tuple[str, str] | None:
    """(reason, message) where the pod's requests do not fit beside those of ``others``, or a port is taken."""
    theirs = list(others)
    for resource in COUNTED:
        wanted, most = requested(pod, resource), whole(capacity.get(resource, "0"), resource)
        used = sum(requested(other, resource) for other in theirs)
        if wanted and wanted + used > most:
            said = f"Node didn't have enough resource: {resource}, requested: {wanted}, used: {used}, capacity: {most}"
            return f"OutOf{resource}", said
    taken = {port for other in theirs for port in host_ports(other)}
    if taken & set(host_ports(pod)):
        return "NodePorts", "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"
    return None


def requested(pod: Object, resource: str) -> int:
    """A pod's request: what its containers ask for together, or its largest init container; milli-CPU, bytes."""
    spec = pod["spec"]
    overall = ((spec.get("resources") or {}).get("requests") or {}).get(resource)
    if overall is not None:
        return whole(str(overall), resource)
    sidecars = 0
    largest = 0
    for container in spec.get("initContainers") or ():
        own = _of_container(container, resource)
        if container.get("restartPolicy") == "Always":
            sidecars += own
            own = 0
        largest = max(largest, own + sidecars)
    together = sidecars + sum(_of_container(c, resource) for c in spec["containers"])
    extra = whole(str((spec.get("overhead") or {}).get(resource, "0")), resource)
    return max(together, largest) + extra


def _of_container(container: Object, resource: str) -> int:
    resources = container.get("resources") or {}
    limit = (resources.get("limits") or {}).get(resource, "0")
    return whole(str((resources.get("requests") or {}).get(resource, limit)), resource)


def whole(text: str, resource: str) -> int:
    """An amount in what it is counted in, rounded up: milli-CPU, bytes."""
    value = amount(text) * (1000 if resource == "cpu" else 1)
    return -(-value.numerator // value.denominator)


def host_ports(pod: Object) -> list[tuple[int, str]]:
    spec = pod["spec"]
    every = (*(spec.get("initContainers") or ()), *spec["containers"])
    rows = [port for container in every for port in container.get("ports") or () if port.get("hostPort")]
    return [(int(port["hostPort"]), str(port.get("protocol") or "TCP")) for port in rows]
