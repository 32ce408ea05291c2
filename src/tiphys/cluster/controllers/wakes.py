"""Which controllers there are, and what each waits for before it begins: the first object that it is for.

A table and a few questions about objects, so that a cluster loads the code of a controller only when it starts it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tiphys.cluster.controllers.plan.node_taints import is_mistainted
from tiphys.machinery.resources import (
    CERTIFICATE_SIGNING_REQUESTS,
    CLUSTER_ROLES,
    CRON_JOBS,
    DAEMON_SETS,
    DEPLOYMENTS,
    ENDPOINTS,
    HORIZONTAL_POD_AUTOSCALERS,
    JOBS,
    NAMESPACES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    POD_DISRUPTION_BUDGETS,
    PODS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    SERVICES,
    STATEFUL_SETS,
    Resource,
)

Object = Mapping[str, Any]

SCHEDULER: Final = "default-scheduler"
PROTECTIONS: Final = ("kubernetes.io/pvc-protection", "kubernetes.io/pv-protection")


@dataclass(frozen=True)
class Wake:
    """An object of ``resource`` exists for which ``when`` holds (None: any)."""

    resource: Resource
    when: Callable[[Object], bool] | None = None


def wants_scheduling(pod: Object) -> bool:
    """A pod that the scheduler has to find a node for."""
    spec = pod["spec"]
    if spec.get("nodeName") or spec.get("schedulingGates") or spec.get("schedulerName", SCHEDULER) != SCHEDULER:
        return False
    ended = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
    return not ended and not pod["metadata"].get("deletionTimestamp")


def selects(service: Object) -> bool:
    """A Service that leads to pods of its choice."""
    return bool((service.get("spec") or {}).get("selector"))


def is_by_hand(endpoints: Object) -> bool:
    """Endpoints that no controller made."""
    return "endpoints.kubernetes.io/managed-by" not in (endpoints["metadata"].get("labels") or {})


def is_leaving(obj: Object) -> bool:
    return bool(obj["metadata"].get("deletionTimestamp"))


def aggregates(role: Object) -> bool:
    """A ClusterRole whose rules are those of others."""
    return bool(role.get("aggregationRule"))


def expires(job: Object) -> bool:
    """A Job that is deleted some time after its end."""
    return job["spec"].get("ttlSecondsAfterFinished") is not None


def leaves_protected(obj: Object) -> bool:
    """A claim or volume that is deleted when nobody uses it any more."""
    held = obj["metadata"].get("finalizers") or ()
    return is_leaving(obj) and any(each in held for each in PROTECTIONS)


def evicts(node: Object) -> bool:
    """A node with a taint that pods have to leave for."""
    return any(taint.get("effect") == "NoExecute" for taint in (node.get("spec") or {}).get("taints") or ())


@dataclass(frozen=True)
class Row:
    """``kind`` is a class of ``module`` (beside this one). ``lasting``: only for a cluster that stays: what it waits
    for is there from the beginning."""

    module: str
    kind: str
    wakes: Sequence[Wake]
    lasting: bool = False


CONTROLLERS: Final[Sequence[Row]] = (
    Row("deployments", "DeploymentController", [Wake(DEPLOYMENTS)]),
    Row("replica_sets", "ReplicaSetController", [Wake(REPLICA_SETS)]),
    Row("replica_sets", "ReplicationControllerController", [Wake(REPLICATION_CONTROLLERS)]),
    Row("scheduler", "Scheduler", [Wake(PODS, wants_scheduling)]),
    Row("endpoints", "EndpointsController", [Wake(SERVICES, selects)]),
    Row("endpoints", "EndpointSliceController", [Wake(SERVICES, selects)]),
    Row("mirroring", "EndpointSliceMirroringController", [Wake(ENDPOINTS, is_by_hand)]),
    Row("namespaces", "NamespaceController", [Wake(NAMESPACES, is_leaving)]),
    Row("accounts", "ServiceAccountController", [Wake(NAMESPACES)], lasting=True),
    Row("accounts", "RootCaController", [Wake(NAMESPACES)], lasting=True),
    Row("cluster_roles", "ClusterRoleController", [Wake(CLUSTER_ROLES, aggregates)], lasting=True),
    Row("disruption", "DisruptionController", [Wake(POD_DISRUPTION_BUDGETS)]),
    Row("jobs", "JobController", [Wake(JOBS)]),
    Row("jobs", "TtlAfterFinishedController", [Wake(JOBS, expires)]),
    Row("cron_jobs", "CronJobController", [Wake(CRON_JOBS)]),
    Row("daemon_sets", "DaemonSetController", [Wake(DAEMON_SETS)]),
    Row("stateful_sets", "StatefulSetController", [Wake(STATEFUL_SETS)]),
    Row("volumes", "VolumeController", [Wake(PERSISTENT_VOLUME_CLAIMS), Wake(PERSISTENT_VOLUMES)]),
    Row("volumes", "ClaimProtectionController", [Wake(PERSISTENT_VOLUME_CLAIMS, leaves_protected)]),
    Row("volumes", "VolumeProtectionController", [Wake(PERSISTENT_VOLUMES, leaves_protected)]),
    Row("autoscaling", "AutoscalerController", [Wake(HORIZONTAL_POD_AUTOSCALERS)]),
    Row("nodes", "NodeTaintController", [Wake(NODES, is_mistainted)]),
    Row("nodes", "TaintEvictionController", [Wake(NODES, evicts)]),
    Row("nodes", "NodeController", [Wake(NODES)], lasting=True),
    Row("nodes", "PodGcController", [Wake(NODES)], lasting=True),
    Row("certificates", "CertificateController", [Wake(CERTIFICATE_SIGNING_REQUESTS)]),
)
