"""Rows of metrics.k8s.io, as metrics-server prints them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from tiphys.cluster.apiserver.printers.row import Row, name_of
from tiphys.cluster.apiserver.record import Object
from tiphys.machinery import quantities


def _column(name: str, format: str, description: str) -> Mapping[str, Any]:
    return {"name": name, "type": "string", "format": format, "description": description, "priority": 0}


COLUMNS: Final[Sequence[Mapping[str, Any]]] = (
    _column("Name", "name", "Name of the resource"),
    _column("cpu", "quantity", "Used in the window"),
    _column("memory", "quantity", "The working set"),
    _column("Window", "duration", "What the rate of cpu was taken over"),
)


def print_usage(obj: Object, now: datetime) -> Row:
    """Of a pod: the sum of its containers."""
    del now
    parts = [part["usage"] for part in obj.get("containers") or ()] or [obj.get("usage") or {}]
    return Row([name_of(obj), _sum(parts, "cpu"), _sum(parts, "memory"), obj["window"]])


def _sum(parts: Sequence[Mapping[str, str]], name: str) -> str:
    total = quantities.parse(parts[0].get(name, "0"))
    for part in parts[1:]:
        total = total + quantities.parse(part[name])
    return str(total)
