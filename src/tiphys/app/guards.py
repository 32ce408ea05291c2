"""What the API server asks before it stores objects, as far as that is the controllers' knowledge: the protections of
claims and volumes, and the class of a claim that names none.

Source: the admission plugins StorageObjectInUseProtection and DefaultStorageClass.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tiphys.app.feed import StoreFeed
from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.registry import ResourceInfo
from tiphys.cluster.apiserver.server import ApiServer
from tiphys.cluster.apiserver.store import Store
from tiphys.cluster.apiserver.subresources import TOPOLOGY_LABELS
from tiphys.cluster.controllers.plan.volumes import CLAIM_PROTECTION, DEFAULT_CLASS, VOLUME_PROTECTION
from tiphys.cluster.controllers.scheduler import SCHEDULER
from tiphys.machinery.resources import NODES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS, STORAGE_CLASSES

Node = Mapping[str, Any]

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


class OnlyNode:
    """An ``Admit``, the scheduler's short cut: while there is one node and it takes everybody, a new pod that asks for
    nothing special is bound to it before it is stored. All others wait for the scheduler."""

    def __init__(self, feed: StoreFeed, store: Store) -> None:
        self._nodes: dict[str, Node] = {}
        self._store = store
        self._open = ""
        for record in store.collection(NODES.key).records.values():
            self._nodes[record.key] = record.view
        self._decide()
        feed.subscribe_to(NODES, self._changed)

    def __call__(self, info: ResourceInfo, obj: Object, old: Object | None) -> None:
        if old is None and self._open and info.resource == PODS and not obj["spec"].get("nodeName"):
            node = self._nodes[self._open]
            if _asks_for_nothing(obj["spec"], bool((node.get("status") or {}).get("allocatable"))):
                obj["spec"]["nodeName"] = self._open
                self._label(obj, node)

    def _label(self, pod: Object, node: Node) -> None:
        labels = node["metadata"].get("labels") or {}
        place = {key: labels[key] for key in TOPOLOGY_LABELS if key in labels}
        if place:
            pod["metadata"]["labels"] = {**(pod["metadata"].get("labels") or {}), **place}

    def _changed(self, node: Node, gone: bool) -> None:
        name = node["metadata"]["name"]
        if gone:
            self._nodes.pop(name, None)
        else:
            self._nodes[name] = node
        self._decide()

    def _decide(self) -> None:
        only = next(iter(self._nodes.values())) if len(self._nodes) == 1 else None
        spec = (only.get("spec") or {}) if only is not None else {}
        closed = only is None or spec.get("unschedulable") or spec.get("taints")
        self._open = "" if closed or only is None else only["metadata"]["name"]


_SPECIAL: Final = ("schedulingGates", "nodeSelector", "affinity", "topologySpreadConstraints", "overhead", "resources")
_CLAIMING: Final = ("persistentVolumeClaim", "ephemeral")


def _asks_for_nothing(spec: Object, counted: bool) -> bool:
    """``counted``: the node has a size, so that what a pod requests has to be weighed."""
    if spec.get("schedulerName", SCHEDULER) != SCHEDULER or any(spec.get(field) for field in _SPECIAL):
        return False
    if any(volume.get(kind) for volume in spec.get("volumes") or () for kind in _CLAIMING):
        return False
    containers = (*(spec.get("containers") or ()), *(spec.get("initContainers") or ()))
    if counted and any((each.get("resources") or {}).get("requests") for each in containers):
        return False
    return not any(port.get("hostPort") for each in containers for port in each.get("ports") or ())


def _is_default(kind: Object) -> bool:
    return (kind["metadata"].get("annotations") or {}).get(DEFAULT_CLASS) == "true"
