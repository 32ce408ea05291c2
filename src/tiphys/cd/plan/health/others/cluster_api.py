"""Clusters as Kubernetes objects: Cluster API, Gardener."""

from __future__ import annotations

from tiphys.cd.plan.health.others.parts import (
    When,
    conditions,
    degraded,
    generation,
    healthy,
    mapping,
    progressing,
    said,
    spec_of,
    status_of,
    suspended,
)
from tiphys.cd.plan.health.reading import conditions as conditions_of
from tiphys.cd.plan.health.verdict import Health, HealthStatus
from tiphys.cd.plan.objects import Object

_GROUP = "cluster.x-k8s.io"
_SHOOTS: dict[str, tuple[HealthStatus, str]] = {
    "healthy": ("Healthy", "Component state: Healthy"),
    "progressing": ("Progressing", "Component state: Update in progress"),
    "unhealthy": ("Degraded", "Component state: Unhealthy"),
    "unknown": ("Unknown", "Component state: Unknown"),
}


def cluster_health(obj: Object) -> Health:
    if spec_of(obj).get("paused"):
        return suspended("Cluster is paused")
    for condition in conditions_of(status_of(obj)):
        is_not_ready = condition.get("type") == "Ready" and condition.get("status") == "False"
        if is_not_ready and condition.get("severity") != "Info":
            return degraded(said(condition))
    phases = {"Provisioned": healthy("Cluster is running"), "Failed": degraded()}
    return phases.get(str(status_of(obj).get("phase")), progressing("Waiting for clusters"))


def machine_health(obj: Object) -> Health:
    phase = status_of(obj).get("phase")
    if phase == "Running":
        return healthy("Machine is running")
    text = "Condition is unknown"
    for condition in conditions_of(status_of(obj)):
        if condition.get("type") == "Ready" and condition.get("status") == "False":
            text = said(condition)
            break
    return Health("Degraded" if phase == "Failed" else "Progressing", text)


def machine_deployment_health(obj: Object) -> Health:
    if spec_of(obj).get("paused"):
        return suspended("MachineDeployment is paused")
    phases = {
        "Running": healthy("Machines are running under this deployment"),
        "ScalingUp": progressing("Cluster is spawning machines"),
        "ScalingDown": progressing("Cluster is stopping machines"),
        "Failed": degraded("MachineDeployment is failed"),
    }
    return phases.get(str(status_of(obj).get("phase")), progressing("Waiting for machines"))


def machine_health_check_health(obj: Object) -> Health:
    status = status_of(obj)
    if status.get("currentHealthy") is None:
        return progressing()
    return healthy() if status.get("expectedMachines") == status["currentHealthy"] else degraded()


def machine_pool_health(obj: Object) -> Health:
    status = status_of(obj)
    phase = status.get("phase")
    verdicts: dict[str, HealthStatus] = {
        "Running": "Healthy",
        "Scaling": "Healthy",
        "Failed": "Degraded",
        "Unknown": "Degraded",
    }
    missing = [
        f"Not {one['type']}" + (f" ({one['reason']})" if one.get("reason") is not None else "")
        for one in conditions_of(status)
        if one.get("type") is not None and one.get("status") == "False"
    ]
    text = "" if phase is None else f"MachinePool is {phase}"
    return Health(verdicts.get(str(phase), "Progressing"), f"{text}: {', '.join(missing)}" if missing else text)


def control_plane_health(obj: Object) -> Health:
    """Amazon's managed control plane."""
    status = status_of(obj)
    if obj.get("status") is None:
        return progressing("Provisioning...")
    observed = status.get("observedGeneration")
    if observed is not None and generation(obj) not in (None, observed):
        return progressing("Waiting for the control plane spec to be reconciled")
    if status.get("failureMessage"):
        return degraded(status["failureMessage"])
    if status.get("conditions") is None:
        return progressing("Provisioning...")
    found = conditions_of(status)
    if any(one.get("type") == "EKSControlPlaneUpdating" and one.get("status") == "True" for one in found):
        return progressing("EKS control plane is updating")
    errors = ""
    for one in found:
        if one.get("type") == "Ready" and one.get("status") == "True":
            return healthy("Control plane is ready")
        if one.get("status") == "False" and one.get("severity") == "Error":
            errors += said(one) + " "
    if errors:
        return degraded(errors)
    if status.get("ready") is False:
        return progressing("Control plane is not ready (.status.ready is false)")
    return progressing("Control plane is not ready")


def shoot_health(obj: Object) -> Health:
    labels = mapping(mapping(obj.get("metadata")).get("labels"))
    found = _SHOOTS.get(str(labels.get("shoot.gardener.cloud/status")))
    return Health(*found) if found else progressing("Update in progress")


CHECKS = {
    ("addons.cluster.x-k8s.io", "ClusterResourceSet"): conditions(
        When("ResourcesApplied", "True", "Healthy", "cluster resource set is applied"),
        When("ResourcesApplied", "False", "Degraded"),
        otherwise=progressing("Initializing cluster resource set"),
    ),
    (_GROUP, "Cluster"): cluster_health,
    (_GROUP, "Machine"): machine_health,
    (_GROUP, "MachineDeployment"): machine_deployment_health,
    (_GROUP, "MachineHealthCheck"): machine_health_check_health,
    (_GROUP, "MachinePool"): machine_pool_health,
    ("controlplane.cluster.x-k8s.io", "AWSManagedControlPlane"): control_plane_health,
    ("core.gardener.cloud", "Shoot"): shoot_health,
}
