"""What an object gains on its way through the API server's internal type and back (``pkg/apis/*/v1/conversion.go``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tiphys.api.defaults.core import Object, each

_TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"


def convert(kind: str, normal: Object) -> None:
    if conversion := _CONVERSIONS.get(kind):
        conversion(normal)


def pod(obj: Object) -> None:
    pod_spec(obj["spec"])
    status = obj["status"]
    ips = status.get("podIPs") or []
    if status.get("podIP") and (not ips or ips[0].get("ip") != status["podIP"]):
        status["podIPs"] = [{"ip": status["podIP"]}]
    elif ips:
        status["podIP"] = ips[0].get("ip", "")
    hosts = status.get("hostIPs") or []
    if hosts and not status.get("hostIP"):
        status["hostIP"] = hosts[0].get("ip", "")


def pod_spec(spec: Object) -> None:
    """The old name of the service account is kept beside the new one."""
    if name := spec.get("serviceAccountName") or spec.get("serviceAccount"):
        spec["serviceAccountName"] = spec["serviceAccount"] = name


def with_template(obj: Object) -> None:
    if template := obj["spec"].get("template"):
        pod_spec(template["spec"])


def cron_job(obj: Object) -> None:
    with_template(obj["spec"]["jobTemplate"])


def stateful_set(obj: Object) -> None:
    with_template(obj)
    for claim in each(obj["spec"], "volumeClaimTemplates"):
        claim |= {"apiVersion": "v1", "kind": "PersistentVolumeClaim"}


def daemon_set(obj: Object) -> None:
    with_template(obj)
    annotations: dict[str, Any] = obj["metadata"].get("annotations") or {}
    obj["metadata"]["annotations"] = {_TEMPLATE_GENERATION: "0"} | annotations


def pod_template(obj: Object) -> None:
    pod_spec(obj["template"]["spec"])


_CONVERSIONS: dict[str, Callable[[Object], None]] = {
    "Pod": pod,
    "PodTemplate": pod_template,
    "ReplicationController": with_template,
    "ReplicaSet": with_template,
    "Deployment": with_template,
    "StatefulSet": stateful_set,
    "DaemonSet": daemon_set,
    "Job": with_template,
    "CronJob": cron_job,
}
