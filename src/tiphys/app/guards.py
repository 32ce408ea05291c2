"""What the API server asks before it stores objects, as far as that is the scheduler's knowledge."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Final

from tiphys.app.feed import StoreFeed
from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.registry import ResourceInfo
from tiphys.cluster.apiserver.store import Store
from tiphys.cluster.apiserver.subresources import TOPOLOGY_LABELS
from tiphys.cluster.controllers.plan.owners import reference_to
from tiphys.cluster.controllers.wakes import SCHEDULER
from tiphys.machinery.actions import Emit
from tiphys.machinery.resources import NODES, PODS, key_of

Node = Mapping[str, Any]


class OnlyNode:
    """An ``Admit``, the scheduler's short cut: while there is one node and it takes everybody, a new pod that asks for
    nothing special is bound to it before it is stored. All others wait for the scheduler.

    ``tell``, if set, hears of each pod that was bound like that, once it is stored."""

    def __init__(self, feed: StoreFeed, store: Store) -> None:
        self.tell: Callable[[Emit], None] | None = None
        self._bound: OrderedDict[str, None] = OrderedDict()
        """Pods of which it is still to be told, by uid; those that were refused in the end stay until others come."""
        self._nodes: dict[str, Node] = {}
        self._store = store
        self._open = ""
        for record in store.collection(NODES.key).records.values():
            self._nodes[record.key] = record.view
        self._decide()
        feed.subscribe_to(NODES, self._changed)
        feed.subscribe_to(PODS, self._stored)

    def __call__(self, info: ResourceInfo, obj: Object, old: Object | None) -> None:
        if old is None and self._open and info.resource == PODS and not obj["spec"].get("nodeName"):
            node = self._nodes[self._open]
            if _asks_for_nothing(obj["spec"], bool((node.get("status") or {}).get("allocatable"))):
                obj["spec"]["nodeName"] = self._open
                self._label(obj, node)
                self._remember(obj)

    def _remember(self, pod: Object) -> None:
        if self.tell is not None:
            self._bound[pod["metadata"]["uid"]] = None
            if len(self._bound) > _BOUND_MAX:
                self._bound.popitem(last=False)

    def _stored(self, pod: Node, gone: bool) -> None:
        if pod["metadata"]["uid"] in self._bound:
            del self._bound[pod["metadata"]["uid"]]
            if self.tell is not None and not gone:
                text = f"Successfully assigned {key_of(pod)} to {pod['spec']['nodeName']}"
                self.tell(Emit(reference_to(pod, PODS), "Normal", "Scheduled", text))

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


_BOUND_MAX: Final = 1000
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
