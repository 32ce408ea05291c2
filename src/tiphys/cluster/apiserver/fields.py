"""Which fields of which kinds ``fieldSelector`` may name, and how they are read from an object.

Every kind has ``metadata.name`` and, where namespaced, ``metadata.namespace``. An unknown field is refused with the
message that the original gives; core kinds, Jobs and the rest each have their own wording.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.registry import ResourceInfo
from tiphys.machinery.selectors import FieldSelector

_EVENT_REFERENCE: Final = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")

# collection → paths that may be selected, beside the two of every kind
_SELECTABLE: Final[dict[str, tuple[str, ...]]] = {
    "pods": (
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.podIPs",
        "status.nominatedNodeName",
    ),
    "nodes": ("spec.unschedulable",),
    "namespaces": ("status.phase",),
    "secrets": ("type",),
    "services": ("spec.clusterIP", "spec.type"),
    "replicationcontrollers": ("status.replicas",),
    "events": (
        *(f"involvedObject.{name}" for name in _EVENT_REFERENCE),
        "reason",
        "reportingComponent",
        "source",
        "type",
    ),
    "jobs.batch": ("status.successful",),
    "certificatesigningrequests.certificates.k8s.io": ("spec.signerName",),
    "resourceslices.resource.k8s.io": ("spec.nodeName", "spec.driver"),
}
# Other names for a field; events.k8s.io calls the reference "regarding".
_ALIASES: Final[dict[str, dict[str, str]]] = {
    "pods": {"spec.host": "spec.nodeName"},
    "events.events.k8s.io": {f"regarding.{name}": f"involvedObject.{name}" for name in _EVENT_REFERENCE}
    | {"reportingController": "reportingComponent"},
}
_BOOLEANS: Final = frozenset({"spec.unschedulable", "spec.hostNetwork"})


class UnknownField(ValueError):
    """The kind has no such selectable field."""


def resolve(info: ResourceInfo, selector: FieldSelector) -> FieldSelector:
    """The selector with aliases replaced; raises UnknownField."""
    return selector.transform(lambda field, value: (canonical_field(info, field), value))


def canonical_field(info: ResourceInfo, label: str) -> str:
    """The field that ``label`` selects; raises UnknownField."""
    aliases = _ALIASES.get(info.resource.key, {})
    if label in aliases:
        return aliases[label]
    if label == "metadata.name" or (label == "metadata.namespace" and _knows_namespace(info)):
        return label
    if label in _selectable(info) and not (info.resource.key == "events.events.k8s.io" and "." in label):
        return label
    raise UnknownField(_refusal(info, label))


def reader(info: ResourceInfo) -> Callable[[Object], Mapping[str, str]]:
    """A function that reads an object's selectable fields as text; always the same one for the same resource."""
    return _reader(_selectable(info))


def _selectable(info: ResourceInfo) -> tuple[str, ...]:
    if info.custom is not None:
        return tuple(str(f["jsonPath"]).lstrip(".") for f in info.custom.get("selectableFields") or ())
    return _SELECTABLE.get(info.collection, ())


def _knows_namespace(info: ResourceInfo) -> bool:
    return info.resource.namespaced or info.resource.group != ""


def _refusal(info: ResourceInfo, label: str) -> str:
    if info.collection == "jobs.batch":
        return f'field label "{label}" not supported for Job'
    if info.custom is not None or info.collection in _SELECTABLE or info.resource.group == "":
        return f"field label not supported: {label}"
    return f'"{label}" is not a known field selector: only "metadata.name", "metadata.namespace"'


@lru_cache(maxsize=256)
def _reader(paths: tuple[str, ...]) -> Callable[[Object], Mapping[str, str]]:
    split = [(path, tuple(path.split("."))) for path in paths]

    def read(obj: Object) -> Mapping[str, str]:
        meta = obj["metadata"]
        fields = {"metadata.name": meta.get("name") or "", "metadata.namespace": meta.get("namespace") or ""}
        for path, steps in split:
            fields[path] = _text(obj, path, steps)
        return fields

    return read


def _text(obj: Object, path: str, steps: tuple[str, ...]) -> str:
    value: Any = obj
    for step in steps:
        value = value.get(step) if isinstance(value, Mapping) else None
    if path == "source" and isinstance(value, Mapping):
        value = value.get("component")
    if isinstance(value, bool) or (value is None and path in _BOOLEANS):
        return "true" if value else "false"
    if path == "status.podIPs":
        return ",".join(entry.get("ip", "") for entry in value or ())
    return "" if value is None else str(value)
