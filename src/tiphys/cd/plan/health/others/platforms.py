"""Platforms and operators of many kinds: functions, autoscalers, identity, Knative, KServe, Spark, Flink, policies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tiphys.cd.plan.health.builtin import Check
from tiphys.cd.plan.health.others.parts import (
    Condition,
    When,
    amount,
    conditions,
    degraded,
    generation,
    healthy,
    in_turn,
    mapping,
    progressing,
    ready,
    reason,
    said,
    spec_of,
    status_of,
    suspended,
    unknown,
)
from tiphys.cd.plan.health.reading import conditions as conditions_of
from tiphys.cd.plan.health.verdict import Health, HealthStatus
from tiphys.cd.plan.objects import Object

_UNLIMITED = float("inf")


def spin_app_health(obj: Object) -> Health:
    status = status_of(obj)
    if obj.get("status") is None:
        return progressing("Waiting for status to be available")
    available, going = "", ""
    is_available = False
    for one in conditions_of(status):
        if one.get("type") == "Progressing":
            if one.get("status") == "False" and _has_failed(one):
                return degraded(said(one) or "Application deployment has failed")
            if one.get("status") == "True":
                going = said(one) or "Application progress status"
        elif one.get("type") == "Available":
            is_available = one.get("status") == "True"
            available = said(one) or "Application is not available"
    if not is_available:
        return degraded(available)
    running, wanted = amount(status.get("readyReplicas")), spec_of(obj).get("replicas")
    counts = f"{running:g}/{1 if wanted is None else amount(wanted):g}"
    if running < (1 if wanted is None else amount(wanted)):
        return progressing(f"Waiting for replicas to be ready ({counts})")
    return progressing(going) if going else healthy(f"Application is healthy with {counts} replicas ready")


def _has_failed(one: Condition) -> bool:
    text = said(one).lower()
    return one.get("reason") == "ProgressDeadlineExceeded" or "timeout" in text or "failed" in text


def canary_health(obj: Object) -> Health:
    """Flagger."""
    status = status_of(obj)
    if obj.get("status") is None:
        return unknown("No status")
    phase = str(status.get("phase") or "")
    weight = status.get("canaryWeight")
    texts = [f"Canary Weight: {weight} %"] if _as_number(weight) > 0 else []
    texts += [said(one) for one in conditions_of(status)]
    verdicts: dict[str, HealthStatus] = {
        "Failed": "Degraded",
        "Progressing": "Progressing",
        "Finalising": "Progressing",
        "Promoting": "Progressing",
        "Succeeded": "Healthy",
        "Initialized": "Healthy",
    }
    return Health(verdicts.get(phase, "Unknown"), f"{phase} {' '.join(texts)}")


def _as_number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return 0


def flink_health(obj: Object) -> Health:
    status = status_of(obj)
    reconciled = status.get("reconciliationStatus")
    if reconciled is not None:
        if mapping(reconciled).get("success") or mapping(reconciled).get("state") == "DEPLOYED":
            return healthy()
        match status.get("jobManagerDeploymentStatus"):
            case "DEPLOYED_NOT_READY" | "DEPLOYING":
                return progressing("Waiting for deploying")
            case "ERROR":
                return degraded(str(mapping(reconciled).get("error") or ""))
    return progressing("Waiting for Flink operator")


def iam_role_health(obj: Object) -> Health:
    status = status_of(obj)
    name, arn, number = (status.get(field) or "<none>" for field in ("roleName", "roleARN", "roleID"))
    state = status.get("state")
    if state == "Ready":
        return healthy(f"Role '{name}' exists with ARN '{arn}' and ID '{number}'.")
    if state not in ("Error", "RolesMaxLimitReached", "PolicyNotAllowed", "RoleNameNotAvailable"):
        return progressing("Waiting for Iamrole to be reconciled")
    retries = amount(status.get("retryCount"))
    text = f"Failed to reconcile the Iamrole {f'(retry {retries:g}) ' if retries else ''}"
    text += f"for role '{name}' with ARN '{arn}' and ID '{number}'."
    error = status.get("errorDescription")
    return degraded(text if error is None else f"{text} Reconciliation error was: {error}")


def keycloak_health(obj: Object) -> Health:
    """The oldest condition that decides does; those without a time come last."""
    if status_of(obj).get("conditions") is None:
        return progressing("Waiting for Keycloak status conditions to exist")
    found = sorted(conditions_of(status_of(obj)), key=lambda one: str(one.get("lastTransitionTime") or "~"))
    for one in found:
        if one.get("type") == "Ready" and one.get("status") == "True":
            return healthy()
        if one.get("type") == "HasErrors" and one.get("status") == "True":
            return degraded(f"Has Errors: {said(one)}")
    return progressing()


def node_claim_health(obj: Object) -> Health:
    observed, wanted = status_of(obj).get("observedGeneration"), generation(obj)
    if None not in (observed, wanted) and observed != wanted:
        return progressing("Waiting for NodeClaim spec to be reconciled")
    return _NODE_CLAIM(obj) or progressing()


_NODE_CLAIM = in_turn(
    When("Disrupting", "True", "Suspended"),
    When("Ready", "True", "Healthy"),
    When("Ready", "False", "Degraded"),
    When("Initialized", "True", "Progressing", "Node initialized, waiting for Ready"),
    When("Registered", "True", "Progressing", "Node registered, waiting for initialization"),
    When("Launched", "True", "Progressing", "Node launched, waiting for registration"),
    otherwise=progressing("Waiting for NodeClaim to be launched"),
)


def _scaled(waiting: str, *bad: tuple[str, str]) -> Check:
    """KEDA: degraded by a bad condition, else by being ready and paused; the last message that counts stands."""

    def check(obj: Object) -> Health:
        is_ready = is_paused = is_bad = False
        text = ""
        for one in conditions_of(status_of(obj)):
            pair = (str(one.get("type")), str(one.get("status")))
            if pair in (("Ready", "True"), ("Paused", "True"), *bad):
                text = said(one)
            is_bad = is_bad or pair in bad
            is_ready = is_ready or pair == ("Ready", "True")
            is_paused = is_paused or pair == ("Paused", "True")
        if is_bad:
            return degraded(text)
        if is_ready:
            return suspended(text) if is_paused else healthy(text)
        return progressing(waiting)

    return check


def function_health(obj: Object) -> Health:
    """OpenFaaS: ready with no replicas is asleep."""
    for one in conditions_of(status_of(obj)):
        match one.get("type"), one.get("status"):
            case ("Ready", "False") | ("Stalled", "True"):
                return degraded(said(one))
            case "Ready", "True":
                has_replicas = amount(status_of(obj).get("replicas")) > 0
                return healthy(said(one)) if has_replicas else suspended("No replicas available")
    return progressing("Waiting for Function")


def _knative(name: str, good: tuple[str, ...], bad: tuple[str, ...]) -> Check:
    def check(obj: Object) -> Health:
        if status_of(obj).get("conditions") is None:
            return progressing(f"Waiting for {name}")
        found = conditions_of(status_of(obj))
        text = "".join(f"{at}: {one.get('type')} | {one.get('status')}\n" for at, one in enumerate(found, start=1))
        false = sum(_is_false(one, bad) for one in found)
        true = sum(one.get("type") in good and one.get("status") == "True" for one in found)
        if false:
            return progressing(text)
        return healthy(f"{name} is healthy.") if true == len(good) else degraded(text)

    return check


def _is_false(one: Condition, bad: tuple[str, ...]) -> bool:
    return one.get("status") == "Unknown" or (one.get("type") in bad and one.get("status") == "False")


def service_health(obj: Object) -> Health:
    """Knative's service: three conditions must be true and none false or unknown."""
    if status_of(obj).get("conditions") is None:
        return progressing("Waiting for status update.")
    true = 0
    states: list[str] = []
    text = ""
    for one in conditions_of(status_of(obj)):
        state = str(one.get("status"))
        if state == "True" and one.get("type") in ("ConfigurationsReady", "RoutesReady", "Ready"):
            true += 1
        elif state in ("False", "Unknown"):
            states.append(state)
            line = f"{one.get('type')} is {state}"
            line += f", since {reason(one)}." if reason(one) else ""
            text += f"{line} {said(one)}\n" if said(one) else f"{line}\n"
    if true == 3 and not states:
        return healthy("Knative Service is healthy.")
    return degraded(text) if "False" in states else progressing(text)


def inference_health(obj: Object) -> Health:
    """KServe."""
    status = status_of(obj)
    if obj.get("status") is None:
        return progressing("Waiting for InferenceService to report status...")
    found = conditions_of(status)
    if any(one.get("type") == "Stopped" and one.get("status") == "True" for one in found):
        return suspended("InferenceService is Stopped")
    transition = mapping(status.get("modelStatus")).get("transitionStatus") if status.get("modelStatus") else "UpToDate"
    text = "" if transition == "UpToDate" else f"0: transitionStatus | {transition}"
    if status.get("conditions") is None:
        return progressing("Waiting for InferenceService to report status...")
    open_ = 0
    for at, one in enumerate(found, start=1):
        if one.get("status") != "True" and one.get("type") != "Stopped":
            open_ += 1
            parts = [f"{at}: {one.get('type')}", str(one.get("status")), reason(one), said(one)]
            text += "".join(f" | {part}" for part in parts if part)
    if transition == "UpToDate" and not open_:
        return healthy("InferenceService is healthy.")
    return progressing(text) if transition in ("UpToDate", "InProgress") else degraded(text)


def dns_service_health(obj: Object) -> Health:
    found: Mapping[str, Condition] = {str(one.get("type")): one for one in conditions_of(status_of(obj))}
    adopted, advertised, discovered = (found.get(name, {}) for name in ("Adopted", "Advertised", "Discoverable"))
    if adopted.get("status") == "False":
        return degraded(said(adopted))
    if advertised.get("reason") in ("AdvertiseError", "UnadvertiseError"):
        return degraded(said(advertised))
    if discovered.get("reason") == "DiscoveryError":
        return unknown(said(discovered))
    return (healthy if discovered.get("status") == "True" else progressing)(said(discovered))


def stack_health(obj: Object) -> Health:
    """Pulumi."""
    if obj.get("status") is None or status_of(obj).get("observedGeneration") != generation(obj):
        return progressing("Waiting for the operator to observe the latest spec change")
    return _STACK(obj) or progressing()


_STACK = conditions(
    When("Stalled", "True", "Degraded"),
    When("Reconciling", "True", "Progressing"),
    When("Ready", "True", "Healthy"),
    otherwise=progressing("Waiting for the stack to be reconciled"),
)


def sap_service_health(obj: Object) -> Health:
    if mapping(obj.get("metadata")).get("deletionTimestamp"):
        return progressing("Resource is being deleted")
    if not isinstance(status_of(obj).get("conditions"), list):
        return progressing("Waiting for status")
    for one in conditions_of(status_of(obj)):
        observed, wanted = one.get("observedGeneration"), generation(obj)
        if None not in (observed, wanted) and observed != wanted:
            return progressing("Waiting for spec update to be observed")
        if (one.get("type"), one.get("status")) in (("Succeeded", "False"), ("Failed", "True")):
            return degraded(said(one))
    return healthy("Ready to use")


def spark_health(obj: Object) -> Health:
    state = mapping(status_of(obj).get("applicationState"))
    error = str(state.get("errorMessage") or "")
    match state.get("state"):
        case "":
            return progressing("SparkApplication was added, enqueuing it for submission")
        case "RUNNING" if _has_executors(obj):
            return healthy("SparkApplication is Running")
        case "SUBMITTED":
            return progressing("SparkApplication was submitted successfully")
        case "COMPLETED":
            return healthy("SparkApplication was Completed")
        case "FAILED" | "SUBMISSION_FAILED" | "FAILING":
            return degraded(error)
        case "PENDING_RERUN":
            return progressing("SparkApplication is Pending Rerun")
        case "INVALIDATING":
            return Health("Missing", "SparkApplication is in InvalidatingState")
        case "SUCCEEDING":
            return progressing(_SUCCEEDING)
        case "UNKNOWN":
            return progressing(
                "SparkApplication is in UnknownState because either driver pod or one or all executor pods "
                "in unknown state "
            )
    return progressing("Waiting for Executor pods")


_SUCCEEDING = (
    "The driver pod has been completed successfully. The executor pods terminate and are cleaned up. "
    "Under this circumstances, we assume the executor pod are completed."
)


def _has_executors(obj: Object) -> bool:
    executors = status_of(obj).get("executorState")
    if executors is None:
        return False
    running = sum(one == "RUNNING" for one in mapping(executors).values())
    wanted = mapping(spec_of(obj).get("executor")).get("instances")
    if wanted is not None and wanted == running:
        return True
    bounds = _bounds(obj)
    if bounds is not None:
        return bool(bounds[0] <= running <= bounds[1])
    is_left_open = spec_of(obj).get("dynamicAllocation") is None and wanted is None
    return is_left_open and bool(running)


def _bounds(obj: Object) -> tuple[float, float] | None:
    """The least and most executors where their number is dynamic."""
    allocation = mapping(spec_of(obj).get("dynamicAllocation"))
    if allocation.get("enabled"):
        return amount(allocation.get("minExecutors")), amount(allocation.get("maxExecutors")) or _UNLIMITED
    settings = mapping(spec_of(obj).get("sparkConf"))
    for prefix in ("spark.streaming.dynamicAllocation", "spark.dynamicAllocation"):
        if settings.get(f"{prefix}.enabled") == "true":
            least, most = (settings.get(f"{prefix}.{name}Executors") for name in ("min", "max"))
            return _as_number(least), _UNLIMITED if most is None else _as_number(most)
    return None


def policy_health(obj: Object) -> Health:
    """Kyverno."""
    wanted = ("Ready", "True", "Succeeded", "Ready")
    for one in conditions_of(status_of(obj)):
        if (one.get("type"), one.get("status"), one.get("reason"), one.get("message")) == wanted:
            return healthy("Policy is ready")
    return progressing("Waiting for Policy to be ready")


CHECKS: dict[tuple[str, str], Check] = {
    ("camel.apache.org", "Integration"): ready("Waiting for Integration"),
    ("core.spinkube.dev", "SpinApp"): spin_app_health,
    ("flagger.app", "Canary"): canary_health,
    ("flink.apache.org", "FlinkDeployment"): flink_health,
    ("iammanager.keikoproj.io", "Iamrole"): iam_role_health,
    ("k8s.keycloak.org", "Keycloak"): keycloak_health,
    ("karpenter.k8s.aws", "EC2NodeClass"): conditions(
        When("Ready", "False", "Degraded"),
        When("Ready", "True", "Healthy", "EC2NodeClass is ready"),
        otherwise=progressing("Waiting for EC2NodeClass to be ready"),
    ),
    ("karpenter.sh", "NodeClaim"): node_claim_health,
    ("karpenter.sh", "NodePool"): ready("Waiting for NodePool to be ready"),
    ("keda.sh", "ScaledJob"): _scaled("Waiting for ScaledJob", ("Ready", "False"), ("Ready", "Unknown")),
    ("keda.sh", "ScaledObject"): _scaled(
        "Creating HorizontalPodAutoscaler Object", ("Ready", "False"), ("Fallback", "True")
    ),
    ("kyverno.io", "Policy"): policy_health,
    ("openfaas.com", "Function"): function_health,
    ("operator.knative.dev", "KnativeEventing"): _knative("KnativeEventing", ("Ready", "InstallSucceeded"), ("Ready",)),
    ("operator.knative.dev", "KnativeServing"): _knative(
        "KnativeServing",
        ("Ready", "InstallSucceeded", "DependenciesInstalled", "DeploymentsAvailable"),
        ("Ready", "DeploymentsAvailable"),
    ),
    ("proclaim.dogmatiq.io", "DNSSDServiceInstance"): dns_service_health,
    ("pulumi.com", "Stack"): stack_health,
    ("services.cloud.sap.com", "ServiceBinding"): sap_service_health,
    ("services.cloud.sap.com", "ServiceInstance"): sap_service_health,
    ("serving.knative.dev", "Service"): service_health,
    ("serving.kserve.io", "InferenceService"): inference_health,
    ("sparkoperator.k8s.io", "SparkApplication"): spark_health,
}
