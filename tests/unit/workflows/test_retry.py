"""Retried templates where other things meet them: evictions, the cache, daemons."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.workflows.kit import Cluster, container
from tiphys.workflows.observe import Changes
from tiphys.workflows.plan.canonical import CONTAINER, OUTPUTS, canonical


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


def restarting_daemon(main: dict[str, Any]) -> Cluster:
    """A daemon with its first client waiting; the daemon fails and starts again at another address."""
    server = container("server", daemon=True, retryStrategy={"limit": "2"})
    client = container("client", inputs={"parameters": [{"name": "ip"}]}, synchronization={"mutexes": [{"name": "m"}]})
    client["container"]["args"] = ["{{inputs.parameters.ip}}"]
    cluster = Cluster({"entrypoint": "main", "templates": [main, server, client]})
    cluster.decide()
    return cluster


def start(cluster: Cluster, node_name: str, address: str) -> None:
    name = cluster.pod_of(node_name)
    running = {"phase": "Running", "podIP": address}
    cluster.lookup.live_pods[name] = {**cluster.lookup.live_pods[name], "status": running}
    cluster.decide(Changes(pods={name: cluster.lookup.live_pods[name]}))


def arguments_of(cluster: Cluster, node_name: str) -> str:
    pod = cluster.lookup.live_pods[cluster.pod_of(node_name)]
    return str(pod)


@pytest.mark.parametrize("kind", ["steps", "dag"])
def test_clients_of_a_daemon_that_started_again_get_its_new_address(kind: str) -> None:
    parameter = {"name": "ip", "value": f"{{{{{'steps' if kind == 'steps' else 'tasks'}.server.ip}}}}"}
    client = {"name": "client", "template": "client", "arguments": {"parameters": [parameter]}, "withItems": [0, 1]}
    server = {"name": "server", "template": "server"}
    body = [[server], [client]] if kind == "steps" else {"tasks": [server, {**client, "depends": "server"}]}
    at = ("wf[0].", "wf[1].") if kind == "steps" else ("wf.", "wf.")
    cluster = restarting_daemon({"name": "main", kind: body})
    start(cluster, f"{at[0]}server(0)", "10.0.0.1")
    assert "10.0.0.1" in arguments_of(cluster, f"{at[1]}client(0:0)")
    cluster.fail(f"{at[0]}server(0)")
    cluster.succeed(f"{at[1]}client(0:0)")
    assert f"{at[1]}client(1:1)" not in cluster.running_pods()  # nobody knows the address
    start(cluster, f"{at[0]}server(1)", "10.0.0.2")
    assert "10.0.0.2" in arguments_of(cluster, f"{at[1]}client(1:1)")
    cluster.succeed(f"{at[1]}client(1:1)")
    assert cluster.phase == "Succeeded"


def test_quantities_are_written_as_go_writes_them() -> None:
    given = {"name": "c", "image": "i", "resources": {"requests": {"memory": "1024Mi", "cpu": "200m"}}}
    assert canonical(given, CONTAINER)["resources"] == {"requests": {"cpu": "200m", "memory": "1Gi"}}
