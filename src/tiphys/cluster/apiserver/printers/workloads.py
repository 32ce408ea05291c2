"""Deployments, sets and jobs. Absent counts print as the defaults that a stored object has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from tiphys.cluster.apiserver.printers.row import (
    NONE,
    Row,
    age_of,
    containers_of,
    labels_text,
    name_of,
    part,
    selector_text,
)
from tiphys.cluster.apiserver.record import Object
from tiphys.machinery.ages import age, human_duration
from tiphys.machinery.selectors import SelectorError, from_structured


def _count(obj: Mapping[str, Any], name: str, default: int = 0) -> int:
    value = obj.get(name)
    return default if value is None else int(value)


def _strict_selector(selector: Mapping[str, Any] | None) -> str:
    """As ``labels.Selector.String``: nothing for an absent selector."""
    try:
        return str(from_structured(selector))
    except SelectorError:
        return "<invalid>"


def deployment(obj: Object, now: datetime) -> Row:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    names, images = containers_of(spec.get("template") or {})
    return Row(
        [
            name_of(obj),
            f"{_count(status, 'readyReplicas')}/{_count(spec, 'replicas', 1)}",
            _count(status, "updatedReplicas"),
            _count(status, "availableReplicas"),
            age_of(obj, now),
            names,
            images,
            _strict_selector(spec.get("selector")),
        ]
    )


def replica_set(obj: Object, now: datetime) -> Row:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    names, images = containers_of(spec.get("template") or {})
    return Row(
        [
            name_of(obj),
            _count(spec, "replicas", 1),
            _count(status, "replicas"),
            _count(status, "readyReplicas"),
            age_of(obj, now),
            names,
            images,
            selector_text(spec.get("selector")),
        ]
    )


def replication_controller(obj: Object, now: datetime) -> Row:
    spec = obj.get("spec") or {}
    row = replica_set({**obj, "spec": {**spec, "selector": None}}, now)
    return Row([*row.cells[:-1], labels_text(spec.get("selector"))])


def stateful_set(obj: Object, now: datetime) -> Row:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    names, images = containers_of(spec.get("template") or {})
    ready = f"{_count(status, 'readyReplicas')}/{_count(spec, 'replicas', 1)}"
    return Row([name_of(obj), ready, age_of(obj, now), names, images])


def daemon_set(obj: Object, now: datetime) -> Row:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    names, images = containers_of(spec.get("template") or {})
    counts = (
        "desiredNumberScheduled",
        "currentNumberScheduled",
        "numberReady",
        "updatedNumberScheduled",
        "numberAvailable",
    )
    return Row(
        [
            name_of(obj),
            *(_count(status, name) for name in counts),
            labels_text(part(spec, "template", "spec", "nodeSelector")),
            age_of(obj, now),
            names,
            images,
            selector_text(spec.get("selector")),
        ]
    )


def job(obj: Object, now: datetime) -> Row:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    names, images = containers_of(spec.get("template") or {})
    return Row(
        [
            name_of(obj),
            _job_status(obj),
            _completions(spec, status),
            _job_duration(status, now),
            age_of(obj, now),
            names,
            images,
            selector_text(spec.get("selector")),
        ]
    )


def _job_status(obj: Object) -> str:
    status = obj.get("status") or {}
    true = {c.get("type") for c in status.get("conditions") or () if c.get("status") == "True"}
    if "Complete" in true:
        return "Complete"
    if "Failed" in true:
        return "Failed"
    if obj["metadata"].get("deletionTimestamp"):
        return "Terminating"
    for kind in ("Suspended", "FailureTarget", "SuccessCriteriaMet"):
        if kind in true:
            return kind
    return "Running"


def _completions(spec: Mapping[str, Any], status: Mapping[str, Any]) -> str:
    succeeded = _count(status, "succeeded")
    if spec.get("completions") is not None:
        return f"{succeeded}/{spec['completions']}"
    parallelism = _count(spec, "parallelism", 1)
    return f"{succeeded}/1 of {parallelism}" if parallelism > 1 else f"{succeeded}/1"


def _job_duration(status: Mapping[str, Any], now: datetime) -> str:
    if not status.get("startTime"):
        return ""
    started = datetime.fromisoformat(status["startTime"])
    ended = datetime.fromisoformat(status["completionTime"]) if status.get("completionTime") else now
    return human_duration(ended - started)


def cron_job(obj: Object, now: datetime) -> Row:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    template = part(spec, "jobTemplate", "spec") or {}
    names, images = containers_of(template.get("template") or {})
    return Row(
        [
            name_of(obj),
            spec.get("schedule", ""),
            spec.get("timeZone") or NONE,
            "True" if spec.get("suspend") else "False",
            len(status.get("active") or ()),
            age(status["lastScheduleTime"], now) if status.get("lastScheduleTime") else NONE,
            age_of(obj, now),
            names,
            images,
            selector_text(template.get("selector")),
        ]
    )


def controller_revision(obj: Object, now: datetime) -> Row:
    owners = obj["metadata"].get("ownerReferences") or ()
    owner = next((o for o in owners if o.get("controller")), None)
    shown = NONE
    if owner is not None:
        group = str(owner.get("apiVersion", "")).rpartition("/")[0]
        kind = str(owner.get("kind", "")).lower()
        shown = f"{kind}.{group}/{owner.get('name')}" if group else f"{kind}/{owner.get('name')}"
    return Row([name_of(obj), shown, _count(obj, "revision"), age_of(obj, now)])


def horizontal_pod_autoscaler(obj: Object, now: datetime) -> Row:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    target = spec.get("scaleTargetRef") or {}
    return Row(
        [
            name_of(obj),
            f"{target.get('kind', '')}/{target.get('name', '')}",
            _metrics(spec, status),
            str(_count(spec, "minReplicas", 1)),
            _count(spec, "maxReplicas"),
            _count(status, "currentReplicas"),
            age_of(obj, now),
        ]
    )


_METRICS_SHOWN: Final = 2


def _metrics(spec: Mapping[str, Any], status: Mapping[str, Any]) -> str:
    metrics = list(spec.get("metrics") or ())
    if not metrics and "metrics" not in spec:
        percent = spec.get("targetCPUUtilizationPercentage", 80)
        utilization = {"type": "Utilization", "averageUtilization": percent}
        metrics = [{"type": "Resource", "resource": {"name": "cpu", "target": utilization}}]
    if not metrics:
        return NONE
    current = list(status.get("currentMetrics") or ())
    shown = [_metric(metric, current[at] if at < len(current) else {}) for at, metric in enumerate(metrics)]
    if len(shown) <= _METRICS_SHOWN:
        return ", ".join(shown)
    return f"{', '.join(shown[:_METRICS_SHOWN])} + {len(shown) - _METRICS_SHOWN} more..."


_METRIC_SOURCES: Final = {
    "Resource": "resource",
    "ContainerResource": "containerResource",
    "Pods": "pods",
    "Object": "object",
    "External": "external",
}


def _metric(metric: Mapping[str, Any], current: Mapping[str, Any]) -> str:
    kind = str(metric.get("type"))
    source = _METRIC_SOURCES.get(kind)
    if source is None:
        return "<unknown type>"
    wanted, held = part(metric, source, "target") or {}, part(current, source, "current") or {}
    name = f"{part(metric, source, 'name')}: " if kind.endswith("Resource") else ""
    if wanted.get("averageUtilization") is not None and kind.endswith("Resource"):
        value = held.get("averageUtilization")
        return f"{name}{'<unknown>' if value is None else f'{value}%'}/{wanted['averageUtilization']}%"
    if wanted.get("averageValue") is not None:
        value = held.get("averageValue")
        suffix = "" if kind == "Pods" or name else " (avg)"
        return f"{name}{'<unknown>' if value is None else value}/{wanted['averageValue']}{suffix}"
    value = held.get("value")
    return f"{name}{'<unknown>' if value is None else value}/{wanted.get('value')}"


def scale(obj: Object, now: datetime) -> Row:
    desired, available = part(obj, "spec", "replicas") or 0, part(obj, "status", "replicas") or 0
    return Row([name_of(obj), desired, available, age_of(obj, now)])


PRINTERS: Final[dict[str, Callable[[Object, datetime], Row]]] = {
    "apps/Deployment": deployment,
    "apps/ReplicaSet": replica_set,
    "/ReplicationController": replication_controller,
    "apps/StatefulSet": stateful_set,
    "apps/DaemonSet": daemon_set,
    "apps/ControllerRevision": controller_revision,
    "batch/Job": job,
    "batch/CronJob": cron_job,
    "autoscaling/HorizontalPodAutoscaler": horizontal_pod_autoscaler,
    "autoscaling/Scale": scale,
}
