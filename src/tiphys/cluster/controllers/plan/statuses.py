"""Writing a status: only where it differs, only what differs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tiphys.machinery.actions import Patch
from tiphys.machinery.equality import same
from tiphys.machinery.resources import Resource, key_of

Object = Mapping[str, Any]

NO_ANNOTATIONS: Final[Mapping[str, str]] = {}


def without_empty(status: Mapping[str, Any], always: frozenset[str] = frozenset()) -> dict[str, Any]:
    """A status without the zero values that its Go struct omits; ``always`` are those that it shows."""
    return {key: value for key, value in status.items() if key in always or value not in (None, 0, "", [], {}, False)}


def status_patch(
    resource: Resource, obj: Object, status: Mapping[str, Any], annotations: Mapping[str, str] = NO_ANNOTATIONS
) -> tuple[Patch, ...]:
    """What makes ``obj.status`` equal to ``status``, with ``annotations``: one merge patch, or none."""
    before = obj.get("status") or {}
    changed: dict[str, Any] = {key: None for key in before if key not in status}
    changed.update({key: value for key, value in status.items() if key not in before or not same(value, before[key])})
    if not changed and not annotations:
        return ()
    for key, value in changed.items():
        if isinstance(value, Mapping) and isinstance(before.get(key), Mapping):
            changed[key] = {**{gone: None for gone in before[key] if gone not in value}, **value}
    # The uid keeps a status from landing on another object of the same name.
    meta: dict[str, Any] = {"uid": obj["metadata"]["uid"]}
    if annotations:
        meta["annotations"] = dict(annotations)
    return (Patch(resource, key_of(obj), {"metadata": meta, "status": changed}, subresource="status"),)


def without_condition(conditions: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [each for each in conditions if each["type"] != kind]
