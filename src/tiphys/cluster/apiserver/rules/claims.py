"""PersistentVolumeClaims, also as templates, and what may change in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from tiphys.cluster.apiserver.problems import Complaint, forbidden_value, invalid_value, required, unsupported
from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.rules.values import (
    ABOVE_0,
    Fields,
    difference,
    given_one_of,
    immutable,
    in_form,
    in_form_if_given,
    needed,
    quantity,
    selector,
)
from tiphys.lang import name_rules
from tiphys.machinery.equality import same

ACCESS_MODES: Final = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
VOLUME_MODES: Final = ("Block", "Filesystem")
_OLD_CLASS: Final = "volume.beta.kubernetes.io/storage-class"


def claim(obj: Object, old: Object | None) -> Iterator[Complaint]:
    yield from claim_spec(obj.get("spec") or {}, "spec")
    if old is not None:
        yield from _changes(obj, old)


def claim_spec(spec: Fields, at: str) -> Iterator[Complaint]:
    modes = spec.get("accessModes") or []
    if not modes:
        yield required(f"{at}.accessModes", "at least 1 access mode is required")
    yield from selector(spec.get("selector"), f"{at}.selector")
    yield from access_modes(modes, f"{at}.accessModes")
    size = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if size is None:
        yield required(f"{at}.resources[storage]")
    elif quantity(size).sign <= 0:
        yield invalid_value(f"{at}.resources[storage]", str(quantity(size)), ABOVE_0)
    yield from in_form_if_given(spec, at, "storageClassName", name_rules.dns1123_subdomain)
    yield from given_one_of(spec, at, "volumeMode", VOLUME_MODES)
    yield from _source_complaints(spec, at)
    yield from in_form_if_given(spec, at, "volumeAttributesClassName", name_rules.dns1123_subdomain)


def access_modes(modes: Sequence[str], at: str) -> Iterator[Complaint]:
    for mode in modes:
        if mode not in ACCESS_MODES:
            yield unsupported(at, mode, ACCESS_MODES)
    known = {mode for mode in modes if mode in ACCESS_MODES}
    if "ReadWriteOncePod" in known and len(known) > 1:
        yield forbidden_value(at, "may not use ReadWriteOncePod with other access modes")


def _source_complaints(spec: Fields, at: str) -> Iterator[Complaint]:
    source, reference = spec.get("dataSource"), spec.get("dataSourceRef")
    for field, each in (("dataSource", source), ("dataSourceRef", reference)):
        if each is not None:
            yield from _reference(each, f"{at}.{field}")
    if source is None or reference is None:
        return
    if reference.get("namespace"):
        text = "may not be specified when dataSourceRef.namespace is specified"
        yield invalid_value(at, f"{at}.dataSource", text)
    elif any((source.get(f) or None) != (reference.get(f) or None) for f in ("apiGroup", "kind", "name")):
        yield invalid_value(at, f"{at}.dataSource", "must match dataSourceRef")


def _reference(source: Fields, at: str) -> Iterator[Complaint]:
    yield from needed(source, at, "name", "kind")
    group, kind = source.get("apiGroup") or "", source.get("kind") or ""
    if not group and kind != "PersistentVolumeClaim":
        text = "must be 'PersistentVolumeClaim' when referencing the default apiGroup"
        yield invalid_value(at, kind, text)
    if group:
        yield from in_form(group, f"{at}.apiGroup", name_rules.dns1123_subdomain)
    yield from in_form_if_given(source, at, "namespace", name_rules.dns1123_label)


def _changes(obj: Object, old: Object) -> Iterator[Complaint]:
    spec, before, phase = obj.get("spec") or {}, old.get("spec") or {}, (old.get("status") or {}).get("phase")
    mine, held = ((each["metadata"].get("annotations") or {}).get(_OLD_CLASS) for each in (obj, old))
    moved = held is not None and before.get("storageClassName") is None and spec.get("storageClassName") == held
    if not moved or mine not in (None, held):
        yield from immutable(f"metadata.annotations.{_OLD_CLASS}", mine or "", held or "")
    compared, against = dict(spec), dict(before)
    if not before.get("volumeName"):
        _like(against, compared, "volumeName")
    if before.get("storageClassName") is None and held in (None, spec.get("storageClassName")):
        _like(compared, against, "storageClassName")
    if phase == "Bound":
        _like(compared, against, "resources")
        _like(compared, against, "volumeAttributesClassName")
    if not same(compared, against):
        text = (
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
        )
        changed = difference("core.PersistentVolumeClaimSpec", against, compared)
        yield forbidden_value("spec", f"{text}\n{changed}")
    yield from _size_changes(obj, old)
    yield from immutable("volumeMode", spec.get("volumeMode"), before.get("volumeMode"))
    current = (old.get("status") or {}).get("currentVolumeAttributesClassName")
    name = spec.get("volumeAttributesClassName")
    if current is not None and name != before.get("volumeAttributesClassName") and not name:
        what = "nil" if name is None else "empty string"
        text = f"update to {what} is forbidden when status.currentVolumeAttributesClassName is not nil"
        yield forbidden_value("spec.volumeAttributesClassName", text)


def _like(target: dict[str, Any], source: Fields, field: str) -> None:
    if field in source:
        target[field] = source[field]
    else:
        target.pop(field, None)


def _size_changes(obj: Object, old: Object) -> Iterator[Complaint]:
    new, before = (
        quantity((((each.get("spec") or {}).get("resources") or {}).get("requests") or {}).get("storage") or "0")
        for each in (obj, old)
    )
    provided = quantity(((old.get("status") or {}).get("capacity") or {}).get("storage") or "0")
    if new.compare(before) < 0 and new.compare(provided) <= 0:
        yield forbidden_value("spec.resources.requests.storage", "field can not be less than status.capacity")
