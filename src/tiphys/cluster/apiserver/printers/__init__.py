"""The rows of ``kubectl get``, one function a kind: object and present time in, cells out.

Cells are what kube-apiserver prints (golden ``table-printers``), wide columns included; which columns those are is data
(``data/columns.json``).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from tiphys.cluster.apiserver.printers import cluster, networking, pods, storage, workloads
from tiphys.cluster.apiserver.printers.row import Row
from tiphys.cluster.apiserver.record import Object

PRINTERS: Final[dict[str, Callable[[Object, datetime], Row]]] = {
    **pods.PRINTERS,
    **workloads.PRINTERS,
    **networking.PRINTERS,
    **storage.PRINTERS,
    **cluster.PRINTERS,
}

ORDERS: Final[dict[str, Callable[[Object], Any]]] = {
    "flowcontrol.apiserver.k8s.io/FlowSchema": cluster.by_precedence,
}
"""The kinds whose tables are not in the order of the list: what they are sorted by."""

__all__ = ["ORDERS", "PRINTERS", "Row"]
