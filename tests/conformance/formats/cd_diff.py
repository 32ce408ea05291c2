"""Comparisons of one object (``mode``): whole, two-way, structured merge, server side; normalizers; masking.

The live side of a dry run is in ``predictedLive``. Left out: nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.conformance.formats._calls import Answer
from tests.conformance.formats._named import all_rows, judge_named
from tests.conformance.golden import Format
from tiphys.cd.plan.diff import Comparator, Diff, DiffError, Ignores, masked
from tiphys.cd.plan.diff.ignoring import IgnoreError
from tiphys.cd.plan.diff.normal import normal
from tiphys.cd.plan.objects import Object
from tiphys.lang import gojson
from tiphys.machinery.errors import InternalError

Given = Mapping[str, Any]
_MODES = frozenset({
    "argo", "twoWay", "smd", "ssd", "normalize", "hideSecret", "ignoreNormalizer", "knownTypesNormalizer",
    "argoNormalize",
})  # fmt: skip


def ask(row: Mapping[str, Any]) -> Answer:
    given = row["in"]
    try:
        return {"out": _ask(given["mode"], given)}
    except IgnoreError as err:
        text = str(err)
        return {"error": f"failed to create diff normalizer: {text}" if given["mode"] == "argo" else text}
    except DiffError as err:
        return {"error": f"failed to calculate diff: {err}"}


def _ask(mode: str, given: Given) -> Any:
    live, target = given["live"], given["config"]
    if mode == "hideSecret":
        shown = masked(target, live, given.get("hideAnnotations") or ())
        return {"target": shown[0], "live": shown[1]}
    if mode == "normalize":
        return {"normalized": normal(live, ignores_aggregated_roles=given.get("ignoreAggregatedRoles", False))}
    ignores = Ignores.of(given.get("ignoreDifferences"), given.get("overrides"))
    if mode in ("ignoreNormalizer", "knownTypesNormalizer"):
        return {"normalized": ignores.applied(live)}
    comparator = Comparator(
        ignores,
        tracking_method=given.get("trackingMethod", ""),
        instance_label=given.get("appLabelKey", "app.kubernetes.io/instance"),
        ignores_aggregated_roles=given.get("ignoreAggregatedRoles", False),
        structured_merge=mode == "smd",
        dry_run=_dry_run(given) if mode == "ssd" else None,
        keeps_mutations=not given.get("ignoreMutationWebhook", False),
    )
    if mode == "argoNormalize":
        target, live = comparator.normalized(target, live)
        return {"target": target, "live": live}
    return _shown(comparator.two_way(target, live) if mode == "twoWay" else comparator.compare(target, live))


def _dry_run(given: Given) -> Any:
    def run(_obj: Object, _manager: str) -> Object:
        if given.get("predictedLive") is None:
            raise InternalError("dry run failed")
        answer: Object = given["predictedLive"]
        return answer

    return run


def _shown(diff: Diff) -> Any:
    return {"modified": diff.is_modified, "normalizedLive": diff.live, "predictedLive": diff.predicted}


def same(expected: Answer, got: Answer, row: Mapping[str, Any]) -> bool:
    if "error" in row:
        return got == {"error": row["error"]}
    return "out" in got and gojson.dumps(got["out"]) == gojson.dumps(row["out"])


FORMATS = (
    Format(
        "cd diff",
        lambda s: all_rows(s.rows, lambda given: given.get("mode") in _MODES and {"config", "live"} <= given.keys()),
        judge_named(ask, same),
    ),
)
