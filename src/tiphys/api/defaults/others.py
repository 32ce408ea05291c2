"""Defaults of the remaining groups: autoscaling, networking, RBAC, storage, admission, scheduling, discovery …"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tiphys.api.defaults.core import Object, child, each, fill

_RBAC = "rbac.authorization.k8s.io"


def autoscaler(obj: Object) -> None:
    fill(obj["spec"], minReplicas=1)
    if "autoscaling.alpha.kubernetes.io/metrics" not in ((obj.get("metadata") or {}).get("annotations") or {}):
        fill(obj["spec"], targetCPUUtilizationPercentage=80)


def autoscaler_v2(obj: Object) -> None:
    spec = obj["spec"]
    fill(spec, minReplicas=1)
    if not spec.get("metrics"):
        target = {"type": "Utilization", "averageUtilization": 80}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    if (behavior := spec.get("behavior")) is not None:
        _scaling_rules(behavior, "scaleUp", [("Pods", 4), ("Percent", 100)], 0)
        _scaling_rules(behavior, "scaleDown", [("Percent", 100)], None)


def _scaling_rules(behavior: Object, name: str, policies: list[tuple[str, int]], window: int | None) -> None:
    rules = child(behavior, name)
    fill(rules, selectPolicy="Max")
    if window is not None:
        fill(rules, stabilizationWindowSeconds=window)
    if rules.get("policies") is None:
        rules["policies"] = [{"type": kind, "value": value, "periodSeconds": 15} for kind, value in policies]


def network_policy(obj: Object) -> None:
    spec = obj["spec"]
    for name in ("ingress", "egress"):
        for rule in each(spec, name):
            for port in each(rule, "ports"):
                fill(port, protocol="TCP")
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]


def ingress_v1beta1(obj: Object) -> None:
    for rule in each(obj["spec"], "rules"):
        for path in each(rule.get("http") or {}, "paths"):
            fill(path, pathType="ImplementationSpecific")


def ingress_class(obj: Object) -> None:
    if parameters := (obj["spec"] or {}).get("parameters"):
        fill(parameters, scope="Cluster")


def role_binding(obj: Object) -> None:
    fill(obj["roleRef"], apiGroup=_RBAC)
    for subject in each(obj, "subjects"):
        if subject.get("kind") in ("User", "Group"):
            fill(subject, apiGroup=_RBAC)


def storage_class(obj: Object) -> None:
    fill(obj, reclaimPolicy="Delete", volumeBindingMode="Immediate")


def csi_driver(obj: Object) -> None:
    spec = obj["spec"]
    fill(spec, attachRequired=True, podInfoOnMount=False, storageCapacity=False, requiresRepublish=False)
    fill(spec, fsGroupPolicy="ReadWriteOnceWithFSType", seLinuxMount=False)
    if not spec.get("volumeLifecycleModes"):
        spec["volumeLifecycleModes"] = ["Persistent"]


def priority_class(obj: Object) -> None:
    fill(obj, preemptionPolicy="PreemptLowerPriority")


def endpoint_slice(obj: Object) -> None:
    for port in each(obj, "ports"):
        if port.get("name") is None:
            port["name"] = ""
        fill(port, protocol="TCP")


def api_service(obj: Object) -> None:
    if (service := obj["spec"].get("service")) is not None:
        fill(service, port=443)


def webhooks(obj: Object, *, timeout: int = 10, policy: str = "Fail", match: str = "Equivalent") -> None:
    for hook in each(obj, "webhooks"):
        fill(hook, failurePolicy=policy, matchPolicy=match, timeoutSeconds=timeout)
        child(hook, "namespaceSelector")
        child(hook, "objectSelector")
        if service := (hook.get("clientConfig") or {}).get("service"):
            fill(service, port=443)
        for rule in each(hook, "rules"):
            fill(rule, scope="*")


def mutating_webhooks(obj: Object) -> None:
    webhooks(obj)
    for hook in each(obj, "webhooks"):
        fill(hook, reinvocationPolicy="Never")


def old_validating_webhooks(obj: Object) -> None:
    webhooks(obj, timeout=30, policy="Ignore", match="Exact")
    _side_effects(obj)


def old_mutating_webhooks(obj: Object) -> None:
    old_validating_webhooks(obj)
    for hook in each(obj, "webhooks"):
        fill(hook, reinvocationPolicy="Never")


def _side_effects(obj: Object) -> None:
    for hook in each(obj, "webhooks"):
        fill(hook, sideEffects="Unknown")
        if not hook.get("admissionReviewVersions"):
            hook["admissionReviewVersions"] = ["v1beta1"]


def admission_policy(obj: Object) -> None:
    fill(obj["spec"], failurePolicy="Fail")
    if (constraints := obj["spec"].get("matchConstraints")) is not None:
        _match_resources(constraints)


def admission_policy_binding(obj: Object) -> None:
    if (resources := obj["spec"].get("matchResources")) is not None:
        _match_resources(resources)


def _match_resources(resources: Object) -> None:
    fill(resources, matchPolicy="Equivalent")
    child(resources, "namespaceSelector")
    child(resources, "objectSelector")
    for name in ("resourceRules", "excludeResourceRules"):
        for rule in each(resources, name):
            fill(rule, scope="*")


def token_request(obj: Object) -> None:
    fill(obj["spec"], expirationSeconds=3600)


def signing_request(obj: Object) -> None:
    for condition in each(obj["status"], "conditions"):
        fill(condition, status="True")


def flow_schema(obj: Object) -> None:
    if obj["spec"].get("matchingPrecedence") in (None, 0):
        obj["spec"]["matchingPrecedence"] = 1000


def priority_level(obj: Object) -> None:
    spec = obj["spec"]
    if (exempt := spec.get("exempt")) is not None:
        fill(exempt, nominalConcurrencyShares=0, lendablePercent=0)
    if (limited := spec.get("limited")) is not None:
        fill(limited, nominalConcurrencyShares=30, lendablePercent=0)
        if queuing := (limited.get("limitResponse") or {}).get("queuing"):
            for name, value in (("queues", 64), ("handSize", 8), ("queueLengthLimit", 50)):
                queuing[name] = queuing.get(name) or value


def device_requests(obj: Object) -> None:
    """ResourceClaim: one device of each request unless said otherwise."""
    spec: Any = obj["spec"]
    for request in each((spec.get("devices") or {}), "requests"):
        one = request.get("exactly") or (request if "deviceClassName" in request else None)
        for choice in [one] if one else each(request, "firstAvailable"):
            fill(choice, allocationMode="ExactCount")
            if choice["allocationMode"] == "ExactCount" and not choice.get("count"):
                choice["count"] = 1


_ADMISSION = "admissionregistration.k8s.io"

DEFAULTERS: dict[str, Callable[[Object], None]] = {
    "autoscaling/v1/HorizontalPodAutoscaler": autoscaler,
    "autoscaling/v2/HorizontalPodAutoscaler": autoscaler_v2,
    "autoscaling/v2beta2/HorizontalPodAutoscaler": autoscaler_v2,
    "autoscaling/v2beta1/HorizontalPodAutoscaler": autoscaler,
    "networking.k8s.io/v1/NetworkPolicy": network_policy,
    "extensions/v1beta1/NetworkPolicy": network_policy,
    "networking.k8s.io/v1beta1/Ingress": ingress_v1beta1,
    "extensions/v1beta1/Ingress": ingress_v1beta1,
    "networking.k8s.io/v1/IngressClass": ingress_class,
    "networking.k8s.io/v1beta1/IngressClass": ingress_class,
    f"{_RBAC}/v1/RoleBinding": role_binding,
    f"{_RBAC}/v1/ClusterRoleBinding": role_binding,
    f"{_RBAC}/v1beta1/RoleBinding": role_binding,
    f"{_RBAC}/v1beta1/ClusterRoleBinding": role_binding,
    "storage.k8s.io/v1/StorageClass": storage_class,
    "storage.k8s.io/v1beta1/StorageClass": storage_class,
    "storage.k8s.io/v1/CSIDriver": csi_driver,
    "storage.k8s.io/v1beta1/CSIDriver": csi_driver,
    "scheduling.k8s.io/v1/PriorityClass": priority_class,
    "scheduling.k8s.io/v1beta1/PriorityClass": priority_class,
    "discovery.k8s.io/v1/EndpointSlice": endpoint_slice,
    "discovery.k8s.io/v1beta1/EndpointSlice": endpoint_slice,
    f"{_ADMISSION}/v1/ValidatingWebhookConfiguration": webhooks,
    f"{_ADMISSION}/v1/MutatingWebhookConfiguration": mutating_webhooks,
    f"{_ADMISSION}/v1beta1/ValidatingWebhookConfiguration": old_validating_webhooks,
    f"{_ADMISSION}/v1beta1/MutatingWebhookConfiguration": old_mutating_webhooks,
    f"{_ADMISSION}/v1/ValidatingAdmissionPolicy": admission_policy,
    f"{_ADMISSION}/v1beta1/ValidatingAdmissionPolicy": admission_policy,
    f"{_ADMISSION}/v1/ValidatingAdmissionPolicyBinding": admission_policy_binding,
    f"{_ADMISSION}/v1beta1/ValidatingAdmissionPolicyBinding": admission_policy_binding,
    "authentication.k8s.io/v1/TokenRequest": token_request,
    "certificates.k8s.io/v1/CertificateSigningRequest": signing_request,
    "flowcontrol.apiserver.k8s.io/v1/FlowSchema": flow_schema,
    "flowcontrol.apiserver.k8s.io/v1/PriorityLevelConfiguration": priority_level,
    "resource.k8s.io/v1/ResourceClaim": device_requests,
    "apiregistration.k8s.io/v1/APIService": api_service,
}
