"""Defaults and guards around classes of storage, ingresses and priorities; finalizers of volumes and claims."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tiphys.cluster.apiserver.admission.chain import Attributes
from tiphys.cluster.apiserver.admission.pods import refuse
from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.store import Store
from tiphys.machinery import quantities

_STORAGE: Final = "storageclasses.storage.k8s.io"
_INGRESS: Final = "ingressclasses.networking.k8s.io"
_PRIORITY: Final = "priorityclasses.scheduling.k8s.io"
_DEFAULT_STORAGE: Final = (
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
)
_DEFAULT_INGRESS: Final = "ingressclass.kubernetes.io/is-default-class"
_LEGACY_STORAGE: Final = "volume.beta.kubernetes.io/storage-class"
_LEGACY_INGRESS: Final = "kubernetes.io/ingress.class"
_PROTECTED: Final = {
    "persistentvolumes": "kubernetes.io/pv-protection",
    "persistentvolumeclaims": "kubernetes.io/pvc-protection",
}


_SYSTEM: Final = {
    "system-cluster-critical": (
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
    "system-node-critical": (
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
}


def system_classes() -> list[Object]:
    """The priority classes that every cluster begins with."""
    return [
        {
            "metadata": {"name": name},
            "value": value,
            "description": description,
            "preemptionPolicy": "PreemptLowerPriority",
        }
        for name, (value, description) in _SYSTEM.items()
    ]


class ClassSteps:
    """Steps over the classes in a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def storage(self, request: Attributes) -> None:
        """DefaultStorageClass: of several default ones the newest, then the first by name."""
        if not _is_new(request, "persistentvolumeclaims"):
            return
        spec = (request.obj or {}).get("spec") or {}
        annotations = (request.obj or {})["metadata"].get("annotations") or {}
        if spec.get("storageClassName") is not None or _LEGACY_STORAGE in annotations:
            return
        found = [each for each in self._all(_STORAGE) if any(_says(each, mark) for mark in _DEFAULT_STORAGE)]
        if found:
            request.spec["storageClassName"] = _newest(found)["metadata"]["name"]

    def ingress(self, request: Attributes) -> None:
        """DefaultIngressClass: as for storage."""
        if not _is_new(request, "ingresses.networking.k8s.io"):
            return
        spec = (request.obj or {}).get("spec") or {}
        annotations = (request.obj or {})["metadata"].get("annotations") or {}
        if spec.get("ingressClassName") is not None or _LEGACY_INGRESS in annotations:
            return
        found = [each for each in self._all(_INGRESS) if _says(each, _DEFAULT_INGRESS)]
        if found:
            request.spec["ingressClassName"] = _newest(found)["metadata"]["name"]

    def protect(self, request: Attributes) -> None:
        """StorageObjectInUseProtection: nobody takes a volume or claim away under a pod."""
        finalizer = _PROTECTED.get(request.info.collection)
        if finalizer is None or request.operation != "CREATE" or request.subresource or request.obj is None:
            return
        meta = dict(request.obj["metadata"])
        held = meta.get("finalizers") or []
        if finalizer not in held:
            meta["finalizers"] = [*held, finalizer]
            request.obj["metadata"] = meta

    def priority(self, request: Attributes) -> None:
        """One default among the priority classes."""
        if request.info.collection != _PRIORITY or request.operation not in ("CREATE", "UPDATE"):
            return
        if not (request.obj or {}).get("globalDefault"):
            return
        for other in self._all(_PRIORITY):
            name = other["metadata"]["name"]
            if other.get("globalDefault") and name != request.name:
                text = f"PriorityClass {name} is already marked as default. Only one default can exist"
                raise refuse(request, text)

    def keep_system(self, request: Attributes) -> None:
        """The two classes that every cluster has stay."""
        if request.info.collection == _PRIORITY and request.operation == "DELETE" and request.name in _SYSTEM:
            raise refuse(request, "this is a system priority class and cannot be deleted")

    def resize(self, request: Attributes) -> None:
        """PersistentVolumeClaimResize: a claim grows where its class lets it."""
        if request.info.collection != "persistentvolumeclaims" or request.operation != "UPDATE" or request.subresource:
            return
        old, new = _asked_storage(request.old), _asked_storage(request.obj)
        if not old or not new or quantities.parse(new).compare(quantities.parse(old)) <= 0:
            return
        spec = (request.old or {})["spec"]
        if ((request.old or {}).get("status") or {}).get("phase") != "Bound":
            raise refuse(request, "Only bound persistent volume claims can be expanded")
        record = self._store.latest(_STORAGE, str(spec.get("storageClassName") or ""))
        if record is None or not self._store.view(record).get("allowVolumeExpansion"):
            text = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must"
            raise refuse(request, f"{text} support resize")

    def _all(self, collection: str) -> Iterator[Object]:
        return map(self._store.view, self._store.collection(collection).records.values())


def _is_new(request: Attributes, collection: str) -> bool:
    return request.info.collection == collection and request.operation == "CREATE" and not request.subresource


def _says(obj: Object, mark: str) -> bool:
    return (obj["metadata"].get("annotations") or {}).get(mark) == "true"


def _newest(found: list[Object]) -> Object:
    latest = max(each["metadata"]["creationTimestamp"] for each in found)
    newest = [each for each in found if each["metadata"]["creationTimestamp"] == latest]
    return min(newest, key=lambda each: str(each["metadata"]["name"]))


def _asked_storage(claim: Object | None) -> str:
    spec = (claim or {}).get("spec") or {}
    return str(((spec.get("resources") or {}).get("requests") or {}).get("storage") or "")
