"""The rules of ``metadata``: what the server sets, what a writer may change, and what is refused.

Metadata is always rebuilt in one fixed order of fields, without unknown and empty ones, as the original's structs are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from tiphys.cluster.apiserver.problems import Complaint, invalid_value, required, shown
from tiphys.cluster.apiserver.record import Object
from tiphys.lang import name_rules

FIELDS: Final = (
    "name",
    "generateName",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
    "managedFields",
)
# What an update cannot change: kept from the old object.
_KEPT: Final = (
    "name",
    "namespace",
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
)
_WRITERS: Final = frozenset(FIELDS) - (frozenset(_KEPT) - {"name", "namespace"})
_OWNER: Final = ("apiVersion", "kind", "name", "uid", "controller", "blockOwnerDeletion")
ANNOTATIONS_BYTES_MAX = 256 * 1024
UNSTORED: Final = "0"
"""The resourceVersion of an object that the store has not taken yet: a place in the order of fields."""
GENERATED_NAME_BASE_MAX = 58  # 63 minus the five characters that are appended
_SERVER_FINALIZERS: Final = ("orphan", "foregroundDeletion", "kubernetes")


def ordered(meta: Mapping[str, Any]) -> dict[str, Any]:
    """A new metadata dict in canonical order. Zero is kept for the grace period only, where it means something."""
    found: dict[str, Any] = {}
    for field in FIELDS:
        value = meta.get(field)
        if value or (value == 0 and field == "deletionGracePeriodSeconds" and value is not None):
            found[field] = value
    return found


def for_create(given: Mapping[str, Any], *, namespace: str, uid: str, now: str, generation: bool) -> dict[str, Any]:
    """The metadata of a new object; the writer's own fields and what the server adds."""
    meta = {field: value for field, value in given.items() if field in _WRITERS and field != "resourceVersion"}
    if namespace:
        meta["namespace"] = namespace
    meta["uid"], meta["creationTimestamp"] = uid, now
    meta["resourceVersion"] = UNSTORED
    if generation:
        meta["generation"] = 1
    return ordered(meta)


def for_update(given: Mapping[str, Any], old: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata of a changed object, still under the old resourceVersion and generation."""
    meta = {field: value for field, value in given.items() if field in _WRITERS}
    meta.update({field: old[field] for field in _KEPT if field in old})
    meta["resourceVersion"] = old["resourceVersion"]
    return ordered(meta)


def generated_name(base: str, suffix: str) -> str:
    return base[:GENERATED_NAME_BASE_MAX] + suffix


def complaints(obj: Object, rule: Callable[[str], list[str]], *, is_custom: bool = False) -> Iterator[Complaint]:
    """What is wrong with an object's metadata (``ValidateObjectMeta``)."""
    meta = obj["metadata"]
    base = meta.get("generateName")
    if base:
        yield from _name_complaints(
            "metadata.generateName", base, rule, base[:-1] + "x" if base.endswith("-") else base
        )
    name = meta.get("name")
    if not name:
        yield required("metadata.name", "name or generateName is required")
    else:
        yield from _name_complaints("metadata.name", name, rule, name)
    yield from label_complaints(meta.get("labels") or {}, "metadata.labels")
    yield from annotation_complaints_at(meta.get("annotations") or {}, "metadata.annotations")
    yield from _owner_complaints(meta.get("ownerReferences") or [])
    yield from finalizer_complaints(meta.get("finalizers") or [], is_custom=is_custom)


def _name_complaints(field: str, name: str, rule: Callable[[str], list[str]], judged: str) -> Iterator[Complaint]:
    for message in rule(judged):
        yield invalid_value(field, name, message)


def label_complaints(labels: Mapping[str, Any], field: str) -> Iterator[Complaint]:
    for key, value in sorted(labels.items()):
        for message in name_rules.qualified_name(key):
            yield invalid_value(field, key, message)
        for message in name_rules.label_value(str(value)):
            yield invalid_value(field, value, message)


def annotation_complaints_at(annotations: Mapping[str, Any], at: str) -> Iterator[Complaint]:
    size = 0
    for key, value in sorted(annotations.items()):
        size += len(key.encode()) + len(str(value).encode())
        for message in name_rules.qualified_name(key.lower()):
            yield invalid_value(at, key, message)
    if size > ANNOTATIONS_BYTES_MAX:
        text = f"Too long: may not be more than {ANNOTATIONS_BYTES_MAX} bytes"
        yield Complaint(at, "FieldValueTooLong", text)


def _owner_complaints(owners: list[Mapping[str, Any]]) -> Iterator[Complaint]:
    for owner in owners:
        for field in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(field):
                text = {"apiVersion": "version must not be empty"}.get(field, "must not be empty")
                yield invalid_value(f"metadata.ownerReferences.{field}", owner.get(field) or "", text)
    controllers = [owner for owner in owners if owner.get("controller")]
    if len(controllers) > 1:
        text = (
            'Only one reference can have Controller set to true. Found "true" in references for '
            f"{controllers[0].get('kind')}/{controllers[0].get('name')} and "
            f"{controllers[1].get('kind')}/{controllers[1].get('name')}"
        )
        told = [{field: owner[field] for field in _OWNER if field in owner} for owner in owners]
        yield Complaint("metadata.ownerReferences", "FieldValueInvalid", f"Invalid value: {shown(told)}: {text}")


def finalizer_complaints(finalizers: list[str], *, is_custom: bool) -> Iterator[Complaint]:
    """Built-in kinds want a standard or a qualified name; for the others any name of a label's form will do."""
    for finalizer in finalizers:
        for message in name_rules.qualified_name(finalizer):
            yield invalid_value("metadata.finalizers", finalizer, message)
    if {"orphan", "foregroundDeletion"} <= set(finalizers):
        text = "finalizer orphan and foregroundDeletion cannot be both set"
        yield Complaint("metadata.finalizers", "FieldValueInvalid", f"Invalid value: {shown(finalizers)}: {text}")
    for at, finalizer in enumerate(() if is_custom else finalizers):
        if "/" not in finalizer and finalizer not in _SERVER_FINALIZERS:
            text = "name is neither a standard finalizer name nor is it fully qualified"
            yield invalid_value(f"metadata.finalizers[{at}]", finalizer, text)
