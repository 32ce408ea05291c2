"""A row of a table, and the small things that many printers show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tiphys.cluster.apiserver.record import Object
from tiphys.machinery.ages import age
from tiphys.machinery.selectors import SelectorError, from_structured

NONE = "<none>"
UNSET = "<unset>"
UNKNOWN = "<unknown>"


@dataclass(frozen=True)
class Row:
    """``conditions`` is set for rows that kubectl may hide (completed pods)."""

    cells: list[Any]
    conditions: Sequence[Mapping[str, Any]] = ()


def name_of(obj: Object) -> str:
    return str(obj["metadata"].get("name", ""))


def age_of(obj: Object, now: datetime) -> str:
    return age(obj["metadata"].get("creationTimestamp"), now)


def part(obj: Mapping[str, Any], *path: str) -> Any:
    """The value at a path; None where something on the way is missing."""
    value: Any = obj
    for step in path:
        value = value.get(step) if isinstance(value, Mapping) else None
    return value


def selector_text(selector: Mapping[str, Any] | None) -> str:
    """A LabelSelector struct as text."""
    if selector is None:
        return NONE
    try:
        return str(from_structured(selector)) or NONE
    except SelectorError:
        return "<error>"


def labels_text(labels: Mapping[str, str] | None) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted((labels or {}).items())) or NONE


def containers_of(template: Mapping[str, Any]) -> tuple[str, str]:
    """Names and images of a pod template's containers, joined."""
    containers = part(template, "spec", "containers") or []
    names = ",".join(str(c.get("name", "")) for c in containers)
    return names, ",".join(str(c.get("image", "")) for c in containers)
