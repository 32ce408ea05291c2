from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from tests.unit.cluster.controllers.world import World, in_world, workload
from tiphys.cluster.controllers.autoscaling import AutoscalerController
from tiphys.cluster.controllers.plan.autoscaling import (
    Groups,
    Memory,
    Sample,
    Tolerances,
    by_utilization,
    by_value,
    normalised,
)
from tiphys.machinery.resources import DEPLOYMENTS, EVENTS, HORIZONTAL_POD_AUTOSCALERS
from tiphys.runtime.virtual import EPOCH

NOBODY: frozenset[str] = frozenset()


def samples(*values: int) -> dict[str, Sample]:
    return {f"p{n}": Sample(value, EPOCH) for n, value in enumerate(values)}


def test_utilization_is_rounded_down_and_replicas_up() -> None:
    found = by_utilization(
        3, 30, [], samples(300, 500, 700), dict.fromkeys(("p0", "p1", "p2"), 1000), Groups(3, NOBODY, NOBODY, NOBODY),
        Tolerances(),
    )  # fmt: skip
    assert found == (5, 50, 500)


def test_small_differences_are_no_reason_to_scale() -> None:
    assert by_value(3, 3, 1080, 1000, Tolerances()) == 3
    assert by_value(3, 3, 1110, 1000, Tolerances()) == 4


def test_pods_that_say_nothing_are_idle_when_growing_and_at_their_request_when_shrinking() -> None:
    groups = Groups(2, NOBODY, frozenset(("p2",)), NOBODY)
    asked = dict.fromkeys(("p0", "p1", "p2"), 1000)
    assert by_utilization(3, 50, [], samples(600, 600), asked, groups, Tolerances())[0] == 3
    assert by_utilization(3, 50, [], samples(100, 100), asked, groups, Tolerances())[0] == 3


def test_shrinking_waits_for_the_highest_recommendation_of_five_minutes() -> None:
    memory, spec = Memory(), {"maxReplicas": 10}
    assert normalised(spec, 4, 8, memory, EPOCH).replicas == 8
    later = normalised(spec, 8, 2, memory, EPOCH + timedelta(minutes=4))
    assert (later.replicas, later.able[1]) == (8, "ScaleDownStabilized")
    assert normalised(spec, 8, 2, memory, EPOCH + timedelta(minutes=10)).replicas == 2


def test_growing_is_limited_to_twice_and_to_the_maximum() -> None:
    found = normalised({"maxReplicas": 100}, 5, 50, Memory(), EPOCH)
    assert (found.replicas, found.limited[1]) == (10, "ScaleUpLimit")
    found = normalised({"maxReplicas": 7}, 5, 50, Memory(), EPOCH)
    assert (found.replicas, found.limited[1]) == (7, "TooManyReplicas")


def test_behaviour_limits_the_rate_both_ways() -> None:
    up = {"policies": [{"type": "Pods", "value": 2, "periodSeconds": 60}], "stabilizationWindowSeconds": 0}
    down = {"policies": [{"type": "Percent", "value": 50, "periodSeconds": 60}], "stabilizationWindowSeconds": 0}
    spec = {"maxReplicas": 100, "behavior": {"scaleUp": up, "scaleDown": down}}
    assert normalised(spec, 10, 50, Memory(), EPOCH).replicas == 12
    memory = Memory()
    memory.note_scaling(8, 10, EPOCH)
    assert normalised(spec, 10, 50, memory, EPOCH + timedelta(seconds=30)).replicas == 10
    assert normalised(spec, 10, 1, Memory(), EPOCH).replicas == 5


class FakeMetrics:
    """A ``MetricsSource`` in which every pod uses the same."""

    def __init__(self, controller: AutoscalerController, used: int) -> None:
        self.controller, self.used = controller, used

    async def resource(self, namespace: str, selector: str, resource: str, container: str) -> Mapping[str, Sample]:
        from tiphys.machinery.resources import PODS

        now = self.controller.clock.now() + timedelta(minutes=10)
        pods = self.controller.cache(PODS).objects()
        return {pod["metadata"]["name"]: Sample(self.used, now) for pod in pods}

    async def of_pods(self, namespace: str, selector: str, metric: Mapping[str, Any]) -> Mapping[str, Sample]:
        return {}

    async def of_object(self, namespace: str, described: Mapping[str, Any], metric: Mapping[str, Any]) -> int:
        return self.used

    async def external(self, namespace: str, metric: Mapping[str, Any]) -> int:
        return self.used


def scaler(app: str) -> dict[str, Any]:
    goal = {"type": "Utilization", "averageUtilization": 50}
    metric = {"type": "Resource", "resource": {"name": "cpu", "target": goal}}
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": app}
    return {"spec": {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 5, "metrics": [metric]}}


def test_a_deployment_grows_with_its_load_and_shrinks_again() -> None:
    async def test(world: World) -> None:
        container = {"resources": {"requests": {"cpu": "100m"}}}
        await world.make(DEPLOYMENTS, "web", spec=workload("web", 1, pod={"container": container}))
        await world.make(HORIZONTAL_POD_AUTOSCALERS, "web", **scaler("web"))
        await world.settle(1)
        controller = world.controllers.manager.running["horizontal-pod-autoscaler"]
        assert isinstance(controller, AutoscalerController)
        controller.metrics = fake = FakeMetrics(controller, 100)
        await world.settle(120)
        held = await world.get(HORIZONTAL_POD_AUTOSCALERS, "web")
        assert held["status"]["desiredReplicas"] == 5
        reasons = {each["type"]: each["reason"] for each in held["status"]["conditions"]}
        assert reasons["ScalingActive"] == "ValidMetricFound"
        fake.used = 1
        await world.settle(1200)
        assert (await world.get(DEPLOYMENTS, "web"))["spec"]["replicas"] == 1
        said = [each["message"] for each in await world.all(EVENTS) if each["reason"] == "SuccessfulRescale"]
        assert "New size: 1; reason: All metrics below target" in said

    in_world(test)


def test_without_a_metrics_api_the_original_s_words_say_so() -> None:
    async def test(world: World) -> None:
        await world.make(DEPLOYMENTS, "web", spec=workload("web", 1))
        await world.make(HORIZONTAL_POD_AUTOSCALERS, "web", **scaler("web"))
        await world.settle(20)
        status = (await world.get(HORIZONTAL_POD_AUTOSCALERS, "web"))["status"]
        active = next(each for each in status["conditions"] if each["type"] == "ScalingActive")
        assert active["reason"] == "FailedGetResourceMetric"
        assert active["message"] == (
            "the HPA was unable to compute the replica count: failed to get cpu utilization: unable to get metrics for "
            "resource cpu: unable to fetch metrics from resource metrics API: the server could not find the requested "
            "resource (get pods.metrics.k8s.io)"
        )

    in_world(test)
