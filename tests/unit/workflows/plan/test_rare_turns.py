"""Rules that show only where two rare things meet: each was asked of the original's controller, then written down."""

from __future__ import annotations

from typing import Any

from tests.unit.workflows.kit import Cluster, container
from tiphys.workflows.observe import Changes
from tiphys.workflows.plan import rerun
from tiphys.workflows.settings import Settings

WORK = container("work")
SAY = {"name": "say", "script": {"image": "python", "command": ["python"], "source": "print(1)"}}
REPORTED = "workflows.argoproj.io/report-outputs-completed"


def begin(*templates: dict[str, Any], **spec: Any) -> Cluster:
    made = {"entrypoint": templates[0]["name"], "templates": [*templates, WORK], **spec}
    cluster = Cluster(made, Settings(executor="in-pod"))
    cluster.decide()
    return cluster


def steps(*groups: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {"name": "main", "steps": [[{"template": "work", **step} for step in group] for group in groups], **more}


def dag(*tasks: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": "main", "dag": {"tasks": [{"template": "work", **task} for task in tasks]}, **more}


def node(cluster: Cluster, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(n for n in cluster.workflow["status"]["nodes"].values() if n["name"] == name)
    return found


def run_unreported(cluster: Cluster, name: str) -> None:
    """The pod of a node runs, and what it puts out is not reported yet."""
    node_id, pod = node(cluster, name)["id"], cluster.pod_of(name)
    result = {"metadata": {"name": node_id, "labels": {REPORTED: "false"}}}
    running = {**cluster.lookup.live_pods[pod], "status": {"phase": "Running"}}
    cluster.lookup.results[node_id], cluster.lookup.live_pods[pod] = result, running
    cluster.decide(Changes(pods={pod: running}, task_results={node_id: result}))


def evict(cluster: Cluster, name: str) -> None:
    pod = cluster.pod_of(name)
    status = {"phase": "Failed", "reason": "Evicted", "message": "low on memory"}
    cluster.lookup.live_pods[pod] = {**cluster.lookup.live_pods[pod], "status": status}
    cluster.decide(Changes(pods={pod: cluster.lookup.live_pods[pod]}))


def lose_pod(cluster: Cluster, name: str) -> None:
    pod = cluster.pod_of(name)
    del cluster.lookup.live_pods[pod]
    cluster.advance(60)
    cluster.decide(Changes(pods={pod: None}))


def stop(cluster: Cluster) -> None:
    cluster.workflow = {**cluster.workflow, "spec": {**cluster.workflow["spec"], "shutdown": "Stop"}}
    cluster.decide(Changes(workflow=cluster.workflow))


def test_an_eviction_ends_what_fails_fast_at_once() -> None:
    cluster = begin(steps([{"name": "a", "withItems": [1, 2]}], parallelism=1, failFast=True))
    run_unreported(cluster, "wf[0].a(0:1)")
    evict(cluster, "wf[0].a(0:1)")
    assert cluster.phase == "Failed"


def test_an_eviction_makes_room_under_a_limit_before_its_result_is_given_up() -> None:
    cluster = begin(steps([{"name": "a", "withItems": [1, 2, 3]}]), parallelism=1)
    run_unreported(cluster, "wf[0].a(0:1)")
    evict(cluster, "wf[0].a(0:1)")
    assert node(cluster, "wf[0].a(0:1)")["taskResultSynced"] is False
    assert cluster.nodes()["wf[0].a(1:2)"] == "Pending"
    cluster.set_pod("wf[0].a(1:2)", "Running")
    assert node(cluster, "wf[0].a(0:1)")["taskResultSynced"] is True


def test_a_pod_made_again_takes_its_place_under_a_limit() -> None:
    cluster = begin(steps([{"name": "a", "withItems": [1, 2, 3, 4]}]), parallelism=2)
    run_unreported(cluster, "wf[0].a(0:1)")
    cluster.set_pod("wf[0].a(1:2)", "Running")
    pod = cluster.pod_of("wf[0].a(0:1)")
    del cluster.lookup.live_pods[pod]
    cluster.advance(60)
    ended = cluster.lookup.live_pods[cluster.pod_of("wf[0].a(1:2)")]
    ended = {**ended, "status": {"phase": "Succeeded"}}
    cluster.lookup.live_pods[ended["metadata"]["name"]] = ended
    cluster.decide(Changes(pods={pod: None, ended["metadata"]["name"]: ended}))
    assert cluster.running_pods() == ["wf[0].a(0:1)", "wf[0].a(2:3)"]


def test_a_daemon_whose_pod_went_fails_its_group() -> None:
    served = [{"name": "server", "template": "server"}]
    cluster = begin(steps(served, [{"name": "client"}]), container("server", daemon=True))
    cluster.set_pod("wf[0].server", "Running")
    cluster.set_pod("wf[1].client", "Running")
    lose_pod(cluster, "wf[0].server")
    assert cluster.nodes()["wf[0]"] == "Failed"
    assert node(cluster, "wf[0].server")["message"] == "pod deleted"


def test_a_task_whose_items_lack_a_field_is_in_error() -> None:
    listing = container("listing", outputs={"parameters": [{"name": "all", "valueFrom": {"path": "/all"}}]})
    arguments = {"parameters": [{"name": "id", "value": "{{item.id}}"}]}
    items = "{{tasks.a.outputs.parameters.all}}"
    then = {"name": "b", "depends": "a", "withParam": items, "arguments": arguments}
    cluster = begin(dag({"name": "a", "template": "listing"}, then), listing)
    cluster.succeed("wf.a", {"parameters": [{"name": "all", "value": '[{"name": "x"}]'}]})
    assert cluster.phase == "Error"
    assert node(cluster, "wf.b")["message"] == "failed to resolve {{item.id}}"


def test_a_stopped_retry_leaves_its_attempt_as_it_is() -> None:
    cluster = begin(steps([{"name": "a"}], retryStrategy={"limit": 2}))
    run_unreported(cluster, "wf(0)[0].a")
    stop(cluster)
    cluster.fail("wf(0)[0].a", 143)
    assert (cluster.phase, cluster.nodes()["wf"], cluster.nodes()["wf(0)"]) == ("Failed", "Failed", "Running")


def test_an_exit_handler_whose_pod_went_gets_another_though_the_workflow_is_stopped() -> None:
    cluster = begin(container("main"), container("bye"), onExit="bye")
    run_unreported(cluster, "wf")
    stop(cluster)
    cluster.fail("wf", 143)
    run_unreported(cluster, "wf.onExit")
    lose_pod(cluster, "wf.onExit")
    pod = cluster.pod_of("wf.onExit")
    cluster.decide(Changes(pods={pod: cluster.lookup.live_pods[pod]}))
    assert cluster.nodes()["wf.onExit"] == "Pending"


def test_a_stopped_task_with_a_lock_says_why_though_its_lock_forgets() -> None:
    locked = container("locked", synchronization={"mutexes": [{"name": "m"}]})
    cluster = begin(dag({"name": "a", "template": "locked"}), locked)
    run_unreported(cluster, "wf.a")
    stop(cluster)
    assert node(cluster, "wf.a")["message"] == "workflow shutdown with strategy:  Stop"


def test_what_never_began_says_so_again_when_it_is_retried() -> None:
    value = {"configMapKeyRef": {"name": "none", "key": "k"}}
    cluster = begin(container("main", inputs={"parameters": [{"name": "p", "valueFrom": value}]}))
    said = cluster.workflow["status"]["message"]
    assert said.startswith("error in entry template execution: ")
    cluster.workflow, _ = rerun.retry(cluster.workflow, cluster.now)
    cluster.decide(Changes(workflow=cluster.workflow))
    assert cluster.workflow["status"]["message"] == said


def test_the_result_of_an_earlier_attempt_says_nothing_about_what_is_omitted_now() -> None:
    cluster = begin(dag({"name": "a"}, {"name": "b", "depends": "a.Failed"}))
    cluster.fail("wf.a")
    outputs = {"parameters": [{"name": "p", "value": "1"}]}
    cluster.set_pod("wf.b", "Failed", 1, outputs)
    cluster.workflow, _ = rerun.retry(cluster.workflow, cluster.now)
    cluster.decide(Changes(workflow=cluster.workflow))
    cluster.succeed("wf.a")
    assert cluster.phase == "Succeeded"
    assert "outputs" not in node(cluster, "wf.b")


def test_a_back_off_is_over_at_its_very_end() -> None:
    cluster = begin(container("main", retryStrategy={"limit": 1, "backoff": {"duration": "15s"}}))
    cluster.fail("wf(0)")
    cluster.advance(14)
    assert "wf(1)" not in cluster.nodes()
    cluster.advance(1)
    assert cluster.nodes()["wf(1)"] == "Pending"


def test_a_back_off_is_over_when_the_workflow_has_no_time_left() -> None:
    retried = container("main", retryStrategy={"limit": 1, "backoff": {"duration": "10m"}})
    cluster = begin(retried, activeDeadlineSeconds=60)
    cluster.fail("wf(0)")
    cluster.advance(61)
    assert cluster.phase == "Failed"
    assert node(cluster, "wf")["message"] == "retry exceeded workflow deadline 2026-01-01 00:01:00 +0000 UTC"


def test_results_of_loops_in_a_dag_must_be_json_though_nobody_asks_for_them() -> None:
    looped = {"name": "a", "template": "say", "withItems": [1]}
    cluster = begin(dag(looped, {"name": "b", "depends": "a"}), SAY)
    cluster.set_pod("wf.a(0:1)", "Succeeded", 0, {"result": "hello"})
    assert cluster.phase == "Error"
    assert node(cluster, "wf.b")["message"] == "invalid character 'h' looking for beginning of value"


def test_steps_go_on_in_their_own_order_under_a_limit() -> None:
    pair = {"name": "pair", "steps": [[{"name": "x", "template": "say"}], [{"name": "y", "template": "say"}]]}
    cluster = begin(steps([{"name": name, "template": "pair"} for name in ("a", "b")]), pair, SAY, parallelism=1)
    run_unreported(cluster, "wf[0].a[0].x")
    lose_pod(cluster, "wf[0].a[0].x")
    run_unreported(cluster, "wf[0].b[0].x")
    cluster.succeed("wf[0].b[0].x")
    assert cluster.nodes()["wf[0].a"] == "Failed"
    assert cluster.running_pods() == ["wf[0].b[1].y"]


def test_an_exit_handler_that_is_terminated_says_nothing_of_a_workflow_from_a_template() -> None:
    templates = [container("main"), container("bye")]
    whole = {"metadata": {"name": "whole"}, "spec": {"entrypoint": "main", "onExit": "bye", "templates": templates}}
    spec = {"workflowTemplateRef": {"name": "whole"}}
    cluster = Cluster(spec, Settings(executor="in-pod"), workflow_templates={"whole": whole})
    cluster.decide()
    cluster.succeed("wf")
    run_unreported(cluster, "wf.onExit")
    cluster.workflow = {**cluster.workflow, "spec": {**spec, "shutdown": "Terminate"}}
    cluster.decide(Changes(workflow=cluster.workflow))
    cluster.fail("wf.onExit", 143)
    assert (cluster.phase, cluster.nodes()["wf.onExit"]) == ("Succeeded", "Failed")


def test_a_hook_of_a_loop_starts_with_it_though_others_depend_on_the_loop() -> None:
    hooks = {"begins": {"template": "work", "expression": 'tasks["a"].status == "Running"'}}
    cluster = begin(dag({"name": "a", "withItems": [1], "hooks": hooks}, {"name": "b", "depends": "a"}))
    assert cluster.running_pods() == ["wf.a(0:1)", "wf.a.hooks.begins"]
