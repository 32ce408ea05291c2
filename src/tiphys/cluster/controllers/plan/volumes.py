"""Claims and volumes: which volume fits a claim, and the patches that bind, release and delete them.

Source: pkg/controller/volume/persistentvolume (index.go, pv_controller.go).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from tiphys.cluster.controllers.plan.scheduling.requests import amount
from tiphys.machinery.actions import Patch
from tiphys.machinery.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, key_of
from tiphys.machinery.selectors import from_structured

Object = Mapping[str, Any]

BIND_COMPLETED: Final = "pv.kubernetes.io/bind-completed"
BOUND_BY: Final = "pv.kubernetes.io/bound-by-controller"
PROVISIONED_BY: Final = "pv.kubernetes.io/provisioned-by"
PROVISIONER: Final = ("volume.beta.kubernetes.io/storage-provisioner", "volume.kubernetes.io/storage-provisioner")
DEFAULT_CLASS: Final = "storageclass.kubernetes.io/is-default-class"
CLAIM_PROTECTION: Final = "kubernetes.io/pvc-protection"
VOLUME_PROTECTION: Final = "kubernetes.io/pv-protection"


def is_bound(claim: Object) -> bool:
    return bool(claim["spec"].get("volumeName")) and BIND_COMPLETED in (claim["metadata"].get("annotations") or {})


def size_of(obj: Object) -> int:
    """Bytes that a claim wants, or that a volume has."""
    spec = obj["spec"]
    given = spec.get("capacity") or (spec.get("resources") or {}).get("requests") or {}
    return amount("storage", str(given.get("storage", "0")))


def best_volume(claim: Object, volumes: Iterable[Object]) -> Object | None:
    """The smallest available volume that satisfies the claim; one that is reserved for it comes first."""
    reserved = [volume for volume in volumes if _reserved_for(volume, claim)]
    fitting = [volume for volume in volumes if _fits(claim, volume)]
    if reserved:
        return reserved[0] if reserved[0] in fitting or _is_ours(reserved[0], claim) else None
    free = [volume for volume in fitting if not volume["spec"].get("claimRef")]
    return min(free, key=lambda volume: (size_of(volume), volume["metadata"]["name"]), default=None)


def _is_ours(volume: Object, claim: Object) -> bool:
    return bool(volume["spec"]["claimRef"].get("uid") == claim["metadata"]["uid"])


def _reserved_for(volume: Object, claim: Object) -> bool:
    reference, meta = volume["spec"].get("claimRef"), claim["metadata"]
    if not reference or (reference.get("namespace"), reference.get("name")) != (meta["namespace"], meta["name"]):
        return False
    return reference.get("uid") in (None, "", meta["uid"])


def _fits(claim: Object, volume: Object) -> bool:
    spec, offered = claim["spec"], volume["spec"]
    if volume["metadata"].get("deletionTimestamp") or size_of(volume) < size_of(claim):
        return False
    if (volume.get("status") or {}).get("phase") in ("Released", "Failed"):
        return False
    if (spec.get("storageClassName") or "") != (offered.get("storageClassName") or ""):
        return False
    if spec.get("volumeMode", "Filesystem") != offered.get("volumeMode", "Filesystem"):
        return False
    if not set(spec.get("accessModes") or ()) <= set(offered.get("accessModes") or ()):
        return False
    selector = spec.get("selector")
    return selector is None or from_structured(selector).matches(volume["metadata"].get("labels"))


def binding(claim: Object, volume: Object) -> list[list[Patch]]:
    """The four writes that bind the two, in the order in which a crash between them does no harm."""
    return [part for part in (_volume_spec(claim, volume), _volume_status(volume, "Bound")) if part] + [
        part for part in (_claim_spec(claim, volume), _claim_status(claim, volume)) if part
    ]


def _volume_spec(claim: Object, volume: Object) -> list[Patch]:
    meta, reference = claim["metadata"], volume["spec"].get("claimRef") or {}
    if reference.get("uid") == meta["uid"]:
        return []
    patch: dict[str, Any] = {
        "metadata": {"uid": volume["metadata"]["uid"], "resourceVersion": volume["metadata"]["resourceVersion"]},
        "spec": {
            "claimRef": {
                "kind": PERSISTENT_VOLUME_CLAIMS.kind,
                "apiVersion": "v1",
                "namespace": meta["namespace"],
                "name": meta["name"],
                "uid": meta["uid"],
                "resourceVersion": meta["resourceVersion"],
            }
        },
    }
    if not reference:
        patch["metadata"]["annotations"] = {BOUND_BY: "yes"}
    return [Patch(PERSISTENT_VOLUMES, key_of(volume), patch, why="bound to its claim")]


def _volume_status(volume: Object, phase: str) -> list[Patch]:
    if (volume.get("status") or {}).get("phase") == phase:
        return []
    patch = {"status": {"phase": phase, "message": None}}
    return [Patch(PERSISTENT_VOLUMES, key_of(volume), patch, subresource="status", why=phase)]


def _claim_spec(claim: Object, volume: Object) -> list[Patch]:
    if is_bound(claim):
        return []
    annotations = {BIND_COMPLETED: "yes"}
    if not claim["spec"].get("volumeName"):
        annotations[BOUND_BY] = "yes"
    patch = {
        "metadata": {"uid": claim["metadata"]["uid"], "annotations": annotations},
        "spec": {"volumeName": volume["metadata"]["name"]},
    }
    return [Patch(PERSISTENT_VOLUME_CLAIMS, key_of(claim), patch, why="bound to its volume")]


def _claim_status(claim: Object, volume: Object) -> list[Patch]:
    status = claim.get("status") or {}
    wanted = {
        "phase": "Bound",
        "accessModes": list(volume["spec"].get("accessModes") or ()),
        "capacity": dict(volume["spec"].get("capacity") or {}),
    }
    if all(status.get(key) == value for key, value in wanted.items()):
        return []
    return [Patch(PERSISTENT_VOLUME_CLAIMS, key_of(claim), {"status": wanted}, subresource="status", why="Bound")]


def volume_phase(volume: Object, phase: str) -> list[Patch]:
    """Says the phase of a volume, where it is another one."""
    return _volume_status(volume, phase)
