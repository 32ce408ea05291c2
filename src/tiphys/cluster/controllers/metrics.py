"""Where autoscalers get their figures from: the metrics APIs of the cluster they run in.

metrics.k8s.io             what pods use of cpu and memory
custom.metrics.k8s.io      metrics of pods and of other objects
external.metrics.k8s.io    metrics of things outside
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from tiphys.client.client import Client
from tiphys.cluster.controllers.plan.autoscaling import MetricsError, Sample
from tiphys.cluster.controllers.plan.scheduling.requests import amount
from tiphys.lang import durations
from tiphys.machinery.errors import ApiError, NotFound
from tiphys.machinery.resources import ObjectKey, Resource
from tiphys.machinery.times import parse_time

Object = Mapping[str, Any]

POD_METRICS = Resource("metrics.k8s.io", "v1beta1", "pods", "PodMetrics")


class MetricsSource(Protocol):
    """All amounts are in thousandths. Raise MetricsError with the original's words."""

    async def resource(self, namespace: str, selector: str, resource: str, container: str) -> Mapping[str, Sample]:
        """Pod → what it (or its container, where one is named) uses of a resource."""
        ...

    async def of_pods(self, namespace: str, selector: str, metric: Mapping[str, Any]) -> Mapping[str, Sample]: ...

    async def of_object(self, namespace: str, described: Mapping[str, Any], metric: Mapping[str, Any]) -> int: ...

    async def external(self, namespace: str, metric: Mapping[str, Any]) -> int:
        """The sum of an external metric's values."""
        ...


@dataclass(frozen=True)
class ApiMetrics:
    """A ``MetricsSource`` over the metrics APIs."""

    client: Client

    async def resource(self, namespace: str, selector: str, resource: str, container: str) -> Mapping[str, Sample]:
        words = f"unable to get metrics for resource {resource}"
        try:
            page = await self.client.list(POD_METRICS, namespace, labelSelector=selector)
        except NotFound:
            absent = "the server could not find the requested resource (get pods.metrics.k8s.io)"
            raise MetricsError(f"{words}: unable to fetch metrics from resource metrics API: {absent}") from None
        except ApiError as err:
            raise MetricsError(f"{words}: unable to fetch metrics from resource metrics API: {err}") from err
        items = page.get("items") or ()
        if not items:
            raise MetricsError(f"{words}: no metrics returned from resource metrics API")
        found = {item["metadata"]["name"]: _sample(item, resource, container) for item in items}
        return {name: sample for name, sample in found.items() if sample is not None}

    async def of_pods(self, namespace: str, selector: str, metric: Mapping[str, Any]) -> Mapping[str, Sample]:
        place = Resource("custom.metrics.k8s.io", "v1beta2", "pods", "MetricValueList")
        items = await self._values(place, ObjectKey(namespace, "*"), metric, labelSelector=selector)
        return {
            item["describedObject"]["name"]: Sample(amount("cpu", str(item["value"])), parse_time(item["timestamp"]))
            for item in items
        }

    async def of_object(self, namespace: str, described: Mapping[str, Any], metric: Mapping[str, Any]) -> int:
        group, _, _ = str(described.get("apiVersion", "")).rpartition("/")
        plural = f"{described['kind'].lower()}s" + (f".{group}" if group else "")
        place = Resource("custom.metrics.k8s.io", "v1beta2", plural, "MetricValueList")
        items = await self._values(place, ObjectKey(namespace, described["name"]), metric)
        if not items:
            raise MetricsError(f"unable to get metric {metric['name']}: no metrics returned")
        return amount("cpu", str(items[0]["value"]))

    async def external(self, namespace: str, metric: Mapping[str, Any]) -> int:
        place = Resource("external.metrics.k8s.io", "v1beta1", metric["name"], "ExternalMetricValueList")
        try:
            page = await self.client.list(place, namespace, **_selected(metric))
        except ApiError as err:
            words = f"unable to get external metric {namespace}/{metric['name']}/{metric.get('selector')}"
            raise MetricsError(f"{words}: unable to fetch metrics from external metrics API: {err}") from err
        return sum(amount("cpu", str(item["value"])) for item in page.get("items") or ())

    async def _values(self, place: Resource, key: ObjectKey, metric: Mapping[str, Any], **query: str) -> list[Object]:
        try:
            found = await self.client.get(place, key, metric["name"])
        except ApiError as err:
            words = f"unable to get metric {metric['name']}"
            raise MetricsError(f"{words}: unable to fetch metrics from custom metrics API: {err}") from err
        items: list[Object] = found.get("items") or []
        return items


def _selected(metric: Mapping[str, Any]) -> dict[str, str]:
    from tiphys.machinery.selectors import from_structured

    selector = metric.get("selector")
    return {"labelSelector": str(from_structured(selector))} if selector else {}


def _sample(item: Object, resource: str, container: str) -> Sample | None:
    rows = [row for row in item.get("containers") or () if container in ("", row["name"])]
    if not rows or any(resource not in (row.get("usage") or {}) for row in rows):
        return None
    total = sum(amount("cpu", str(row["usage"][resource])) for row in rows)
    window = timedelta(microseconds=durations.parse(item.get("window") or "1m") / 1000)
    at: datetime = parse_time(item["timestamp"])
    return Sample(total, at, window)
