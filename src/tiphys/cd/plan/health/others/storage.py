"""Storage: Ceph, MinIO, object buckets, snapshots, Trident."""

from __future__ import annotations

from typing import Any

from tiphys.cd.plan.health.builtin import Check
from tiphys.cd.plan.health.others.parts import (
    degraded,
    healthy,
    mapping,
    progressing,
    status_of,
)
from tiphys.cd.plan.health.verdict import Health, HealthStatus
from tiphys.cd.plan.objects import Object

_MINIO_WRONG = (
    "Statefulset not controlled by operator",
    "Another MinIO Tenant already exists in the namespace",
    "Tenant credentials are not set properly",
    "Different versions across MinIO Pools",
    "Pool Decommissioning Not Allowed",
)


def ceph_cluster_health(obj: Object) -> Health:
    """Ceph's own verdict, then the operator's, then what it has to say, joined."""
    status = status_of(obj)
    if obj.get("status") is None:
        return progressing("Waiting for status to be reported")
    verdict: HealthStatus = "Progressing"
    texts: list[str] = []
    ceph = mapping(status.get("ceph"))
    if ceph.get("health") is not None:
        verdicts: dict[str, HealthStatus] = {
            "HEALTH_ERR": "Degraded",
            "HEALTH_WARN": "Degraded",
            "HEALTH_OK": "Healthy",
        }
        verdict = verdicts.get(str(ceph["health"]), verdict)
        texts.append(f"Ceph health is {ceph['health']}{_details(ceph)}")
    if status.get("state") is not None and verdict == "Healthy":
        texts.append(f"Ceph cluster state is {status['state']}")
        states: dict[str, HealthStatus] = {"Created": "Healthy", "Connected": "Healthy", "Error": "Degraded"}
        verdict = states.get(str(status["state"]), "Progressing")
    texts.append(str(status.get("message") or ""))
    return Health(verdict, " - ".join(text for text in texts if text))


def _details(ceph: Any) -> str:
    held = mapping(ceph.get("details"))
    texts = [
        str(mapping(held[name])["message"]) for name in sorted(held) if mapping(held[name]).get("message") is not None
    ]
    return f" ({'; '.join(texts)})" if texts else ""


def ceph_store_health(obj: Object) -> Health:
    status = status_of(obj)
    if obj.get("status") is None:
        return progressing("Waiting for status to be reported")
    phase, endpoint = status.get("phase"), mapping(status.get("info")).get("endpoint")
    text = "Waiting for status to be reported" if phase is None else f"Ceph object store phase is {phase}"
    verdicts: dict[str, HealthStatus] = {"Ready": "Healthy", "Failure": "Degraded"}
    text += f" - endpoint: {endpoint}" if endpoint else ""
    return Health(verdicts.get(str(phase), "Progressing"), text)


def tenant_health(obj: Object) -> Health:
    state = status_of(obj).get("currentState")
    if state is None:
        return progressing("No status info available")
    if state in ("Initialized", *_MINIO_WRONG):
        return healthy(state) if state == "Initialized" else degraded(state)
    return progressing(str(state))


def bucket_claim_health(obj: Object) -> Health:
    phase = status_of(obj).get("phase")
    if obj.get("status") is None:
        return progressing("Waiting for status to be reported")
    if phase is None:
        return progressing("Waiting for phase to be reported")
    verdicts: dict[str, HealthStatus] = {"Bound": "Healthy", "Failed": "Degraded"}
    return Health(verdicts.get(phase, "Progressing"), f"Object bucket claim phase is {phase}")


def snapshot_health(obj: Object) -> Health:
    status = status_of(obj)
    if status.get("readyToUse"):
        return healthy("Ready to use")
    if status.get("error") is not None:
        return degraded(str(mapping(status["error"]).get("message") or ""))
    return progressing("Waiting for status")


def trident_backend_health(obj: Object) -> Health:
    status = status_of(obj)
    text = str(status.get("message") or "")
    if status.get("phase") == "Bound" and status.get("lastOperationStatus") == "Success":
        return healthy(text)
    is_failed = status.get("lastOperationStatus") == "Failed"
    return degraded(text) if is_failed else progressing("Waiting for backend creation")


def trident_health(obj: Object) -> Health:
    status = status_of(obj)
    text = str(status.get("message") or "")
    if status.get("status") == "Installed":
        return healthy(text)
    is_failed = status.get("status") in ("Failed", "Error")
    return degraded(text) if is_failed else progressing("Waiting for trident installation")


CHECKS: dict[tuple[str, str], Check] = {
    ("ceph.rook.io", "CephCluster"): ceph_cluster_health,
    ("ceph.rook.io", "CephObjectStore"): ceph_store_health,
    ("minio.min.io", "Tenant"): tenant_health,
    ("objectbucket.io", "ObjectBucketClaim"): bucket_claim_health,
    ("snapshot.storage.k8s.io", "VolumeSnapshot"): snapshot_health,
    ("snapshot.storage.k8s.io", "VolumeSnapshotContent"): snapshot_health,
    ("trident.netapp.io", "TridentBackendConfig"): trident_backend_health,
    ("trident.netapp.io", "TridentOrchestrator"): trident_health,
}
