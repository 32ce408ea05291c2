"""The HorizontalPodAutoscaler controller: looks every 15 seconds while there are any, and when one changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from tiphys.cluster.controllers import telling
from tiphys.cluster.controllers.kit import NAMESPACED, Controller, Kit
from tiphys.cluster.controllers.metrics import ApiMetrics, MetricsSource
from tiphys.cluster.controllers.plan import autoscaling as plan
from tiphys.cluster.controllers.plan import pods as podfacts
from tiphys.cluster.controllers.plan.autoscaling import Count, Memory, MetricsError, Tolerances
from tiphys.cluster.controllers.plan.scheduling.requests import amount
from tiphys.cluster.controllers.plan.statuses import status_patch, without_empty
from tiphys.machinery.actions import PatchType
from tiphys.machinery.errors import ApiError
from tiphys.machinery.quantities import Quantity
from tiphys.machinery.resources import HORIZONTAL_POD_AUTOSCALERS, PODS, ObjectKey, Resource
from tiphys.machinery.selectors import LabelSelector, parse_labels
from tiphys.machinery.times import to_time
from tiphys.runtime.controller import Outcome

Object = Mapping[str, Any]
_EVERY: Final = timedelta(seconds=15)
_SHOWN: Final = frozenset(("desiredReplicas", "currentMetrics"))


class AutoscalerController(Controller):
    name = "horizontal-pod-autoscaler"
    reads = (HORIZONTAL_POD_AUTOSCALERS, PODS)

    def __init__(self, kit: Kit, metrics: MetricsSource | None = None) -> None:
        super().__init__(kit)
        self.metrics: MetricsSource = metrics or ApiMetrics(self.client)
        self._memory: dict[ObjectKey, Memory] = {}

    def subscribe(self) -> None:
        self.on(HORIZONTAL_POD_AUTOSCALERS, self._on_autoscaler)

    def _on_autoscaler(self, key: ObjectKey, before: Object | None, after: Object | None) -> None:
        if after is None:
            self._memory.pop(key, None)
        elif before is None or before.get("spec") != after.get("spec"):
            self.queue.add(key)

    async def reconcile(self, key: ObjectKey) -> Outcome:
        scaler = self.cache(HORIZONTAL_POD_AUTOSCALERS).get(key)
        if scaler is None:
            return None
        now = self.clock.now()
        look = _Look(self, scaler, now, self._memory.setdefault(key, Memory()))
        await look.run()
        await self.carry_out(status_patch(HORIZONTAL_POD_AUTOSCALERS, scaler, look.shown()))
        return now + _EVERY


class _Look:
    """One look at one autoscaler; ``status`` is what it will say."""

    def __init__(self, controller: AutoscalerController, scaler: Object, now: datetime, memory: Memory) -> None:
        self.controller, self.scaler, self.now, self.memory = controller, scaler, now, memory
        self.spec: Mapping[str, Any] = scaler["spec"]
        self.namespace: str = scaler["metadata"]["namespace"]
        self.status: dict[str, Any] = {**(scaler.get("status") or {})}
        self.conditions: list[dict[str, Any]] = list(self.status.get("conditions") or ())

    def shown(self) -> dict[str, Any]:
        return without_empty(self.status | {"conditions": self.conditions}, _SHOWN)

    async def run(self) -> None:
        reference = self.spec["scaleTargetRef"]
        resource = self.controller.kit.resource_of(reference.get("apiVersion", ""), reference["kind"])
        key = ObjectKey(self.namespace, reference["name"])
        try:
            if resource is None:
                raise MetricsError(f'no matches for kind "{reference["kind"]}"')
            scale = await self.controller.client.get(resource, key, "scale")
        except (ApiError, MetricsError) as err:
            telling.warning(self.controller.events, self.scaler, HORIZONTAL_POD_AUTOSCALERS, "FailedGetScale", str(err))
            text = f"the HPA controller was unable to get the target's current scale: {err}"
            self._say("AbleToScale", (False, "FailedGetScale", text))
            return
        found = "the HPA controller was able to get the target's current scale"
        self._say("AbleToScale", (True, "SucceededGetScale", found))
        await self._scale(resource, key, scale)

    async def _scale(self, resource: Resource, key: ObjectKey, scale: Object) -> None:
        current = int((scale.get("spec") or {}).get("replicas") or 0)
        self.status["currentReplicas"] = current
        least, most = int(self.spec.get("minReplicas", 1)), int(self.spec["maxReplicas"])
        desired, why = current, ""
        if current == 0 and least != 0:
            text = "scaling is disabled since the replica count of the target is zero"
            self._say("ScalingActive", (False, "ScalingDisabled", text))
            desired = 0
        elif current > most:
            desired, why = most, "Current number of replicas above Spec.MaxReplicas"
        elif current < least:
            desired, why = least, "Current number of replicas below Spec.MinReplicas"
        else:
            count = await self._count(current, (scale.get("status") or {}).get("selector") or "")
            if count is None:
                return
            found = plan.normalised(self.spec, current, count.replicas, self.memory, self.now)
            self.memory.forget(self.now)
            self._say("AbleToScale", found.able)
            self._say("ScalingLimited", found.limited)
            desired = found.replicas
            why = f"{count.name} above target" if desired > current else "All metrics below target"
        await self._resize(resource, key, current, desired, why)

    async def _resize(self, resource: Resource, key: ObjectKey, current: int, desired: int, why: str) -> None:
        self.status["desiredReplicas"] = desired
        if desired == current:
            return
        events = self.controller.events
        try:
            patch = {"spec": {"replicas": desired}}
            await self.controller.client.patch(resource, key, patch, PatchType.MERGE, "scale")
        except ApiError as err:
            text = f"New size: {desired}; reason: {why}; error: {err}"
            telling.warning(events, self.scaler, HORIZONTAL_POD_AUTOSCALERS, "FailedRescale", text)
            failed = f"the HPA controller was unable to update the target scale: {err}"
            self._say("AbleToScale", (False, "FailedUpdateScale", failed))
            self.status["desiredReplicas"] = current
            return
        done = f"the HPA controller was able to update the target scale to {desired}"
        self._say("AbleToScale", (True, "SucceededRescale", done))
        text = f"New size: {desired}; reason: {why}"
        telling.normal(events, self.scaler, HORIZONTAL_POD_AUTOSCALERS, "SuccessfulRescale", text)
        self.memory.note_scaling(current, desired, self.now)
        self.status["lastScaleTime"] = to_time(self.now)

    # Metrics

    async def _count(self, current: int, selector: str) -> Count | None:
        """The highest of what the metrics want; None where too few of them could be had."""
        counts: list[Count] = []
        failures: list[tuple[str, str, str]] = []
        specs: Sequence[Mapping[str, Any]] = self.spec.get("metrics") or ()
        for metric in specs:
            try:
                counts.append(await self._of_metric(metric, current, selector))
            except MetricsError as err:
                failures.append((f"FailedGet{metric['type']}Metric", str(err), _what(metric)))
        best = max(counts, key=lambda each: each.replicas, default=None)
        if best is None or (failures and best.replicas < current):
            reason, text, what = failures[0] if failures else ("InvalidMetricSourceType", "no metrics are given", "any")
            message = f"the HPA was unable to compute the replica count: {text}"
            self._say("ScalingActive", (False, reason, message))
            self._complain(reason, text, f"failed to get {what} metric value: {text}", len(failures), len(specs))
            return None
        self.status["currentMetrics"] = [each.current for each in counts]
        text = f"the HPA was able to successfully calculate a replica count from {best.name}"
        self._say("ScalingActive", (True, "ValidMetricFound", text))
        return best

    def _complain(self, reason: str, text: str, first: str, failed: int, total: int) -> None:
        events, kind = self.controller.events, HORIZONTAL_POD_AUTOSCALERS
        telling.warning(events, self.scaler, kind, reason, text)
        whole = f"invalid metrics ({failed} invalid out of {total}), first error is: {first}"
        telling.warning(events, self.scaler, kind, "FailedComputeMetricsReplicas", whole)

    async def _of_metric(self, metric: Mapping[str, Any], current: int, selector: str) -> Count:
        kind = metric["type"]
        field = kind[0].lower() + kind[1:]
        source: Mapping[str, Any] = metric[field]
        tolerances = Tolerances.of(self.spec.get("behavior") or {})
        if kind in ("Resource", "ContainerResource"):
            return await self._of_resource(kind, field, source, current, selector, tolerances)
        if kind == "Pods":
            samples = await self.controller.metrics.of_pods(self.namespace, selector, source["metric"])
            groups = plan.grouped(self._pods(selector), samples, "", self.now)
            target = _milli(source["target"]["averageValue"])
            replicas, average = plan.by_average(current, target, samples, groups, tolerances)
            shown = {"metric": source["metric"], "current": {"averageValue": _text(average)}}
            return Count(replicas, {"type": kind, field: shown}, f"pods metric {source['metric']['name']}")
        return await self._of_thing(kind, field, source, current, selector, tolerances)

    async def _of_resource(
        self, kind: str, field: str, source: Mapping[str, Any], current: int, selector: str, tolerances: Tolerances
    ) -> Count:
        name, container, target = source["name"], source.get("container", ""), source["target"]
        suffix = f"{name} container resource" if container else f"{name} resource"
        words = "utilization" if target.get("averageUtilization") is not None else "usage"
        pods = self._pods(selector)
        try:
            samples = await self.controller.metrics.resource(self.namespace, selector, name, container)
            groups = plan.grouped(pods, samples, name, self.now)
            shown: dict[str, Any] = {"name": name} | ({"container": container} if container else {})
            if target.get("averageUtilization") is None:
                wanted = _milli(target["averageValue"])
                replicas, average = plan.by_average(current, wanted, samples, groups, tolerances)
                shown["current"] = {"averageValue": _text(average)}
                return Count(replicas, {"type": kind, field: shown}, suffix)
            requests = _requests(pods, name, container)
            percent = int(target["averageUtilization"])
            found = plan.by_utilization(current, percent, pods, samples, requests, groups, tolerances)
        except MetricsError as err:
            raise MetricsError(f"failed to get {name} {words}: {err}") from err
        shown["current"] = {"averageUtilization": found[1], "averageValue": _text(found[2])}
        return Count(found[0], {"type": kind, field: shown}, f"{suffix} utilization (percentage of request)")

    async def _of_thing(
        self, kind: str, field: str, source: Mapping[str, Any], current: int, selector: str, tolerances: Tolerances
    ) -> Count:
        metric, target = source["metric"], source["target"]
        if kind == "Object":
            described = source["describedObject"]
            usage = await self.controller.metrics.of_object(self.namespace, described, metric)
            shown: dict[str, Any] = {"metric": metric, "describedObject": described}
            name = f"{described['kind']} metric {metric['name']}"
        else:
            usage = await self.controller.metrics.external(self.namespace, metric)
            shown = {"metric": metric}
            name = f"external metric {metric['name']}({metric.get('selector')})"
        if target.get("averageValue") is not None:
            replicas = plan.by_share(current, usage, _milli(target["averageValue"]), tolerances)
            shown["current"] = {"averageValue": _text(-(-usage // max(1, current)))}
        else:
            ready = sum(podfacts.is_ready(pod) for pod in self._pods(selector))
            replicas = plan.by_value(current, ready, usage, _milli(target["value"]), tolerances)
            shown["current"] = {"value": _text(usage)}
        return Count(replicas, {"type": kind, field: shown}, name)

    def _pods(self, selector: str) -> list[Object]:
        chosen: LabelSelector = parse_labels(selector)
        pods = self.controller.cache(PODS).indexed(NAMESPACED, self.namespace)
        return [pod for pod in pods if chosen.matches(pod["metadata"].get("labels"))]

    def _say(self, kind: str, what: tuple[bool, str, str]) -> None:
        holds, reason, message = what
        status = "True" if holds else "False"
        held = next((each for each in self.conditions if each["type"] == kind), None)
        since = held["lastTransitionTime"] if held is not None and held["status"] == status else to_time(self.now)
        said = {"type": kind, "status": status, "lastTransitionTime": since, "reason": reason, "message": message}
        if held is None:
            self.conditions.append(said)
        else:
            self.conditions = [said if each is held else each for each in self.conditions]


def _what(metric: Mapping[str, Any]) -> str:
    """How a failure calls a metric."""
    kind = metric["type"]
    if kind == "Resource":
        return f"{metric['resource']['name']} resource"
    if kind == "ContainerResource":
        return f"{metric['containerResource']['name']} container"
    return f"{metric['external']['metric']['name']} external" if kind == "External" else str(kind).lower()


def _requests(pods: Sequence[Object], name: str, container: str) -> dict[str, int]:
    found = {}
    for pod in pods:
        total = 0
        sidecars = [c for c in pod["spec"].get("initContainers") or () if c.get("restartPolicy") == "Always"]
        for each in (*pod["spec"]["containers"], *sidecars):
            if container not in ("", each["name"]):
                continue
            given = ((each.get("resources") or {}).get("requests") or {}).get(name)
            if given is None:
                text = f"missing request for {name} in container {each['name']} of Pod {pod['metadata']['name']}"
                raise MetricsError(text)
            total += _milli(given)
        found[pod["metadata"]["name"]] = total
    return found


def _milli(quantity: Any) -> int:
    return amount("cpu", str(quantity))


def _text(milli: int) -> str:
    return str(Quantity(milli, -3))
