"""What runs when: conditions, dependencies, targets, loops, limits, suspension, hooks."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.workflows.kit import Cluster, container
from tiphys.workflows.observe import Changes
from tiphys.workflows.plan import interventions

WORK = container("work")


def of_tasks(*tasks: dict[str, Any], **dag: Any) -> Cluster:
    made = [{"template": "work", **task} for task in tasks]
    cluster = Cluster({"entrypoint": "main", "templates": [{"name": "main", "dag": {"tasks": made, **dag}}, WORK]})
    cluster.decide()
    return cluster


def of_steps(*groups: list[dict[str, Any]], **spec: Any) -> Cluster:
    made = [[{"template": "work", **step} for step in group] for group in groups]
    templates = [{"name": "main", "steps": made}, WORK, *spec.pop("templates", ())]
    cluster = Cluster({"entrypoint": "main", "templates": templates, **spec})
    cluster.decide()
    return cluster


def test_a_step_whose_condition_is_false_is_skipped() -> None:
    cluster = of_steps([{"name": "a", "when": "1 > 2"}, {"name": "b", "when": "2 > 1"}])
    assert cluster.nodes()["wf[0].a"] == "Skipped"
    cluster.succeed("wf[0].b")
    assert cluster.phase == "Succeeded"


def test_the_next_group_runs_after_a_failure_that_may_be_continued_on() -> None:
    cluster = of_steps([{"name": "a", "continueOn": {"failed": True}}], [{"name": "b"}])
    cluster.fail("wf[0].a")
    cluster.succeed("wf[1].b")
    assert cluster.phase == "Succeeded"


@pytest.mark.parametrize(
    ("depends", "a", "runs"),
    [
        ("a.Failed", "fail", True),
        ("a.Failed", "succeed", False),
        ("a.Succeeded || a.Failed", "fail", True),
        ("!a.Succeeded", "fail", True),
        ("a && b", "fail", False),
    ],
)
def test_depends_reads_how_a_task_ended(depends: str, a: str, runs: bool) -> None:
    cluster = of_tasks({"name": "a"}, {"name": "b"}, {"name": "c", "depends": depends}, failFast=False)
    getattr(cluster, a)("wf.a")
    cluster.succeed("wf.b")
    assert ("wf.c" in cluster.running_pods()) is runs
    assert runs or cluster.nodes()["wf.c"] == "Omitted"


def test_only_what_the_target_needs_is_run() -> None:
    tasks = [{"name": "a"}, {"name": "b", "dependencies": ["a"]}, {"name": "c"}]
    cluster = of_tasks(*tasks, target="b")
    cluster.succeed("wf.a")
    cluster.succeed("wf.b")
    assert (cluster.phase, "wf.c" in cluster.nodes()) == ("Succeeded", False)


def test_a_dag_fails_once_what_can_run_has_ended() -> None:
    cluster = of_tasks({"name": "a"}, {"name": "b"}, {"name": "c", "dependencies": ["a"]})
    cluster.fail("wf.a")
    assert (cluster.phase, cluster.nodes()["wf.c"]) == ("Running", "Omitted")
    cluster.succeed("wf.b")
    assert cluster.phase == "Failed"


@pytest.mark.parametrize(
    ("loop", "names"),
    [
        ({"withItems": ["x", 2]}, ["a(0:x)", "a(1:2)"]),
        ({"withItems": [{"k": "v"}]}, ["a(0:k:v)"]),
        ({"withParam": '["p"]'}, ["a(0:p)"]),
        ({"withSequence": {"count": "2", "start": "5"}}, ["a(0:5)", "a(1:6)"]),
    ],
)
def test_a_loop_names_its_copies_by_index_and_item(loop: dict[str, Any], names: list[str]) -> None:
    cluster = of_steps([{"name": "a", **loop}])
    assert cluster.running_pods() == [f"wf[0].{name}" for name in names]


def test_an_empty_loop_is_skipped() -> None:
    cluster = of_steps([{"name": "a", "withItems": []}, {"name": "b", "withParam": "[]"}], [{"name": "c"}])
    assert cluster.nodes()["wf[0].b"] == "Skipped"


def test_parallelism_of_a_template_counts_its_own_children() -> None:
    loop = {"name": "a", "template": "work", "withItems": [1, 2, 3]}
    spec = {"entrypoint": "main", "templates": [{"name": "main", "parallelism": 2, "steps": [[loop]]}, WORK]}
    cluster = Cluster(spec)
    cluster.decide()
    assert len(cluster.running_pods()) == 2
    cluster.succeed(cluster.running_pods()[0])
    assert len(cluster.created) == 3


def suspended(**inputs: Any) -> Cluster:
    outputs = {"parameters": [{"name": "p", "valueFrom": {"supplied": {}}}]} if inputs else {}
    hold = {"name": "hold", "suspend": {}, **({"outputs": outputs} if outputs else {})}
    cluster = of_steps([{"name": "wait", "template": "hold"}], [{"name": "b"}], templates=[hold])
    return cluster


def test_a_suspended_step_waits_for_somebody_to_resume_it() -> None:
    cluster = suspended()
    assert cluster.nodes()["wf[0].wait"] == "Running"
    cluster.workflow = interventions.resume(cluster.workflow, cluster.now)
    cluster.reload()
    cluster.decide()
    assert cluster.nodes()["wf[0].wait"] == "Succeeded"
    assert cluster.running_pods() == ["wf[1].b"]


def test_a_value_is_supplied_to_a_suspended_step() -> None:
    cluster = suspended(p=1)
    values = {"outputParameters": {"p": "given"}}
    cluster.workflow = interventions.set_nodes(cluster.workflow, "displayName=wait", values, cluster.now)
    cluster.workflow = interventions.resume(cluster.workflow, cluster.now)
    cluster.reload()
    cluster.decide()
    found = next(n for n in cluster.workflow["status"]["nodes"].values() if n["displayName"] == "wait")
    assert found["outputs"]["parameters"][0]["value"] == "given"


@pytest.mark.parametrize(("how", "handler"), [(interventions.stop, True), (interventions.terminate, False)])
def test_stop_lets_the_exit_handler_run_and_terminate_does_not(how: Any, handler: bool) -> None:
    cluster = of_steps([{"name": "a"}], onExit="work")
    cluster.set_pod("wf[0].a", "Running")
    name = cluster.pod_of("wf[0].a")
    cluster.workflow = how(cluster.workflow)
    cluster.reload()
    cluster.decide()
    cluster.decide(Changes(pods={name: None}))
    assert ("wf.onExit" in cluster.running_pods()) is handler
    if handler:
        cluster.succeed("wf.onExit")
    assert cluster.phase == "Failed"
    assert cluster.workflow["status"]["message"] == f"Stopped with strategy '{how.__name__.capitalize()}'"


def test_a_hook_runs_once_its_expression_holds() -> None:
    hook = {"template": "work", "expression": "steps.a.status == 'Running'"}
    cluster = of_steps([{"name": "a", "hooks": {"running": hook}}])
    assert cluster.running_pods() == ["wf[0].a"]
    cluster.set_pod("wf[0].a", "Running")
    assert cluster.running_pods() == ["wf[0].a", "wf[0].a.hooks.running"]
    cluster.succeed("wf[0].a")
    assert cluster.phase == "Running", "the hook is waited for"
    cluster.succeed("wf[0].a.hooks.running")
    assert cluster.phase == "Succeeded"


def test_the_workflows_deadline_ends_what_runs() -> None:
    cluster = of_steps([{"name": "a"}], activeDeadlineSeconds=60)
    cluster.set_pod("wf[0].a", "Running")
    cluster.advance(61)
    assert cluster.nodes()["wf[0].a"] == "Failed"
    message = next(n["message"] for n in cluster.workflow["status"]["nodes"].values() if n["displayName"] == "a")
    assert message == "Step exceeded its deadline"


def test_a_pod_that_stays_pending_is_given_up_after_the_templates_timeout() -> None:
    cluster = Cluster({"entrypoint": "main", "templates": [container("main", timeout="30s")]})
    plan = cluster.decide()
    assert plan.wake_at is not None and (plan.wake_at - cluster.now).total_seconds() == pytest.approx(30, abs=0.1)
    cluster.advance(31)
    assert (cluster.phase, cluster.nodes()) == ("Error", {"wf": "Failed"})
    assert cluster.workflow["status"]["message"] == "error in entry template execution: timeout"
