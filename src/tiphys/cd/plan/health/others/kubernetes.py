"""Kinds of Kubernetes itself that the original judges by script: custom resource definitions, cron jobs, budgets."""

from __future__ import annotations

from tiphys.cd.plan.health.others.parts import (
    degraded,
    healthy,
    mapping,
    progressing,
    reason,
    said,
    spec_of,
    status_of,
)
from tiphys.cd.plan.health.reading import conditions as conditions_of
from tiphys.cd.plan.health.verdict import Health
from tiphys.cd.plan.objects import Object


def definition_health(obj: Object) -> Health:
    """A custom resource definition: its names must be accepted, its schema good, and it must be established."""
    if mapping(obj.get("metadata")).get("deletionTimestamp") is not None:
        return progressing("CRD is terminating")
    if not conditions_of(status_of(obj)):
        return progressing("Status conditions not found")
    is_established = False
    for condition in conditions_of(status_of(obj)):
        match condition.get("type"), condition.get("status"):
            case "Terminating", "True":
                return progressing(f"CRD is terminating: {said(condition)}")
            case "NamesAccepted", "False":
                return degraded(f"CRD names have not been accepted: {said(condition)}")
            case "NonStructuralSchema", "True":
                return degraded(f"Schema violations found: {said(condition)}")
            case "Established", "True":
                is_established = True
            case "Established", _:
                if condition.get("reason") == "Installing":
                    return progressing("CRD is being installed")
    return healthy("CRD is healthy") if is_established else degraded("CRD is not established")


def cron_job_health(obj: Object) -> Health:
    if spec_of(obj).get("suspend") is True:
        return healthy("CronJob is Suspended")
    if obj.get("status") is None:
        return progressing("Waiting for CronJob")
    status = status_of(obj)
    scheduled, succeeded = status.get("lastScheduleTime"), status.get("lastSuccessfulTime")
    if scheduled is None:
        return healthy("CronJob has not been scheduled yet")
    if succeeded is None:
        return healthy("The CronJob never completed successfully. It may not be healthy")
    if status.get("active"):
        return healthy("The job is running. Its last execution may not have been successful")
    if succeeded < scheduled:
        return degraded("CronJob has not completed its last execution successfully")
    return healthy("CronJob has completed its last execution successfully")


def disruption_budget_health(obj: Object) -> Health:
    found = progressing("Waiting for status")
    for condition in conditions_of(status_of(obj)):
        text = f"PodDisruptionBudget has {reason(condition)}"
        if condition.get("status") == "False" and condition.get("reason") != "InsufficientPods":
            return degraded(text)
        found = healthy(text)
    return found


CHECKS = {
    ("apiextensions.k8s.io", "CustomResourceDefinition"): definition_health,
    ("batch", "CronJob"): cron_job_health,
    ("policy", "PodDisruptionBudget"): disruption_budget_health,
}
