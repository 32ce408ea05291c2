"""The rows of ``kubectl get``, one function a kind: object and present time in, cells out.

Cells are what kube-apiserver prints (golden ``table-printers``), wide columns included; which columns those are is data
(``data/columns.json``).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

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

__all__ = ["PRINTERS", "Row"]
