"""Resource quotas and limit ranges."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Final

from tiphys.cluster.apiserver.problems import Complaint, forbidden_value, invalid_value, required
from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.rules.amounts import (
    amount,
    container_resource_name,
    is_quota_name,
    may_overcommit,
    quota_resource_name,
    resource_name,
)
from tiphys.cluster.apiserver.rules.values import IMMUTABLE, Fields, duplicate, quantity
from tiphys.lang import name_rules
from tiphys.machinery.quantities import Quantity, parse

_SCOPES: Final = (
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "VolumeAttributesClass",
    "CrossNamespacePodAffinity",
)
_PODS: Final = ("pods",)
_COMPUTE: Final = (*_PODS, "cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory")
_FITS: Final = {
    "Terminating": _COMPUTE,
    "NotTerminating": _COMPUTE,
    "NotBestEffort": _COMPUTE,
    "PriorityClass": _COMPUTE,
    "CrossNamespacePodAffinity": _COMPUTE,
    "BestEffort": _PODS,
    "VolumeAttributesClass": ("persistentvolumeclaims", "requests.storage"),
}
_CONFLICTS: Final = (("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating"))
_MUST_EXIST: Final = ("BestEffort", "NotBestEffort", "Terminating", "NotTerminating", "CrossNamespacePodAffinity")


def quota(obj: Object, old: Object | None) -> Iterator[Complaint]:
    spec = obj.get("spec") or {}
    hard, scopes = spec.get("hard") or {}, spec.get("scopes") or []
    for name in sorted(hard):
        yield from quota_resource_name(name, f"spec.hard[{name}]")
        yield from amount(name, hard[name], f"spec.hard[{name}]")
    for scope in scopes:
        if scope not in _SCOPES:
            yield invalid_value("spec.scopes", scopes, "unsupported scope")
        for _ in _unfitting(scope, hard):
            yield invalid_value("spec.scopes", scopes, "unsupported scope applied to resource")
    yield from _conflicts(scopes, "spec.scopes", spec.get("scopes"))
    if spec.get("scopeSelector") is not None:
        yield from _scope_selector(spec["scopeSelector"], spec, hard)
    if old is not None and set(scopes) != set((old.get("spec") or {}).get("scopes") or ()):
        yield invalid_value("spec.scopes", spec.get("scopes"), IMMUTABLE)


def _unfitting(scope: str, hard: Collection[str]) -> list[str]:
    fitting = _FITS.get(scope)
    return [name for name in sorted(hard) if fitting is not None and is_quota_name(name) and name not in fitting]


def _conflicts(scopes: Collection[str], at: str, told: Sequence[str] | None) -> Iterator[Complaint]:
    for pair in _CONFLICTS:
        if set(pair) <= set(scopes):
            yield invalid_value(at, told, "conflicting scopes")


def _scope_selector(wanted: Fields, spec: Fields, hard: Collection[str]) -> Iterator[Complaint]:
    at = "spec.scopeSelector.matchExpressions"
    scopes = []
    for each in wanted.get("matchExpressions") or ():
        scope, operator, values = each.get("scopeName") or "", each.get("operator") or "", each.get("values") or []
        scopes.append(scope)
        if scope not in _SCOPES:
            yield invalid_value(f"{at}.scopeName", scope, "unsupported scope")
        for _ in _unfitting(scope, hard):
            yield invalid_value(at, _told(wanted), "unsupported scope applied to resource")
        if scope in _MUST_EXIST and operator != "Exists":
            text = (
                "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating,"
                " ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or"
                " ResourceQuotaScopeCrossNamespacePodAffinity"
            )
            yield invalid_value(f"{at}.operator", operator, text)
        if operator in ("In", "NotIn"):
            if not values:
                text = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
                yield required(f"{at}.values", text)
        elif operator in ("Exists", "DoesNotExist"):
            if values:
                text = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"
                yield invalid_value(f"{at}.values", values, text)
        else:
            yield invalid_value(f"{at}.operator", operator, "not a valid selector operator")
    yield from _conflicts(scopes, at, spec.get("scopes"))


def _told(wanted: Fields) -> dict[str, object]:
    expressions = [
        {"ScopeName": each.get("scopeName") or "", "Operator": each.get("operator") or "", "Values": each.get("values")}
        for each in wanted.get("matchExpressions") or ()
    ]
    return {"MatchExpressions": expressions}


# Limit ranges


def limit_range(obj: Object, old: Object | None) -> Iterator[Complaint]:
    del old
    seen: set[str] = set()
    for number, limit in enumerate((obj.get("spec") or {}).get("limits") or ()):
        at, kind = f"spec.limits[{number}]", limit.get("type") or ""
        yield from _type_name(kind, f"{at}.type")
        if kind in seen:
            yield duplicate(f"{at}.type", kind)
        seen.add(kind)
        yield from _limit(limit, kind, at)


def _type_name(kind: str, at: str) -> Iterator[Complaint]:
    problems = name_rules.qualified_name(kind)
    for problem in problems:
        yield invalid_value(at, kind, problem)
    if not problems and "/" not in kind and kind not in ("Pod", "Container", "PersistentVolumeClaim"):
        yield invalid_value(at, kind, "must be a standard limit type or fully qualified")


def _limit(limit: Fields, kind: str, at: str) -> Iterator[Complaint]:
    name_rule = container_resource_name if kind in ("Pod", "Container") else resource_name
    held: dict[str, dict[str, Quantity]] = {}
    for field in ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio"):
        given = limit.get(field) or {}
        if kind == "Pod" and field.startswith("default"):
            if given:
                yield forbidden_value(f"{at}.{field}", "may not be specified when `type` is 'Pod'")
            continue
        sized = any("storage" in (limit.get(side) or {}) for side in ("min", "max"))
        if field == "maxLimitRequestRatio" and kind == "PersistentVolumeClaim" and not sized:
            text = "either minimum or maximum storage value is required, but neither was provided"
            yield required(f"{at}.limits", text)
        for name in sorted(given):
            yield from name_rule(name, f"{at}.{field}[{name}]")
        held[field] = {name: quantity(value) for name, value in given.items()}
    for name in sorted({name for amounts in held.values() for name in amounts}):
        yield from _order({field: amounts[name] for field, amounts in held.items() if name in amounts}, name, at)


_ORDER: Final = (
    ("min", "max", "min", "min", "min value {} is greater than max value {}"),
    (
        "min",
        "defaultRequest",
        "defaultRequest",
        "defaultRequest",
        "min value {} is greater than default request value {}",
    ),
    (
        "defaultRequest",
        "max",
        "defaultRequest",
        "defaultRequest",
        "default request value {} is greater than max value {}",
    ),
    (
        "defaultRequest",
        "default",
        "defaultRequest",
        "defaultRequest",
        "default request value {} is greater than default limit value {}",
    ),
    ("min", "default", "default", "min", "min value {} is greater than default value {}"),
    ("default", "max", "default", "max", "default value {} is greater than max value {}"),
)  # the smaller one, the greater one, the field that is complained of, the value that is shown


def _order(amounts: dict[str, Quantity], name: str, at: str) -> Iterator[Complaint]:
    for low, high, place, told, text in _ORDER:
        if low in amounts and high in amounts and amounts[low].compare(amounts[high]) > 0:
            here = f"{at}.{place}[{name}]"
            yield invalid_value(here, str(amounts[told]), text.format(amounts[low], amounts[high]))
    if "maxLimitRequestRatio" in amounts:
        yield from _ratio(amounts, f"{at}.maxLimitRequestRatio[{name}]")
    if not may_overcommit(name) and "default" in amounts and "defaultRequest" in amounts:
        limit, request = amounts["default"], amounts["defaultRequest"]
        if limit.compare(request):
            text = f"default value {limit} must equal to defaultRequest value {request} in {name}"
            yield invalid_value(f"{at}.defaultRequest[{name}]", str(request), text)


def _ratio(amounts: dict[str, Quantity], at: str) -> Iterator[Complaint]:
    ratio = amounts["maxLimitRequestRatio"]
    if ratio.compare(parse("1")) < 0:
        yield invalid_value(at, str(ratio), f"ratio {ratio} is less than 1")
    if "min" in amounts and "max" in amounts:
        low, high = amounts["min"].value(-3), amounts["max"].value(-3)
        limit = high / low if low else float("inf")
        if ratio.value(-3) / 1000 > limit:
            yield invalid_value(at, str(ratio), f"ratio {ratio} is greater than max/min = {limit:.6f}")
