"""What a pod's claims mean for where it can be. Source: the VolumeBinding plugin of the scheduler."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tiphys.cluster.controllers.plan.scheduling.cluster import ClusterState, NodeState
from tiphys.cluster.controllers.plan.scheduling.filters import matches_term
from tiphys.cluster.controllers.plan.volumes import best_volume, is_bound
from tiphys.machinery.resources import ObjectKey

Object = Mapping[str, Any]

SELECTED_NODE: Final = "volume.kubernetes.io/selected-node"
NO_PROVISIONER: Final = "kubernetes.io/no-provisioner"
_CONFLICT: Final = "node(s) didn't match PersistentVolume's node affinity"
_NONE_LEFT: Final = "node(s) didn't find available persistent volumes to bind"


class Unbound(Exception):
    """No node can take the pod as its claims are; the text says why."""


@dataclass(frozen=True)
class Claims:
    """``bound`` are the volumes of claims that have one; ``waiting`` the claims that wait for their first consumer."""

    bound: tuple[Object, ...]
    waiting: tuple[Object, ...]
    volumes: Sequence[Object]
    provisioned: frozenset[str]
    """Names of the waiting claims that somebody makes a volume for, on any node."""

    @classmethod
    def of(
        cls,
        pod: Object,
        claim_of: Callable[[ObjectKey], Object | None],
        volume_of: Callable[[ObjectKey], Object | None],
        volumes: Sequence[Object],
        class_of: Callable[[ObjectKey], Object | None],
    ) -> Claims:
        """Raises Unbound."""
        bound, waiting, provisioned = [], [], set()
        namespace = pod["metadata"]["namespace"]
        for name in claim_names(pod):
            claim = claim_of(ObjectKey(namespace, name))
            if claim is None:
                raise Unbound(f'persistentvolumeclaim "{name}" not found')
            if claim["metadata"].get("deletionTimestamp"):
                raise Unbound(f'persistentvolumeclaim "{name}" is being deleted')
            if is_bound(claim):
                volume = volume_of(ObjectKey("", claim["spec"]["volumeName"]))
                if volume is None:
                    raise Unbound(f'persistentvolume "{claim["spec"]["volumeName"]}" not found')
                bound.append(volume)
                continue
            kind = class_of(ObjectKey("", claim["spec"].get("storageClassName") or ""))
            if kind is None or kind.get("volumeBindingMode", "Immediate") != "WaitForFirstConsumer":
                raise Unbound("pod has unbound immediate PersistentVolumeClaims")
            waiting.append(claim)
            if kind.get("provisioner") != NO_PROVISIONER:
                provisioned.add(name)
        return cls(tuple(bound), tuple(waiting), volumes, frozenset(provisioned))


def claim_names(pod: Object) -> list[str]:
    """The claims of a pod; an ephemeral volume's is named after both."""
    found = []
    for volume in pod["spec"].get("volumes") or ():
        if volume.get("persistentVolumeClaim"):
            found.append(volume["persistentVolumeClaim"]["claimName"])
        elif volume.get("ephemeral"):
            found.append(f"{pod['metadata']['name']}-{volume['name']}")
    return found


def judge(claims: Claims, cluster: ClusterState) -> dict[str, str]:
    """Node → why the claims cannot be there."""
    found = {}
    for node in cluster.nodes.values():
        why = _refusal(claims, node)
        if why:
            found[node.name] = why
    return found


def _refusal(claims: Claims, node: NodeState) -> str:
    if not all(reaches(volume, node) for volume in claims.bound):
        return _CONFLICT
    near = [volume for volume in claims.volumes if reaches(volume, node)]
    for claim in claims.waiting:
        if claim["metadata"]["name"] not in claims.provisioned and best_volume(claim, near) is None:
            return _NONE_LEFT
    return ""


def reaches(volume: Object, node: NodeState) -> bool:
    """Whether a volume can be used on a node."""
    required = (volume["spec"].get("nodeAffinity") or {}).get("required")
    if required is None:
        return True
    return any(matches_term(term, node.labels, node.name) for term in required.get("nodeSelectorTerms") or ())
