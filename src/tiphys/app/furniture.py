"""What the embedded cluster has before anybody makes something: a node, an account for pods, a class of storage."""

from __future__ import annotations

import contextlib
import os
import platform
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from tiphys import __version__
from tiphys.client.client import Client
from tiphys.cluster.apiserver.version import VERSION
from tiphys.cluster.controllers.plan.claims import HOST_PATHS
from tiphys.cluster.controllers.plan.volumes import DEFAULT_CLASS
from tiphys.cluster.node.report import conditions, lease
from tiphys.machinery.errors import AlreadyExists
from tiphys.machinery.resources import LEASES, NODES, SERVICE_ACCOUNTS, STORAGE_CLASSES, ObjectKey, key_of
from tiphys.machinery.times import to_time

NODE_NAME: Final = "tiphys"
_PODS_MAX: Final = 1000
"""Pods on the embedded node: a process each, not a virtual network card as on a kubelet's 110."""

_STANDARD = {
    "metadata": {"name": "standard", "annotations": {DEFAULT_CLASS: "true"}},
    "provisioner": HOST_PATHS,
    "reclaimPolicy": "Delete",
    "volumeBindingMode": "WaitForFirstConsumer",
    "allowVolumeExpansion": True,
}


async def furnish(client: Client) -> None:
    """What a cluster needs beside its API before the first pod: a node, an account for pods, a class of storage."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    about = {f"{prefix}kubernetes.io/arch": machine for prefix in ("", "beta.")}
    about |= {f"{prefix}kubernetes.io/os": "linux" for prefix in ("", "beta.")}
    node = {
        "metadata": {"name": NODE_NAME, "labels": {"kubernetes.io/hostname": NODE_NAME, **about}},
        "spec": {},
    }
    account = {"metadata": {"name": "default", "namespace": "default"}}
    for resource, obj in ((NODES, node), (SERVICE_ACCOUNTS, account), (STORAGE_CLASSES, _STANDARD)):
        with contextlib.suppress(AlreadyExists):
            await client.create(resource, obj)


async def report_node(client: Client, now: datetime, *, sized: bool) -> None:
    """The node's status. ``sized``: with what this machine has, so that pods are placed by what they request."""
    held = await client.get(NODES, ObjectKey("", NODE_NAME))
    status: dict[str, Any] = {
        "conditions": conditions(to_time(now), "tiphys is ready"),
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}, {"type": "Hostname", "address": NODE_NAME}],
        "nodeInfo": _node_info(),
    }
    if sized:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 1024
        size = {"cpu": str(os.cpu_count() or 1), "memory": f"{memory}Ki", "pods": str(_PODS_MAX)}
        status |= {"capacity": size, "allocatable": size}
        renewed = lease(held, now)
        try:
            await client.create(LEASES, renewed)
        except AlreadyExists:
            await client.patch(LEASES, key_of(renewed), {"spec": renewed["spec"]})
    await client.replace(NODES, {**held, "status": status}, "status")


def _node_info() -> dict[str, str]:
    system = platform.uname()
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(system.machine, system.machine)
    return {
        "machineID": _said(Path("/etc/machine-id")),
        "systemUUID": _said(Path("/sys/class/dmi/id/product_uuid")),
        "bootID": _said(Path("/proc/sys/kernel/random/boot_id")),
        "kernelVersion": system.release,
        "osImage": _system_name() or system.system,
        "containerRuntimeVersion": f"tiphys://{__version__}",
        "kubeletVersion": VERSION["gitVersion"],
        "kubeProxyVersion": "",
        "operatingSystem": "linux",
        "architecture": machine,
    }


def _said(file: Path) -> str:
    """What a file of the system says; "" where it is not there, or not for us."""
    try:
        return file.read_text().strip()
    except OSError:
        return ""


def _system_name() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        return ""
