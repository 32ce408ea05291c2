"""Watching a system: Elastic's agents, Grafana, Humio, Jaeger, Keptn, Kiali, Prometheus, OpenTelemetry and others."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tiphys.cd.plan.health.builtin import Check
from tiphys.cd.plan.health.others.databases import REPORT
from tiphys.cd.plan.health.others.parts import (
    When,
    conditions,
    degraded,
    generation,
    healthy,
    in_turn,
    progressing,
    reason,
    said,
    said_or,
    spec_of,
    status_of,
    suspended,
    unknown,
    values,
)
from tiphys.cd.plan.health.reading import conditions as conditions_of
from tiphys.cd.plan.health.verdict import Health, HealthStatus
from tiphys.cd.plan.objects import Object

_UPDATING = progressing("Update in progress")
_HUMIO: dict[str, tuple[HealthStatus, str]] = {
    "Running": ("Healthy", "Cluster is in a healthy running state"),
    "Restarting": ("Progressing", "Cluster pods are being restarted"),
    "Upgrading": ("Progressing", "Cluster pods are being upgraded"),
    "ConfigError": ("Degraded", "User-provided cluster specification resulted in a configuration error"),
    "Pending": ("Progressing", "Cluster is waiting on resources to be provisioned"),
    "Unknown": ("Unknown", "Component state: Unknown."),
}
_HUMIO_PARTS = {
    "Exists": healthy("Component state: Exists."),
    "NotFound": Health("Missing", "Component state: NotFound."),
    "ConfigError": degraded("Component state: ConfigError."),
    "Unknown": unknown("Component state: Unknown."),
}


def beat_health(obj: Object) -> Health:
    status = status_of(obj)
    if status.get("health") is not None or status.get("expectedNodes") is not None:
        match status.get("health"):
            case "red":
                return degraded("Elastic Beat status is Red")
            case "green":
                return healthy("Elastic Beat status is Green")
            case "yellow" if status.get("availableNodes") is not None and status.get("expectedNodes") is not None:
                counts = f"{status['availableNodes']} instance(s) on {status['expectedNodes']} expected"
                return progressing(f"Elastic Beat status is deploying, there is {counts}")
            case "yellow" | None:
                return progressing("Elastic Beat phase is progressing")
    return unknown(f"Elastic Beat status is unknown. {REPORT}")


def datadog_reason(condition: Mapping[str, Any]) -> str:
    text = said_or("DatadogMetric reported an error")(condition)
    return f"{reason(condition)}: {text}" if reason(condition) else text


def humio_cluster_health(obj: Object) -> Health:
    status = status_of(obj)
    found = _HUMIO.get(str(status.get("state")))
    if found is None:
        return _UPDATING
    message = status.get("message")
    return Health(found[0], found[1] if message is None else str(message))


def grafana_health(obj: Object) -> Health:
    status = status_of(obj)
    stage = str(status.get("stage") or "")
    match status.get("stageStatus"):
        case None:
            return progressing("Waiting for Grafana status info")
        case "failed":
            return degraded(f"Failed at stage {stage}")
        case "success" if stage == "complete":
            return healthy()
    return progressing(stage)


def grafana_part_health(obj: Object) -> Health:
    """Dashboards and folders: what all conditions say, up to the first that is not met."""
    verdict: HealthStatus = "Progressing"
    texts: list[str] = []
    for one in conditions_of(status_of(obj)):
        if one.get("status") is None:
            continue
        text = reason(one)
        if one.get("reason") is not None and one.get("type") is not None:
            text += f" for {one['type']}"
            text += f" because {said(one)}" if one.get("message") is not None else ""
        texts.append(text)
        if one["status"] == "False":
            return degraded(", ".join(texts))
        if one["status"] == "True":
            verdict = "Healthy"
    return Health(verdict, ", ".join(texts))


def grafana_source_health(obj: Object) -> Health:
    status = status_of(obj)
    if obj.get("status") is None or status.get("uid") == "":
        return progressing()
    return degraded("can't find matching grafana instance") if status.get("NoMatchingInstances") else healthy()


def grafana_organisation_health(obj: Object) -> Health:
    for one in conditions_of(status_of(obj)):
        if one.get("type") == "Ready":
            verdicts: dict[str, HealthStatus] = {"False": "Degraded", "True": "Healthy"}
            return Health(verdicts.get(str(one.get("status")), "Progressing"), said(one))
    return progressing("Waiting ...")


def kiali_health(obj: Object) -> Health:
    for one in conditions_of(status_of(obj)):
        match one.get("type"), one.get("status"):
            case "Successful", "True":
                return healthy(said(one))
            case "Failure", "True":
                return degraded(said(one))
            case "Running", _ if one.get("reason") == "Running":
                return progressing(said(one))
    return progressing("Waiting for Kiali")


def _keptn(name: str, field: str = "status") -> Check:
    return values(
        field,
        {"Succeeded": healthy(f"{name} is healthy"), "Failed": degraded(f"{name} is degraded")},
        progressing(f"{name} is progressing"),
    )


def keptn_analysis_health(obj: Object) -> Health:
    status = status_of(obj)
    if status.get("pass") is True:
        return healthy("Analysis is healthy")
    if status.get("warning") is True:
        return healthy("Analysis is healthy with warnings")
    return degraded("Analysis is degraded") if status.get("pass") is False else progressing("Analysis is progressing")


def keptn_metric_health(obj: Object) -> Health:
    status = status_of(obj)
    if status.get("errMsg"):
        return degraded("KeptnMetric is degraded")
    return (
        healthy("KeptnMetric is healthy")
        if status.get("value") is not None
        else progressing("KeptnMetric is progressing")
    )


def prometheus_health(obj: Object) -> Health:
    """The last word on being available stands."""
    found = progressing("Waiting for initialization")
    for one in conditions_of(status_of(obj)):
        if one.get("type") == "Available":
            text = said(one) or reason(one)
            if one.get("status") == "True":
                found = healthy("All instances are available")
            else:
                found = (progressing if one.get("reason") == "SomePodsNotReady" else degraded)(text)
    return found


def collector_health(obj: Object) -> Health:
    if obj.get("status") is None:
        return progressing("Waiting for OpenTelemetry Collector status")
    scale = status_of(obj).get("scale")
    replicas = scale.get("statusReplicas") if isinstance(scale, Mapping) else None
    mode = spec_of(obj).get("mode")
    if replicas is None:
        if mode == "sidecar":
            return healthy("Collector is running in sidecar mode")
        return progressing("Scale status not available")
    counts = re.search(r"(\d+)/(\d+)", str(replicas))
    if counts is None:
        return progressing(f"Unable to parse replica status: {replicas}")
    running, total = int(counts[1]), int(counts[2])
    if running == 0:
        if mode == "daemonset" and total == 0:
            return healthy("DaemonSet has no eligible nodes (0/0)")
        return degraded("No replicas are ready")
    return healthy("All replicas are ready") if running == total else progressing("Replicas are starting up")


def victoria_health(obj: Object) -> Health:
    status, text = status_of(obj), str(status_of(obj).get("reason") or "")
    observed, wanted = status.get("observedGeneration"), generation(obj)
    if obj.get("status") is None or (None not in (observed, wanted) and observed != wanted):
        return progressing("Waiting for the operator to reconcile")
    match status.get("updateStatus"):
        case "operational":
            return healthy("All components are operational")
        case "expanding":
            return progressing(text or "Reconciliation in progress")
        case "paused":
            return suspended(text or "Reconciliation is paused")
        case "failed":
            return degraded(text or "Reconciliation failed")
    return progressing("Waiting for the operator to report status")


_CORALOGIX = conditions(
    When("RemoteSynced", "True", "Healthy", "Resource is ready"),
    When("RemoteSynced", "False", "Degraded"),
    otherwise=progressing("Waiting for status to be updated"),
)
CHECKS: dict[tuple[str, str], Check] = {
    ("beat.k8s.elastic.co", "Beat"): beat_health,
    ("coralogix.com", "Alert"): _CORALOGIX,
    ("coralogix.com", "RecordingRuleGroupSet"): _CORALOGIX,
    ("core.humio.com", "HumioCluster"): humio_cluster_health,
    **{
        ("core.humio.com", f"Humio{name}"): values("state", _HUMIO_PARTS, _UPDATING)
        for name in ("Action", "Alert", "IngestToken", "Parser", "Repository", "View")
    },
    ("datadoghq.com", "DatadogMetric"): in_turn(
        When("Error", "True", "Degraded", datadog_reason),
        When("Valid", "False", "Degraded", said_or("DatadogMetric is not valid")),
        otherwise=healthy("DatadogMetric is healthy"),
    ),
    ("grafana.integreatly.org", "Grafana"): grafana_health,
    ("grafana.integreatly.org", "GrafanaDashboard"): grafana_part_health,
    ("grafana.integreatly.org", "GrafanaDatasource"): grafana_source_health,
    ("grafana.integreatly.org", "GrafanaFolder"): grafana_part_health,
    ("jaegertracing.io", "Jaeger"): values(
        "phase",
        {"Running": healthy("Jaeger is Running"), "Failed": degraded("Jaeger Failed For Some Reason")},
        progressing("Waiting for Jaeger"),
    ),
    ("kiali.io", "Kiali"): kiali_health,
    **{
        ("lifecycle.keptn.sh", f"Keptn{name}"): _keptn(f"Keptn{name}")
        for name in ("AppVersion", "Task", "WorkloadInstance", "WorkloadVersion")
    },
    ("lifecycle.keptn.sh", "KeptnEvaluation"): _keptn("KeptnEvaluation", "overallStatus"),
    ("logstash.k8s.elastic.co", "Logstash"): values(
        "health",
        {
            "green": healthy("Logstash status is Green"),
            "yellow": progressing("Logstash status is Yellow"),
            "red": degraded("Logstash status is Red"),
        },
        progressing("Waiting for Logstash"),
    ),
    ("metrics.keptn.sh", "Analysis"): keptn_analysis_health,
    ("metrics.keptn.sh", "KeptnMetric"): keptn_metric_health,
    ("monitoring.coreos.com", "Prometheus"): prometheus_health,
    ("opentelemetry.io", "OpenTelemetryCollector"): collector_health,
}
PATTERNS = {
    "grafana-org-operator.kubitus-project.gitlab.io": grafana_organisation_health,
    "operator.victoriametrics.com": victoria_health,
}
