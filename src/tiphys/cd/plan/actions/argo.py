"""Argo's own kinds: rollouts, analysis runs, workflow templates, cron workflows, applications, promoted requests."""

from __future__ import annotations

from typing import Any

from tiphys.cd.plan.actions.action import Action, ActionError, Call, Impact, Object, get, put, set_to, without
from tiphys.cd.plan.actions.workloads import filled, namespace_of, owner_reference

_ENDED = ("Successful", "Failed", "Error", "Inconclusive")
_LABEL = "workflows.argoproj.io/"


def _steps(obj: Object) -> list[Any] | None:
    steps = get(obj, "spec.strategy.canary.steps")
    return list(steps) if steps is not None else None


def _is_fully_promoted(obj: Object) -> bool:
    status = obj.get("status")
    if status is None:
        raise ActionError("status: the rollout was not reconciled yet")
    return bool(status.get("currentPodHash") == status.get("stableRS"))


def _is_aborted(obj: Object) -> bool:
    return bool(get(obj, "status.abort"))


def _is_paused(obj: Object) -> bool:
    conditions = get(obj, "status.pauseConditions")
    return len(conditions) > 0 if conditions is not None else bool(get(obj, "spec.paused"))


def _is_old_status(obj: Object) -> bool:
    """Whether the status is one of rollouts before 0.10, whose observed generation was a hash."""
    observed = get(obj, "status.observedGeneration")
    try:
        seen = float(observed)
    except (TypeError, ValueError):
        return True
    generation = get(obj, "metadata.generation")
    if generation is None:
        raise ActionError("metadata.generation: the object has no such field")
    return bool(seen > generation)


def _cannot_promote(obj: Object) -> bool:
    if _is_fully_promoted(obj):
        return True
    return _is_old_status(obj) and get(obj, "spec.strategy.blueGreen") is not None


def _promote_full(call: Call) -> dict[str, Any]:
    rollout = call.object
    if rollout.get("status") is None:
        return dict(rollout)
    if not _is_old_status(rollout):
        return put(rollout, ("status", "promoteFull"), True)
    if get(rollout, "spec.strategy.canary") is None:
        raise ActionError("spec.strategy.canary: the object has no such field")
    changed = without(rollout, ("status", "abort"))
    steps = _steps(rollout)
    return changed if steps is None else put(changed, ("status", "currentStepIndex"), len(steps))


def _is_past_steps(obj: Object) -> bool:
    steps = _steps(obj)
    return steps is None or get(obj, "status.currentStepIndex") == len(steps)


def _skip_step(call: Call) -> dict[str, Any]:
    steps, index = _steps(call.object), get(call.object, "status.currentStepIndex")
    if call.object.get("status") is None or steps is None:
        return dict(call.object)
    if index is None:
        raise ActionError("status.currentStepIndex: the object has no such field")
    if index >= len(steps):
        return dict(call.object)
    return put(_unpaused(call.object), ("status", "currentStepIndex"), index + 1)


def _unpaused(obj: Object) -> dict[str, Any]:
    has_conditions = bool(get(obj, "status.pauseConditions"))
    return without(obj, ("status", "pauseConditions")) if has_conditions else dict(obj)


def _resume(call: Call) -> dict[str, Any]:
    if call.object.get("status") is None:
        raise ActionError("status: the rollout was not reconciled yet")
    changed = _unpaused(call.object)
    return put(changed, ("spec", "paused"), False) if get(changed, "spec.paused") else changed


def _workflow(call: Call, spec: Any, labels: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    source = call.object
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {
            "name": f"{source['metadata']['name']}-{call.now:%Y%m%d%H%M}",
            **namespace_of(source),
            "labels": labels,
            "ownerReferences": [owner_reference(source)],
            **metadata,
        },
        "spec": spec,
    }


def _from_template(call: Call) -> list[Impact]:
    name = call.object["metadata"]["name"]
    spec = {"workflowTemplateRef": {"name": name}}
    return [Impact("create", _workflow(call, spec, {f"{_LABEL}workflow-template": name}))]


def _from_cron(call: Call) -> list[Impact]:
    """The scheduled time has the day of the month where the hour belongs: so does the original's."""
    cron = call.object
    given = get(cron, "spec.workflowMetadata", {})
    labels = {**(filled(given.get("labels") or {}) or {}), f"{_LABEL}cron-workflow": cron["metadata"]["name"]}
    instance = get(cron, "metadata.labels", {}).get(f"{_LABEL}controller-instanceid")
    if instance is not None:
        labels[f"{_LABEL}controller-instanceid"] = instance
    annotations = dict(filled(given.get("annotations") or {}) or {})
    annotations[f"{_LABEL}scheduled-time"] = call.now.strftime("%Y-%m-%dT%d:%H:%MZ")
    workflow = _workflow(call, filled(get(cron, "spec.workflowSpec", {})), labels, annotations=annotations)
    workflow["finalizers"] = list(given.get("finalizers") or ())
    return [Impact("create", workflow)]


def _is_auto_synced(obj: Object) -> bool:
    automated = get(obj, "spec.syncPolicy.automated")
    return automated is not None and automated.get("enabled") in (True, None)


TOGGLE_AUTO_SYNC = "toggle-auto-sync"


def _toggle_auto_sync(call: Call) -> dict[str, Any]:
    enabled = not _is_auto_synced(call.object)
    return put(call.object, ("spec", "syncPolicy", "automated", "enabled"), enabled, missing=3)


ACTIONS = {
    ("argoproj.io", "AnalysisRun"): (
        Action(
            "terminate",
            set_to(True, "spec", "terminate"),
            disabled=lambda obj: bool(get(obj, "spec.terminate")) or get(obj, "status.phase") in _ENDED,
        ),
    ),
    ("argoproj.io", "Application"): (
        Action(
            TOGGLE_AUTO_SYNC, _toggle_auto_sync, shown=lambda obj: not _is_auto_synced(obj), display="Enable Auto-Sync"
        ),
        Action(TOGGLE_AUTO_SYNC, _toggle_auto_sync, shown=_is_auto_synced, display="Disable Auto-Sync"),
    ),
    ("argoproj.io", "CronWorkflow"): (
        Action("create-workflow", _from_cron, icon="fa fa-fw fa-plus", display="Create Workflow"),
    ),
    ("argoproj.io", "Rollout"): (
        Action(
            "abort",
            set_to(True, "status", "abort"),
            disabled=lambda obj: _is_fully_promoted(obj) or _is_aborted(obj),
        ),
        Action(
            "pause",
            set_to(True, "spec", "paused"),
            disabled=lambda obj: _is_fully_promoted(obj) or _is_aborted(obj) or bool(get(obj, "spec.paused")),
        ),
        Action("promote-full", _promote_full, disabled=_cannot_promote),
        Action("restart", lambda call: put(call.object, ("spec", "restartAt"), call.stamp), display="Restart Pods"),
        Action("resume", _resume, disabled=lambda obj: not _is_paused(obj)),
        Action(
            "retry",
            lambda call: without(call.object, ("status", "abort")),
            disabled=lambda obj: _is_fully_promoted(obj) or not _is_aborted(obj),
        ),
        Action("skip-current-step", _skip_step, disabled=_is_past_steps),
    ),
    ("argoproj.io", "WorkflowTemplate"): (
        Action("create-workflow", _from_template, icon="fa fa-fw fa-plus", display="Create Workflow"),
    ),
    ("promoter.argoproj.io", "PullRequest"): (
        Action(
            "merge",
            set_to("merged", "spec", "state"),
            disabled=lambda obj: get(obj, "spec.state") != "open",
            icon="fa fa-fw fa-code-merge",
            display="Merge PR",
        ),
    ),
}
