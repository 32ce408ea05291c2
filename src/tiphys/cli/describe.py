"""The page that ``tiphys get`` prints about a workflow: facts first, then its tree.

Labels, order and wording are those of ``argo get``, so that people and scripts find what they know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

from tiphys.cli import columns, tree
from tiphys.lang import durations

_CONDITION_SIGNS = {"MetricsError": ("✖", "Error", tree.RED), "SpecWarning": ("⚠", "Warning", tree.YELLOW)}


def page(
    workflow: Mapping[str, Any],
    look: tree.Look,
    now: datetime,
    shown: Callable[[tree.Node], bool] | None = None,
) -> list[str]:
    """All lines; only the tree where ``look.columns`` is "short"."""
    drawn = tree.lines(workflow, shown, look.utf8)
    body = columns.align(tree.table(drawn, workflow, look, now)) if _has_root(workflow) else []
    if look.columns == "short":
        return body
    head = [f"{label:<20} {value}" for label, value in facts(workflow, look, now)]
    return [*head, "", *body] if body else head


def status_words(workflow: Mapping[str, Any]) -> str:
    """The phase as people say it: ``Running (Suspended)``, ``Failed (Terminated)``, ``Pending`` …"""
    spec, status = workflow.get("spec") or {}, workflow.get("status") or {}
    phase = status.get("phase") or ""
    if phase == "Running" and is_suspended(workflow):
        return "Running (Suspended)"
    if phase == "Failed" and spec.get("shutdown"):
        return "Failed (Terminated)"
    if phase in ("", "Pending"):
        return "Pending" if workflow["metadata"].get("creationTimestamp") else "Unknown"
    return str(phase)


def is_suspended(workflow: Mapping[str, Any]) -> bool:
    if (workflow.get("spec") or {}).get("suspend"):
        return True
    nodes = (workflow.get("status") or {}).get("nodes") or {}
    return any(tree.is_active_suspend(node) for node in nodes.values())


def facts(workflow: Mapping[str, Any], look: tree.Look, now: datetime) -> Iterator[tuple[str, str]]:
    """``(label, value)`` in the order they are printed."""
    meta, status = workflow["metadata"], workflow.get("status") or {}
    spec = status.get("storedWorkflowTemplateSpec") or workflow.get("spec") or {}
    yield "Name:", meta["name"]
    yield "Namespace:", meta.get("namespace") or ""
    yield "ServiceAccount:", spec.get("serviceAccountName") or _no_service_account(workflow)
    yield "Status:", status_words(workflow)
    if status.get("message"):
        yield "Message:", status["message"]
    yield from _conditions(status.get("conditions") or (), look)
    yield from _times(meta, status, now)
    yield "Progress:", status.get("progress") or ""
    if status.get("resourcesDuration"):
        yield "ResourcesDuration:", tree.resources_duration(status["resourcesDuration"])
    yield from _section("Parameters:", (spec.get("arguments") or {}).get("parameters") or (), always=True)
    outputs = status.get("outputs") or {}
    yield from _section("Output Parameters:", outputs.get("parameters") or ())
    if outputs.get("artifacts"):
        yield "Output Artifacts:", ""
        for artifact in outputs["artifacts"]:
            yield f"  {artifact.get('name')}:", artifact_place(artifact)


def artifact_place(artifact: Mapping[str, Any]) -> str:
    """Where an artifact is kept, in one word; "" for the local store's own keys without one."""
    for kind in ("s3", "gcs", "oss", "azure", "hdfs", "git", "http", "artifactory", "raw"):
        place = artifact.get(kind)
        if place:
            named = place.get("key") or place.get("url") or place.get("repo") or place.get("path") or place.get("blob")
            bucket = place.get("bucket") or place.get("container")
            return f"{kind}://{bucket}/{named}" if bucket else str(named or kind)
    return ""


def _no_service_account(workflow: Mapping[str, Any]) -> str:
    if (workflow.get("spec") or {}).get("workflowTemplateRef"):
        return "unset"
    return "unset (will run with the default ServiceAccount)"


def _conditions(conditions: Any, look: tree.Look) -> Iterator[tuple[str, str]]:
    if not conditions:
        return
    yield "Conditions:", ""
    for condition in conditions:
        kind = str(condition.get("type"))
        sign = ""
        if kind in _CONDITION_SIGNS:
            symbol, word, colour = _CONDITION_SIGNS[kind]
            sign = look.paint(symbol if look.utf8 else word, colour)
        yield f"{sign} {kind}", condition.get("message") or condition.get("status") or ""


def _times(meta: Mapping[str, Any], status: Mapping[str, Any], now: datetime) -> Iterator[tuple[str, str]]:
    created = tree.parse_time(meta.get("creationTimestamp"))
    started, finished = tree.parse_time(status.get("startedAt")), tree.parse_time(status.get("finishedAt"))
    if created:
        yield "Created:", moment(created, now)
    if started:
        yield "Started:", moment(started, now)
    if finished:
        yield "Finished:", moment(finished, now)
    if started:
        yield "Duration:", durations.humanize(tree.elapsed_ns(started, finished, now))
    estimate = status.get("estimatedDuration")
    if status.get("phase") == "Running" and estimate:
        yield "EstimatedDuration:", durations.humanize(int(estimate) * durations.SECOND)


def moment(when: datetime, now: datetime) -> str:
    """``Mon Jan 02 15:04:05 -0700 (3 minutes ago)`` in the zone of ``when``."""
    return f"{when.astimezone():%a %b %d %H:%M:%S %z} ({ago(when, now)})"


def ago(when: datetime, now: datetime) -> str:
    passed = int((now - when).total_seconds())
    if passed == 0:
        return "now"
    text = durations.humanize_truncated(abs(passed) * durations.SECOND)
    return f"{text} {'ago' if passed > 0 else 'from now'}"


def _section(title: str, parameters: Any, always: bool = False) -> Iterator[tuple[str, str]]:
    with_value = [p for p in parameters if p.get("value") is not None]
    if not (with_value or (always and parameters)):
        return
    yield title, ""
    for parameter in with_value:
        yield f"  {parameter.get('name')}:", str(parameter["value"])


def _has_root(workflow: Mapping[str, Any]) -> bool:
    return workflow["metadata"]["name"] in ((workflow.get("status") or {}).get("nodes") or {})
