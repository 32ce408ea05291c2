"""What seeds of the simulation found, each as the smallest workflow that shows it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.workflows.kit import Cluster, container
from tiphys.machinery.actions import Create, Patch
from tiphys.machinery.resources import CONFIG_MAPS, PODS, WORKFLOWS
from tiphys.workflows.observe import Changes
from tiphys.workflows.plan.engine import Run
from tiphys.workflows.plan.locks import LockTable

ENDED = 'tasks["a"].status == "Succeeded" || tasks["a"].status == "Failed"'
RUNS = 'workflow.status == "Running"'


def cluster_of(entry: dict[str, Any], *templates: dict[str, Any], **spec: Any) -> Cluster:
    return Cluster({"entrypoint": "main", "templates": [{"name": "main", **entry}, *templates], **spec})


def test_a_retried_hook_of_a_retried_root_is_no_attempt_of_it() -> None:
    once = {"retryStrategy": {"limit": "1"}}
    cluster = Cluster(
        {
            "entrypoint": "main",
            "templates": [container("main", **once), container("hook", **once)],
            "hooks": {"runs": {"expression": RUNS, "template": "hook"}},
        }
    )
    cluster.decide()
    cluster.set_pod("wf(0)", "Running")
    assert cluster.running_pods() == ["wf(0)", "wf.hooks.runs(0)"]


def test_a_hook_that_parallelism_keeps_waiting_ends_nothing() -> None:
    tasks = [{"name": "a", "template": "t", "hooks": {"ended": {"expression": ENDED, "template": "t"}}}]
    tasks.append({"name": "b", "template": "t"})
    cluster = cluster_of({"dag": {"tasks": tasks}}, container("t"), parallelism=1)
    cluster.decide()
    cluster.succeed("wf.a")
    while cluster.running_pods():
        cluster.succeed(cluster.running_pods()[0])
    assert cluster.phase == "Succeeded"
    assert cluster.nodes()["wf.a.hooks.ended"] == "Succeeded"


def test_a_hook_of_the_workflow_that_parallelism_keeps_waiting_does_not_end_it() -> None:
    entry = {"steps": [[{"name": "a", "template": "t"}]]}
    hooks = {"runs": {"expression": RUNS, "template": "again"}}
    again = container("again", retryStrategy={"limit": "1"})
    cluster = cluster_of(entry, container("t"), again, parallelism=2, hooks=hooks)
    cluster.decide()
    cluster.set_pod("wf[0].a", "Running")
    cluster.set_pod("wf.hooks.runs(0)", "Running")
    assert cluster.phase == "Running"
    cluster.succeed("wf[0].a")
    cluster.succeed("wf.hooks.runs(0)")
    assert cluster.phase == "Succeeded"


def test_a_dag_does_not_end_before_a_hook_of_its_last_task() -> None:
    hook = {"ended": {"expression": ENDED, "template": "t"}}
    tasks: list[dict[str, Any]] = [{"name": "a", "template": "again", "hooks": hook}]
    tasks.append({"name": "b", "template": "t", "dependencies": ["a"]})
    again = container("again", retryStrategy={"limit": "0", "retryPolicy": "Always"})
    cluster = cluster_of({"dag": {"failFast": False, "tasks": tasks}}, container("t"), again)
    cluster.decide()
    cluster.fail("wf.a(0)")
    assert cluster.running_pods() == ["wf.a.hooks.ended"]
    cluster.succeed("wf.a.hooks.ended")
    assert cluster.phase == "Failed"


def test_a_pod_of_an_earlier_life_has_its_place_before_its_node_is_known() -> None:
    tasks = [{"name": name, "template": "t"} for name in "ab"]
    cluster = cluster_of({"dag": {"tasks": tasks}}, container("t"), parallelism=1)
    stored = cluster.workflow
    cluster.decide()
    cluster.workflow = stored  # the pod was made, the status was not written
    cluster.reload()
    cluster.decide()
    assert cluster.running_pods() == ["wf.a"]
    cluster.succeed("wf.a")
    assert cluster.running_pods() == ["wf.b"]


def test_a_stop_leaves_no_attempt_that_takes_a_place() -> None:
    inner = {"name": "inner", "dag": {"tasks": [{"name": "x", "template": "t"}]}, "retryStrategy": {"limit": "1"}}
    steps = [[{"name": "a", "template": "inner"}, {"name": "b", "template": "t"}]]
    cluster = cluster_of({"steps": steps, "parallelism": 1}, inner, container("t"))
    cluster.decide()
    cluster.workflow = {**cluster.workflow, "spec": {**cluster.workflow["spec"], "shutdown": "Stop"}}
    cluster.lookup.live_pods = {
        name: {**pod, "status": {"phase": "Succeeded"}} for name, pod in cluster.lookup.live_pods.items()
    }
    cluster.reload()
    cluster.decide()
    cluster.advance(60)
    assert cluster.phase == "Failed"


def test_a_pod_of_an_earlier_life_does_not_keep_back_the_suspend_before_it() -> None:
    pause = {"name": "pause", "suspend": {"duration": "30s"}}
    steps = [[{"name": "a", "template": "pause"}], [{"name": "b", "template": "t"}]]
    cluster = cluster_of({"steps": steps}, pause, container("t"), parallelism=1)
    cluster.decide()
    stored = cluster.workflow
    cluster.advance(60)
    cluster.workflow = stored  # the pod was made, the status was not written
    cluster.reload()
    cluster.decide()
    assert cluster.nodes()["wf[0].a"] == "Succeeded"
    cluster.succeed("wf[1].b")
    assert cluster.phase == "Succeeded"


def test_a_pod_of_an_earlier_life_does_not_keep_back_the_retried_step_before_it() -> None:
    steps = [[{"name": "a", "template": "again"}], [{"name": "b", "template": "t"}]]
    cluster = cluster_of(
        {"steps": steps}, container("again", retryStrategy={"limit": "1"}), container("t"), parallelism=1
    )
    cluster.decide()
    stored, name, before = cluster.workflow, cluster.pod_of("wf[0].a(0)"), dict(cluster.lookup.live_pods)
    cluster.succeed("wf[0].a(0)")
    cluster.workflow = stored
    cluster.lookup.live_pods[name] = {**before[name], "status": {"phase": "Succeeded"}}  # clean-up comes later
    cluster.reload()
    cluster.decide()
    cluster.succeed("wf[1].b")
    assert cluster.phase == "Succeeded"


def test_a_new_attempt_waits_for_a_pod_of_an_earlier_life() -> None:
    tasks = [{"name": "a", "template": "again"}, {"name": "b", "template": "t"}]
    cluster = cluster_of(
        {"dag": {"tasks": tasks}}, container("again", retryStrategy={"limit": "1"}), container("t"), parallelism=2
    )
    cluster.decide()
    assert cluster.running_pods() == ["wf.a(0)", "wf.b"]
    cluster.workflow = {**cluster.workflow, "spec": {**cluster.workflow["spec"], "parallelism": 1}}
    nodes = {name: n for name, n in cluster.workflow["status"]["nodes"].items() if n["name"] != "wf.b"}
    cluster.workflow["status"] = {**cluster.workflow["status"], "nodes": nodes}
    cluster.reload()
    cluster.fail("wf.a(0)")
    assert "wf.a(1)" not in cluster.running_pods()
    cluster.succeed("wf.b")
    cluster.succeed("wf.a(1)")
    assert cluster.phase == "Succeeded"


def test_a_loop_does_not_end_while_items_wait_for_the_exit_handler_of_an_earlier_one() -> None:
    memo = {"key": "k{{inputs.parameters.i}}", "maxAge": "1h", "cache": {"configMap": {"name": "c"}}}
    once = container("once", inputs={"parameters": [{"name": "i"}]}, memoize=memo)
    task = {"name": "a", "template": "once", "withItems": [0, 1], "hooks": {"exit": {"template": "t"}}}
    task["arguments"] = {"parameters": [{"name": "i", "value": "{{item}}"}]}
    at = "2026-01-01T00:00:00Z"
    entry = json.dumps({"nodeID": "x", "outputs": {}, "creationTimestamp": at, "lastHitTimestamp": at})
    labels = {"workflows.argoproj.io/configmap-type": "Cache"}
    cache = {"metadata": {"name": "c", "labels": labels}, "data": {"k0": entry}}
    spec = {"entrypoint": "main", "templates": [{"name": "main", "dag": {"tasks": [task]}}, once, container("t")]}
    cluster = Cluster(spec, config_maps={"c": cache})
    cluster.decide()
    cluster.succeed("wf.a(0:0).onExit")
    assert cluster.running_pods() == ["wf.a(1:1)"]


def test_an_ended_pod_of_an_earlier_life_does_not_keep_back_the_memoized_step_before_it() -> None:
    memo = {"key": "k", "maxAge": "1h", "cache": {"configMap": {"name": "c"}}}
    at = "2026-01-01T00:00:00Z"
    entry = json.dumps({"nodeID": "x", "outputs": {}, "creationTimestamp": at, "lastHitTimestamp": at})
    cache = {"metadata": {"name": "c", "labels": {"workflows.argoproj.io/configmap-type": "Cache"}}}
    main = {"name": "main", "steps": [[{"name": "a", "template": "once"}], [{"name": "b", "template": "t"}]]}
    spec = {"entrypoint": "main", "templates": [main, container("once", memoize=memo), container("t")]}
    cluster = Cluster({**spec, "parallelism": 1}, config_maps={"c": {**cache, "data": {"k": entry}}})
    stored = cluster.workflow
    cluster.decide()
    assert cluster.running_pods() == ["wf[1].b"]
    cluster.workflow = stored  # the pod was made, the status was not written
    name = cluster.pod_of("wf[1].b")
    cluster.lookup.live_pods[name] = {**cluster.lookup.live_pods[name], "status": {"phase": "Succeeded"}}
    cluster.reload()
    cluster.decide()
    assert cluster.phase == "Succeeded"


def test_terminate_ends_an_exit_handler_whose_pod_was_never_made() -> None:
    task = {"name": "a", "template": "t", "hooks": {"exit": {"template": "again"}}}
    cluster = cluster_of({"dag": {"tasks": [task]}}, container("t"), container("again", retryStrategy={"limit": "1"}))
    cluster.decide()
    cluster.succeed("wf.a")
    cluster.lookup.live_pods.clear()  # the node was stored, its pod not made
    cluster.workflow = {**cluster.workflow, "spec": {**cluster.workflow["spec"], "shutdown": "Terminate"}}
    cluster.reload()
    cluster.decide()
    assert cluster.nodes()["wf.a.onExit"] == "Failed"
    assert cluster.phase == "Failed"


@pytest.mark.parametrize("last", ["wf.b", "wf.a(0:0).onExit"])
def test_the_exit_handler_of_a_loop_runs_whichever_of_its_dag_ends_last(last: str) -> None:
    loop = {"name": "a", "template": "t", "withItems": [0], "hooks": {"exit": {"template": "t"}}}
    cluster = cluster_of({"dag": {"tasks": [loop, {"name": "b", "template": "t"}]}}, container("t"))
    cluster.decide()
    cluster.succeed("wf.a(0:0)")
    for name in sorted(("wf.b", "wf.a(0:0).onExit"), key=last.__eq__):
        cluster.succeed(name)
    assert cluster.running_pods() == ["wf.a.onExit"]
    cluster.succeed("wf.a.onExit")
    assert cluster.phase == "Succeeded"


def test_a_lock_is_stored_before_the_pod_that_holds_it_is_made() -> None:
    locked = container("t", synchronization={"mutexes": [{"name": "m"}]})
    plan = cluster_of({"steps": [[{"name": "a", "template": "t"}]]}, locked).decide()
    kinds = [[action.resource for action in stage if isinstance(action, Create | Patch)] for stage in plan.stages]
    assert kinds.index([WORKFLOWS]) < kinds.index([PODS])


@pytest.mark.parametrize("reloaded", [False, True])
@pytest.mark.parametrize("shape", [{"when": "1 == 2"}, {"when": "1 == 2", "withItems": [0]}, {"template": "once"}])
def test_the_hook_of_a_task_that_ends_as_it_begins_runs_at_once(shape: dict[str, Any], reloaded: bool) -> None:
    hook = {"expression": f'{ENDED} || tasks["a"].status == "Skipped"', "template": "t"}
    after = "(a.Succeeded || a.Skipped)"
    tasks = [
        {"name": "a", "template": "t", "hooks": {"ended": hook}, **shape},
        {"name": "b", "template": "t"},
        {"name": "c", "template": "t", "depends": after},
        {"name": "d", "template": "t", "depends": f"{after} && b"},
    ]
    memo = {"key": "k", "cache": {"configMap": {"name": "c"}}}
    at = "2026-01-01T00:00:00Z"
    entry = json.dumps({"nodeID": "x", "outputs": {}, "creationTimestamp": at, "lastHitTimestamp": at})
    cache = {"metadata": {"name": "c", "labels": {"workflows.argoproj.io/configmap-type": "Cache"}}}
    templates = [{"name": "main", "dag": {"tasks": tasks}}, container("once", memoize=memo), container("t")]
    spec = {"entrypoint": "main", "templates": templates}
    cluster = Cluster(spec, config_maps={"c": {**cache, "data": {"k": entry}}})
    cluster.decide()
    assert cluster.running_pods() == ["wf.a.hooks.ended", "wf.b", "wf.c"]
    if reloaded:
        cluster.reload()
    cluster.succeed("wf.b")
    assert cluster.running_pods() == ["wf.a.hooks.ended", "wf.c"]  # d waits for the hook as well
    cluster.succeed("wf.a.hooks.ended")
    assert cluster.running_pods() == ["wf.c", "wf.d"]


def test_an_exit_handler_of_a_copy_ends_though_its_loop_had_ended_before_the_controller_came_back() -> None:
    loop = {"name": "a", "template": "t", "withItems": [0], "hooks": {"exit": {"template": "again"}}}
    again = container("again", retryStrategy={"limit": "1"})
    cluster = cluster_of({"dag": {"tasks": [loop, {"name": "b", "template": "t"}]}}, container("t"), again)
    cluster.decide()
    cluster.succeed("wf.a(0:0)")
    cluster.succeed("wf.b")
    assert cluster.nodes()["wf.a"] == "Succeeded"
    assert cluster.running_pods() == ["wf.a(0:0).onExit(0)", "wf.a.onExit(0)"]
    cluster.reload()
    cluster.decide()
    cluster.succeed("wf.a.onExit(0)")
    cluster.succeed("wf.a(0:0).onExit(0)")
    assert cluster.phase == "Succeeded"


def test_a_stored_node_keeps_its_place_while_its_pod_is_not_seen() -> None:
    later = {"retryStrategy": {"limit": "1", "backoff": {"duration": "1s"}}}
    spec = {"entrypoint": "main", "templates": [container("main", **later), container("hook")], "parallelism": 1}
    # Not on a retried root: see the generator of the simulation.
    spec["templates"].append({"name": "steps", "steps": [[{"name": "a", "template": "main"}]]})
    cluster = Cluster({**spec, "entrypoint": "steps", "hooks": {"runs": {"expression": RUNS, "template": "hook"}}})
    cluster.decide()
    cluster.fail("wf[0].a(0)")
    assert cluster.running_pods() == ["wf.hooks.runs"]
    cluster.lookup.live_pods.clear()  # it was made, but the answer was lost and no watch has told of it
    cluster.reload()
    cluster.advance(2)
    assert cluster.running_pods() == ["wf.hooks.runs"]
    cluster.succeed("wf.hooks.runs")
    assert cluster.running_pods() == ["wf[0].a(1)"]
    cluster.succeed("wf[0].a(1)")
    assert cluster.phase == "Succeeded"


def test_the_cache_of_a_memoized_node_is_not_asked_again_once_it_has_its_lock() -> None:
    memo = {"key": "k", "maxAge": "1h", "cache": {"configMap": {"name": "c"}}}
    once = container("once", memoize=memo, synchronization={"mutexes": [{"name": "m"}]})
    tasks = [{"name": "a", "template": "once"}, {"name": "b", "template": "t"}]
    spec = {"entrypoint": "main", "templates": [{"name": "main", "dag": {"tasks": tasks}}, once, container("t")]}
    cluster = Cluster(spec)
    cluster.decide()
    cluster.set_pod("wf.a", "Running")
    at = "2026-01-01T00:00:00Z"
    entry = json.dumps({"nodeID": "x", "outputs": {}, "creationTimestamp": at, "lastHitTimestamp": at})
    labels = {"workflows.argoproj.io/configmap-type": "Cache"}
    cluster.lookup.config_maps["c"] = {"metadata": {"name": "c", "labels": labels}, "data": {"k": entry}}
    cluster.reload()
    cluster.succeed("wf.b")
    assert cluster.nodes()["wf.a"] == "Running"
    cluster.succeed("wf.a")
    assert cluster.phase == "Succeeded"


def test_a_lock_that_went_on_in_a_decision_that_was_not_stored_goes_back() -> None:
    locked = {"synchronization": {"mutexes": [{"name": "m"}]}}
    templates = [container("again", retryStrategy={"limit": "1"}, **locked), container("t", **locked)]
    steps = [[{"name": "a", "template": "again"}], [{"name": "b", "template": "t"}]]
    cluster = cluster_of({"steps": steps}, *templates)
    table = LockTable()
    cluster.run = Run.load(cluster.workflow, cluster.settings, cluster.lookup, table)
    cluster.decide()
    stored, name = cluster.workflow, cluster.pod_of("wf[0].a(0)")
    before = cluster.lookup.live_pods[name]
    cluster.succeed("wf[0].a(0)")
    cluster.workflow, cluster.lookup.live_pods = stored, {name: {**before, "status": {"phase": "Succeeded"}}}
    cluster.run = Run.load(cluster.workflow, cluster.settings, cluster.lookup, table)
    cluster.decide()
    assert cluster.nodes() == {**cluster.nodes(), "wf[0].a": "Succeeded", "wf[1].b": "Pending"}
    cluster.succeed("wf[1].b")
    assert cluster.phase == "Succeeded"


def test_a_lock_given_back_in_a_decision_that_was_not_stored_stays_with_who_took_it_since() -> None:
    wanted = {"mutexes": [{"name": "m"}]}
    cluster = cluster_of({"steps": [[{"name": "a", "template": "t"}]]}, container("t", synchronization=wanted))
    table = LockTable()
    cluster.run = Run.load(cluster.workflow, cluster.settings, cluster.lookup, table)
    cluster.decide()
    [lock] = table.locks.values()
    [holder] = lock.holders
    lock.release(holder, table)
    lock.take("default/other", table)
    table.agree(cluster.workflow)
    assert list(lock.holders) == ["default/other"]
    lock.release("default/other", table)
    table.agree(cluster.workflow)
    assert list(lock.holders) == [holder]


@pytest.mark.parametrize("is_seen_late", [False, True])
def test_a_pod_of_an_earlier_life_and_a_cache_that_has_its_key_since_do_not_quarrel(is_seen_late: bool) -> None:
    once = container("once", memoize={"key": "k", "cache": {"configMap": {"name": "c"}}})
    cluster = cluster_of({"dag": {"tasks": [{"name": name, "template": "once"} for name in "ab"]}}, once)
    stored = cluster.workflow
    cluster.decide()
    cluster.workflow, name = stored, cluster.pod_of("wf.a")  # the pods were made, the status was not written
    at = "2026-01-01T00:00:00Z"
    entry = json.dumps({"nodeID": "x", "outputs": {}, "creationTimestamp": at, "lastHitTimestamp": at})
    labels = {"workflows.argoproj.io/configmap-type": "Cache"}
    cluster.lookup.config_maps["c"] = {"metadata": {"name": "c", "labels": labels}, "data": {"k": entry}}
    pods = dict(cluster.lookup.live_pods)
    if is_seen_late:
        cluster.lookup.live_pods.pop(name)
    cluster.reload()
    cluster.decide()
    assert cluster.nodes() == {"wf": "Running", "wf.a": "Succeeded" if is_seen_late else "Pending", "wf.b": "Pending"}
    cluster.lookup.live_pods.update(pods)
    if is_seen_late:
        cluster.set_pod("wf.a", "Running")
        assert cluster.nodes()["wf.a"] == "Succeeded"
    else:
        cluster.succeed("wf.a")
    cluster.succeed("wf.b")
    assert cluster.phase == "Succeeded"


def test_what_one_decision_puts_into_a_cache_is_one_write() -> None:
    memo = {"key": "k{{inputs.parameters.i}}", "cache": {"configMap": {"name": "c"}}}
    once = container("once", inputs={"parameters": [{"name": "i"}]}, memoize=memo)
    task = {"name": "a", "template": "once", "withItems": [0, 1]}
    task["arguments"] = {"parameters": [{"name": "i", "value": "{{item}}"}]}
    cluster = cluster_of({"dag": {"tasks": [task]}}, once)
    cluster.decide()
    pods = {}
    for name, pod in cluster.lookup.live_pods.items():
        state = {"terminated": {"exitCode": 0, "reason": "Completed", "finishedAt": "2026-01-01T00:00:00Z"}}
        pods[name] = {**pod, "status": {"phase": "Succeeded", "containerStatuses": [{"name": "main", "state": state}]}}
    plan = cluster.decide(Changes(pods=pods))
    [write] = [a for a in plan.actions if isinstance(a, Create | Patch) and a.resource is CONFIG_MAPS]
    assert isinstance(write, Create)
    assert sorted(write.obj["data"]) == ["k0", "k1"]
