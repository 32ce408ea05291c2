"""APIServices: which group versions the server answers. All of them are its own, so all are available.

Those of custom resources come and go with their definitions. What users register besides is theirs and is left alone:
nothing is forwarded to another server.
Source: kube-aggregator's autoregister controller; priorities: cmd/kube-apiserver and pkg/controlplane of Kubernetes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.registry import Registry
from tiphys.machinery.resources import Resource

API_SERVICES: Final = Resource("apiregistration.k8s.io", "v1", "apiservices", "APIService", namespaced=False)
_MANAGED: Final = "kube-aggregator.kubernetes.io/automanaged"
_AT_START, _ALWAYS = "onstart", "true"

_GROUPS: Final = {
    "": 18_000,
    "apps": 17_800,
    "events.k8s.io": 17_750,
    "authentication.k8s.io": 17_700,
    "authorization.k8s.io": 17_600,
    "autoscaling": 17_500,
    "batch": 17_400,
    "certificates.k8s.io": 17_300,
    "networking.k8s.io": 17_200,
    "policy": 17_100,
    "rbac.authorization.k8s.io": 17_000,
    "storage.k8s.io": 16_800,
    "apiextensions.k8s.io": 16_700,
    "admissionregistration.k8s.io": 16_700,
    "scheduling.k8s.io": 16_600,
    "coordination.k8s.io": 16_500,
    "node.k8s.io": 16_300,
    "discovery.k8s.io": 16_200,
    "resource.k8s.io": 16_200,
    "flowcontrol.apiserver.k8s.io": 16_100,
    "metrics.k8s.io": 100,
}
"""How high the groups stand in lists of what there is. The aggregator's own group has no APIService."""
_VERSION: Final = 15
_VERSIONS: Final = {
    ("", "v1"): 1,
    ("autoscaling", "v2"): 30,
    ("flowcontrol.apiserver.k8s.io", "v1"): 21,
    ("resource.k8s.io", "v1"): 21,
    ("metrics.k8s.io", "v1beta1"): 100,
}
_CUSTOM_GROUP, _CUSTOM_VERSION = 1000, 100


def begin(service: Object) -> None:
    """A new APIService: one of the server's own is available from the beginning."""
    if (service.get("spec") or {}).get("service") is None:
        condition = {
            "type": "Available",
            "status": "True",
            "lastTransitionTime": service["metadata"]["creationTimestamp"],
            "reason": "Local",
            "message": "Local APIServices are always available",
        }
        service["status"] = {"conditions": [condition]}


def of_server(registry: Registry) -> Iterator[Object]:
    """Those of all that the server has now."""
    places = ((info.resource.group, info.resource.version, info.custom is not None) for info in registry)
    for group, version, is_custom in dict.fromkeys(places):
        if group in _GROUPS:
            yield _service(group, version, _GROUPS[group], _VERSIONS.get((group, version), _VERSION), _AT_START)
        elif is_custom:
            yield _service(group, version, _CUSTOM_GROUP, _CUSTOM_VERSION, _ALWAYS)


def follows_definitions(service: Object) -> bool:
    """Whether an APIService goes with the last definition of its group version."""
    return bool((service["metadata"].get("labels") or {}).get(_MANAGED) == _ALWAYS)


def _service(group: str, version: str, group_priority: int, version_priority: int, managed: str) -> Object:
    spec = {"version": version, "groupPriorityMinimum": group_priority, "versionPriority": version_priority}
    return {
        "metadata": {"name": f"{version}.{group}", "labels": {_MANAGED: managed}},
        "spec": ({"group": group} if group else {}) | spec,
    }
