"""What the API server asks before it stores objects, as far as that is the controllers' knowledge: the protections of
claims and volumes, and the class of a claim that names none.

Source: the admission plugins StorageObjectInUseProtection and DefaultStorageClass.
"""

from __future__ import annotations

from typing import Final

from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.registry import ResourceInfo
from tiphys.cluster.apiserver.server import ApiServer
from tiphys.cluster.apiserver.store import Store
from tiphys.cluster.controllers.plan.volumes import CLAIM_PROTECTION, DEFAULT_CLASS, VOLUME_PROTECTION
from tiphys.machinery.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, STORAGE_CLASSES

_PROTECTED: Final = {PERSISTENT_VOLUME_CLAIMS: CLAIM_PROTECTION, PERSISTENT_VOLUMES: VOLUME_PROTECTION}


def install_guards(server: ApiServer) -> None:
    server.verbs.admission += [_protect, DefaultClass(server.store)]


def _protect(info: ResourceInfo, obj: Object, old: Object | None) -> None:
    finalizer = _PROTECTED.get(info.resource)
    if old is None and finalizer is not None:
        held = obj["metadata"].get("finalizers") or []
        if finalizer not in held:
            obj["metadata"]["finalizers"] = [*held, finalizer]


class DefaultClass:
    """An ``Admit``: a claim that names no class gets the default one, where there is one."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __call__(self, info: ResourceInfo, obj: Object, old: Object | None) -> None:
        if old is None and info.resource == PERSISTENT_VOLUME_CLAIMS and "storageClassName" not in obj["spec"]:
            name = self._default()
            if name:
                obj["spec"]["storageClassName"] = name

    def _default(self) -> str:
        records = self._store.collection(STORAGE_CLASSES.key).records.values()
        marked = [record.view["metadata"] for record in records if _is_default(record.view)]
        newest = max(marked, key=lambda meta: (meta["creationTimestamp"], meta["name"]), default=None)
        return "" if newest is None else str(newest["name"])


def _is_default(kind: Object) -> bool:
    return (kind["metadata"].get("annotations") or {}).get(DEFAULT_CLASS) == "true"
