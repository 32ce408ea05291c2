"""OpenShift and Red Hat's operators: deployments, routes, subscriptions, policies, storage, Ansible jobs."""

from __future__ import annotations

from typing import Any

from tiphys.cd.plan.health.builtin import Check
from tiphys.cd.plan.health.others.parts import (
    When,
    conditions,
    degraded,
    generation,
    healthy,
    in_turn,
    listed,
    mapping,
    progressing,
    reason,
    said,
    spec_of,
    status_of,
    unknown,
)
from tiphys.cd.plan.health.reading import conditions as conditions_of
from tiphys.cd.plan.health.verdict import Health
from tiphys.cd.plan.objects import Object

_POLICY = "policy.open-cluster-management.io"
_UNREPORTED = progressing("Waiting for the status to be reported")


def deployment_config_health(obj: Object) -> Health:
    status = status_of(obj)
    waiting = progressing("replication controller is waiting for pods to run")
    if status.get("conditions") is None or status.get("replicas") is None:
        return waiting
    good = sum(
        one.get("status") == "True"
        and (
            one.get("type") == "Available"
            or (one.get("type") == "Progressing" and one.get("reason") == "NewReplicationControllerAvailable")
        )
        for one in conditions_of(status)
    )
    if good == 2 or status["replicas"] == 0:
        return healthy("replication controller successfully rolled out")
    return waiting if good == 1 else degraded("Deployment config is degraded")


def route_health(obj: Object) -> Health:
    ingress, waiting = status_of(obj).get("ingress"), progressing("Route is still getting admitted")
    if ingress is None:
        return waiting
    admitted = [
        one.get("status") for rule in listed(ingress) for one in conditions_of(rule) if one.get("type") == "Admitted"
    ]
    if admitted.count("True") == len(ingress):
        return healthy("Route is healthy")
    return degraded("Route is degraded") if "False" in admitted else waiting


def subscription_health(obj: Object) -> Health:
    """A subscription of the lifecycle manager: all conditions and its state are counted and told."""
    status = status_of(obj)
    if status.get("conditions") is None:
        return progressing("An install plan for a subscription is pending installation")
    waits_for_hand = _waits_for_hand(obj, status)
    lines: list[str] = []
    pending = wrong = 0
    for number, one in enumerate(conditions_of(status), start=1):
        type_ = one.get("type")
        if waits_for_hand and type_ == "InstallPlanPending":
            continue
        lines.append(f"{number}: {type_} | {one.get('status')}")
        pending += type_ == "InstallPlanPending" and one.get("status") == "True"
        wrong += _is_wrong(one)
    state = status.get("state")
    if state is None:
        lines.append(".status.state not yet known")
    elif state == "UpgradePending" and waits_for_hand:
        lines.append(".status.state is 'UpgradePending' (manual InstallPlan approval pending; treated as healthy)")
    else:
        lines.append(f".status.state is '{state}'")
    pending += state in (None, "", "UpgradeAvailable") or (state == "UpgradePending" and not waits_for_hand)
    wrong += state == "UpgradeFailed"
    text = "".join(f"{line}\n" for line in lines)
    if wrong:
        return degraded(text)
    return progressing(text) if pending else healthy(text)


def _waits_for_hand(obj: Object, status: Any) -> bool:
    """Whether an upgrade of something installed waits for a person's approval."""
    if spec_of(obj).get("installPlanApproval") != "Manual" or status.get("installedCSV") is None:
        return False
    wanted = ("InstallPlanPending", "True", "RequiresApproval")
    return any((one.get("type"), one.get("status"), one.get("reason")) == wanted for one in conditions_of(status))


def _is_wrong(one: Any) -> bool:
    if one.get("type") == "InstallPlanMissing":
        return bool(one.get("reason") != "ReferencedInstallPlanNotFound")
    bad = ("CatalogSourcesUnhealthy", "InstallPlanFailed", "ResolutionFailed")
    return one.get("type") in bad and one.get("status") == "True"


def certificate_policy_health(obj: Object) -> Health:
    match status_of(obj).get("compliant"):
        case None:
            return _UNREPORTED
        case "Compliant":
            return healthy("All certificates found comply with the policy")
    return degraded("At least once certificate does not comply with the policy")


def configuration_policy_health(obj: Object) -> Health:
    status = status_of(obj)
    if status.get("compliant") is None:
        return _UNREPORTED
    if status.get("lastEvaluatedGeneration") != generation(obj):
        return progressing("Waiting for the status to be updated")
    if status.get("compliancyDetails") is None:
        return progressing("Waiting for compliance")
    texts = [
        f"{one['type']} - {said(one)}"
        for detail in listed(status["compliancyDetails"])
        for one in conditions_of(detail)
        if one.get("message") is not None and one.get("type") is not None
    ]
    return (healthy if status["compliant"] == "Compliant" else degraded)("; ".join(texts))


def operator_policy_health(obj: Object) -> Health:
    status = status_of(obj)
    if status.get("conditions") is None:
        return _UNREPORTED
    if status.get("observedGeneration") not in (None, generation(obj)):
        return progressing("Waiting for the status to be updated")
    for one in conditions_of(status):
        if one.get("type") == "Compliant":
            return (healthy if one.get("status") == "True" else degraded)(said(one))
    return progressing("Waiting for the compliance condition")


def policy_health(obj: Object) -> Health:
    status = status_of(obj)
    if spec_of(obj).get("disabled"):
        return healthy("Policy is disabled")
    if status.get("compliant") is None:
        is_unplaced = status.get("status") is None and bool(status.get("placement"))
        return healthy("No clusters match this policy") if is_unplaced else _UNREPORTED
    verdict = healthy if status["compliant"] == "Compliant" else degraded
    if status.get("status") is not None:
        names = [str(one.get("clustername")) for one in _noncompliant(status["status"])]
        return verdict(f"NonCompliant clusters: {', '.join(names)}" if names else "All clusters are compliant")
    if status.get("details") is not None:
        names = [str(mapping(one.get("templateMeta")).get("name")) for one in _noncompliant(status["details"])]
        return verdict(f"NonCompliant templates: {', '.join(names)}" if names else "All templates are compliant")
    return verdict()


def _noncompliant(entries: Any) -> list[Any]:
    return [one for one in listed(entries) if one.get("compliant") != "Compliant"]


def ansible_job_health(obj: Object) -> Health:
    result = mapping(status_of(obj).get("ansibleJobResult"))
    text = f"{result.get('status')} job - {result.get('url', '')}"
    match result.get("status"):
        case "successful":
            return healthy(text)
        case "failed" | "error" | "canceled":
            return degraded(text)
        case "new" | "pending" | "waiting" | "running":
            return progressing(text)
    return progressing("Waiting for AnsibleJob")


CHECKS: dict[tuple[str, str], Check] = {
    ("apps.openshift.io", "DeploymentConfig"): deployment_config_health,
    ("ocs.openshift.io", "StorageCluster"): in_turn(
        When("Degraded", "True", "Degraded"),
        When("Progressing", "True", "Progressing"),
        When("Available", "True", "Healthy"),
        otherwise=unknown("StorageCluster is in an unknown state."),
    ),
    ("operator.openshift.io", "IngressController"): conditions(
        When("Degraded", "True", "Degraded"),
        When("DeploymentReplicasAllAvailable", "False", "Progressing"),
        When("Progressing", "True", "Progressing", reason),
        When("Available", "True", "Healthy", "IngressController is available"),
        otherwise=progressing("Status of IngressController is not known yet"),
    ),
    ("operators.coreos.com", "Subscription"): subscription_health,
    (_POLICY, "CertificatePolicy"): certificate_policy_health,
    (_POLICY, "ConfigurationPolicy"): configuration_policy_health,
    (_POLICY, "OperatorPolicy"): operator_policy_health,
    (_POLICY, "Policy"): policy_health,
    ("route.openshift.io", "Route"): route_health,
    ("tower.ansible.com", "AnsibleJob"): ansible_job_health,
}
