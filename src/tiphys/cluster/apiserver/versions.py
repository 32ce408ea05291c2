"""One object, several API versions: kept at the storage version, shown at the version that is asked for.

Custom resources of several versions differ in nothing but their schemas (conversion strategy None), or a webhook
converts them; the two built-in kinds that have two forms are converted field by field.

What was stored before the storage version changed stays as it is until the next write, which need not change anything:
that is how objects are migrated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from tiphys.cluster.apiserver.conversion import Webhook
from tiphys.cluster.apiserver.record import Object, Record
from tiphys.cluster.apiserver.registry import Registry, ResourceInfo
from tiphys.cluster.apiserver.typed import StructuralCodec

# Built-in kinds of several versions: the one that is stored.
_STORED: Final = {
    "horizontalpodautoscalers.autoscaling": ("autoscaling", "v2", "horizontalpodautoscalers"),
    "events": ("", "v1", "events"),
}


class Versions:
    """Conversions between the versions of a collection; ``webhook`` makes those that a definition leaves to others."""

    def __init__(self, registry: Registry, webhook: Webhook) -> None:
        self._registry = registry
        self._webhook = webhook

    def is_plain(self, info: ResourceInfo) -> bool:
        """True where the collection has one version only: nothing is ever converted."""
        return self._storage_of(info) is None

    def waits(self, info: ResourceInfo) -> bool:
        """Whether conversions of this kind are somebody else's: ``show`` then takes its time, ``shown`` may fail."""
        return info.conversion is not None and not self.is_plain(info)

    def shown(self, info: ResourceInfo, record: Record) -> Record:
        """The record as ``info``'s version shows it. For kinds that do not wait."""
        if self.is_plain(info) or _version_of(record.view) == info.resource.api_version:
            return record
        assert info.conversion is None, "show waits, this does not"
        return Record(record.key, record.id, record.version, self.converted(record.view, info))

    async def show(self, info: ResourceInfo, records: Sequence[Record]) -> Sequence[Record]:
        """The records as ``info``'s version shows them; raises ConversionFailed."""
        if self.is_plain(info):
            return records
        if info.conversion is None:
            return [self.shown(info, record) for record in records]
        others = [record for record in records if _version_of(record.view) != info.resource.api_version]
        made = iter(await self._asked([record.view for record in others], info) if others else ())
        return [
            record
            if _version_of(record.view) == info.resource.api_version
            else Record(record.key, record.id, record.version, next(made))
            for record in records
        ]

    async def stored(self, info: ResourceInfo, obj: Object) -> Object:
        """The object of ``info``'s version as it is kept; raises ConversionFailed."""
        storage = self._storage_of(info)
        if storage is None or storage.resource.api_version == info.resource.api_version:
            return obj
        if storage.conversion is not None:
            return (await self._asked([obj], storage))[0]
        return self.converted(obj, storage)

    def is_migrated(self, info: ResourceInfo, record: Record) -> bool:
        """Whether the record is kept in the version that objects are stored in now."""
        storage = self._storage_of(info)
        return storage is None or _version_of(record.view) == storage.resource.api_version

    def converted(self, obj: Object, to: ResourceInfo) -> Object:
        """The object as another version of its kind has it."""
        named = {"kind": to.kind, "apiVersion": to.resource.api_version}
        if to.custom is None:
            convert = _CONVERSIONS.get((_version_of(obj), to.resource.api_version), dict)
            return named | {k: v for k, v in convert(obj).items() if k not in named}
        return _known(named | {key: value for key, value in obj.items() if key not in named}, to)

    async def _asked(self, objects: Sequence[Object], to: ResourceInfo) -> list[Object]:
        return [_known(obj, to) for obj in await self._webhook.convert(objects, to)]

    def _storage_of(self, info: ResourceInfo) -> ResourceInfo | None:
        """The stored version's resource; None for a collection of one version."""
        if info.custom is not None:
            return info.storage
        place = _STORED.get(info.collection)
        return self._registry.find(*place) if place is not None else None


def _known(obj: Object, to: ResourceInfo) -> Object:
    """An object of a custom kind without what its version does not have."""
    return to.codec.converted(obj) if isinstance(to.codec, StructuralCodec) else obj


def _version_of(obj: Mapping[str, Any]) -> str:
    return str(obj.get("apiVersion", ""))


# events: core/v1 and events.k8s.io/v1 name the same things differently
_EVENT_NAMES: Final = {
    "involvedObject": "regarding",
    "message": "note",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
    "reportingComponent": "reportingController",
}


def _to_new_event(obj: Object) -> Object:
    return {_EVENT_NAMES.get(key, key): value for key, value in obj.items()}


def _to_core_event(obj: Object) -> Object:
    names = {new: old for old, new in _EVENT_NAMES.items()}
    return {names.get(key, key): value for key, value in obj.items()}


# horizontal pod autoscalers: v1 knows one metric, the cpu's utilization


def _to_scaler_v1(obj: Object) -> Object:
    spec, status = dict(obj.get("spec") or {}), dict(obj.get("status") or {})
    percent = _cpu_utilization(spec.pop("metrics", None) or (), "target")
    if percent is not None:
        spec["targetCPUUtilizationPercentage"] = percent
    spec.pop("behavior", None)
    current = _cpu_utilization(status.pop("currentMetrics", None) or (), "current")
    if current is not None:
        status["currentCPUUtilizationPercentage"] = current
    status.pop("conditions", None)
    status.setdefault("currentReplicas", 0)
    return obj | {"spec": spec, "status": status}


def _cpu_utilization(metrics: Sequence[Mapping[str, Any]], part: str) -> Any:
    for metric in metrics:
        resource = metric.get("resource") or {}
        if metric.get("type") == "Resource" and resource.get("name") == "cpu":
            return (resource.get(part) or {}).get("averageUtilization")
    return None


def _to_scaler_v2(obj: Object) -> Object:
    spec, status = dict(obj.get("spec") or {}), dict(obj.get("status") or {})
    percent = spec.pop("targetCPUUtilizationPercentage", None)
    if percent is not None:
        target = {"type": "Utilization", "averageUtilization": percent}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    current = status.pop("currentCPUUtilizationPercentage", None)
    if current is not None:
        held = {"averageUtilization": current, "averageValue": "0"}
        status["currentMetrics"] = [{"type": "Resource", "resource": {"name": "cpu", "current": held}}]
    status.setdefault("currentMetrics", None)
    return obj | {"spec": spec, "status": status}


_CONVERSIONS: Final[Mapping[tuple[str, str], Callable[[Object], Object]]] = {
    ("v1", "events.k8s.io/v1"): _to_new_event,
    ("events.k8s.io/v1", "v1"): _to_core_event,
    ("autoscaling/v2", "autoscaling/v1"): _to_scaler_v1,
    ("autoscaling/v1", "autoscaling/v2"): _to_scaler_v2,
}
