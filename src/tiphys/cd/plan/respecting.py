"""``RespectIgnoreDifferences``: ignored fields keep their live values in what is applied.

The live object is stripped of what is ignored; the patch that undoes this is laid over the stripped target. ``status``
is never copied: an apply would become a co-owner of what only controllers write.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tiphys.api.kube_types import strategic_schema
from tiphys.cd.plan.compare import Comparison, comparator
from tiphys.cd.plan.diff import Comparator
from tiphys.cd.plan.objects import Object, gvk_of, without
from tiphys.machinery.patches import merge, strategic, strategic_diff


def respecting_ignored(app: Mapping[str, Any], comparison: Comparison) -> Sequence[tuple[Object | None, Object | None]]:
    """The pairs with targets that leave ignored fields alone. Raises diff.ignoring.IgnoreError."""
    compared = comparison.comparator or comparator(app, comparison.settings)
    return [_respecting(target, live, compared) for target, live in comparison.pairing.pairs]


def _respecting(
    target: Object | None, live: Object | None, compared: Comparator
) -> tuple[Object | None, Object | None]:
    if target is None or live is None:
        return target, live
    stripped_target, stripped_live = compared.normalized(target, live)
    assert stripped_target is not None and stripped_live is not None
    before, after = without(stripped_live, "status"), without(live, "status")
    gvk = gvk_of(target)
    schema = strategic_schema(gvk.api_version, gvk.kind)
    if schema is None:
        patch: dict[str, Any] = merge.create(before, after)
        return merge.apply(stripped_target, patch), live
    try:
        patch = strategic_diff.two_way(before, after, schema)
        return strategic.apply(stripped_target, patch, schema), live
    except strategic.StrategicMergeError:
        return target, live
