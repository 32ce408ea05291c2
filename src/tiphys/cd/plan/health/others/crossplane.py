"""Clouds as Kubernetes objects: Crossplane and Upbound, Amazon's ACK, Google's Config Connector."""

from __future__ import annotations

from tiphys.cd.plan.health.builtin import Check
from tiphys.cd.plan.health.others.parts import (
    When,
    conditions,
    degraded,
    generation,
    healthy,
    kind,
    mapping,
    progressing,
    reason,
    said,
    status_of,
    suspended,
)
from tiphys.cd.plan.health.reading import conditions as conditions_of
from tiphys.cd.plan.health.verdict import Health
from tiphys.cd.plan.objects import Object

_PROVISIONING = progressing("Provisioning ...")
_UP_TO_DATE = healthy("Resource is up-to-date.")
_CONFIGURED = ("ClusterProviderConfig", "ProviderConfig", "ProviderConfigUsage")
_COMPOSED = ("Composition", "CompositionRevision", "DeploymentRuntimeConfig", "ControllerConfig")
_READY = ("Ready", "Healthy", "Offered", "Established", "ValidPipeline", "RevisionHealthy")


def _managed(without_status: tuple[str, ...], good: tuple[str, ...]) -> Check:
    """Whatever a provider manages: all of its conditions are looked at, the last good one stands."""

    def check(obj: Object) -> Health:
        status = status_of(obj)
        if obj.get("status") is None or (not status and kind(obj) in without_status):
            return _UP_TO_DATE
        if status.get("conditions") is None:
            is_used = kind(obj) in ("ProviderConfig", "ClusterProviderConfig") and status.get("users") is not None
            return healthy("Resource is in use.") if is_used else _PROVISIONING
        return _by_conditions(obj, good)

    return check


def _by_conditions(obj: Object, good: tuple[str, ...]) -> Health:
    found = _PROVISIONING
    for condition in conditions_of(status_of(obj)):
        if condition.get("type") in ("LastAsyncOperation", "Synced") and condition.get("status") == "False":
            return degraded(said(condition))
        if condition.get("type") in good and condition.get("status") == "True":
            found = _UP_TO_DATE
    return found


def aws(name: str) -> Check:
    """The kinds of Crossplane's older provider for Amazon: ready, synced and not paused."""

    def check(obj: Object) -> Health:
        if status_of(obj).get("conditions") is None:
            return progressing(f"Waiting for {name} to be created")
        return _aws_by_conditions(obj, f"Waiting for {name} to be available")

    return check


def _aws_by_conditions(obj: Object, waiting: str) -> Health:
    is_ready = is_synced = is_paused = False
    ready_text = synced_text = paused_text = ""
    for condition in conditions_of(status_of(obj)):
        if condition.get("type") == "Ready":
            is_ready, ready_text = condition.get("status") == "True", reason(condition)
        elif condition.get("type") == "Synced":
            is_synced = condition.get("status") == "True"
            if condition.get("reason") == "ReconcileError":
                synced_text = said(condition)
            elif condition.get("reason") == "ReconcilePaused":
                is_paused, paused_text = True, reason(condition)
    if is_ready and is_synced:
        return healthy(ready_text)
    if not is_synced and is_paused:
        return suspended(paused_text)
    return progressing(waiting) if is_synced and not is_paused else degraded(synced_text)


def connector_health(obj: Object) -> Health:
    """Google's Config Connector: what it says counts only for the present generation."""
    status, waiting = status_of(obj), progressing("Update in progress")
    if status.get("observedGeneration") not in (None, generation(obj)):
        return waiting
    if kind(obj) in ("ConfigConnector", "ConfigConnectorContext") and status.get("healthy") is not None:
        if status["healthy"] is True:
            return healthy(f"{kind(obj)} is healthy")
        return degraded(f"{kind(obj)} is not healthy")
    for condition in conditions_of(status):
        match condition.get("reason"):
            case "UpToDate" if condition.get("status") == "True":
                return healthy(said(condition))
            case "UpdateFailed" | "DependencyNotFound":
                return degraded(said(condition))
            case "DependencyNotReady":
                return suspended(said(condition))
    return waiting


def provider_health(obj: Object) -> Health:
    if status_of(obj).get("conditions") is None:
        return progressing("Waiting for provider to be installed")
    found = {one.get("type"): one for one in conditions_of(status_of(obj))}
    both = [found.get(name, {}) for name in ("Installed", "Healthy")]
    text = " ".join(reason(one) for one in both)
    return healthy(text) if all(one.get("status") == "True" for one in both) else degraded(text)


def stack_install_health(obj: Object) -> Health:
    text = "Waiting for stack to be installed"
    for condition in conditions_of(mapping(status_of(obj).get("conditionedStatus"))):
        if condition.get("type") == "Ready":
            text = reason(condition)
            if condition.get("status") == "True":
                return healthy(text)
    return progressing(text)


CHECKS = {
    ("cloudfront.aws.crossplane.io", "Distribution"): aws("distribution"),
    ("iam.aws.crossplane.io", "Policy"): aws("Policy"),
    ("iam.aws.crossplane.io", "Role"): aws("Role"),
    ("iam.aws.crossplane.io", "RolePolicyAttachment"): aws("RolePolicyAttachment"),
    ("pkg.crossplane.io", "Provider"): provider_health,
    ("rds.aws.crossplane.io", "DBCluster"): aws("DBCluster"),
    ("rds.aws.crossplane.io", "DBInstance"): aws("DBInstance"),
    ("route53.aws.crossplane.io", "ResourceRecordSet"): aws("resourcrecordset"),
    ("s3.aws.crossplane.io", "Bucket"): aws("Bucket"),
    ("stacks.crossplane.io", "ClusterStackInstall"): stack_install_health,
}
PATTERNS = {
    "*.cnrm.cloud.google.com": connector_health,
    "*.crossplane.io": _managed((*_COMPOSED, *_CONFIGURED), _READY),
    "*.services.k8s.aws": conditions(
        When("ACK.Terminal", "True", "Degraded"),
        When("Ready", "False", "Progressing"),
        When("Ready", "True", "Healthy", ""),
        otherwise=progressing("Waiting for resource to be ready"),
    ),
    "*.upbound.io": _managed(_CONFIGURED, ("Ready",)),
}
