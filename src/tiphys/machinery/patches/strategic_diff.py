"""Strategic merge patches made from objects: what turns one into another, and what ``kubectl apply`` would send.

    two-way    original → modified                     what changed
    three-way  original (last applied), modified (to be applied), current (live)
               = deletions of original → modified, joined with additions and changes of current → modified

The counterpart of ``strategic``, which carries such patches out. Behaviour and error texts follow apimachinery
``strategicpatch``; recorded answers in ``golden/kube`` (three-way).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cmp_to_key
from typing import Any, Final

from tiphys.lang.gofmt import sprint
from tiphys.lang.goyaml.printing import dump
from tiphys.machinery.equality import same
from tiphys.machinery.patches.strategic import (
    DELETE_SCALARS,
    DIRECTIVE,
    ORDER,
    RETAIN,
    Object,
    Rule,
    Schema,
    StrategicMergeError,
    combine,
)

Precondition = Callable[[Mapping[str, Any]], bool]


class PatchConflict(StrategicMergeError):
    """Somebody else changed what the patch changes."""

    def __init__(self, patch: Any, changes: Any) -> None:
        text = f"patch:\n{dump(patch)}\nconflicts with changes made from original to current:\n{dump(changes)}\n"
        super().__init__(text)


@dataclass(frozen=True, slots=True)
class _What:
    """Which differences count. ``retains``: the map being compared is a union that lists the keys it keeps."""

    changes: bool = True
    deletions: bool = True
    order: bool = True
    retains: bool = False


_CHANGES: Final = _What(deletions=False)
_DELETIONS: Final = _What(changes=False)
_UNORDERED: Final = _What(order=False)


def two_way(original: Mapping[str, Any], modified: Mapping[str, Any], schema: Schema) -> Object:
    """The patch that makes ``modified`` of ``original``. Raises StrategicMergeError."""
    return _diff_maps(original, modified, schema, _What())


def three_way(
    original: Mapping[str, Any],
    modified: Mapping[str, Any],
    current: Mapping[str, Any],
    schema: Schema,
    *,
    overwrite: bool = True,
) -> Object:
    """The patch of ``current`` that applies ``modified``, where ``original`` was applied before.

    Raises StrategicMergeError; PatchConflict where ``overwrite`` is false and somebody changed the same things.
    """
    delta = _diff_maps(current, modified, schema, _CHANGES)
    gone = _diff_maps(original, modified, schema, _DELETIONS)
    patch = combine([gone, delta], schema)
    if not overwrite:
        changed = _diff_maps(original, current, schema, _UNORDERED)
        if _maps_conflict(patch, changed, schema):
            raise PatchConflict(patch, changed)
    return patch


# Differences


def _diff_maps(original: Mapping[str, Any], modified: Mapping[str, Any], schema: Schema | None, what: _What) -> Object:
    patch: Object = {}
    for key, value in modified.items():
        if key not in original:
            if what.changes:
                patch[key] = value
        elif key == DIRECTIVE:
            _diff_directive(original[key], value, patch)
        else:
            _diff_member(key, original[key], value, patch, schema, what)
    if what.deletions:
        patch.update({key: None for key in original if key not in modified})
    kept = sorted(key for key, value in modified.items() if value is not None) if what.retains else []
    if kept and (patch or any(value is not None and key not in modified for key, value in original.items())):
        patch[RETAIN] = kept
    return patch


def _diff_directive(held: Any, value: Any, patch: Object) -> None:
    if not isinstance(held, str) or not isinstance(value, str):
        raise StrategicMergeError(f"invalid value for special key: {DIRECTIVE}")
    if held != value:
        patch[DIRECTIVE] = value


def _diff_member(key: str, held: Any, value: Any, patch: Object, schema: Schema | None, what: _What) -> None:
    if type(held) is type(value) and isinstance(held, dict | list):
        try:
            rule = _rule(schema, key)
        except StrategicMergeError:
            if same(held, value):
                return
            raise
        if isinstance(held, dict):
            _diff_inner_map(key, held, value, patch, rule, what)
            return
        if "merge" in rule.strategies:
            _diff_merged_list(key, held, value, patch, rule, what)
            return
    if what.changes and not (type(held) is type(value) and same(held, value)):
        patch[key] = value


def _diff_inner_map(key: str, held: Object, value: Object, patch: Object, rule: Rule, what: _What) -> None:
    if "replace" in rule.strategies:
        if what.changes:
            patch[key] = value
        return
    inner = _diff_maps(held, value, rule.inner, replace(what, retains="retainKeys" in rule.strategies))
    if inner:
        patch[key] = inner


def _diff_merged_list(key: str, held: list[Any], value: list[Any], patch: Object, rule: Rule, what: _What) -> None:
    if not held:
        if value and what.changes:
            patch[key] = value
        return
    gone: list[Any] = []
    if _element_type((held, value)) is dict:
        inner = replace(what, retains="retainKeys" in rule.strategies)
        added, order = _diff_keyed(held, value, rule, inner)
    else:
        added, gone, order = _diff_scalars(held, value, what)
    for name, items in ((key, added), (f"{DELETE_SCALARS}/{key}", gone), (f"{ORDER}/{key}", order)):
        if items:
            patch[name] = items


def _diff_keyed(held: list[Any], value: list[Any], rule: Rule, what: _What) -> tuple[list[Any], list[Any]]:
    """What to send of a list of maps that are told apart by a key, and the order of the list."""
    key = rule.merge_key
    added, gone = _walk_keyed(held, value, rule, what)
    added = [*_in_order(added, value, key), *gone]
    ordered = len(held) == len(value) and all(
        same(_key_of(a, key), _key_of(b, key)) for a, b in zip(held, value, strict=True)
    )
    wants_order = (what.changes and (added or not ordered)) or (what.deletions and added)
    return added, [{key: item[key]} for item in value] if what.order and wants_order else []


def _walk_keyed(held: list[Any], value: list[Any], rule: Rule, what: _What) -> tuple[list[Any], list[Any]]:
    """Both lists in step by their keys' texts; repeated keys are met one by one, as in the original."""
    key = rule.merge_key
    olds, news = ([(sprint(_key_of(item, key)), item) for item in items] for items in (held, value))
    olds.sort(key=lambda pair: pair[0])
    news.sort(key=lambda pair: pair[0])
    added: list[Any] = []
    gone: list[Any] = []
    old_at = new_at = 0
    while old_at < len(olds) or new_at < len(news):
        old = olds[old_at] if old_at < len(olds) else None
        new = news[new_at] if new_at < len(news) else None
        if old and new and old[0] == new[0]:
            inner = _diff_maps(old[1], new[1], rule.inner, what)
            if inner:
                added.append(inner | {key: new[1][key]})
            old_at, new_at = old_at + 1, new_at + 1
        elif new and (not old or old[0] > new[0]):
            if what.changes:
                added.append(new[1])
            new_at += 1
        elif old:
            if what.deletions:
                gone.append({key: old[1][key], DIRECTIVE: "delete"})
            old_at += 1
    return added, gone


def _diff_scalars(held: list[Any], value: list[Any], what: _What) -> tuple[list[Any], list[Any], list[Any]]:
    olds, news = (sorted(items, key=sprint) for items in (held, value))
    added: list[Any] = []
    gone: list[Any] = []
    while olds or news:
        old, new = (sprint(items[0]) if items else None for items in (olds, news))
        if old is not None and old == new:
            olds, news = olds[1:], news[1:]
        elif new is not None and (old is None or old > new):
            if what.changes:
                added.append(news[0])
            news = news[1:]
        else:
            if what.deletions and olds[0] not in gone:
                gone.append(olds[0])
            olds = olds[1:]
    # The original sorts the old list in place before it asks whether the order is another one.
    wants_order = (what.deletions and gone) or (what.changes and not same(sorted(held, key=sprint), value))
    return _in_order(added, value, ""), gone, value if what.order and wants_order else []


def _in_order(items: list[Any], order: list[Any], key: str) -> list[Any]:
    """The items as they follow each other in ``order``; all of them stand there."""

    def place(item: Any) -> int:
        wanted = item[key] if key else item
        return next((at for at, other in enumerate(order) if same(other[key] if key else other, wanted)), -1)

    return sorted(items, key=cmp_to_key(lambda a, b: place(a) - place(b)))


# Conflicts


def _maps_conflict(left: Mapping[str, Any], right: Mapping[str, Any], schema: Schema | None) -> bool:
    for key, value in left.items():
        if key in (DIRECTIVE, RETAIN) or key not in right:
            continue
        rule = _rule(schema, key) if isinstance(value, dict | list) else Rule()
        if _conflict(value, right[key], rule):
            return True
    return False


def _conflict(left: Any, right: Any, rule: Rule) -> bool:
    if isinstance(left, dict):
        if not isinstance(right, dict) or left.get(DIRECTIVE) != right.get(DIRECTIVE):
            return True
        return "replace" not in rule.strategies and _maps_conflict(left, right, rule.inner)
    if isinstance(left, list):
        return not isinstance(right, list) or _lists_conflict(left, right, rule)
    return type(left) is not type(right) or not same(left, right)


def _lists_conflict(left: list[Any], right: list[Any], rule: Rule) -> bool:
    element = _element_type((left, right))
    if element is None:
        raise StrategicMergeError("no elements in any of the given slices")
    if "merge" in rule.strategies:
        if element is not dict:
            return False
        mine, theirs = (_by_key(items, rule.merge_key) for items in (left, right))
        return any(_conflict(item, theirs[key], Rule(inner=rule.inner)) for key, item in mine.items() if key in theirs)
    if len(left) != len(right):
        return True
    if element is not dict:
        left, right = _set_of(left), _set_of(right)
        if len(left) != len(right):
            return True
    return any(_conflict(a, b, Rule(inner=rule.inner)) for a, b in zip(left, right, strict=True))


def _by_key(items: list[Any], key: str) -> dict[str, Any]:
    for item in items:
        if key not in item:
            raise StrategicMergeError(f"cannot find merge key `{key}` in merging list element:{sprint(item)}")
    return {sprint(item[key]): item for item in items}


def _set_of(items: list[Any]) -> list[Any]:
    return sorted({sprint(item): item for item in items}.values(), key=sprint)


def _element_type(lists: tuple[list[Any], ...]) -> type | None:
    """The type of all elements; None where there are none. Raises StrategicMergeError for a mixture."""
    found = [type(item) for items in lists for item in items]
    if found and found[0] is list:
        raise StrategicMergeError("lists of lists are not supported")
    if len(set(found)) > 1:
        raise StrategicMergeError(f"list element types are not identical: {sprint(list(lists))}")
    return found[0] if found else None


def _key_of(item: Mapping[str, Any], key: str) -> Any:
    if key not in item:
        raise StrategicMergeError(f"map: {sprint(dict(item))} does not contain declared merge key: {key}")
    return item[key]


def _rule(schema: Schema | None, key: str) -> Rule:
    if schema is None:
        raise StrategicMergeError(f"unable to find api field {key}")
    return schema.rule(key)
