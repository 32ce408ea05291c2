"""Config maps, secrets, volumes and storage classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final

from tiphys.cluster.apiserver.printers.row import UNSET, Row, age_of, name_of, part
from tiphys.cluster.apiserver.record import Object

_ACCESS_MODES: Final = {
    "ReadWriteOnce": "RWO",
    "ReadOnlyMany": "ROX",
    "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}
_DEFAULT_CLASS: Final = (
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
)


def access_modes(modes: Sequence[str]) -> str:
    """Short forms in the original's order, each once."""
    return ",".join(short for mode, short in _ACCESS_MODES.items() if mode in modes)


def config_map(obj: Object, now: datetime) -> Row:
    count = len(obj.get("data") or ()) + len(obj.get("binaryData") or ())
    return Row([name_of(obj), count, age_of(obj, now)])


def secret(obj: Object, now: datetime) -> Row:
    return Row([name_of(obj), obj.get("type") or "Opaque", len(obj.get("data") or ()), age_of(obj, now)])


def service_account(obj: Object, now: datetime) -> Row:
    return Row([name_of(obj), age_of(obj, now)])


def csi_node(obj: Object, now: datetime) -> Row:
    return Row([name_of(obj), len((obj.get("spec") or {}).get("drivers") or ()), age_of(obj, now)])


def api_service(obj: Object, now: datetime) -> Row:
    service = (obj.get("spec") or {}).get("service")
    place = f"{service.get('namespace')}/{service.get('name')}" if service else "Local"
    available = "Unknown"
    for condition in (obj.get("status") or {}).get("conditions") or ():
        if condition.get("type") == "Available":
            available = condition.get("status") or ""
            if available != "True":
                available = f"{available} ({condition.get('reason') or ''})"
    return Row([name_of(obj), place, available, age_of(obj, now)])


def claim(obj: Object, now: datetime) -> Row:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    terminating = bool(obj["metadata"].get("deletionTimestamp"))
    capacity = modes = ""
    if spec.get("volumeName"):
        modes = access_modes(status.get("accessModes") or ())
        capacity = str(part(status, "capacity", "storage") or "0")
    return Row(
        [
            name_of(obj),
            "Terminating" if terminating else status.get("phase") or "Pending",
            spec.get("volumeName") or "",
            capacity,
            modes,
            _class_of(obj),
            spec.get("volumeAttributesClassName") or UNSET,
            age_of(obj, now),
            spec.get("volumeMode") or "Filesystem",
        ]
    )


def volume(obj: Object, now: datetime) -> Row:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    reference = spec.get("claimRef")
    terminating = bool(obj["metadata"].get("deletionTimestamp"))
    return Row(
        [
            name_of(obj),
            str(part(spec, "capacity", "storage") or "0"),
            access_modes(spec.get("accessModes") or ()),
            spec.get("persistentVolumeReclaimPolicy") or "Retain",
            "Terminating" if terminating else status.get("phase") or "Pending",
            f"{reference.get('namespace', '')}/{reference.get('name', '')}" if reference else "",
            _class_of(obj),
            spec.get("volumeAttributesClassName") or UNSET,
            status.get("reason") or "",
            age_of(obj, now),
            spec.get("volumeMode") or "Filesystem",
        ]
    )


def _class_of(obj: Object) -> str:
    """The annotation is the older way and wins."""
    annotated = (obj["metadata"].get("annotations") or {}).get("volume.beta.kubernetes.io/storage-class")
    return str(annotated if annotated is not None else part(obj, "spec", "storageClassName") or "")


def storage_class(obj: Object, now: datetime) -> Row:
    annotations = obj["metadata"].get("annotations") or {}
    is_default = any(annotations.get(key) == "true" for key in _DEFAULT_CLASS)
    cells: list[Any] = [
        f"{name_of(obj)} (default)" if is_default else name_of(obj),
        obj.get("provisioner", ""),
        obj.get("reclaimPolicy") or "Delete",
        obj.get("volumeBindingMode") or "Immediate",
        bool(obj.get("allowVolumeExpansion")),
    ]
    return Row([*cells, age_of(obj, now)])


def csi_driver(obj: Object, now: datetime) -> Row:
    spec = obj.get("spec") or {}
    requests = spec.get("tokenRequests")
    modes = spec.get("volumeLifecycleModes") or ["Persistent"]
    return Row(
        [
            name_of(obj),
            spec.get("attachRequired", True),
            spec.get("podInfoOnMount", False),
            spec.get("storageCapacity", False),
            ",".join(str(request.get("audience", "")) for request in requests) if requests else UNSET,
            spec.get("requiresRepublish", False),
            ",".join(modes),
            age_of(obj, now),
        ]
    )


def volume_attachment(obj: Object, now: datetime) -> Row:
    spec = obj.get("spec") or {}
    volume_name = part(spec, "source", "persistentVolumeName") or ""
    attached = bool(part(obj, "status", "attached"))
    cells = [name_of(obj), spec.get("attacher", ""), volume_name, spec.get("nodeName", ""), attached]
    return Row([*cells, age_of(obj, now)])


PRINTERS: Final[dict[str, Callable[[Object, datetime], Row]]] = {
    "/ConfigMap": config_map,
    "/Secret": secret,
    "/ServiceAccount": service_account,
    "storage.k8s.io/CSINode": csi_node,
    "apiregistration.k8s.io/APIService": api_service,
    "/PersistentVolumeClaim": claim,
    "/PersistentVolume": volume,
    "storage.k8s.io/StorageClass": storage_class,
    "storage.k8s.io/CSIDriver": csi_driver,
    "storage.k8s.io/VolumeAttachment": volume_attachment,
}
