"""Argo's own kinds: rollouts, analysis, experiments, cron workflows, application sets, events, promoter."""

from __future__ import annotations

from typing import Any

from tiphys.cd.plan.health.others.parts import (
    When,
    amount,
    conditions,
    degraded,
    generation,
    healthy,
    in_turn,
    mapping,
    progressing,
    reason,
    said,
    spec_of,
    status_of,
    suspended,
)
from tiphys.cd.plan.health.reading import conditions as conditions_of
from tiphys.cd.plan.health.verdict import Health, HealthStatus
from tiphys.cd.plan.objects import Object

_RUN_PHASES: dict[str, tuple[HealthStatus, str]] = {
    "Pending": ("Progressing", "Analysis run is running"),
    "Running": ("Progressing", "Analysis run is running"),
    "Successful": ("Healthy", "Analysis run completed successfully"),
    "Failed": ("Degraded", "Analysis run failed"),
    "Error": ("Degraded", "Analysis run had an error"),
    "Inconclusive": ("Unknown", "Analysis run was inconclusive"),
}
_EXPERIMENT_PHASES: dict[str, tuple[HealthStatus, str]] = {
    "Pending": ("Progressing", "Experiment is pending"),
    "Running": ("Progressing", "Experiment is running"),
    "Successful": ("Healthy", "Experiment is successful"),
    "Failed": ("Degraded", "Experiment has failed"),
    "Error": ("Degraded", "Experiment had an error"),
}
_STARTED = ("Pending", "Running")


def analysis_run_health(obj: Object) -> Health:
    if obj.get("status") is None:
        return progressing("Waiting for analysis run to finish: status has not been reconciled.")
    status = status_of(obj)
    phase = status.get("phase")
    verdict, text = _RUN_PHASES.get(phase or "", ("", ""))
    message = status.get("message")
    return Health(verdict, text if phase in _STARTED or message is None else message)


def experiment_health(obj: Object) -> Health:
    if obj.get("status") is None:
        return progressing("Waiting for experiment to finish: status has not been reconciled.")
    return Health(*_EXPERIMENT_PHASES.get(status_of(obj).get("phase") or "", ("", "")))


def rollout_health(obj: Object) -> Health:
    """A rollout by its phase; older controllers wrote none and are judged by conditions, pauses and counts."""
    status = status_of(obj)
    if not _is_observed(obj) or not _is_workload_observed(obj):
        return progressing("Waiting for rollout spec update to be observed")
    phase = status.get("phase")
    if phase is not None:
        return Health("Suspended" if phase == "Paused" else phase, status.get("message") or "")
    return (
        _failed(status)
        or _paused(obj, status)
        or _unfinished(obj, status)
        or _strategy_unfinished(obj, status)
        or healthy()
    )


def _is_observed(obj: Object) -> bool:
    if obj.get("status") is None:
        return False
    observed = _number(status_of(obj).get("observedGeneration"))
    wanted = generation(obj)
    return observed is None or observed > amount(wanted) or observed == wanted


def _is_workload_observed(obj: Object) -> bool:
    annotations = mapping(obj.get("metadata")).get("annotations")
    if spec_of(obj).get("workloadRef") is None or annotations is None:
        return True
    wanted = _number(annotations.get("rollout.argoproj.io/workload-generation"))
    return wanted == _number(status_of(obj).get("workloadObservedGeneration"))


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _failed(status: Any) -> Health | None:
    for condition in conditions_of(status):
        aborted = condition.get("reason") in ("RolloutAborted", "ProgressDeadlineExceeded")
        if condition.get("type") == "InvalidSpec" or (condition.get("type") == "Progressing" and aborted):
            return degraded(said(condition))
    return None


def _paused(obj: Object, status: Any) -> Health | None:
    return suspended("Rollout is paused") if status.get("pauseConditions") or spec_of(obj).get("paused") else None


def _unfinished(obj: Object, status: Any) -> Health | None:
    if status.get("currentPodHash") is None:
        return progressing("Waiting for rollout to finish: status has not been reconciled.")
    replicas = spec_of(obj).get("replicas")
    updated = amount(status.get("updatedReplicas"))
    if updated < (1 if replicas is None else amount(replicas)):
        return progressing("Waiting for roll out to finish: More replicas need to be updated")
    if amount(status.get("availableReplicas")) < updated:
        return progressing("Waiting for roll out to finish: updated replicas are still becoming available")
    return None


def _strategy_unfinished(obj: Object, status: Any) -> Health | None:
    strategy = mapping(spec_of(obj).get("strategy"))
    current, stable = status.get("currentPodHash"), _stable(status)
    if strategy.get("blueGreen") is not None:
        if mapping(status.get("blueGreen")).get("activeSelector") != current:
            return progressing("active service cutover pending")
        if stable not in ("", current):
            return progressing("waiting for analysis to complete")
    elif strategy.get("canary") is not None and stable != current:
        return progressing("Waiting for rollout to finish steps")
    return None


def _stable(status: Any) -> Any:
    if status.get("stableRS") is not None:
        return status["stableRS"]
    return mapping(status.get("canary")).get("stableRS", "")


def _said_or_reason(condition: Any) -> str:
    return said(condition) or reason(condition)


CHECKS = {
    ("argoproj.io", "AnalysisRun"): analysis_run_health,
    ("argoproj.io", "ApplicationSet"): in_turn(
        When("ErrorOccurred", "True", "Degraded"),
        When("ResourcesUpToDate", "False", "Degraded"),
        When("RolloutProgressing", "True", "Progressing"),
        When("ResourcesUpToDate", "True", "Healthy"),
        otherwise=progressing("Waiting for the status to be reported"),
    ),
    ("argoproj.io", "CronWorkflow"): conditions(
        When("SpecError", "True", "Degraded"),
        When("SubmissionError", "True", "Degraded"),
        When("Completed", "True", "Healthy"),
        otherwise=healthy("CronWorkflow is healthy."),
    ),
    ("argoproj.io", "EventBus"): conditions(
        When("Deployed", "False", "Degraded", _said_or_reason),
        When("Deployed", "True", "Healthy", _said_or_reason),
        otherwise=progressing("Waiting for initialization"),
    ),
    ("argoproj.io", "Experiment"): experiment_health,
    ("argoproj.io", "Rollout"): rollout_health,
}
