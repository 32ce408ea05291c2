"""Retried templates where other things meet them: evictions, the cache, daemons."""

from __future__ import annotations

from typing import Any

from tests.unit.workflows.kit import Cluster, container
from tiphys.workflows.observe import Changes
from tiphys.workflows.plan.canonical import OUTPUTS, canonical


def retried(**more: Any) -> dict[str, Any]:
    template = container("main", retryStrategy={"limit": "2", **more.pop("retry", {})}, **more)
    return {"entrypoint": "main", "templates": [template]}


def test_an_evicted_attempt_without_container_states_has_no_back_off() -> None:
    cluster = Cluster(retried(retry={"backoff": {"duration": "2m", "maxDuration": "60s"}}))
    cluster.decide()
    cluster.set_pod("wf(0)", "Running")
    name = cluster.pod_of("wf(0)")
    evicted = {"phase": "Failed", "reason": "Evicted", "message": "low on memory"}
    cluster.lookup.live_pods[name] = {**cluster.lookup.live_pods[name], "status": evicted}
    cluster.now = cluster.now.replace(second=30)
    cluster.decide(Changes(pods={name: cluster.lookup.live_pods[name]}))
    assert cluster.nodes()["wf(0)"] == "Failed"
    assert cluster.running_pods() == ["wf(1)"]


def test_a_memoized_node_with_retries_is_a_retry_node_from_the_start() -> None:
    cache = {"key": "k", "cache": {"configMap": {"name": "cache"}}}
    cluster = Cluster(retried(memoize=cache))
    cluster.decide()
    nodes = cluster.workflow["status"]["nodes"]
    assert nodes["wf"]["type"] == "Retry"
    assert cluster.running_pods() == ["wf(0)"]
    cluster.succeed("wf(0)")
    assert cluster.phase == "Succeeded"


def test_keys_are_read_in_any_case() -> None:
    given = {"parameters": [{"name": "x", "valueFrom": {"Parameter": "{{steps.a.outputs.result}}"}}]}
    assert canonical(given, OUTPUTS)["parameters"][0]["valueFrom"] == {"parameter": "{{steps.a.outputs.result}}"}


def test_a_daemon_as_entrypoint_succeeds_once_it_is_ready() -> None:
    cluster = Cluster({"entrypoint": "main", "templates": [container("main", daemon=True)]})
    cluster.decide()
    cluster.set_pod("wf", "Running")
    assert cluster.nodes()["wf"] == "Succeeded"
    assert cluster.phase == "Succeeded"
