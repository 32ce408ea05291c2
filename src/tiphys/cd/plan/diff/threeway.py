"""What kubectl apply would make of the live object, with the server's defaults on both sides.

Built-in kinds are patched strategically and defaulted as the API server does; others by JSON merge patch, after the
live object lost what the last applied one did not have. The defaults go into the objects as they are, not into their
typed form: fields that the type does not know stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tiphys.api import decode, defaults
from tiphys.api.kube_types import strategic_schema
from tiphys.cd.plan.objects import Gvk, Object, at, gvk_of, with_value, without
from tiphys.cd.plan.typed import go_type, remove_list_fields, remove_map_fields
from tiphys.machinery.equality import same
from tiphys.machinery.patches import merge, strategic, strategic_diff
from tiphys.machinery.patches.strategic import Schema


class ThreeWayError(ValueError):
    """The patch cannot be made."""


def predicted(last: Object, target: Object, live: Object) -> tuple[Object, Object]:
    """The live object as it is compared and as it would become. Raises ThreeWayError."""
    last, target = _without_namespace(last), _without_namespace(target)
    gvk = gvk_of(last)
    name, schema = go_type(gvk), strategic_schema(gvk.api_version, gvk.kind)
    if name is None or schema is None:
        patch = merge_patch(last, target, remove_map_fields(last, live))
        return live, merge.apply(live, patch)
    try:
        patch = strategic_diff.three_way(last, target, _undefaulted_claims(gvk, last, live), schema)
        after = strategic.apply(live, patch, schema)
        return defaulted(live, gvk, name, schema), defaulted(after, gvk, name, schema)
    except strategic.StrategicMergeError as err:
        raise ThreeWayError(str(err)) from err


def merge_patch(last: Mapping[str, Any], target: Mapping[str, Any], live: Mapping[str, Any]) -> dict[str, Any]:
    """The three-way JSON merge patch: changes against ``live``, deletions only of what ``last`` had."""
    changes = _only(merge.create(live, target), nulls=False)
    deletions = _only(merge.create(last, target), nulls=True)
    return _combined(deletions, changes)


def defaulted(obj: Object, gvk: Gvk, name: str, schema: Schema) -> Object:
    """The object with the defaults of its kind; as it is where it does not fit its type."""
    try:
        normal = decode.decode(name, obj).value
    except decode.DecodeError:
        return obj
    before = decode.pruned(name, normal)
    defaults.apply(gvk.api_version, gvk.kind, normal)
    after = decode.pruned(name, normal)
    if same(before, after):
        return obj
    return strategic.apply(obj, strategic_diff.two_way(before, after, schema), schema)


def _without_namespace(obj: Object) -> Object:
    """Live objects always name their namespace, targets often do not."""
    obj = without(obj, "metadata", "namespace")
    return obj if at(obj, "metadata", "annotations") else without(obj, "metadata", "annotations")


def _undefaulted_claims(gvk: Gvk, last: Object, live: Object) -> Object:
    """The claims in a StatefulSet are defaulted by the server in ways that its type does not know."""
    if gvk.kind != "StatefulSet" or gvk.group not in ("apps", "extensions"):
        return live
    wanted, held = at(last, "spec", "volumeClaimTemplates"), at(live, "spec", "volumeClaimTemplates")
    if not isinstance(wanted, list) or not isinstance(held, list):
        return live
    return with_value(live, remove_list_fields(wanted, held), "spec", "volumeClaimTemplates")


def _only(patch: Mapping[str, Any], *, nulls: bool) -> dict[str, Any]:
    """The deletions of a merge patch, or all but them."""
    kept: dict[str, Any] = {}
    for key, value in patch.items():
        if isinstance(value, Mapping) and value:
            inner = _only(value, nulls=nulls)
            if inner:
                kept[key] = inner
        elif (value is None) == nulls:
            kept[key] = value
    return kept


def _combined(deletions: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    combined = dict(deletions)
    for key, value in changes.items():
        held = combined.get(key)
        both = isinstance(held, Mapping) and isinstance(value, Mapping)
        combined[key] = _combined(held, value) if both else value  # type: ignore[arg-type]
    return combined
