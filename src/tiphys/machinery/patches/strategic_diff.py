"""Makes strategic merge patches: what to send so that one document becomes another (apimachinery ``strategicpatch``).

    two_way(original, modified)              the patch that makes ``modified`` of ``original``
    three_way(last, modified, current)       what kubectl apply sends: changes against ``current``, and deletions only
                                             of what ``last`` had and ``modified`` has not

Lists that merge get their elements' order as ``$setElementOrder``; deleted elements are directives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tiphys.lang.gofmt import sprint
from tiphys.machinery.equality import same
from tiphys.machinery.patches.strategic import (
    DELETE_SCALARS,
    DIRECTIVE,
    ORDER,
    RETAIN,
    Object,
    Schema,
    StrategicMergeError,
    combine,
)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Which differences go into a patch."""

    order: bool
    changes: bool = True
    deletions: bool = True


def two_way(original: Mapping[str, Any], modified: Mapping[str, Any], schema: Schema) -> Object:
    """Raises StrategicMergeError."""
    return _maps(original, modified, schema, _Wanted(order=True), retains=False)


def three_way(
    last: Mapping[str, Any], modified: Mapping[str, Any], current: Mapping[str, Any], schema: Schema
) -> Object:
    """Raises StrategicMergeError. Conflicts are overwritten, as kubectl apply does by default."""
    changes = _maps(current, modified, schema, _Wanted(order=True, deletions=False), retains=False)
    deletions = _maps(last, modified, schema, _Wanted(order=True, changes=False), retains=False)
    return combine([deletions, changes], schema) if deletions else changes


def _maps(
    original: Mapping[str, Any], modified: Mapping[str, Any], schema: Schema | None, wanted: _Wanted, *, retains: bool
) -> Object:
    patch: Object = {}
    for key, new in modified.items():
        if key not in original:
            if wanted.changes:
                patch[key] = new
            continue
        old = original[key]
        if old is new:
            continue
        if key == DIRECTIVE:
            if old != new:
                patch[key] = new
        elif isinstance(old, Mapping) and isinstance(new, Mapping):
            _map_member(patch, key, old, new, schema, wanted)
        elif isinstance(old, list) and isinstance(new, list):
            _list_member(patch, key, old, new, schema, wanted)
        elif wanted.changes and not same(old, new):
            patch[key] = new
    if wanted.deletions:
        patch.update({key: None for key in original if key not in modified})
    if retains:
        kept = sorted(key for key, value in modified.items() if value is not None)
        if kept and (patch or any(key not in modified for key in original)):
            patch[RETAIN] = kept
    return patch


def _map_member(
    patch: Object, key: str, old: Mapping[str, Any], new: Mapping[str, Any], schema: Schema | None, wanted: _Wanted
) -> None:
    if same(old, new):
        return
    rule = _rule(schema, key)
    if "replace" in rule.strategies:
        if wanted.changes:
            patch[key] = new
        return
    inner = _maps(old, new, rule.inner, wanted, retains="retainKeys" in rule.strategies)
    if inner:
        patch[key] = inner


def _list_member(
    patch: Object, key: str, old: list[Any], new: list[Any], schema: Schema | None, wanted: _Wanted
) -> None:
    if same(old, new):
        return
    rule = _rule(schema, key)
    if "merge" not in rule.strategies:
        if wanted.changes:
            patch[key] = new
        return
    if not old:
        if new and wanted.changes:
            patch[key] = new
        return
    if _of_maps(old, new):
        added, order = _map_items(old, new, rule.merge_key, rule.inner, wanted, "retainKeys" in rule.strategies)
        gone: list[Any] = []
    else:
        added, gone, order = _scalar_items(old, new, wanted)
    if added:
        patch[key] = added
    if gone:
        patch[f"{DELETE_SCALARS}/{key}"] = gone
    if order:
        patch[f"{ORDER}/{key}"] = order


def _map_items(
    old: list[Any], new: list[Any], merge_key: str, inner: Schema | None, wanted: _Wanted, retains: bool
) -> tuple[list[Any], list[Any]]:
    """The patch's elements, deletions last, and the order of all."""
    before = {sprint(_key(item, merge_key)): item for item in old}
    after = {sprint(_key(item, merge_key)): item for item in new}
    added: list[Any] = []
    for name, item in after.items():
        if name not in before:
            added += [item] if wanted.changes else []
            continue
        change = _maps(before[name], item, inner, wanted, retains=retains)
        if change:
            added.append({**change, merge_key: item[merge_key]})
    if wanted.deletions:
        gone = sorted(name for name in before if name not in after)
        added += [{DIRECTIVE: "delete", merge_key: before[name][merge_key]} for name in gone]
    is_same_order = len(old) == len(new) and all(
        same(one[merge_key], other[merge_key]) for one, other in zip(old, new, strict=True)
    )
    matters = (wanted.changes and (added or not is_same_order)) or (wanted.deletions and added)
    return added, [{merge_key: item[merge_key]} for item in new] if wanted.order and matters else []


def _scalar_items(old: list[Any], new: list[Any], wanted: _Wanted) -> tuple[list[Any], list[Any], list[Any]]:
    added = [item for item in new if item not in old] if wanted.changes else []
    gone = sorted({item for item in old if item not in new}, key=sprint) if wanted.deletions else []
    changes = wanted.changes and not same(old, new)
    return added, gone, new if wanted.order and (changes or gone) else []


def _of_maps(old: list[Any], new: list[Any]) -> bool:
    kinds = {isinstance(item, Mapping) for item in (*old, *new)}
    if any(isinstance(item, list) for item in (*old, *new)):
        raise StrategicMergeError("lists of lists are not supported")
    if len(kinds) > 1:
        raise StrategicMergeError(f"list element types are not identical: [{sprint(old)} {sprint(new)}]")
    return kinds == {True}


def _key(item: Mapping[str, Any], merge_key: str) -> Any:
    if merge_key not in item:
        raise StrategicMergeError(f"map: {sprint(dict(item))} does not contain declared merge key: {merge_key}")
    return item[merge_key]


def _rule(schema: Schema | None, field: str) -> Any:
    if schema is None:
        raise StrategicMergeError(f'unable to find api field for the json field "{field}"')
    return schema.rule(field)
