"""3scale, API management: nearly all of its kinds say in conditions that are True what state they are in."""

from __future__ import annotations

from tiphys.cd.plan.health.builtin import Check
from tiphys.cd.plan.health.others.parts import (
    When,
    amount,
    conditions,
    degraded,
    healthy,
    judged,
    mapping,
    progressing,
    said_or,
    status_of,
    suspended,
)
from tiphys.cd.plan.health.reading import conditions as conditions_of
from tiphys.cd.plan.health.verdict import Health, HealthStatus
from tiphys.cd.plan.objects import Object

_GROUP = "capabilities.3scale.net"
_TEXTS: dict[str, tuple[HealthStatus, str]] = {
    "Invalid": ("Degraded", "configuration is invalid"),
    "Orphan": ("Degraded", "references non-existing resources"),
    "Failed": ("Degraded", "synchronization failed"),
    "Waiting": ("Suspended", "is waiting for approval"),
}


def _waiting(name: str) -> Health:
    return progressing(f"Waiting for 3scale {name} status...")


def _rules(name: str, good: str, *bad: str) -> tuple[When, ...]:
    """``good`` is the condition that makes it healthy; ``bad`` are others, ``Failed=text`` with words of their own."""
    found = [When(good, "True", "Healthy", f"3scale {name} is {good.lower()}")]
    for one in bad:
        type_, _, text = one.partition("=")
        verdict, usual = _TEXTS[type_]
        found.append(When(type_, "True", verdict, said_or(f"3scale {name} {text or usual}")))
    return tuple(found)


def _capability(name: str, good: str, *bad: str) -> Check:
    return conditions(*_rules(name, good, *bad), otherwise=_waiting(name))


def application_health(obj: Object) -> Health:
    status = status_of(obj)
    if status.get("state") == "suspended":
        return suspended("3scale Application is suspended")
    for condition in conditions_of(status):
        if condition.get("type") == "Ready":
            if condition.get("status") == "True":
                return healthy("3scale Application is ready")
            if amount(status.get("adminId")) <= 0:
                return degraded(str(condition.get("message") or "3scale Application is not ready"))
    return _waiting("Application")


def developer_user_health(obj: Object) -> Health:
    if status_of(obj).get("developerUserState") == "suspended":
        return suspended("3scale Developer user is waiting for admin approval")
    rules = _rules("DeveloperUser", "Ready", "Invalid", "Orphan", "Failed")
    return judged(conditions_of(status_of(obj)), rules) or _waiting("DeveloperUser")


def tenant_health(obj: Object) -> Health:
    status = status_of(obj)
    has_ids = amount(status.get("tenantId")) > 0 and amount(status.get("adminId")) > 0
    ready = [one for one in conditions_of(status) if one.get("type") == "Ready"]
    if has_ids and any(one.get("status") == "True" for one in ready):
        return healthy("3scale Tenant is ready")
    for one in ready:
        if one.get("status") != "True":
            return degraded(str(one.get("message") or "3scale Tenant is degraded"))
    return _waiting("Tenant")


def manager_health(obj: Object) -> Health:
    """The whole installation: by its deployments, else by whether it says to be available."""
    available, waiting = healthy("3scale APIManager is available"), _waiting("APIManager")
    status = status_of(obj)
    if status.get("deployments") is not None:
        held = mapping(status["deployments"])
        is_changing = held.get("starting") is not None or held.get("stopped") is not None
        return available if held.get("ready") is not None and not is_changing else waiting
    for condition in conditions_of(status):
        if condition.get("type") == "Available":
            if condition.get("status") == "True":
                return available
            if condition.get("reason"):
                return degraded(f"3scale APIManager is degraded: {condition['reason']}")
    return waiting


CHECKS = {
    ("apps.3scale.net", "APIManager"): manager_health,
    (_GROUP, "ActiveDoc"): _capability("ActiveDoc", "Ready", "Invalid", "Orphan", "Failed"),
    (_GROUP, "Application"): application_health,
    (_GROUP, "ApplicationAuth"): _capability("ApplicationAuth", "Ready", "Failed=failed"),
    (_GROUP, "Backend"): _capability("Backend", "Synced", "Invalid", "Failed"),
    (_GROUP, "CustomPolicyDefinition"): _capability("CustomPolicyDefinition", "Ready", "Invalid", "Failed"),
    (_GROUP, "DeveloperAccount"): _capability("DeveloperAccount", "Ready", "Invalid", "Failed", "Waiting"),
    (_GROUP, "DeveloperUser"): developer_user_health,
    (_GROUP, "OpenAPI"): _capability("OpenAPI", "Ready", "Invalid", "Failed=reconciliation failed"),
    (_GROUP, "Product"): _capability("Product", "Synced", "Invalid", "Orphan", "Failed"),
    (_GROUP, "ProxyConfigPromote"): conditions(
        When("Ready", "True", "Healthy", "3scale ProxyConfigPromote is ready"),
        When("In-progress", "True", "Progressing", said_or("3scale ProxyConfigPromote is in progress")),
        When("Failed", "True", "Degraded", said_or("3cale ProxyConfigPromote failed")),
        otherwise=_waiting("ProxyConfigPromote"),
    ),
    (_GROUP, "Tenant"): tenant_health,
}
