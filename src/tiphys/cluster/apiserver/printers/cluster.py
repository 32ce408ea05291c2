"""Nodes, namespaces, events, policies and the rest of a cluster's own objects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from tiphys.cluster.apiserver.printers.row import NONE, UNKNOWN, UNSET, Row, age_of, name_of, part
from tiphys.cluster.apiserver.record import Object
from tiphys.machinery.ages import age, human_duration

_ROLE_PREFIX: Final = "node-role.kubernetes.io/"


def node(obj: Object, now: datetime) -> Row:
    info = part(obj, "status", "nodeInfo") or {}
    return Row(
        [
            name_of(obj),
            _node_status(obj),
            _roles(obj["metadata"].get("labels") or {}),
            age_of(obj, now),
            info.get("kubeletVersion") or "",
            _address(obj, "InternalIP"),
            _address(obj, "ExternalIP"),
            info.get("osImage") or UNKNOWN,
            info.get("kernelVersion") or UNKNOWN,
            info.get("containerRuntimeVersion") or UNKNOWN,
        ]
    )


def _node_status(obj: Object) -> str:
    conditions = part(obj, "status", "conditions") or ()
    ready = next((c for c in conditions if c.get("type") == "Ready"), None)
    text = "Unknown" if ready is None else "Ready" if ready.get("status") == "True" else "NotReady"
    return f"{text},SchedulingDisabled" if part(obj, "spec", "unschedulable") else text


def _roles(labels: Mapping[str, str]) -> str:
    roles = {key.removeprefix(_ROLE_PREFIX) for key in labels if key.startswith(_ROLE_PREFIX)}
    if labels.get("kubernetes.io/role"):
        roles.add(labels["kubernetes.io/role"])
    return ",".join(sorted(role for role in roles if role)) or NONE


def _address(obj: Object, kind: str) -> str:
    addresses = part(obj, "status", "addresses") or ()
    return next((str(a["address"]) for a in addresses if a.get("type") == kind), NONE)


def namespace(obj: Object, now: datetime) -> Row:
    return Row([name_of(obj), part(obj, "status", "phase") or "", age_of(obj, now)])


def event(obj: Object, now: datetime) -> Row:
    about = obj.get("involvedObject") or obj.get("regarding") or {}
    series = obj.get("series") or {}
    first = age(obj.get("firstTimestamp") or obj.get("deprecatedFirstTimestamp") or obj.get("eventTime"), now)
    last_time = obj.get("lastTimestamp") or obj.get("deprecatedLastTimestamp")
    last = age(last_time, now) if last_time else first
    count = obj.get("count") or obj.get("deprecatedCount") or 1
    if series:
        last, count = age(series.get("lastObservedTime"), now), series.get("count") or 0
    kind = str(about.get("kind", "")).lower()
    return Row(
        [
            last,
            obj.get("type") or "",
            obj.get("reason") or "",
            f"{kind}/{about['name']}" if about.get("name") else kind,
            about.get("fieldPath") or "",
            _source(obj),
            str(obj.get("message") or obj.get("note") or "").strip(),
            first,
            count,
            name_of(obj),
        ]
    )


def _source(obj: Object) -> str:
    source = obj.get("source") or obj.get("deprecatedSource") or {}
    component = source.get("component") or obj.get("reportingComponent") or obj.get("reportingController") or ""
    host = source.get("host") or obj.get("reportingInstance") or ""
    return f"{component}, {host}" if host else str(component)


def quota(obj: Object, now: datetime) -> Row:
    hard, used = part(obj, "status", "hard") or {}, part(obj, "status", "used") or {}
    requests: list[str] = []
    limits: list[str] = []
    for name in sorted(hard):
        entry = f"{name}: {used.get(name, 0)}/{hard[name]}"
        (limits if name.startswith("limits.") else requests).append(entry)
    return Row([name_of(obj), ", ".join(requests), ", ".join(limits), age_of(obj, now)])


def disruption_budget(obj: Object, now: datetime) -> Row:
    spec = obj.get("spec") or {}

    def shown(name: str) -> str:
        return "N/A" if spec.get(name) is None else str(spec[name])

    allowed = part(obj, "status", "disruptionsAllowed") or 0
    return Row([name_of(obj), shown("minAvailable"), shown("maxUnavailable"), allowed, age_of(obj, now)])


def lease(obj: Object, now: datetime) -> Row:
    return Row([name_of(obj), part(obj, "spec", "holderIdentity") or "", age_of(obj, now)])


def role_binding(obj: Object, now: datetime) -> Row:
    reference = obj.get("roleRef") or {}
    subjects = obj.get("subjects") or ()

    def named(kind: str) -> str:
        return ",".join(str(s.get("name", "")) for s in subjects if s.get("kind") == kind)

    accounts = ",".join(
        f"{s['namespace']}/{s['name']}" if s.get("namespace") else str(s.get("name", ""))
        for s in subjects
        if s.get("kind") == "ServiceAccount"
    )
    role = f"{reference.get('kind', '')}/{reference.get('name', '')}"
    return Row([name_of(obj), role, age_of(obj, now), named("User"), named("Group"), accounts])


def signing_request(obj: Object, now: datetime) -> Row:
    spec = obj.get("spec") or {}
    seconds = spec.get("expirationSeconds")
    duration = NONE if seconds is None else human_duration(timedelta(seconds=seconds))
    conditions = [c.get("type") for c in part(obj, "status", "conditions") or ()]
    states = ["Denied"] if "Denied" in conditions else ["Approved"] if "Approved" in conditions else ["Pending"]
    if "Failed" in conditions:
        states.append("Failed")
    if part(obj, "status", "certificate"):
        states.append("Issued")
    cells = [name_of(obj), age_of(obj, now), spec.get("signerName") or NONE, spec.get("username") or "", duration]
    return Row([*cells, ",".join(states)])


def priority_class(obj: Object, now: datetime) -> Row:
    policy = obj.get("preemptionPolicy") or "PreemptLowerPriority"
    cells = [name_of(obj), obj.get("value") or 0, bool(obj.get("globalDefault")), age_of(obj, now)]
    return Row([*cells, policy])


def runtime_class(obj: Object, now: datetime) -> Row:
    return Row([name_of(obj), obj.get("handler") or "", age_of(obj, now)])


def webhooks(obj: Object, now: datetime) -> Row:
    return Row([name_of(obj), len(obj.get("webhooks") or ()), age_of(obj, now)])


def admission_policy(obj: Object, now: datetime) -> Row:
    spec = obj.get("spec") or {}
    kind = spec.get("paramKind")
    shown = f"{kind.get('apiVersion')}/{kind.get('kind')}" if kind else UNSET
    return Row([name_of(obj), len(spec.get("validations") or ()), shown, age_of(obj, now)])


def admission_binding(obj: Object, now: datetime) -> Row:
    spec = obj.get("spec") or {}
    reference = spec.get("paramRef")
    shown = UNSET
    if reference:
        shown = f"{reference.get('namespace') or '*'}/{reference['name']}" if reference.get("name") else "*/*"
    return Row([name_of(obj), spec.get("policyName") or "", shown, age_of(obj, now)])


def flow_schema(obj: Object, now: datetime) -> Row:
    spec = obj.get("spec") or {}
    conditions = part(obj, "status", "conditions") or ()
    dangling = next((c.get("status") for c in conditions if c.get("type") == "Dangling"), "?")
    return Row(
        [
            name_of(obj),
            part(spec, "priorityLevelConfiguration", "name") or "",
            spec.get("matchingPrecedence") or 1000,
            part(spec, "distinguisherMethod", "type") or NONE,
            age_of(obj, now),
            dangling,
        ]
    )


def by_precedence(schema: Object) -> tuple[int, str]:
    """Lists of schemas are shown in the order in which they are asked."""
    return part(schema, "spec", "matchingPrecedence") or 0, name_of(schema)


def priority_level(obj: Object, now: datetime) -> Row:
    spec = obj.get("spec") or {}
    limited = spec.get("limited") or {}
    queuing = part(limited, "limitResponse", "queuing")
    shares: Any = limited.get("nominalConcurrencyShares", 30) if spec.get("limited") is not None else NONE
    queues = [queuing.get(name, 0) if queuing else NONE for name in ("queues", "handSize", "queueLengthLimit")]
    return Row([name_of(obj), spec.get("type") or "", shares, *queues, age_of(obj, now)])


def resource_claim(obj: Object, now: datetime) -> Row:
    status = obj.get("status") or {}
    states = []
    if obj["metadata"].get("deletionTimestamp"):
        states.append("deleted")
    if status.get("allocation"):
        states.append("allocated")
        if status.get("reservedFor"):
            states.append("reserved")
    elif not states:
        states.append("pending")
    return Row([name_of(obj), ",".join(states), age_of(obj, now)])


def named(obj: Object, now: datetime) -> Row:
    """Name and age: for kinds that show no more."""
    return Row([name_of(obj), age_of(obj, now)])


PRINTERS: Final[dict[str, Callable[[Object, datetime], Row]]] = {
    "/Node": node,
    "/Namespace": namespace,
    "/Event": event,
    "events.k8s.io/Event": event,
    "/ResourceQuota": quota,
    "policy/PodDisruptionBudget": disruption_budget,
    "coordination.k8s.io/Lease": lease,
    "rbac.authorization.k8s.io/RoleBinding": role_binding,
    "rbac.authorization.k8s.io/ClusterRoleBinding": role_binding,
    "certificates.k8s.io/CertificateSigningRequest": signing_request,
    "scheduling.k8s.io/PriorityClass": priority_class,
    "node.k8s.io/RuntimeClass": runtime_class,
    "admissionregistration.k8s.io/MutatingWebhookConfiguration": webhooks,
    "admissionregistration.k8s.io/ValidatingWebhookConfiguration": webhooks,
    "admissionregistration.k8s.io/ValidatingAdmissionPolicy": admission_policy,
    "admissionregistration.k8s.io/ValidatingAdmissionPolicyBinding": admission_binding,
    "flowcontrol.apiserver.k8s.io/FlowSchema": flow_schema,
    "flowcontrol.apiserver.k8s.io/PriorityLevelConfiguration": priority_level,
    "resource.k8s.io/ResourceClaim": resource_claim,
    "resource.k8s.io/DeviceClass": named,
}
