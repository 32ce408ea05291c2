"""Ways into a cluster: Gateway API, Gloo, Contour, Istio, Airlock, Google's certificates, node networks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from tiphys.cd.plan.health.builtin import Check
from tiphys.cd.plan.health.others.parts import (
    Condition,
    When,
    conditions,
    degraded,
    generation,
    healthy,
    kind,
    listed,
    mapping,
    progressing,
    said,
    spec_of,
    status_of,
    suspended,
    unknown,
)
from tiphys.cd.plan.health.reading import conditions as conditions_of
from tiphys.cd.plan.health.verdict import Health
from tiphys.cd.plan.objects import Object

_GATEWAY = "gateway.networking.k8s.io"


def _problem(found: Sequence[Condition], prefix: str, waiting: str) -> Health | None:
    """What speaks against a set of conditions of the Gateway API."""
    for name in ("ResolvedRefs", "Accepted"):
        for one in found:
            if one.get("type") == name and one.get("status") == "False":
                message = one.get("message")
                return degraded(prefix + (f"Failed condition: {name}" if message is None else str(message)))
    for one in found:
        if one.get("type") == "Programmed" and one.get("status") != "True":
            message = one.get("message")
            return progressing(prefix + (waiting if message is None else str(message)))
    return None


def gateway_health(obj: Object) -> Health:
    status = status_of(obj)
    found = _problem(conditions_of(status), "", "Gateway is still being programmed")
    if found is not None:
        return found
    for listener in listed(status.get("listeners")):
        found = _problem(conditions_of(listener), "Listener: ", "Listener is still being programmed")
        if found is not None:
            return found
    if status.get("conditions") is not None or status.get("listeners"):
        return healthy("Gateway is healthy")
    return progressing("Waiting for Gateway status")


def _route(name: str, waits_for_parents: bool) -> Check:
    """A route: every parent that has looked at the present generation must take it."""

    def check(obj: Object) -> Health:
        has_seen = False
        for parent in listed(status_of(obj).get("parents")):
            found = conditions_of(parent)
            if parent.get("conditions") is None or (waits_for_parents and not _has_seen(obj, found)):
                continue
            prefix = f"Parent {mapping(parent.get('parentRef')).get('name') or ''}: "
            problem = _problem(found, prefix, "Route is still being programmed")
            if problem is not None:
                return problem
            has_seen = has_seen or bool(found)
        return healthy(f"{name} is healthy") if has_seen else progressing(f"Waiting for {name} status")

    return check


def _has_seen(obj: Object, found: Sequence[Condition]) -> bool:
    wanted = generation(obj)
    if wanted is None:
        return True
    return bool(found) and all(one.get("observedGeneration") in (None, wanted) for one in found)


def gateway_class_health(obj: Object) -> Health:
    wanted = generation(obj)
    for one in conditions_of(status_of(obj)):
        if one.get("type") != "Accepted" or (
            wanted is not None and one.get("observedGeneration") not in (None, wanted)
        ):
            continue
        match one.get("status"):
            case "True":
                return healthy(said(one) or "GatewayClass is accepted")
            case "False":
                return degraded(said(one) or "GatewayClass is not accepted")
            case _:
                return progressing(said(one) or "Waiting for GatewayClass status")
    return progressing("Waiting for GatewayClass status")


def _by_ancestors(obj: Object, name: str, *, must_be_observed: bool, must_be_accepted: bool) -> Health:
    """A policy: all ancestors must have looked at the present generation and accepted it."""
    found = progressing(f"Waiting for {name} status")
    ancestors = listed(status_of(obj).get("ancestors"))
    wanted = generation(obj)
    for ancestor, one in _each(ancestors if wanted is not None else []):
        observed = one.get("observedGeneration")
        if observed != wanted and (must_be_observed or observed is not None):
            return progressing(f"Waiting for Ancestor {_ancestor_name(ancestor)} to update {name} status")
    for ancestor in ancestors:
        prefix = f"Ancestor {_ancestor_name(ancestor)}: "
        for one in conditions_of(ancestor):
            if one.get("type") in ("Accepted", "ResolvedRefs") and one.get("status") != "True":
                return degraded(prefix + said(one))
            if one.get("type") == "Accepted":
                found = healthy(f"{name} is healthy")
        if must_be_accepted and not any(one.get("type") == "Accepted" for one in conditions_of(ancestor)):
            found = degraded(f"{prefix}{name} is not accepted")
    return found


def _each(ancestors: Sequence[Any]) -> Iterable[tuple[Any, Condition]]:
    return ((ancestor, one) for ancestor in ancestors for one in conditions_of(ancestor))


def _ancestor_name(ancestor: Any) -> str:
    return str(mapping(ancestor.get("ancestorRef")).get("name") or "")


def backend_tls_policy_health(obj: Object) -> Health:
    return _by_ancestors(obj, "BackendTLSPolicy", must_be_observed=False, must_be_accepted=False)


def airlock_health(obj: Object) -> Health:
    if not kind(obj).endswith("Policy"):
        return healthy(f"{kind(obj)} is healthy")
    return _by_ancestors(obj, kind(obj), must_be_observed=True, must_be_accepted=True)


def _gloo_state(status: Any) -> Health:
    match status.get("state"):
        case "Accepted" | 1:
            return healthy("The resource has been validated")
        case "Warning" | 3 | "Rejected" | 2:
            return degraded(str(status.get("reason") or ""))
        case "Pending" | 0:
            return suspended("The resource has not yet been validated")
    return progressing("Update in progress")


def gloo_health(obj: Object) -> Health:
    status = status_of(obj)
    for one in mapping(status.get("statuses")).values():
        found = _gloo_state(mapping(one))
        if found.status != "Progressing":
            return found
    return _gloo_state(status)


def extension_service_health(obj: Object) -> Health:
    for one in conditions_of(status_of(obj)):
        is_new = one.get("observedGeneration") == generation(obj)
        if is_new and one.get("type") == "Valid" and one.get("status") in ("True", "False"):
            return healthy(said(one)) if one["status"] == "True" else degraded(said(one))
    return progressing("Waiting for status")


def http_proxy_health(obj: Object) -> Health:
    status, found = status_of(obj), progressing("Waiting for status")
    description = str(status.get("description") or "")
    if status.get("conditions") is None:
        return progressing(description) if status.get("currentStatus") else found
    for one in conditions_of(status):
        if one.get("observedGeneration") != generation(obj):
            continue
        if one.get("type") == "Valid" and one.get("status") == "True":
            return healthy(description)
        if spec_of(obj).get("includes") is not None and one.get("status") == "False":
            found = healthy("HTTPProxy inclusions cannot be health checked")
        elif one.get("type") == "Valid" and one.get("status") == "False":
            return degraded(description)
    return found


def istio_operator_health(obj: Object) -> Health:
    match status_of(obj).get("status"):
        case 0 | "NONE":
            return unknown("Component is not present.")
        case 1 | "UPDATING":
            return progressing("Component is being updated to a different version.")
        case 2 | "RECONCILING":
            return progressing("Controller has started but not yet completed reconciliation loop for the component.")
        case 3 | "HEALTHY":
            return healthy("Component is healthy.")
        case 4 | "ERROR":
            return degraded("Component is in an error state.")
    return progressing("Waiting for Istio Control Plane")


def managed_certificate_health(obj: Object) -> Health:
    status = status_of(obj)
    if any(one.get("status") == "FailedNotVisible" for one in listed(status.get("domainStatus"))):
        return degraded("At least one certificate has failed to be provisioned")
    if status.get("certificateStatus") == "Active":
        return healthy("All certificates are active")
    return progressing("At least one certificate is still being provisioned")


def _reason_and_message(condition: Condition) -> str:
    text = str(condition.get("reason") or "")
    return f"{text}: {said(condition)}" if said(condition) else text


CHECKS = {
    (_GATEWAY, "BackendTLSPolicy"): backend_tls_policy_health,
    (_GATEWAY, "GRPCRoute"): _route("GRPCRoute", waits_for_parents=False),
    (_GATEWAY, "Gateway"): gateway_health,
    (_GATEWAY, "GatewayClass"): gateway_class_health,
    (_GATEWAY, "HTTPRoute"): _route("HTTPRoute", waits_for_parents=True),
    **{
        ("gateway.solo.io", name): gloo_health
        for name in (
            "Gateway",
            "MatchableHttpGateway",
            "RouteOption",
            "RouteTable",
            "VirtualHostOption",
            "VirtualService",
        )
    },
    **{("gloo.solo.io", name): gloo_health for name in ("Proxy", "Settings", "Upstream", "UpstreamGroup")},
    ("install.istio.io", "IstioOperator"): istio_operator_health,
    ("networking.gke.io", "ManagedCertificate"): managed_certificate_health,
    ("nmstate.io", "NodeNetworkConfigurationPolicy"): conditions(
        When("Available", "True", "Healthy", _reason_and_message),
        When("Degraded", "True", "Degraded", _reason_and_message),
        When("Progressing", "True", "Progressing", _reason_and_message),
        When("Ignored", "True", "Suspended", _reason_and_message),
        otherwise=progressing("Waiting for policy to be applied"),
    ),
    ("projectcontour.io", "ExtensionService"): extension_service_health,
    ("projectcontour.io", "HTTPProxy"): http_proxy_health,
}
PATTERNS = {"microgateway.airlock.com": airlock_health}
