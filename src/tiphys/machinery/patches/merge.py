"""JSON merge patch (RFC 7386, as evanphx/json-patch reads it for the API server).

    patch = object: every member replaces the document's; null removes it; objects merge
    anything else : replaces the document

Bounded by the depth of the parsed patch (the parsers limit that). A ``SharedMap`` in the document is merged by its
changed keys only, in proportion to the patch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tiphys.machinery.equality import same
from tiphys.machinery.sharedmap import ABSENT, SharedMap


def apply(document: Any, patch: Any) -> Any:
    """The patched document; ``document`` itself (same identity) where the patch changes nothing."""
    if type(patch) is not dict and not isinstance(patch, Mapping):
        new = _without_nulls(patch)
        return document if same(document, new) else new
    if isinstance(document, SharedMap):
        return document.changed({key: _member(document, key, value) for key, value in patch.items()})
    if type(document) is not dict and not isinstance(document, Mapping):
        return _without_nulls(patch)
    result: dict[str, Any] | None = None
    for key, value in patch.items():
        new = _member(document, key, value)
        if new is document.get(key, ABSENT):
            continue
        if result is None:
            result = dict(document)
        if new is ABSENT:
            del result[key]
        else:
            result[key] = new
    return document if result is None else result


def create(original: Any, modified: Any) -> dict[str, Any]:
    """The merge patch that makes ``modified`` of ``original``; raises ValueError where one cannot be written."""
    if isinstance(original, list) and isinstance(modified, list):
        raise ValueError("Invalid JSON Document")
    if not isinstance(modified, list | Mapping) or not isinstance(original, list | Mapping):
        raise ValueError("Invalid JSON Document")
    if isinstance(original, Mapping) != isinstance(modified, Mapping):
        raise ValueError("Mismatched JSON Documents")
    return _difference(original, modified)  # type: ignore[arg-type]


def _member(document: Mapping[str, Any], key: str, value: Any) -> Any:
    """The member's new value; ``ABSENT`` where it shall not be (any more)."""
    old = document.get(key, ABSENT)
    if value is None:
        return ABSENT
    if old is ABSENT or old is None:
        return _without_nulls(value)
    return apply(old, value)


def _without_nulls(value: Any) -> Any:
    """Nulls of a patch mean "remove": members that are null are dropped, also inside lists; elements that are stay."""
    kind = type(value)  # asking for the exact type first is many times cheaper than for an abstract one
    if kind is str:
        return value
    if kind is dict or (kind not in _SCALARS and isinstance(value, Mapping)):
        return {key: _without_nulls(member) for key, member in value.items() if member is not None}
    if kind is list:
        return [_without_nulls(item) for item in value]
    return value


_SCALARS = frozenset((int, float, bool, type(None), list))


def _difference(original: Mapping[str, Any], modified: Mapping[str, Any]) -> dict[str, Any]:
    patch: dict[str, Any] = {}
    for key, value in modified.items():
        old = original.get(key, ABSENT)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            inner = _difference(old, value)
            if inner:
                patch[key] = inner
        elif old is ABSENT or not same(old, value):
            patch[key] = value
    patch.update({key: None for key in original if key not in modified})
    return patch


# Three ways: what ``kubectl apply`` sends for custom resources


class MergeConflict(ValueError):
    """What shall be added and what shall go are the same."""


def three_way(original: Mapping[str, Any], modified: Mapping[str, Any], current: Mapping[str, Any]) -> dict[str, Any]:
    """The merge patch of ``current`` that applies ``modified``, where ``original`` was applied before: additions and
    changes of current → modified with the deletions of original → modified. Raises MergeConflict."""
    changes, deletions = _changes(create(current, modified)), _deletions(create(original, modified))
    if _contradict(changes, deletions):
        raise MergeConflict("what is added and what is removed contradict each other")
    return _joined(deletions, changes)


def _changes(patch: Mapping[str, Any]) -> dict[str, Any]:
    """Without nulls; maps that held nothing else go with them, empty ones are values."""
    found: dict[str, Any] = {}
    for key, value in patch.items():
        if isinstance(value, Mapping) and value:
            inner = _changes(value)
            if inner:
                found[key] = inner
        elif value is not None:
            found[key] = value
    return found


def _deletions(patch: Mapping[str, Any]) -> dict[str, Any]:
    """The nulls alone."""
    found: dict[str, Any] = {}
    for key, value in patch.items():
        inner = _deletions(value) if isinstance(value, Mapping) else None
        if value is None or inner:
            found[key] = inner
    return found


def _contradict(left: Any, right: Any) -> bool:
    if isinstance(left, Mapping):
        return not isinstance(right, Mapping) or any(
            _contradict(value, right[key]) for key, value in left.items() if key in right
        )
    return not same(left, right)


def _joined(left: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(left)
    for key, value in right.items():
        held = found.get(key)
        found[key] = _joined(held, value) if isinstance(held, Mapping) and isinstance(value, Mapping) else value
    return found
