"""What a node says of itself besides its size: that it is well, and that it lives."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from tiphys.machinery.times import to_micro_time

_NAMESPACE: Final = "kube-node-lease"
_LEASE_SECONDS: Final = 40
_PRESSURES: Final = (
    ("MemoryPressure", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
)


def conditions(now: str, message: str) -> list[dict[str, str]]:
    """Of a node under no pressure that is ready, and says so with ``message``."""
    healthy = [_condition(kind, "False", reason, text, now) for kind, reason, text in _PRESSURES]
    return [*healthy, _condition("Ready", "True", "KubeletReady", message, now)]


def _condition(kind: str, status: str, reason: str, message: str, now: str) -> dict[str, str]:
    found = {"type": kind, "status": status, "reason": reason, "message": message}
    return found | {"lastHeartbeatTime": now, "lastTransitionTime": now}


def lease(node: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """The Lease of a node, as a kubelet makes it when it starts.

    It is not renewed: nodes and server of this cluster live and end together, so nobody concludes from its age that a
    node is gone, and a cluster at rest writes nothing.
    """
    meta = node["metadata"]
    owner = {"apiVersion": "v1", "kind": "Node", "name": meta["name"], "uid": meta["uid"]}
    spec = {
        "holderIdentity": meta["name"],
        "leaseDurationSeconds": _LEASE_SECONDS,
        "renewTime": to_micro_time(now),
    }
    return {
        "metadata": {"name": meta["name"], "namespace": _NAMESPACE, "ownerReferences": [owner]},
        "spec": spec,
    }
