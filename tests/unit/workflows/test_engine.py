"""The engine from outside: specs in, pods and phases out."""

from __future__ import annotations

from tests.unit.workflows.kit import Cluster, container
from tiphys.workflows.observe import Changes


def test_a_single_container_runs_and_succeeds() -> None:
    cluster = Cluster({"entrypoint": "main", "templates": [container("main")]})
    cluster.decide()
    assert cluster.running_pods() == ["wf"]
    cluster.set_pod("wf", "Running")
    cluster.succeed("wf")
    assert cluster.phase == "Succeeded"
    assert cluster.run.status()["nodes"]["wf"]["outputs"] == {"exitCode": "0"}


def test_steps_run_groups_one_after_another() -> None:
    steps = [[{"name": "a", "template": "t"}, {"name": "b", "template": "t"}], [{"name": "c", "template": "t"}]]
    cluster = Cluster({"entrypoint": "main", "templates": [{"name": "main", "steps": steps}, container("t")]})
    cluster.decide()
    assert cluster.running_pods() == ["wf[0].a", "wf[0].b"]
    cluster.succeed("wf[0].a")
    assert "wf[1]" not in cluster.nodes()
    cluster.succeed("wf[0].b")
    assert cluster.running_pods() == ["wf[1].c"]
    cluster.succeed("wf[1].c")
    assert cluster.phase == "Succeeded"


def test_a_failed_step_fails_its_group_after_the_others_ended() -> None:
    steps = [[{"name": "a", "template": "t"}, {"name": "b", "template": "t"}], [{"name": "c", "template": "t"}]]
    cluster = Cluster({"entrypoint": "main", "templates": [{"name": "main", "steps": steps}, container("t")]})
    cluster.decide()
    cluster.fail("wf[0].a")
    assert cluster.phase == "Running"
    cluster.succeed("wf[0].b")
    assert cluster.phase == "Failed"
    assert "wf[1]" not in cluster.nodes()


def test_a_dag_starts_what_is_ready_and_omits_what_cannot_run() -> None:
    tasks = [
        {"name": "a", "template": "t"},
        {"name": "b", "template": "t", "depends": "a"},
        {"name": "c", "template": "t", "depends": "a.Failed"},
    ]
    cluster = Cluster({"entrypoint": "main", "templates": [{"name": "main", "dag": {"tasks": tasks}}, container("t")]})
    cluster.decide()
    assert cluster.running_pods() == ["wf.a"]
    cluster.succeed("wf.a")
    assert cluster.running_pods() == ["wf.b"]
    assert cluster.nodes()["wf.c"] == "Omitted"
    cluster.succeed("wf.b")
    assert cluster.phase == "Succeeded"


def test_outputs_travel_between_steps() -> None:
    producer = container("p", outputs={"parameters": [{"name": "x", "valueFrom": {"path": "/x"}}]})
    consumer = container("c", inputs={"parameters": [{"name": "y"}]})
    consumer["container"] = {"image": "busybox", "command": ["echo", "{{inputs.parameters.y}}"]}
    argument = {"name": "y", "value": "{{steps.a.outputs.parameters.x}}"}
    steps = [
        [{"name": "a", "template": "p"}],
        [{"name": "b", "template": "c", "arguments": {"parameters": [argument]}}],
    ]
    cluster = Cluster({"entrypoint": "main", "templates": [{"name": "main", "steps": steps}, producer, consumer]})
    cluster.decide()
    cluster.succeed("wf[0].a", {"parameters": [{"name": "x", "value": "hello"}]})
    pod = cluster.lookup.live_pods[cluster.pod_of("wf[1].b")]
    assert pod["spec"]["containers"][0]["command"] == ["echo", "hello"]


def test_retries_until_the_limit() -> None:
    template = container("main", retryStrategy={"limit": 1})
    cluster = Cluster({"entrypoint": "main", "templates": [template]})
    cluster.decide()
    cluster.fail("wf(0)")
    assert cluster.running_pods() == ["wf(1)"]
    cluster.fail("wf(1)")
    assert cluster.phase == "Failed"
    assert cluster.workflow["status"]["message"] == "No more retries left"


def test_the_exit_handler_runs_after_failure_and_does_not_rescue() -> None:
    cluster = Cluster({"entrypoint": "main", "onExit": "bye", "templates": [container("main"), container("bye")]})
    cluster.decide()
    cluster.fail("wf")
    assert cluster.running_pods() == ["wf.onExit"]
    cluster.succeed("wf.onExit")
    assert cluster.phase == "Failed"


def test_parallelism_holds_pods_back() -> None:
    steps = [[{"name": "a", "template": "t", "withItems": [1, 2, 3]}]]
    spec = {"entrypoint": "main", "parallelism": 2, "templates": [{"name": "main", "steps": steps}, container("t")]}
    cluster = Cluster(spec)
    cluster.decide()
    assert len(cluster.running_pods()) == 2
    cluster.succeed("wf[0].a(0:1)")
    assert cluster.running_pods() == ["wf[0].a(1:2)", "wf[0].a(2:3)"]


def test_a_suspended_node_resumes_after_its_duration() -> None:
    cluster = Cluster({"entrypoint": "main", "templates": [{"name": "main", "suspend": {"duration": "10"}}]})
    plan = cluster.decide()
    assert plan.wake_at is not None
    cluster.advance(11)
    assert cluster.phase == "Succeeded"


def test_a_reload_after_every_step_ends_the_same() -> None:
    tasks = [{"name": "a", "template": "t"}, {"name": "b", "template": "t", "depends": "a"}]
    cluster = Cluster({"entrypoint": "main", "templates": [{"name": "main", "dag": {"tasks": tasks}}, container("t")]})
    cluster.decide()
    cluster.reload()
    cluster.decide()
    cluster.succeed("wf.a")
    cluster.reload()
    cluster.decide()
    cluster.succeed("wf.b")
    assert cluster.phase == "Succeeded"
    assert len(cluster.created) == 2


def test_the_status_patch_names_only_what_changed() -> None:
    steps = [[{"name": "a", "template": "t"}, {"name": "b", "template": "t"}]]
    cluster = Cluster({"entrypoint": "main", "templates": [{"name": "main", "steps": steps}, container("t")]})
    cluster.decide()
    plan = cluster.set_pod("wf[0].a", "Running")
    patch = next(a.patch for a in plan.actions if a.__class__.__name__ == "Patch")
    (changed,) = patch["status"]["nodes"].values()
    assert changed == {"phase": "Running"}
    assert patch["metadata"]["resourceVersion"] == "1"


def test_a_pod_that_is_seen_before_the_result_it_names_is_not_the_end_of_its_node() -> None:
    steps = [
        [{"name": "a", "template": "t"}],
        [{"name": "b", "template": "t", "when": "{{steps.a.outputs.result}} == yes"}],
    ]
    cluster = Cluster({"entrypoint": "main", "templates": [{"name": "main", "steps": steps}, container("t")]})
    cluster.decide()
    name = cluster.pod_of("wf[0].a")
    pod = cluster.lookup.live_pods[name]
    node_id = pod["metadata"]["annotations"]["workflows.argoproj.io/node-id"]
    annotations = {**pod["metadata"]["annotations"], "workflows.argoproj.io/reported-in": node_id}
    state = {"terminated": {"exitCode": 0, "reason": "Completed", "finishedAt": "2026-01-01T00:00:00Z"}}
    status = {"phase": "Succeeded", "containerStatuses": [{"name": "main", "state": state}]}
    ended = {**pod, "metadata": {**pod["metadata"], "annotations": annotations}, "status": status}
    cluster.lookup.live_pods[name] = ended
    cluster.decide(Changes(pods={name: ended}))
    assert cluster.nodes()["wf[0].a"] == "Pending"
    labels = {"workflows.argoproj.io/report-outputs-completed": "true"}
    result = {"metadata": {"name": node_id, "labels": labels}, "outputs": {"result": "yes"}}
    cluster.decide(Changes(task_results={node_id: result}))
    assert cluster.nodes()["wf[0].a"] == "Succeeded"
    assert cluster.running_pods() == ["wf[1].b"]
