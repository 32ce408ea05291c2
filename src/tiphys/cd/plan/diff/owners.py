"""Comparisons by field owners: structured merge (an apply computed here), and a server-side dry run's answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from tiphys.api import kube_types
from tiphys.api.kube_types import strategic_schema
from tiphys.cd.plan.diff.threeway import defaulted
from tiphys.cd.plan.markers import LAST_APPLIED
from tiphys.cd.plan.objects import Object, gvk_of, metadata_of, without
from tiphys.cd.plan.typed import go_type
from tiphys.machinery.ssa import SchemaType, fieldsets, values
from tiphys.machinery.ssa.fieldsets import FieldSet
from tiphys.machinery.ssa.ownership import Manager, Merger, Owned

TypeOf = Callable[[str, str], SchemaType | None]
"""The merge type of an apiVersion and kind; None where nobody knows it."""


class OwnersError(ValueError):
    """Objects that do not fit their type, or a type that nobody knows."""


def built_in_types(api_version: str, kind: str) -> SchemaType | None:
    return kube_types.merge_type(api_version, kind)


def structured_merge(target: Object, live: Object, manager: str, type_of: TypeOf) -> tuple[Object, Object]:
    """The live object as it is compared, and as an apply by ``manager`` would make it. Raises OwnersError."""
    gvk = gvk_of(target)
    kind = type_of(gvk.api_version, gvk.kind)
    if kind is None:
        shown = f"{gvk.api_version}, Kind={gvk.kind}"
        raise OwnersError(f"unable to resolve parseableType for GroupVersionKind: {shown}")
    for name, obj in (("live", live), ("config", target)):
        try:
            values.validate(obj, kind)
        except values.TypeMismatch as err:
            raise OwnersError(f"error building typed value from {name} resource: {err}") from err
    merger = Merger(gvk.api_version, lambda version: type_of(version, gvk.kind), {})
    merged, _owners = merger.apply(live, target, _owned(live), Manager(manager, "Apply"), force=True)
    if merged is None:
        return live, live
    return _compared(live), _compared(merged)


def without_mutations(answer: Object, live: Object, manager: str, type_of: TypeOf) -> Object:
    """A dry run's answer without what webhooks changed: fields that ``manager`` does not own are the live ones."""
    gvk, shown = gvk_of(answer), f"{answer.get('kind')}/{metadata_of(answer).get('name')}"
    entries = metadata_of(answer).get("managedFields") or ()
    if not entries:
        raise OwnersError(f"predictedLive for resource {shown} must have the managedFields")
    kind = type_of(gvk.api_version, gvk.kind)
    if kind is None:
        raise OwnersError(f"unable to resolve parseableType for GroupVersionKind: {gvk}")
    mine: FieldSet = {}
    for entry in entries:
        if entry.get("manager") == manager:
            mine = fieldsets.union(mine, entry.get("fieldsV1") or {})
    if not mine:
        raise OwnersError(f"no managed fields found for manager: {manager}")
    try:
        values.validate(answer, kind)
        values.validate(live, kind)
        foreign = _not_above(fieldsets.difference(values.fields_of(answer, kind), mine), mine)
        removed = fieldsets.difference(values.compare(live, answer, kind).removed, foreign)
        own = values.remove(answer, _without_composite_keys(foreign), kind)
        result: Object = values.remove(values.merge(live, own, kind), removed, kind)
    except values.TypeMismatch as err:
        raise OwnersError(f"error converting predicted live state from unstructured to {gvk}: {err}") from err
    return result


def _owned(live: Object) -> dict[Manager, Owned]:
    owners: dict[Manager, Owned] = {}
    for entry in metadata_of(live).get("managedFields") or ():
        applied, version = entry.get("operation") == "Apply", str(entry.get("apiVersion", ""))
        manager = Manager(
            entry.get("manager", ""), entry["operation"], "" if applied else version, entry.get("subresource", "")
        )
        owners[manager] = Owned(entry.get("fieldsV1") or {}, version, applied)
    return owners


def _compared(obj: Object) -> Object:
    obj = without(obj, "metadata", "annotations", LAST_APPLIED)
    gvk = gvk_of(obj)
    name, schema = go_type(gvk), strategic_schema(gvk.api_version, gvk.kind)
    return defaulted(obj, gvk, name, schema) if name and schema else obj


def _not_above(fields: FieldSet, mine: FieldSet) -> FieldSet:
    """``fields`` without those that have a field of ``mine`` below them: removing one would take that along."""
    kept: FieldSet = {}
    for path in fieldsets.paths(fields):
        if not _below(mine, path):
            fieldsets.insert(kept, path)
    return kept


def _below(fields: FieldSet, path: tuple[str, ...]) -> bool:
    for step in path:
        fields = fieldsets.children(fields, step)
        if not fields:
            return False
    return True


def _without_composite_keys(fields: FieldSet) -> FieldSet:
    """Fields that are part of a list element's key of several fields stay, or the element would lose its identity."""
    kept: FieldSet = {}
    for path in fieldsets.paths(fields):
        if not _is_composite_key(path):
            fieldsets.insert(kept, path)
    return kept


def _is_composite_key(path: tuple[str, ...]) -> bool:
    if not path or not path[-1].startswith("f:"):
        return False
    for step in reversed(path[:-1]):
        keys: Mapping[str, Any] = orjson.loads(step[2:]) if step.startswith("k:") else {}
        if len(keys) > 1 and path[-1][2:] in keys:
            return True
    return False
