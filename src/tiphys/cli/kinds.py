"""From an object to the resource it is written to, without asking the server.

The plural is guessed by the rule that Kubernetes' own tools fall back to (lower case, English plural); kinds that do
not live in a namespace are listed. A CustomResourceDefinition among the same objects says both for its kind.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tiphys.machinery.resources import Resource

CLUSTER_SCOPED = frozenset({
    "APIService", "ClusterRole", "ClusterRoleBinding", "ClusterWorkflowTemplate", "CSIDriver", "CSINode",
    "CustomResourceDefinition", "FlowSchema", "IngressClass", "MutatingWebhookConfiguration", "Namespace", "Node",
    "PersistentVolume", "PriorityClass", "PriorityLevelConfiguration", "RuntimeClass", "StorageClass",
    "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "ValidatingWebhookConfiguration",
    "VolumeAttachment",
})  # fmt: skip
# what must be there before the others, in this order; a kind that is not named comes after
FIRST = ("Namespace", "CustomResourceDefinition", "ServiceAccount", "Secret", "ConfigMap", "PersistentVolumeClaim")
_IRREGULAR = {"Endpoints": "endpoints"}


def resource_of(obj: Mapping[str, Any], definitions: Iterable[Mapping[str, Any]] = ()) -> Resource:
    """The resource of ``obj``; ``definitions`` are CustomResourceDefinitions to look in first."""
    group, _, version = str(obj["apiVersion"]).rpartition("/")
    kind = str(obj["kind"])
    for definition in definitions:
        spec = definition["spec"]
        if spec["group"] == group and spec["names"]["kind"] == kind:
            return Resource(group, version, spec["names"]["plural"], kind, spec.get("scope") != "Cluster")
    return Resource(group, version, plural(kind), kind, kind not in CLUSTER_SCOPED)


def plural(kind: str) -> str:
    """``pods``, ``ingresses``, ``networkpolicies``: Kubernetes' guess for a kind."""
    lower = kind.lower()
    if kind in _IRREGULAR:
        return _IRREGULAR[kind]
    if lower.endswith("s"):
        return lower + "es"
    if lower.endswith("y"):
        return lower[:-1] + "ies"
    return lower + "s"


def apply_order(obj: Mapping[str, Any]) -> int:
    """Sort key: what others may need comes first."""
    kind = str(obj["kind"])
    return FIRST.index(kind) if kind in FIRST else len(FIRST)
