"""What is asked of nodes, and of those who act for one: TaintNodesByCondition."""

from __future__ import annotations

from typing import Final

from tiphys.cluster.apiserver.admission.chain import Attributes
from tiphys.cluster.apiserver.users import IN_PROCESS

_NOT_READY: Final = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}


def taint(request: Attributes) -> None:
    """TaintNodesByCondition: a new node gets no pods until it is ready (the node controller lifts the taint).

    Nodes of our own are made when they are ready.
    """
    is_new = request.operation == "CREATE" and request.info.collection == "nodes" and not request.subresource
    if not is_new or request.user is IN_PROCESS:
        return
    taints = (request.spec.get("taints") or []) if request.obj else []
    if all((each.get("key"), each.get("effect")) != tuple(_NOT_READY.values()) for each in taints):
        request.spec["taints"] = [*taints, dict(_NOT_READY)]
