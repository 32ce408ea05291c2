"""Defaults of the apps group; the older versions differ in selectors, history limits and strategies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tiphys.api.defaults.core import Object, child, claim_spec, each, fill, pod_template

INT32_MAX = 2**31 - 1


def deployment(obj: Object, *, history: int = 10, deadline: int = 600, surge: Any = "25%") -> None:
    spec = obj["spec"]
    fill(spec, replicas=1, revisionHistoryLimit=history, progressDeadlineSeconds=deadline)
    strategy = child(spec, "strategy")
    fill(strategy, type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        fill(child(strategy, "rollingUpdate"), maxUnavailable=surge, maxSurge=surge)
    pod_template(spec["template"])


def replica_set(obj: Object) -> None:
    fill(obj["spec"], replicas=1)
    pod_template(obj["spec"]["template"])


def stateful_set(obj: Object) -> None:
    spec = obj["spec"]
    fill(spec, replicas=1, revisionHistoryLimit=10, podManagementPolicy="OrderedReady")
    strategy = child(spec, "updateStrategy")
    if not strategy.get("type"):
        strategy["type"] = "RollingUpdate"
        child(strategy, "rollingUpdate")
    if strategy["type"] == "RollingUpdate" and strategy.get("rollingUpdate") is not None:
        fill(strategy["rollingUpdate"], partition=0)
    retention = child(spec, "persistentVolumeClaimRetentionPolicy")
    fill(retention, whenDeleted="Retain", whenScaled="Retain")
    for claim in each(spec, "volumeClaimTemplates"):
        fill(child(claim, "status"), phase="Pending")
        claim_spec(claim["spec"])
    pod_template(spec["template"])


def daemon_set(obj: Object) -> None:
    spec = obj["spec"]
    fill(spec, revisionHistoryLimit=10)
    strategy = child(spec, "updateStrategy")
    fill(strategy, type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        rolling = child(strategy, "rollingUpdate")
        fill(rolling, maxSurge=0)
        # Unavailable pods are allowed unless surge pods stand in for them, in which case the user says so.
        fill(rolling, maxUnavailable=1)
    pod_template(spec["template"])


def selector_from_labels(obj: Object) -> None:
    """extensions/v1beta1: selector and labels follow the template's labels."""
    spec = obj["spec"]
    labels = (spec["template"].get("metadata") or {}).get("labels") or {}
    if labels:
        if spec.get("selector") is None:
            spec["selector"] = {"matchLabels": labels}
        if not obj["metadata"].get("labels"):
            obj["metadata"]["labels"] = labels


def deployment_of_apps_v1beta1(obj: Object) -> None:
    selector_from_labels(obj)
    deployment(obj, history=2)


def deployment_of_extensions(obj: Object) -> None:
    selector_from_labels(obj)
    deployment(obj, history=INT32_MAX, deadline=INT32_MAX, surge=1)


def replica_set_of_extensions(obj: Object) -> None:
    selector_from_labels(obj)
    replica_set(obj)


def daemon_set_of_extensions(obj: Object) -> None:
    selector_from_labels(obj)
    fill(child(obj["spec"], "updateStrategy"), type="OnDelete")
    daemon_set(obj)


DEFAULTERS: dict[str, Callable[[Object], None]] = {
    "apps/v1/Deployment": deployment,
    "apps/v1/ReplicaSet": replica_set,
    "apps/v1/StatefulSet": stateful_set,
    "apps/v1/DaemonSet": daemon_set,
    "apps/v1beta2/Deployment": deployment,
    "apps/v1beta2/ReplicaSet": replica_set,
    "apps/v1beta2/StatefulSet": stateful_set,
    "apps/v1beta2/DaemonSet": daemon_set,
    "apps/v1beta1/Deployment": deployment_of_apps_v1beta1,
    "apps/v1beta1/StatefulSet": stateful_set,
    "extensions/v1beta1/Deployment": deployment_of_extensions,
    "extensions/v1beta1/ReplicaSet": replica_set_of_extensions,
    "extensions/v1beta1/DaemonSet": daemon_set_of_extensions,
}
