"""Deployments, ReplicaSets, StatefulSets, DaemonSets: a selector, a template that fits it, and a way to update."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tiphys.cluster.apiserver.problems import Complaint, forbidden_value, invalid_value, required, unsupported
from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.rules.pods import template_complaints
from tiphys.cluster.apiserver.rules.values import AT_LEAST_0, not_negative
from tiphys.machinery.equality import same


def workload(obj: Object, old: Object | None) -> Iterator[Complaint]:
    spec, kind = obj.get("spec") or {}, str(obj.get("kind") or "").lower()
    yield from not_negative(spec, "spec", "replicas", "minReadySeconds", "revisionHistoryLimit")
    selector, template = spec.get("selector"), spec.get("template") or {}
    labels = (template.get("metadata") or {}).get("labels")
    if selector is None:
        yield required("spec.selector")
    elif not (selector.get("matchLabels") or selector.get("matchExpressions")):
        yield invalid_value("spec.selector", selector, f"empty selector is invalid for {kind}")
    if selector is None or not _fits(selector.get("matchLabels") or {}, labels or {}):
        yield invalid_value("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")
    yield from template_complaints(template, "spec.template")
    inner = template.get("spec") or {}
    if inner.get("restartPolicy") not in (None, "", "Always"):
        yield unsupported("spec.template.spec.restartPolicy", inner["restartPolicy"], ["Always"])
    if inner.get("activeDeadlineSeconds") is not None:
        text = "activeDeadlineSeconds in ReplicaSet is not Supported"
        yield forbidden_value("spec.template.spec.activeDeadlineSeconds", text)
    if old is not None and not same((old.get("spec") or {}).get("selector"), selector):
        yield invalid_value("spec.selector", selector, "field is immutable")


def deployment(obj: Object, old: Object | None) -> Iterator[Complaint]:
    yield from workload(obj, old)
    spec = obj.get("spec") or {}
    strategy = spec.get("strategy") or {}
    rolling = strategy.get("rollingUpdate")
    at = "spec.strategy.rollingUpdate"
    if strategy.get("type") == "Recreate" and rolling is not None:
        yield forbidden_value(at, "may not be specified when strategy `type` is 'Recreate'")
    elif rolling is not None:
        surge, gone = rolling.get("maxSurge"), rolling.get("maxUnavailable")
        for field, value in (("maxUnavailable", gone), ("maxSurge", surge)):
            if isinstance(value, int) and value < 0:
                yield invalid_value(f"{at}.{field}", value, AT_LEAST_0)
        if _is_none(surge) and _is_none(gone):
            yield invalid_value(f"{at}.maxUnavailable", gone, "may not be 0 when `maxSurge` is 0")
        if isinstance(gone, str) and gone.removesuffix("%").isdigit() and int(gone.removesuffix("%")) > 100:
            yield invalid_value(f"{at}.maxUnavailable", gone, "must not be greater than 100%")
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is not None and deadline <= (spec.get("minReadySeconds") or 0):
        yield invalid_value("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds")


def stateful_set(obj: Object, old: Object | None) -> Iterator[Complaint]:
    spec = obj.get("spec") or {}
    policy = spec.get("podManagementPolicy")
    if policy and policy not in ("OrderedReady", "Parallel"):
        yield invalid_value("spec.podManagementPolicy", policy, "must be 'OrderedReady' or 'Parallel'")
    rolling = (spec.get("updateStrategy") or {}).get("rollingUpdate") or {}
    yield from not_negative(rolling, "spec.updateStrategy.rollingUpdate", "partition")
    yield from workload(obj, old)


def _fits(wanted: dict[str, Any], labels: dict[str, Any]) -> bool:
    return all(labels.get(key) == value for key, value in wanted.items())


def _is_none(amount: Any) -> bool:
    return amount in (0, "0%")
