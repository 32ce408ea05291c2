"""Tables: what ``kubectl get`` prints, made by the server.

Built-in kinds have columns (``data/columns.json``, generated) and a printer (``printers/``); custom kinds say theirs in
their definition; everything else shows name and creation time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from importlib import resources
from typing import Any, Final

import orjson

from tiphys.cluster.apiserver.jsonpaths import find_all
from tiphys.cluster.apiserver.printers import ORDERS, PRINTERS, Row, usage
from tiphys.cluster.apiserver.record import Object, Record
from tiphys.cluster.apiserver.registry import ResourceInfo
from tiphys.machinery.ages import age
from tiphys.machinery.errors import BadRequest

_NAME: Final = {
    "name": "Name",
    "type": "string",
    "format": "name",
    "description": (
        "Name must be unique within a namespace. Is required when creating resources, although some resources may allow"
        " a client to request the generation of an appropriate name automatically. Name is primarily intended for"
        " creation idempotence and configuration definition. Cannot be updated. More info:"
        " https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names"
    ),
    "priority": 0,
}
_CREATED_TEXT: Final = (
    "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed"
    " to be set in happens-before order across separate operations. Clients may not set this value. It is represented"
    " in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info:"
    " https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata"
)
_CREATED: Final = {
    "name": "Created At",
    "type": "date",
    "format": "",
    "description": _CREATED_TEXT,
    "priority": 0,
}
_AGE: Final = {"name": "Age", "type": "date", "format": "", "description": _CREATED_TEXT, "priority": 0}

_TEMPLATE_GENERATION: Final = "deprecated.daemonset.template.generation"

Printer = Callable[[Object, datetime], Row]


@dataclass(frozen=True)
class Table:
    """How the objects of one kind are shown. ``include``: which part of an object each row carries along."""

    columns: Sequence[Mapping[str, Any]]
    print_row: Printer
    now: datetime
    include: str = "Metadata"
    version: str = "v1"
    with_columns: bool = True
    order: Callable[[Object], Any] | None = None

    def continued(self) -> Table:
        """The same without column definitions, for the later frames of a watch."""
        return replace(self, with_columns=False)

    def document(self, records: Iterable[Record], meta: Mapping[str, Any]) -> Object:
        """The Table object."""
        views = [record.view for record in records]
        rows = [self._row(view) for view in (views if self.order is None else sorted(views, key=self.order))]
        return {
            "kind": "Table",
            "apiVersion": f"meta.k8s.io/{self.version}",
            "metadata": meta,
            "columnDefinitions": self.columns if self.with_columns else None,
            "rows": rows,
        }

    def _row(self, obj: Object) -> Object:
        printed = self.print_row(obj, self.now)
        row: Object = {"cells": printed.cells}
        if printed.conditions:
            row["conditions"] = printed.conditions
        return row | {"object": self._included(obj)}

    def _included(self, obj: Object) -> Object | None:
        if self.include == "None":
            return None
        annotations = obj["metadata"].get("annotations") or {}
        if _TEMPLATE_GENERATION in annotations:
            # Tables are made of the internal type, which has a field for it.
            others = {key: value for key, value in annotations.items() if key != _TEMPLATE_GENERATION}
            meta = {key: value for key, value in obj["metadata"].items() if key != "annotations"}
            obj = obj | {"metadata": meta | ({"annotations": others} if others else {})}
        if self.include == "Object":
            return obj
        return {
            "kind": "PartialObjectMetadata",
            "apiVersion": f"meta.k8s.io/{self.version}",
            "metadata": obj["metadata"],
        }


def table_for(info: ResourceInfo, include: str, version: str, now: datetime) -> Table:
    """The table of a kind; raises BadRequest for an unknown ``includeObject``."""
    if include not in ("", "Metadata", "Object", "None"):
        raise BadRequest(
            f"Unable to convert to Table as requested: includeObject: Invalid value: \"{include}\": must be 'Metadata',"
            " 'Object', 'None', or empty"
        )
    columns, printer = _printed(info)
    order = ORDERS.get(f"{info.resource.group}/{info.kind}")
    return Table(columns, printer, now, include or "Metadata", version, order=order)


def _printed(info: ResourceInfo) -> tuple[Sequence[Mapping[str, Any]], Printer]:
    if info.custom is not None:
        return _custom(info.custom)
    name = f"{info.resource.group}/{info.kind}"
    if info.resource.group == "metrics.k8s.io":
        return usage.COLUMNS, usage.print_usage
    printer, columns = PRINTERS.get(name), columns_of(name)
    if printer is None or columns is None:
        return (_NAME, _CREATED), lambda obj, now: Row(
            [obj["metadata"].get("name", ""), obj["metadata"].get("creationTimestamp")]
        )
    return columns, printer


def scale_table(scale: Object, version: str, now: datetime) -> Object:
    """The Table of one Scale."""
    desired = "replicas is the desired number of instances for the scaled object."
    actual = "replicas is the actual number of observed instances of the scaled object."
    columns = [_NAME, _count("Desired", desired), _count("Available", actual), _AGE]

    def row(obj: Object, now: datetime) -> Row:
        counts = [(obj.get(part) or {}).get("replicas") or 0 for part in ("spec", "status")]
        return Row([obj["metadata"]["name"], *counts, age(obj["metadata"].get("creationTimestamp"), now)])

    table = Table(columns, row, now, "Metadata", version)
    return table.document([Record("", 0, 0, scale)], {"resourceVersion": scale["metadata"].get("resourceVersion", "")})


def _count(name: str, description: str) -> Mapping[str, Any]:
    return {"name": name, "type": "integer", "format": "", "description": description, "priority": 0}


def columns_of(table: str) -> Sequence[Mapping[str, Any]] | None:
    """The column definitions of a built-in table such as ``apps/Deployment`` or ``/Pod``."""
    return _columns().get(table)


@cache
def _columns() -> Mapping[str, Sequence[Mapping[str, Any]]]:
    found: Mapping[str, Sequence[Mapping[str, Any]]] = orjson.loads(
        resources.files("tiphys.cluster.apiserver").joinpath("data/columns.json").read_bytes()
    )
    return found


def _custom(version: Mapping[str, Any]) -> tuple[Sequence[Mapping[str, Any]], Printer]:
    """The columns that a definition declares, else the age."""
    declared = version.get("additionalPrinterColumns")
    if not declared:
        return (_NAME, _AGE), lambda obj, now: Row(
            [obj["metadata"].get("name", ""), age(obj["metadata"].get("creationTimestamp"), now)]
        )
    columns = [_NAME, *(_declared(column) for column in declared)]

    def print_row(obj: Object, now: datetime) -> Row:
        return Row([obj["metadata"].get("name", ""), *(_cell(obj, column, now) for column in declared)])

    return columns, print_row


def _declared(column: Mapping[str, Any]) -> Mapping[str, Any]:
    path = str(column["jsonPath"])
    description = column.get("description") or f"Custom resource definition column (in JSONPath format): {path}"
    return {
        "name": column["name"],
        "type": column["type"],
        "format": column.get("format", ""),
        "description": description,
        "priority": column.get("priority", 0),
    }


def _cell(obj: Object, column: Mapping[str, Any], now: datetime) -> Any:
    """The first value of the column's path as its type asks; None for a value of another type."""
    found = find_all(obj, str(column["jsonPath"]))
    if not found:
        return None
    value = found[0]
    match column["type"]:
        case "date":
            return _date(value, now)
        case "integer":
            return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
        case "number":
            return value if isinstance(value, int | float) and not isinstance(value, bool) else None
        case "boolean":
            return value if isinstance(value, bool) else None
    return _text(value)


def _date(value: Any, now: datetime) -> str | None:
    if value is None:
        return "<unknown>"
    if not isinstance(value, str):
        return None
    try:
        return age(value, now)
    except ValueError:
        return "<invalid>"


def _text(value: Any) -> str | None:
    """Containers are printed as JSON."""
    if value is None:
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return orjson.dumps(value, default=dict).decode()
