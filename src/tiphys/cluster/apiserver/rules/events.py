"""Events: core/v1 takes nearly everything, events.k8s.io/v1 wants the whole story."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from tiphys.cluster.apiserver.problems import Complaint, invalid_value, required
from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.rules.values import Fields, immutable, in_form
from tiphys.lang import name_rules

_LIMITS: Final = {"reportingInstance": 128, "action": 128, "reason": 128}
_NOTE_MAX: Final = 1024
# What must stay, and its name in the newer version.
_FIXED: Final = (
    ("involvedObject", "regarding"),
    ("reason", "reason"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("type", "type"),
    ("eventTime", "eventTime"),
    ("action", "action"),
    ("related", "related"),
    ("reportingController", "reportingController"),
    ("reportingInstance", "reportingInstance"),
)


def core_event(obj: Object, old: Object | None) -> Iterator[Complaint]:
    del old
    names = {"object": "involvedObject", "controller": "reportingComponent", "note": "message"}
    yield from _any_event(obj, names, obj.get("reportingComponent") or "")


def event(obj: Object, old: Object | None) -> Iterator[Complaint]:
    names = {"object": "regarding", "controller": "reportingController", "note": "note"}
    yield from _any_event(obj, names, obj.get("reportingController") or "")
    series: Fields | None = obj.get("series")
    if series is not None and (old is None or series != old.get("series")):
        if (series.get("count") or 0) < 2:
            yield invalid_value("series.count", "", "should be at least 2")
        if series.get("lastObservedTime") is None:
            yield required("series.lastObservedTime")
    if old is not None:
        for told, field in _FIXED:
            yield from immutable(told, _shown(obj.get(field)), _shown(old.get(field)))
        return
    if not obj.get("eventTime"):
        yield required("eventTime")
    if obj.get("type") not in ("Normal", "Warning"):
        yield invalid_value("type", "", f"has invalid value: {obj.get('type') or ''}")
    for told, field in (
        ("firstTimestamp", "deprecatedFirstTimestamp"),
        ("lastTimestamp", "deprecatedLastTimestamp"),
        ("count", "deprecatedCount"),
        ("source", "deprecatedSource"),
    ):
        if obj.get(field):
            yield invalid_value(told, "", "needs to be unset")


def _shown(value: Any) -> Any:
    return value or ""


def _any_event(obj: Object, names: Fields, controller: str) -> Iterator[Complaint]:
    namespace = obj["metadata"].get("namespace") or ""
    about = (obj.get(names["object"]) or {}).get("namespace") or ""
    mismatch = invalid_value("involvedObject.namespace", about, "does not match event.namespace")
    if not obj.get("eventTime"):
        if (about and about != namespace) or (not about and namespace not in ("", "default")):
            yield mismatch
    else:
        if not about and namespace not in ("default", "kube-system"):
            yield mismatch
        if not controller:
            yield required(names["controller"])
        yield from in_form(controller, names["controller"], name_rules.qualified_name)
        for field, limit in _LIMITS.items():
            value = obj.get(field) or ""
            if not value:
                yield required(field)
            if len(value.encode()) > limit:
                yield invalid_value(field, "", f"can have at most {limit} characters")
        if len((obj.get(names["note"]) or "").encode()) > _NOTE_MAX:
            yield invalid_value("message", "", f"can have at most {_NOTE_MAX} characters")
    yield from in_form(namespace, "namespace", name_rules.dns1123_subdomain)
