"""What may be written to ``/status``: counters that fit each other, decisions that stay."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from tiphys.cluster.apiserver.problems import Complaint, forbidden_value, invalid_value, required
from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.rules.amounts import amount, quota_resource_name
from tiphys.cluster.apiserver.rules.services import balancer_status
from tiphys.cluster.apiserver.rules.values import AT_LEAST_0, Fields, immutable, in_form, in_form_if_given, quantity
from tiphys.lang import name_rules

StatusRule = Callable[[Object, Object], Iterator[Complaint]]
_READY: Final = ("readyReplicas", "availableReplicas")


def _status(obj: Object) -> Fields:
    found: Fields = obj.get("status") or {}
    return found


def counters(
    fields: Sequence[str], *, within_replicas: Sequence[str] = (), ready: str = "", collisions: bool = False
) -> StatusRule:
    """``within_replicas`` are no more than there are replicas; ``ready`` names what available ones are held against."""

    def check(obj: Object, old: Object) -> Iterator[Complaint]:
        status = _status(obj)
        for field in fields:
            if (status.get(field) or 0) < 0:
                yield invalid_value(f"status.{field}", status[field], AT_LEAST_0)
        for field in within_replicas:
            if (status.get(field) or 0) > (status.get("replicas") or 0):
                yield invalid_value(f"status.{field}", status[field], "cannot be greater than status.replicas")
        if ready and (status.get("availableReplicas") or 0) > (status.get("readyReplicas") or 0):
            text = f"cannot be greater than {ready}"
            yield invalid_value("status.availableReplicas", status["availableReplicas"], text)
        if collisions:
            before = _status(old).get("collisionCount")
            now = status.get("collisionCount")
            if before is not None and (now is None or now < before):
                yield invalid_value("status.collisionCount", now or 0, "cannot be decremented")

    return check


deployment: Final = counters(
    (
        "observedGeneration",
        "replicas",
        "updatedReplicas",
        *_READY,
        "unavailableReplicas",
        "terminatingReplicas",
        "collisionCount",
    ),
    within_replicas=("updatedReplicas", *_READY),
    ready="readyReplicas",
    collisions=True,
)
replica_set: Final = counters(
    ("replicas", "fullyLabeledReplicas", *_READY, "observedGeneration", "terminatingReplicas"),
    within_replicas=("fullyLabeledReplicas", *_READY),
    ready="readyReplicas",
)
stateful_set: Final = counters(
    (
        "replicas",
        "readyReplicas",
        "currentReplicas",
        "updatedReplicas",
        "availableReplicas",
        "observedGeneration",
        "collisionCount",
    ),
    within_replicas=("readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"),
    ready="status.readyReplicas",
    collisions=True,
)
daemon_set: Final = counters(
    (
        "currentNumberScheduled",
        "numberMisscheduled",
        "desiredNumberScheduled",
        "numberReady",
        "observedGeneration",
        "updatedNumberScheduled",
        "numberAvailable",
        "numberUnavailable",
        "collisionCount",
    ),
    collisions=True,
)
autoscaler: Final = counters(("currentReplicas", "desiredReplicas"))
disruption_budget: Final = counters(("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"))


def pod(obj: Object, old: Object) -> Iterator[Complaint]:
    status, before = _status(obj), _status(old)
    for number, condition in enumerate(status.get("conditions") or ()):
        kind, at = condition.get("type") or "", f"status.conditions[{number}]"
        if (condition.get("observedGeneration") or 0) < 0:
            text = "must be a non-negative integer"
            yield invalid_value(f"{at}.observedGeneration", condition["observedGeneration"], text)
        if kind not in ("PodScheduled", "Ready", "Initialized"):
            yield from in_form(kind, f"{at}.Type", name_rules.qualified_name)
    named = status.get("nominatedNodeName") or ""
    if named != (before.get("nominatedNodeName") or ""):
        yield from in_form_if_given(status, "status", "nominatedNodeName", name_rules.dns1123_subdomain)
    if (status.get("observedGeneration") or 0) < 0:
        yield invalid_value("status.observedGeneration", status["observedGeneration"], "must be a non-negative integer")
    yield from immutable("status.qosClass", status.get("qosClass") or "", before.get("qosClass") or "")
    yield from _restarts(obj, old, "containerStatuses", "containers")


def _restarts(obj: Object, old: Object, field: str, containers: str) -> Iterator[Complaint]:
    """Containers that never run again do not."""
    spec = old.get("spec") or {}
    if spec.get("restartPolicy") in (None, "", "Always"):
        return
    own = {each.get("name"): each for each in spec.get(containers) or ()}
    now = {each.get("name"): each.get("state") or {} for each in _status(obj).get(field) or ()}
    for number, each in enumerate(_status(old).get(field) or ()):
        ended = (each.get("state") or {}).get("terminated")
        name = each.get("name")
        if ended is None or own.get(name, {}).get("restartPolicy") or own.get(name, {}).get("restartPolicyRules"):
            continue
        if spec["restartPolicy"] == "OnFailure" and ended.get("exitCode"):
            continue
        if name in now and now[name].get("terminated") is None:
            yield forbidden_value(f"status.{field}[{number}].state", "may not be transitioned to non-terminated state")


def ingress(obj: Object, old: Object) -> Iterator[Complaint]:
    del old
    yield from balancer_status(_status(obj).get("loadBalancer") or {}, has_modes=False)


def claim(obj: Object, old: Object) -> Iterator[Complaint]:
    del old
    status = _status(obj)
    for name, value in sorted((status.get("capacity") or {}).items()):
        if quantity(value).sign < 0:
            yield invalid_value(f"status.capacity[{name}]", quantity(value).value(), AT_LEAST_0)


def quota(obj: Object, old: Object) -> Iterator[Complaint]:
    del old
    for side in ("hard", "used"):
        for name, value in sorted((_status(obj).get(side) or {}).items()):
            yield from quota_resource_name(name, f"status.{side}[{name}]")
            yield from amount(name, value, f"status.{side}[{name}]")


def job(obj: Object, old: Object) -> Iterator[Complaint]:
    status, before, spec = _status(obj), _status(old), obj.get("spec") or {}
    for field in ("active", "succeeded", "failed", "ready", "terminating"):
        if (status.get(field) or 0) < 0:
            yield invalid_value(f"status.{field}", status[field], AT_LEAST_0)
    for kind in ("Failed", "Complete", "FailureTarget"):
        if _is_true(before, kind) and not _is_true(status, kind):
            text = f"Invalid value: cannot disable the terminal {kind}=True condition"
            yield Complaint("status.conditions", "FieldValueInvalid", text)
    if _is_true(status, "Complete") and _is_true(status, "Failed"):
        text = "Invalid value: cannot set Complete=True and Failed=true conditions"
        yield Complaint("status.conditions", "FieldValueInvalid", text)
    for field in ("failed", "succeeded"):
        if (status.get(field) or 0) < (before.get(field) or 0):
            yield invalid_value(f"status.{field}", status.get(field) or 0, f"cannot decrease the {field} counter")
    done = before.get("completionTime")
    if done is not None and status.get("completionTime") not in (None, done):
        yield invalid_value("status.completionTime", status["completionTime"], "field is immutable")
    if (
        before.get("startTime") is not None
        and status.get("startTime") != before["startTime"]
        and not spec.get("suspend")
    ):
        yield required("status.startTime", "startTime cannot be removed for unsuspended job")


def _is_true(status: Fields, kind: str) -> bool:
    return any(c.get("type") == kind and c.get("status") == "True" for c in status.get("conditions") or ())
