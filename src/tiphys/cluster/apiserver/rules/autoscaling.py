"""HorizontalPodAutoscalers and PodDisruptionBudgets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tiphys.api import internal_names
from tiphys.cluster.apiserver.problems import Complaint, forbidden_value, invalid_value, required, unsupported
from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.rules.amounts import container_resource_name
from tiphys.cluster.apiserver.rules.paths import named_segment, segment
from tiphys.cluster.apiserver.rules.shares import at_most_all, share
from tiphys.cluster.apiserver.rules.values import (
    ABOVE_0,
    AT_LEAST_0,
    Fields,
    given_one_of,
    in_form,
    quantity,
    selector,
)
from tiphys.lang import name_rules

WINDOW_MAX: Final = 3600
PERIOD_MAX: Final = 1800
_KINDS: Final = ("ContainerResource", "External", "Object", "Pods", "Resource")
_SOURCES: Final = ("object", "external", "pods", "resource", "containerResource")


def autoscaler(obj: Object, old: Object | None) -> Iterator[Complaint]:
    spec = obj.get("spec") or {}
    least, most = spec.get("minReplicas"), spec.get("maxReplicas") or 0
    if least is not None and least < 1:
        yield invalid_value("spec.minReplicas", least, "must be greater than or equal to 1")
    if most < 1:
        yield invalid_value("spec.maxReplicas", most, "must be greater than 0")
    if least is not None and most < least:
        yield invalid_value("spec.maxReplicas", most, "must be greater than or equal to `minReplicas`")
    target, before = spec.get("scaleTargetRef") or {}, ((old or {}).get("spec") or {}).get("scaleTargetRef")
    judged = before is None or any(target.get(field) != before.get(field) for field in ("apiVersion", "kind"))
    needs_group = target.get("kind") != "ReplicationController"
    yield from _reference(target, "spec.scaleTargetRef", judges_version=judged, needs_group=needs_group)
    metrics = spec.get("metrics") or []
    for number, metric in enumerate(metrics):
        yield from _metric(metric, f"spec.metrics[{number}]")
    if least == 0 and not any(metric.get("type") in ("Object", "External") for metric in metrics):
        text = "must specify at least one Object or External metric to support scaling to zero replicas"
        yield forbidden_value("spec.metrics", text)
    for direction in ("scaleUp", "scaleDown"):
        rules = (spec.get("behavior") or {}).get(direction)
        if rules is not None:
            yield from _rules(rules, f"spec.behavior.{direction}")


def _reference(
    reference: Fields, at: str, *, judges_version: bool = True, needs_group: bool = False
) -> Iterator[Complaint]:
    yield from named_segment(reference, at, "kind")
    yield from named_segment(reference, at, "name")
    version = reference.get("apiVersion") or ""
    if judges_version and version.count("/") > 1:
        yield invalid_value(f"{at}.apiVersion", version, f"unexpected GroupVersion string: {version}")
    elif judges_version and needs_group and "/" not in version:
        yield invalid_value(f"{at}.apiVersion", version, "apiVersion must specify API group")


def _rules(rules: Fields, at: str) -> Iterator[Complaint]:
    window = rules.get("stabilizationWindowSeconds")
    if window is not None and window < 0:
        yield invalid_value(f"{at}.stabilizationWindowSeconds", window, "must be greater than or equal to zero")
    if window is not None and window > WINDOW_MAX:
        yield invalid_value(f"{at}.stabilizationWindowSeconds", window, f"must be less than or equal to {WINDOW_MAX}")
    yield from given_one_of(rules, at, "selectPolicy", ("Disabled", "Max", "Min"))
    policies = rules.get("policies") or []
    if not policies:
        yield required(f"{at}.policies", "must specify at least one Policy")
    for number, policy in enumerate(policies):
        here, value, period = f"{at}.policies[{number}]", policy.get("value") or 0, policy.get("periodSeconds") or 0
        if policy.get("type") not in ("Pods", "Percent"):
            yield unsupported(f"{here}.type", policy.get("type") or "", ("Percent", "Pods"))
        if value <= 0:
            yield invalid_value(f"{here}.value", value, ABOVE_0)
        if period <= 0:
            yield invalid_value(f"{here}.periodSeconds", period, ABOVE_0)
        if period > PERIOD_MAX:
            yield invalid_value(f"{here}.periodSeconds", period, f"must be less than or equal to {PERIOD_MAX}")
    tolerance = rules.get("tolerance")
    if tolerance is not None and quantity(tolerance).sign < 0:
        yield invalid_value(f"{at}.tolerance", str(quantity(tolerance)), AT_LEAST_0)


def _metric(metric: Fields, at: str) -> Iterator[Complaint]:
    kind = metric.get("type") or ""
    if not kind:
        yield required(f"{at}.type", "must specify a metric source type")
    if kind not in _KINDS:
        yield unsupported(f"{at}.type", kind, _KINDS)
    given = [field for field in _SOURCES if metric.get(field) is not None]
    if given:
        yield from _source(given[0], metric[given[0]], f"{at}.{given[0]}")
    expected = kind[:1].lower() + kind[1:]
    if kind not in _KINDS:
        yield unsupported(f"{at}.type", kind, _KINDS)
    elif expected not in given:
        yield required(f"{at}.{expected}", "must populate information for the given metric source")
    for field in given if len(given) != 1 else ():
        if field != expected:
            yield forbidden_value(f"{at}.{field}", "must populate the given metric source only")


def _source(kind: str, source: Fields, at: str) -> Iterator[Complaint]:
    target = source.get("target") or {}
    if kind in ("object", "external", "pods"):
        if kind == "object":
            yield from _reference(source.get("describedObject") or {}, f"{at}.describedObject")
        yield from _identifier(source.get("metric") or {}, f"{at}.metric")
    elif not source.get("name"):
        yield required(f"{at}.name", "must specify a resource name")
    elif kind == "containerResource":
        yield from container_resource_name(source["name"], f"{at}.name")
    if kind == "containerResource":
        if not source.get("container"):
            yield required(f"{at}.container", "must specify a container")
        else:
            yield from in_form(source["container"], f"{at}.container", name_rules.dns1123_label)
    at = f"{at}.target"
    yield from _target(target, at)
    value, average = target.get("value"), target.get("averageValue")
    utilization = target.get("averageUtilization")
    match kind:
        case "object" if value is None and average is None:
            yield required(f"{at}.averageValue", "must set either a target value or averageValue")
        case "external" if value is None and average is None:
            yield required(f"{at}.averageValue", "must set either a target value for metric or a per-pod target")
        case "external" if value is not None and average is not None:
            text = "may not set both a target value for metric and a per-pod target"
            yield forbidden_value(f"{at}.value", text)
        case "pods" if average is None:
            yield required(f"{at}.averageValue", "must specify a positive target averageValue")
        case "resource" | "containerResource" if utilization is None and average is None:
            text = "must set either a target raw value or a target utilization"
            yield required(f"{at}.averageUtilization", text)
        case "resource" | "containerResource" if utilization is not None and average is not None:
            yield forbidden_value(f"{at}.averageValue", "may not set both a target raw value and a target utilization")


def _identifier(metric: Fields, at: str) -> Iterator[Complaint]:
    if not metric.get("name"):
        yield required(f"{at}.name", "must specify a metric name")
    else:
        yield from in_form(metric["name"], f"{at}.name", segment)


def _target(target: Fields, at: str) -> Iterator[Complaint]:
    kind = target.get("type") or ""
    if not kind:
        yield required(f"{at}.type", "must specify a metric target type")
    if kind not in ("Utilization", "Value", "AverageValue"):
        yield invalid_value(f"{at}.type", kind, "must be either Utilization, Value, or AverageValue")
    for field in ("value", "averageValue"):
        if target.get(field) is not None and quantity(target[field]).sign <= 0:
            yield invalid_value(f"{at}.{field}", str(quantity(target[field])), "must be positive")
    utilization = target.get("averageUtilization")
    if utilization is not None and utilization < 1:
        yield invalid_value(f"{at}.averageUtilization", utilization, "must be greater than 0")


def disruption_budget(obj: Object, old: Object | None) -> Iterator[Complaint]:
    del old
    spec = obj.get("spec") or {}
    given = [field for field in ("minAvailable", "maxUnavailable") if spec.get(field) is not None]
    if len(given) > 1:
        told = internal_names.shown("policy.PodDisruptionBudgetSpec", spec)
        yield invalid_value("spec", told, "minAvailable and maxUnavailable cannot be both set")
    for field in given:
        yield from share(spec[field], f"spec.{field}")
        yield from at_most_all(spec[field], f"spec.{field}")
    yield from selector(spec.get("selector"), "spec.selector")
    yield from given_one_of(spec, "spec", "unhealthyPodEvictionPolicy", ("AlwaysAllow", "IfHealthyBudget"))
