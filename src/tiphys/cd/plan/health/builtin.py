"""The kinds that need no customization: workloads, services, claims, jobs, API services, workflows.

One function per kind, object → verdict; a kind in a version that is not understood is an error, not "no health".
Source: gitops-engine pkg/health; judged by golden/cd health.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from tiphys.cd.plan.health.autoscalers import autoscaler_health
from tiphys.cd.plan.health.pods import pod_health
from tiphys.cd.plan.health.reading import condition, conditions, number, optional_number, section, text, typed
from tiphys.cd.plan.health.verdict import Health
from tiphys.cd.plan.objects import Object, at, metadata_of, name_of
from tiphys.lang.gofmt import quote

Check = Callable[[Object], Health | None]


def deployment_health(obj: Object) -> Health:
    typed(obj, "Deployment", "apps/v1")
    spec, status = section(obj, "spec"), section(obj, "status")
    if spec.get("paused"):
        return Health("Suspended", "Deployment is paused")
    if _is_unobserved(obj, status):
        return _rollout("observed deployment generation less than desired generation")
    progressing = condition(status, "Progressing")
    if progressing is not None and text(progressing, "reason") == "ProgressDeadlineExceeded":
        return Health("Degraded", f"Deployment {quote(name_of(obj))} exceeded its progress deadline")
    wanted, updated = optional_number(spec, "replicas"), number(status, "updatedReplicas")
    total, available = number(status, "replicas"), number(status, "availableReplicas")
    if wanted is not None and updated < wanted:
        return _rollout(f"{updated} out of {wanted} new replicas have been updated...")
    if total > updated:
        return _rollout(f"{total - updated} old replicas are pending termination...")
    if available < updated:
        return _rollout(f"{available} of {updated} updated replicas are available...")
    return Health("Healthy")


def replica_set_health(obj: Object) -> Health:
    typed(obj, "ReplicaSet", "apps/v1")
    status = section(obj, "status")
    if _is_unobserved(obj, status):
        return _rollout("observed replica set generation less than desired generation")
    failure = condition(status, "ReplicaFailure")
    if failure is not None and failure.get("status") == "True":
        return Health("Degraded", text(failure, "message"))
    wanted, available = optional_number(section(obj, "spec"), "replicas"), number(status, "availableReplicas")
    if wanted is not None and available < wanted:
        return _rollout(f"{available} out of {wanted} new replicas are available...")
    return Health("Healthy")


def stateful_set_health(obj: Object) -> Health:
    typed(obj, "StatefulSet", "apps/v1")
    spec, status = section(obj, "spec"), section(obj, "status")
    if not number(status, "observedGeneration") or _is_unobserved(obj, status):
        return Health("Progressing", "Waiting for statefulset spec update to be observed...")
    wanted, ready, updated = (
        optional_number(spec, "replicas"),
        number(status, "readyReplicas"),
        number(status, "updatedReplicas"),
    )
    if wanted is not None and ready < wanted:
        return Health("Progressing", f"Waiting for {wanted - ready} pods to be ready...")
    strategy = section(spec, "updateStrategy")
    if strategy.get("type") == "RollingUpdate" and strategy.get("rollingUpdate") is not None:
        partition = optional_number(section(strategy, "rollingUpdate"), "partition")
        if wanted is not None and partition is not None and updated < wanted - partition:
            of = f"{updated} out of {wanted - partition} new pods have been updated..."
            return Health("Progressing", f"Waiting for partitioned roll out to finish: {of}")
        return Health("Healthy", f"partitioned roll out complete: {updated} new pods have been updated...")
    if strategy.get("type") == "OnDelete":
        return Health("Healthy", f"statefulset has {ready} ready pods")
    update, current = text(status, "updateRevision"), text(status, "currentRevision")
    if update != current:
        at_revision = f"{updated} pods at revision {update}..."
        return Health("Progressing", f"waiting for statefulset rolling update to complete {at_revision}")
    at_revision = f"{number(status, 'currentReplicas')} pods at revision {current}..."
    return Health("Healthy", f"statefulset rolling update complete {at_revision}")


def daemon_set_health(obj: Object) -> Health:
    typed(obj, "DaemonSet", "apps/v1")
    status = section(obj, "status")
    if _is_unobserved(obj, status):
        return _rollout("observed daemon set generation less than desired generation")
    updated, wanted = number(status, "updatedNumberScheduled"), number(status, "desiredNumberScheduled")
    if at(obj, "spec", "updateStrategy", "type") == "OnDelete":
        return Health("Healthy", f"daemon set {updated} out of {wanted} new pods have been updated")
    waiting = f"Waiting for daemon set {quote(name_of(obj))} rollout to finish:"
    if updated < wanted:
        return Health("Progressing", f"{waiting} {updated} out of {wanted} new pods have been updated...")
    available = number(status, "numberAvailable")
    if available < wanted:
        return Health("Progressing", f"{waiting} {available} of {wanted} updated pods are available...")
    return Health("Healthy")


def job_health(obj: Object) -> Health:
    typed(obj, "Job", "batch/v1")
    over: dict[str, Mapping[str, Any]] = {}
    for each in conditions(section(obj, "status")):
        over[text(each, "type")] = each
    known = [name for name in over if name in ("Failed", "Complete", "Suspended")]
    if not known:
        return Health("Progressing")
    if "Failed" in over:
        return Health("Degraded", text(over["Failed"], "message"))
    # The message of whichever condition came last.
    last = [each for each in conditions(section(obj, "status")) if text(each, "type") in ("Complete", "Suspended")][-1]
    suspended = any(
        text(each, "type") == "Suspended" and each.get("status") == "True"
        for each in conditions(section(obj, "status"))
    )
    return Health("Suspended" if suspended else "Healthy", text(last, "message"))


def claim_health(obj: Object) -> Health:
    typed(obj, "PersistentVolumeClaim", "v1")
    match text(section(obj, "status"), "phase"):
        case "Lost":
            return Health("Degraded")
        case "Pending":
            return Health("Progressing")
        case "Bound":
            return Health("Healthy")
    return Health("Unknown")


def service_health(obj: Object) -> Health:
    """Only a load balancer is waited for; any entry counts, even one without an address."""
    typed(obj, "Service", "v1")
    if at(obj, "spec", "type") != "LoadBalancer" or at(obj, "status", "loadBalancer", "ingress"):
        return Health("Healthy")
    return Health("Progressing")


def ingress_health(obj: Object) -> Health:
    entries = at(obj, "status", "loadBalancer", "ingress")
    return Health("Healthy" if isinstance(entries, list) and entries else "Progressing")


def api_service_health(obj: Object) -> Health:
    typed(obj, "APIService", "apiregistration.k8s.io/v1", "apiregistration.k8s.io/v1beta1")
    available = condition(section(obj, "status"), "Available")
    if available is None:
        return Health("Progressing", "Waiting to be processed")
    message = f"{text(available, 'reason')}: {text(available, 'message')}"
    return Health("Healthy" if available.get("status") == "True" else "Progressing", message)


def workflow_health(obj: Object) -> Health:
    phase, message = at(obj, "status", "phase") or "", at(obj, "status", "message")
    message = message if isinstance(message, str) else ""
    match phase:
        case "" | "Pending" | "Running":
            return Health("Progressing", message)
        case "Succeeded":
            return Health("Healthy", message)
        case "Failed" | "Error":
            return Health("Degraded", message)
    return Health("Unknown", message)


CHECKS: Final[Mapping[tuple[str, str], Check]] = {
    ("apps", "Deployment"): deployment_health,
    ("apps", "StatefulSet"): stateful_set_health,
    ("apps", "ReplicaSet"): replica_set_health,
    ("apps", "DaemonSet"): daemon_set_health,
    ("extensions", "Ingress"): ingress_health,
    ("networking.k8s.io", "Ingress"): ingress_health,
    ("argoproj.io", "Workflow"): workflow_health,
    ("apiregistration.k8s.io", "APIService"): api_service_health,
    ("", "Service"): service_health,
    ("", "PersistentVolumeClaim"): claim_health,
    ("", "Pod"): pod_health,
    ("batch", "Job"): job_health,
    ("autoscaling", "HorizontalPodAutoscaler"): autoscaler_health,
}


def _is_unobserved(obj: Object, status: Mapping[str, Any]) -> bool:
    return number(metadata_of(obj), "generation") > number(status, "observedGeneration")


def _rollout(what: str) -> Health:
    return Health("Progressing", f"Waiting for rollout to finish: {what}")
