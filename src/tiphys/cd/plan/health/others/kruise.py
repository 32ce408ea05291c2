"""OpenKruise and its neighbours: workloads that update in place, game servers, rollouts, Karmada's bindings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tiphys.cd.plan.health.builtin import Check
from tiphys.cd.plan.health.others.parts import (
    When,
    amount,
    degraded,
    generation,
    healthy,
    judged,
    listed,
    mapping,
    progressing,
    spec_of,
    status_of,
    suspended,
    unknown,
)
from tiphys.cd.plan.health.reading import conditions as conditions_of
from tiphys.cd.plan.health.verdict import Health
from tiphys.cd.plan.objects import Object

_INITIALIZING = progressing("Waiting for initialization")
_INSUFFICIENT = progressing("Current resource status is insufficient")


def _is_observed(obj: Object) -> bool:
    return obj.get("status") is not None and generation(obj) == status_of(obj).get("observedGeneration")


def _rolling(obj: Object) -> Mapping[str, Any]:
    return mapping(mapping(spec_of(obj).get("updateStrategy")).get("rollingUpdate"))


def advanced_cron_job_health(obj: Object) -> Health:
    status = status_of(obj)
    if status.get("lastScheduleTime") is None and spec_of(obj).get("paused") is True:
        return suspended("AdvancedCronJob is Paused")
    if status.get("active"):
        return progressing("AdvancedCronJobs has active jobs")
    if status.get("lastScheduleTime") is None:
        return degraded("AdvancedCronJobs has not run successfully")
    return healthy("AdvancedCronJobs has run successfully")


def broadcast_job_health(obj: Object) -> Health:
    status = status_of(obj)
    phase = status.get("phase")
    if phase == "completed" and status.get("desired") == status.get("succeeded"):
        return healthy("BroadcastJob is completed successfully")
    if phase == "failed" and status.get("failed") != 0:
        return degraded("BroadcastJob failed")
    if phase == "paused" and spec_of(obj).get("paused") is True:
        return suspended("BroadcastJob is Paused")
    return progressing("BroadcastJob is still running")


def clone_set_health(obj: Object) -> Health:
    status, strategy = status_of(obj), mapping(spec_of(obj).get("updateStrategy"))
    if not _is_observed(obj):
        return _INITIALIZING
    if strategy.get("paused") is True or status.get("updatedAvailableReplicas") is None:
        return suspended("Cloneset is paused")
    if strategy.get("partition") != 0 and amount(generation(obj)) > 1:
        needs_hand = amount(status.get("updatedReplicas")) >= amount(status.get("expectedUpdatedReplicas"))
        return suspended("Cloneset needs manual intervention") if needs_hand else _INITIALIZING
    return _replicas(status, "Cloneset")


def stateful_set_health(obj: Object) -> Health:
    status, rolling = status_of(obj), _rolling(obj)
    if not _is_observed(obj):
        return _INITIALIZING
    if rolling.get("paused") is True or status.get("updatedAvailableReplicas") is None:
        return suspended("Statefulset is paused")
    if rolling.get("partition") != 0 and amount(generation(obj)) > 1:
        left = amount(status.get("replicas")) - amount(rolling.get("partition"))
        needs_hand = amount(status.get("updatedReplicas")) > left
        return suspended("Statefulset needs manual intervention") if needs_hand else _INITIALIZING
    return _replicas(status, "Statefulset")


def _replicas(status: Mapping[str, Any], name: str) -> Health:
    if status.get("updatedAvailableReplicas") == status.get("replicas"):
        return healthy(f"All {name} workloads are ready and updated")
    return degraded("Some replicas are not ready or available")


def daemon_set_health(obj: Object) -> Health:
    status, rolling = status_of(obj), _rolling(obj)
    wanted, updated = status.get("desiredNumberScheduled"), status.get("updatedNumberScheduled")
    if not _is_observed(obj):
        return _INITIALIZING
    if rolling.get("paused") is True or updated is None:
        return suspended("Daemonset is paused")
    partition = rolling.get("partition")
    if partition not in (None, 0) and amount(generation(obj)) > 1:
        needs_hand = amount(updated) > amount(wanted) - amount(partition)
        return suspended("Daemonset needs manual intervention") if needs_hand else _INITIALIZING
    if updated == wanted and status.get("numberAvailable") == wanted:
        return healthy("All Daemonset workloads are ready and updated")
    if updated == wanted and status.get("numberUnavailable") == wanted:
        return degraded("Some pods are not ready or available")
    return _INITIALIZING


def game_server_health(obj: Object) -> Health:
    status, waiting = status_of(obj), unknown("Waiting for GameServer to be ready")
    if obj.get("status") is None:
        return waiting
    current, wanted = status.get("currentState"), status.get("desiredState")
    if current != wanted:
        return progressing(f"State change: {current or 'Unknown'} → {wanted or 'Unknown'}")
    for condition in conditions_of(mapping(status.get("podStatus"))):
        if condition.get("type") == "KruisePodReady" and condition.get("status") != "True":
            return degraded("Pod is not ready: KruisePodReady")
    return healthy("GameServer is Ready") if current == "Ready" else waiting


def game_server_set_health(obj: Object) -> Health:
    status, rolling = status_of(obj), _rolling(obj)
    waiting = progressing("Waiting for GameServerSet initialization")
    if not _is_observed(obj):
        return waiting
    if rolling.get("paused") is True:
        return suspended("GameServerSet is paused")
    replicas, partition = amount(status.get("replicas")), amount(rolling.get("partition"))
    if partition and amount(status.get("updatedReplicas")) >= replicas - partition:
        return suspended(f"Partition={partition:g}, waiting for manual intervention")
    if amount(status.get("updatedReadyReplicas")) == replicas:
        return healthy("All GameServerSet replicas are updated and ready")
    ready = amount(status.get("readyReplicas"))
    return progressing(f"ReadyReplicas {ready:g}/{replicas:g}, still progressing") if ready < replicas else waiting


def rollout_health(obj: Object) -> Health:
    if not _is_observed(obj):
        return progressing("Rollout is still progressing")
    status = status_of(obj)
    match mapping(status.get("canaryStatus")).get("currentStepState"), status.get("phase"):
        case "StepPaused", "Progressing":
            return suspended("Rollout is Paused need manual intervention")
        case "Completed", "Healthy":
            return healthy("Rollout is Completed")
        case "StepPaused", "Terminating" | "Disabled":
            return degraded("Rollout is Disabled or Terminating")
    return progressing("Rollout is still progressing")


def _binding(needs_clusters: bool) -> Check:
    """Karmada: every cluster must have reported, and none be unhealthy."""

    def check(obj: Object) -> Health:
        clusters, reports = spec_of(obj).get("clusters"), listed(status_of(obj).get("aggregatedStatus"))
        if clusters == [] or (clusters is None and needs_clusters) or not reports:
            return _INSUFFICIENT
        if clusters is not None and len(clusters) != len(reports):
            return _INSUFFICIENT
        for one in reports:
            is_lost = one.get("health") == "Unknown" and one.get("applied") is not True
            if one.get("health") == "Unhealthy" or is_lost:
                return degraded("Current resource status is unhealthy")
        return healthy()

    return check


def spot_deployment_health(obj: Object) -> Health:
    status = status_of(obj)
    if status.get("conditions") is None:
        return Health("")
    rules = (
        When("InvalidSpec", "", "Degraded"),
        When("Progressing", "", "Degraded", reason="RolloutAborted"),
        When("Progressing", "", "Degraded", reason="ProgressDeadlineExceeded"),
        When("Paused", "True", "Suspended", "Rollout is paused"),
    )
    found = judged(conditions_of(status), rules)
    is_going_on = status.get("phase") == "Progressing"
    return found or (progressing("Waiting for rollout to finish steps") if is_going_on else healthy())


CHECKS = {
    ("apps.kruise.io", "AdvancedCronJob"): advanced_cron_job_health,
    ("apps.kruise.io", "BroadcastJob"): broadcast_job_health,
    ("apps.kruise.io", "CloneSet"): clone_set_health,
    ("apps.kruise.io", "DaemonSet"): daemon_set_health,
    ("apps.kruise.io", "StatefulSet"): stateful_set_health,
    ("game.kruise.io", "GameServer"): game_server_health,
    ("game.kruise.io", "GameServerSet"): game_server_set_health,
    ("rollouts.kruise.io", "Rollout"): rollout_health,
    ("spot.io", "SpotDeployment"): spot_deployment_health,
    ("work.karmada.io", "ClusterResourceBinding"): _binding(True),
    ("work.karmada.io", "ResourceBinding"): _binding(False),
}
