"""The table of workflows that ``tiphys list`` prints, and which workflows are in it, in which order.

Columns, order and wording are those of ``argo list``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from tiphys.cli import columns, describe, tree
from tiphys.lang import durations

Workflow = Mapping[str, Any]

COMPLETED, PHASE, RESUBMITTED = (
    f"workflows.argoproj.io/{key}" for key in ("completed", "phase", "resubmitted-from-workflow")
)
_VALUE_LENGTH_MAX = 50


def label_selector(
    selector: str, *, status: Sequence[str] = (), completed: bool = False, running: bool = False, again: bool = False
) -> str:
    """The label selector for the API from the flags; ``again``: resubmitted ones only."""
    parts = [selector] if selector else []
    if status:
        parts.append(f"{PHASE} in ({','.join(status)})")
    if completed:
        parts.append(f"{COMPLETED}=true")
    if running:
        parts.append(f"{COMPLETED}!=true")
    if again:
        parts.append(RESUBMITTED)
    return ",".join(parts)


def ended_before(workflow: Workflow, moment: datetime) -> bool:
    finished = tree.parse_time((workflow.get("status") or {}).get("finishedAt"))
    return finished is not None and finished < moment


def created_after(workflow: Workflow, moment: datetime) -> bool:
    created = tree.parse_time(workflow["metadata"].get("creationTimestamp"))
    return created is not None and created > moment


def moment_before(now: datetime, since: str) -> datetime:
    """The moment that ``3h`` or ``2d`` ago was. Raises durations.DurationError."""
    return now - timedelta(microseconds=durations.parse_since(since) // durations.MICROSECOND)


def in_order(workflows: Iterable[Workflow]) -> list[Workflow]:
    """Those that run first, the youngest in front; then the finished ones, the last to finish in front."""

    def finished(workflow: Workflow) -> str:
        return (workflow.get("status") or {}).get("finishedAt") or ""

    found = list(workflows)
    running = [w for w in found if not finished(w)]
    running.sort(key=lambda w: w["metadata"].get("creationTimestamp") or "", reverse=True)
    return running + sorted((w for w in found if finished(w)), key=finished, reverse=True)


def table(
    workflows: Sequence[Workflow], now: datetime, *, wide: bool = False, namespaces: bool = False, headers: bool = True
) -> list[str]:
    """Lines of the table; one that says so when there are no workflows."""
    if not workflows:
        return ["No workflows found"]
    head = ["NAME", "STATUS", "AGE", "DURATION", "PRIORITY", "MESSAGE", *(("P/R/C", "PARAMETERS") if wide else ())]
    rows = [["NAMESPACE", *head] if namespaces else head] if headers else []
    for workflow in workflows:
        cells = _cells(workflow, now, wide)
        rows.append([workflow["metadata"].get("namespace") or "", *cells] if namespaces else cells)
    return columns.align(rows, padding=3)


def _cells(workflow: Workflow, now: datetime, wide: bool) -> list[str]:
    meta, spec, status = workflow["metadata"], workflow.get("spec") or {}, workflow.get("status") or {}
    created = tree.parse_time(meta.get("creationTimestamp"))
    started, finished = tree.parse_time(status.get("startedAt")), tree.parse_time(status.get("finishedAt"))
    # as upstream: the list leaves the nodes out unless all columns are asked for, so a suspended step does not show
    shown = workflow if wide else {**workflow, "status": {**status, "nodes": {}}}
    cells = [
        meta["name"],
        describe.status_words(shown),
        durations.humanize_short(tree.elapsed_ns(created, None, now)),
        durations.humanize_short(tree.elapsed_ns(started, finished, now)),
        str(spec.get("priority") or 0),
        " ".join(str(status.get("message") or "").split("\n")),
    ]
    if wide:
        cells += ["/".join(map(str, pod_counts(status))), parameters(spec)]
    return cells


def pod_counts(status: Mapping[str, Any]) -> tuple[int, int, int]:
    """How many pods wait, run, have ended."""
    pending = running = completed = 0
    for node in (status.get("nodes") or {}).values():
        if node.get("type") != "Pod":
            continue
        if node.get("phase") in ("Succeeded", "Failed", "Error", "Skipped", "Omitted") or node.get("daemoned"):
            completed += 1
        elif node.get("phase") == "Running":
            running += 1
        else:
            pending += 1
    return pending, running, completed


def parameters(spec: Mapping[str, Any]) -> str:
    """``name=value,…`` of the arguments that have a value, long ones shortened in the middle."""
    given = (spec.get("arguments") or {}).get("parameters") or ()
    return ",".join(f"{p.get('name')}={_shortened(str(p['value']))}" for p in given if p.get("value") is not None)


def _shortened(text: str) -> str:
    if len(text) <= _VALUE_LENGTH_MAX:
        return text
    return f"{text[: _VALUE_LENGTH_MAX - 3 - 15]}...{text[-15:]}"
