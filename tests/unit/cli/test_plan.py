"""A decision in words: what would be done, and what everything else waits for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tiphys.cli import explain, plan, waiting
from tiphys.machinery.actions import Create, Delete, Emit, Patch, Plan
from tiphys.machinery.resources import PODS, WORKFLOWS, ObjectKey

KEY = ObjectKey("default", "wf")


def dag(*tasks: dict[str, Any]) -> dict[str, Any]:
    templates = [{"name": "main", "dag": {"tasks": list(tasks)}}]
    return {"metadata": {"name": "wf", "namespace": "default"}, "spec": {"entrypoint": "main", "templates": templates}}


def node(name: str, kind: str, phase: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "name": name, "type": kind, "phase": phase, **more}


ROOT = node("wf", "DAG", "Running", templateName="main")


def test_tasks_without_a_node_wait_for_what_they_depend_on() -> None:
    flow = dag({"name": "a"}, {"name": "b", "depends": "a.Failed"}, {"name": "c", "dependencies": ["a", "b"]})
    assert list(waiting.unborn(flow, {"wf": ROOT, "wf.a": node("wf.a", "Pod", "Running")})) == [
        ("wf.b", "the tasks it depends on: a.Failed"),
        ("wf.c", "the tasks it depends on: a && b"),
    ]


def test_groups_without_a_node_wait_for_the_groups_before_them() -> None:
    flow = dag()
    flow["spec"]["templates"] = [{"name": "main", "steps": [[{"name": "a"}], [{"name": "b"}, {"name": "c"}]]}]
    nodes = {"wf": ROOT | {"type": "Steps"}, "wf[0]": node("wf[0]", "StepGroup", "Running")}
    assert list(waiting.unborn(flow, nodes)) == [("wf[1]", "the steps before it (then: b, c)")]


def test_what_has_finished_waits_for_nothing() -> None:
    assert list(waiting.unborn(dag({"name": "b", "depends": "a"}), {"wf": ROOT | {"phase": "Failed"}})) == []


def test_many_sentences_are_cut() -> None:
    flow = dag(*({"name": f"t{i}", "depends": "a"} for i in range(200)))
    found = waiting.sentences(flow, {"wf": ROOT}, {"wf.lock": "a lock"})
    assert found[0] == ("wf.lock", "a lock")
    assert len(found) == waiting.SHOWN_MAX + 1 and found[-1] == ("…", "and 151 more")


def test_a_decision_in_lines() -> None:
    pod = {"metadata": {"name": "wf-a", "namespace": "default"}}
    status = {"status": {"phase": "Running", "nodes": {"wf": ROOT, "wf.a": node("wf.a", "Pod", "Pending")}}}
    decided = Plan(
        stages=(
            (Create(PODS, pod, "node wf.a"), Patch(WORKFLOWS, KEY, status)),
            (Delete(PODS, KEY, why="podGC"), Emit({}, "Normal", "WorkflowRunning", "Workflow Running")),
        ),
        wake_at=datetime(2026, 1, 1, 12, tzinfo=UTC),
    )
    assert list(plan.describe(dag({"name": "a"}, {"name": "b", "depends": "a"}), decided)) == [
        "wf: the first decision would",
        "  create  Pod default/wf-a              node wf.a",
        "  patch   Workflow default/wf           Running",
        "            wf                          DAG Running",
        "            wf.a                        Pod Pending",
        "  delete  Pod default/wf                podGC",
        "  record  Normal event WorkflowRunning  Workflow Running",
        "  and look again at 12:00:00, or when something changes",
        "and nothing more yet, because these wait for",
        "  wf.b  the tasks it depends on: a",
    ]
    assert [[a["do"] for a in stage] for stage in plan.as_data(decided)["stages"]] == [
        ["create", "patch"],
        ["delete", "event"],
    ]


def test_nothing_to_do() -> None:
    assert list(plan.describe(dag(), Plan())) == ["wf: the first decision would", "  do nothing"]


def test_explaining_an_end_names_what_went_wrong() -> None:
    flow = dag() | {
        "status": {
            "phase": "Failed",
            "message": "child failed",
            "nodes": {
                "wf": ROOT | {"phase": "Failed"},
                "wf.a": node("wf.a", "Pod", "Failed", message="main: Error (exit code 1)"),
            },
        }
    }
    assert list(explain.how_it_ended(flow)) == [
        "wf waits for nothing: it is Failed: child failed",
        "  wf.a Failed: main: Error (exit code 1)",
    ]


def test_explaining_what_runs() -> None:
    flow = dag({"name": "b", "depends": "a"}) | {
        "status": {
            "phase": "Running",
            "nodes": {"wf": ROOT, "wf.a": node("wf.a", "Pod", "Pending", message="no image")},
        }
    }
    assert list(explain.what_it_waits_for(flow, Plan(waits={"wf.x": "a lock"}))) == [
        "wf: Running",
        "waiting:",
        "  wf.x  for a lock",
        "  wf.b  for the tasks it depends on: a",
        "in pods:",
        "  wf.a is Pending no image",
    ]


def test_explaining_what_keeps_an_ended_workflow() -> None:
    plan = Plan(waits={"wf": "its deletion, to delete artifacts then"})
    assert list(explain.what_its_artifacts_wait_for(plan)) == [
        "  its artifacts wait for its deletion, to delete artifacts then"
    ]
    assert list(explain.what_its_artifacts_wait_for(Plan())) == []
