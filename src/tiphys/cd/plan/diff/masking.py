"""Secrets for human eyes: values become plus signs, equal values equally many, so that differences stay visible.

Target, live object and both their last-applied annotations are masked together.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any, Final

from tiphys.cd.plan.diff.normal import normal_secret
from tiphys.cd.plan.markers import LAST_APPLIED
from tiphys.cd.plan.objects import Object, annotations_of, at, with_value
from tiphys.lang import gojson
from tiphys.lang.gofmt import sprint

_MASK: Final = "++++++++"
_MORE: Final = "++++"


class MaskError(ValueError):
    """Data that is no object: nothing of it can be shown."""


def masked(
    target: Object | None, live: Object | None, hidden_annotations: Collection[str] = ()
) -> tuple[Object | None, Object | None]:
    """Both with their data and the named annotations masked. Raises MaskError."""
    last = [_last_applied(each) for each in (target, live)]
    objects = [normal_secret(obj) if obj is not None else None for obj in (target, live, last[0].value, last[1].value)]
    data = dict.fromkeys(key for obj in objects if obj is not None for key in _map(obj, "data") or ())
    objects = _mask(objects, data, "data")
    objects = _mask(objects, hidden_annotations, "metadata", "annotations")
    both: list[Object | None] = []
    for obj, held, applied in zip(objects[:2], last, objects[2:], strict=True):
        if obj is not None and held.is_there:
            hides_all = LAST_APPLIED in hidden_annotations or applied is None
            text = _MASK if hides_all else gojson.dumps(applied)
            obj = with_value(obj, text, "metadata", "annotations", LAST_APPLIED)
        both.append(obj)
    return both[0], both[1]


class _Applied:
    """The last-applied annotation: absent, an object, or unreadable (then ``value`` is None)."""

    def __init__(self, is_there: bool, value: Object | None) -> None:
        self.is_there, self.value = is_there, value


def _last_applied(obj: Object | None) -> _Applied:
    text = annotations_of(obj).get(LAST_APPLIED) if obj is not None else None
    if text is None:
        return _Applied(False, None)
    try:
        value = json.loads(text)
    except ValueError:
        return _Applied(True, None)
    readable = isinstance(value, Mapping) and bool(value.get("kind"))
    return _Applied(True, value if readable else None)


def _mask(objects: list[Object | None], keys: Collection[str], *path: str) -> list[Object | None]:
    result = list(objects)
    for key in keys:
        masks: dict[str, str] = {}
        for index, obj in enumerate(result):
            held = _map(obj, *path) if obj is not None else None
            if obj is not None and held is not None and key in held:
                mask = masks.setdefault(_text(held[key]), _MASK + _MORE * len(masks))
                result[index] = with_value(obj, mask, *path, key)
    return result


def _map(obj: Object, *path: str) -> Mapping[str, Any] | None:
    held = at(obj, *path)
    if held is not None and not isinstance(held, Mapping):
        raise MaskError(f".{'.'.join(path)} is no object")
    return held


def _text(value: Any) -> str:
    return "" if value is None else sprint(value)
