"""The decisions about one claim, and about one volume.

    claim:   waiting for a consumer ─node chosen─► provisioned ─► bound;  a fitting volume is there ─► bound
    volume:  Available ◄─► Bound ─claim gone─► Released ─Delete─► gone | Retain: stays

Source: pkg/controller/volume/persistentvolume (syncClaim, syncVolume, reclaimVolume), and the two protections.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tiphys.cluster.controllers.plan import volumes as binding
from tiphys.cluster.controllers.plan.owners import reference_to
from tiphys.cluster.controllers.plan.scheduling.volumes import NO_PROVISIONER, SELECTED_NODE
from tiphys.machinery.actions import Action, Create, Delete, Emit, Patch
from tiphys.machinery.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, key_of

Object = Mapping[str, Any]

HOST_PATHS: Final = "tiphys.dev/host-path"
"""The provisioner that makes directories of this machine."""


@dataclass(frozen=True)
class Observed:
    """``kind`` is the claim's StorageClass; ``place`` is where a directory for it would be."""

    claim: Object
    volumes: tuple[Object, ...]
    kind: Object | None
    place: str


@dataclass
class Step:
    actions: list[Sequence[Action]] = field(default_factory=list)


def plan_claim(seen: Observed) -> Step:
    claim, spec = seen.claim, seen.claim["spec"]
    if claim["metadata"].get("deletionTimestamp"):
        return Step()
    if spec.get("volumeName"):
        return _sync_named(seen)
    found = binding.best_volume(claim, seen.volumes)
    waits = seen.kind is not None and seen.kind.get("volumeBindingMode") == "WaitForFirstConsumer"
    chosen = (claim["metadata"].get("annotations") or {}).get(SELECTED_NODE)
    if waits and not chosen and not (found is not None and found["spec"].get("claimRef")):
        text = "waiting for first consumer to be created before binding"
        return Step([_pending(claim), [_tell(claim, "Normal", "WaitForFirstConsumer", text)]])
    if found is not None:
        return Step(list(binding.binding(claim, found)))
    return _without_volume(seen, chosen)


def _without_volume(seen: Observed, node: str | None) -> Step:
    claim, name = seen.claim, seen.claim["spec"].get("storageClassName")
    if not name:
        text = "no persistent volumes available for this claim and no storage class is set"
        return Step([_pending(claim), [_tell(claim, "Normal", "FailedBinding", text)]])
    if seen.kind is None:
        text = f'storageclass.storage.k8s.io "{name}" not found'
        return Step([_pending(claim), [_tell(claim, "Warning", "ProvisioningFailed", text)]])
    provisioner = seen.kind.get("provisioner", "")
    if provisioner == NO_PROVISIONER:
        text = "no persistent volumes available for this claim and no storage class is set"
        return Step([_pending(claim), [_tell(claim, "Normal", "FailedBinding", text)]])
    if provisioner == HOST_PATHS:
        return _provision(seen, node)
    patch = {"metadata": {"annotations": dict.fromkeys(binding.PROVISIONER, provisioner)}}
    held = claim["metadata"].get("annotations") or {}
    mark = [Patch(PERSISTENT_VOLUME_CLAIMS, key_of(claim), patch, why="for its provisioner")]
    text = (
        f"Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the "
        "system administrator. If volume creation is delayed, please verify that the provisioner is running and "
        "correctly registered."
    )
    known = patch["metadata"]["annotations"].items() <= held.items()
    return Step([_pending(claim), [] if known else mark, [_tell(claim, "Normal", "ExternalProvisioning", text)]])


def _provision(seen: Observed, node: str | None) -> Step:
    """A directory as a volume, reserved for the claim; binding follows when it is there."""
    claim, meta = seen.claim, seen.claim["metadata"]
    assert seen.kind is not None
    name = f"pvc-{meta['uid']}"
    spec: dict[str, Any] = {
        "accessModes": list(claim["spec"].get("accessModes") or ("ReadWriteOnce",)),
        "capacity": {"storage": ((claim["spec"].get("resources") or {}).get("requests") or {}).get("storage", "0")},
        "claimRef": {
            "kind": PERSISTENT_VOLUME_CLAIMS.kind,
            "apiVersion": "v1",
            "namespace": meta["namespace"],
            "name": meta["name"],
            "uid": meta["uid"],
            "resourceVersion": meta["resourceVersion"],
        },
        "hostPath": {"path": f"{seen.place}/{name}", "type": "DirectoryOrCreate"},
        "persistentVolumeReclaimPolicy": seen.kind.get("reclaimPolicy", "Delete"),
        "storageClassName": seen.kind["metadata"]["name"],
        "volumeMode": claim["spec"].get("volumeMode", "Filesystem"),
    }
    if node:
        here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
        spec["nodeAffinity"] = {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}}
    made = {
        "apiVersion": "v1",
        "kind": PERSISTENT_VOLUMES.kind,
        "metadata": {"name": name, "annotations": {binding.PROVISIONED_BY: HOST_PATHS}},
        "spec": spec,
    }
    text = f"Successfully provisioned volume {name}"
    done = [_tell(claim, "Normal", "ProvisioningSucceeded", text)]
    marks = dict.fromkeys(binding.PROVISIONER, HOST_PATHS)
    patch = Patch(PERSISTENT_VOLUME_CLAIMS, key_of(claim), {"metadata": {"annotations": marks}}, why="its provisioner")
    return Step([[patch], [Create(PERSISTENT_VOLUMES, made, why="no volume fits the claim")], done])


def _sync_named(seen: Observed) -> Step:
    claim = seen.claim
    volume = next((v for v in seen.volumes if v["metadata"]["name"] == claim["spec"]["volumeName"]), None)
    if volume is None:
        if not binding.is_bound(claim):
            return Step([_pending(claim)])
        text = "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
        return Step([_phase(claim, "Lost"), [_tell(claim, "Warning", "ClaimLost", text)]])
    reference = volume["spec"].get("claimRef")
    if reference and reference.get("uid") not in (None, "", claim["metadata"]["uid"]):
        return Step([_pending(claim)])  # it is somebody else's
    grown = _grown(seen, volume)
    return Step([grown, *binding.binding(claim, volume)])


def _grown(seen: Observed, volume: Object) -> list[Action]:
    """A claim that wants more of a directory gets it: directories have no size of their own."""
    wanted = ((seen.claim["spec"].get("resources") or {}).get("requests") or {}).get("storage")
    allowed = seen.kind is not None and seen.kind.get("allowVolumeExpansion")
    if not allowed or not volume["spec"].get("hostPath") or binding.size_of(seen.claim) <= binding.size_of(volume):
        return []
    patch = {"spec": {"capacity": {"storage": wanted}}}
    status = {"status": {"capacity": {"storage": wanted}}}
    return [
        Patch(PERSISTENT_VOLUMES, key_of(volume), patch, why="its claim grew"),
        Patch(PERSISTENT_VOLUME_CLAIMS, key_of(seen.claim), status, subresource="status", why="it grew"),
    ]


def _pending(claim: Object) -> list[Action]:
    return _phase(claim, "Pending")


def _phase(claim: Object, phase: str) -> list[Action]:
    if (claim.get("status") or {}).get("phase") == phase:
        return []
    patch = {"status": {"phase": phase}}
    return [Patch(PERSISTENT_VOLUME_CLAIMS, key_of(claim), patch, subresource="status", why=phase)]


def _tell(claim: Object, kind: str, reason: str, message: str) -> Emit:
    return Emit(reference_to(claim, PERSISTENT_VOLUME_CLAIMS), kind, reason, message)


# Volumes


@dataclass(frozen=True)
class VolumeVerdict:
    """``discard``: what is stored in the volume is to be thrown away before the ``actions``."""

    actions: Sequence[Action] = ()
    discard: bool = False


def plan_volume(volume: Object, claim: Object | None) -> VolumeVerdict:
    """``claim`` is the one that the volume is bound to, if it is (still) there."""
    if volume["metadata"].get("deletionTimestamp"):
        return VolumeVerdict()
    reference = volume["spec"].get("claimRef")
    if not reference:
        return VolumeVerdict(binding.volume_phase(volume, "Available"))
    if not reference.get("uid"):
        return VolumeVerdict(binding.volume_phase(volume, "Available"))
    if claim is not None and claim["metadata"]["uid"] == reference["uid"]:
        return VolumeVerdict()
    released = binding.volume_phase(volume, "Released")
    mine = (volume["metadata"].get("annotations") or {}).get(binding.PROVISIONED_BY) == HOST_PATHS
    if released or volume["spec"].get("persistentVolumeReclaimPolicy") != "Delete" or not mine:
        return VolumeVerdict(released)
    gone = Delete(PERSISTENT_VOLUMES, key_of(volume), volume["metadata"]["uid"], why="reclaimed")
    return VolumeVerdict([gone], discard=True)


def unprotected(obj: Object, finalizer: str) -> dict[str, Any]:
    """A patch that takes a protection away."""
    kept = [each for each in obj["metadata"].get("finalizers") or () if each != finalizer]
    return {"metadata": {"uid": obj["metadata"]["uid"], "finalizers": kept or None}}
