"""From pods and back: what a pod's state means, what is cleaned up, what it cost, how far things are."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.unit.workflows.kit import Cluster, container
from tiphys.machinery.actions import Delete, Patch
from tiphys.workflows.plan import usage
from tiphys.workflows.plan.assess import assess
from tiphys.workflows.plan.nodes import Node
from tiphys.workflows.settings import FailedPodRestart

NOW = datetime(2026, 1, 1, 1, tzinfo=UTC)
TEMPLATE = container("main")


def node(phase: str = "Pending", **more: Any) -> Node:
    return Node(id="n", name="wf", display_name="wf", type="Pod", phase=phase, **more)


def ended(name: str = "main", code: int = 0, **more: Any) -> dict[str, Any]:
    reason = "Completed" if code == 0 else "Error"
    return {"name": name, "state": {"terminated": {"exitCode": code, "reason": reason, **more}}}


def read(status: dict[str, Any], template: Any = TEMPLATE, before: Node | None = None) -> dict[str, Any]:
    pod = {"metadata": {"name": "p", "uid": "u"}, "spec": {}, "status": status}
    fields = assess(pod, before or node(), template, FailedPodRestart(), NOW).fields or {}
    return {key: fields[key] for key in ("phase", "message", "daemoned") if key in fields}


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({"phase": "Running", "containerStatuses": [{"name": "main", "state": {"running": {}}}]}, {"phase": "Running"}),
        ({"phase": "Succeeded", "containerStatuses": [ended()]}, {"phase": "Succeeded"}),
        (
            {"phase": "Failed", "containerStatuses": [ended(code=3)]},
            {"phase": "Failed", "message": "main: Error (exit code 3)"},
        ),
        (
            {"phase": "Failed", "initContainerStatuses": [ended("init", 64, message="no input")]},
            {"phase": "Error", "message": "init: Error (exit code 64): no input"},
        ),
        ({"phase": "Failed", "reason": "Evicted", "message": "no room"}, {"phase": "Failed", "message": "no room"}),
        ({"phase": "Unknown"}, {"phase": "Error", "message": "Unexpected pod phase for p: Unknown"}),
    ],
)
def test_what_a_pod_says_about_its_node(status: dict[str, Any], expected: dict[str, Any]) -> None:
    found = read(status)
    assert expected.items() <= found.items()


def test_why_a_pod_is_pending() -> None:
    waiting = {"name": "main", "state": {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}}
    assert read({"phase": "Pending", "containerStatuses": [waiting]}) == {"message": "ErrImagePull: no such image"}
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}
    assert read({"phase": "Pending", "conditions": [condition]}) == {"message": "Unschedulable: 0/1 nodes"}


def test_a_daemon_runs_once_it_is_ready_and_should_not_end() -> None:
    daemon = container("d", daemon=True)
    status = {"phase": "Running", "containerStatuses": [{"name": "main", "ready": False}]}
    assert read(status, daemon) == {}
    status["containerStatuses"] = [{"name": "main", "ready": True}]
    assert read(status, daemon) == {"phase": "Running", "daemoned": True}
    assert read({"phase": "Succeeded", "containerStatuses": [ended()]}, daemon)["phase"] == "Failed"


def test_a_step_whose_outputs_have_not_come_is_not_done() -> None:
    template = container("main", outputs={"parameters": [{"name": "p", "valueFrom": {"path": "/p"}}]})
    assert "phase" not in read({"phase": "Succeeded", "containerStatuses": [ended()]}, template, node("Running"))


def test_the_cost_of_a_pod_is_its_requests_times_its_seconds() -> None:
    times = {"startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:10Z"}
    requests = {"cpu": "500m", "memory": "200Mi"}
    spec = {"containers": [{"name": "main", "resources": {"requests": requests}}]}
    pod = {"spec": spec, "status": {"containerStatuses": [ended(**times)]}}
    assert usage.of_pod(pod) == {"cpu": 5, "memory": 20}
    total = {"cpu": 1}
    usage.add(total, {"cpu": 2, "memory": 3})
    assert total == {"cpu": 3, "memory": 3}


def test_progress_counts_what_is_done() -> None:
    steps = [[{"name": "a", "template": "t", "withItems": [1, 2]}]]
    cluster = Cluster({"entrypoint": "main", "templates": [{"name": "main", "steps": steps}, container("t")]})
    cluster.decide()
    assert cluster.workflow["status"]["progress"] == "0/2"
    cluster.succeed("wf[0].a(0:1)")
    assert cluster.workflow["status"]["progress"] == "1/2"
    cluster.succeed("wf[0].a(1:2)")
    assert (cluster.phase, cluster.workflow["status"]["progress"]) == ("Succeeded", "2/2")


@pytest.mark.parametrize(
    ("strategy", "ends", "cleaned"),
    [
        (None, "succeed", "label"),
        ("OnPodCompletion", "fail", "delete"),
        ("OnPodSuccess", "succeed", "delete"),
        ("OnPodSuccess", "fail", "label"),
        ("OnWorkflowSuccess", "succeed", "delete"),
        ("OnWorkflowSuccess", "fail", "label"),
        ("OnWorkflowCompletion", "fail", "delete"),
    ],
)
def test_pods_are_kept_or_deleted_as_pod_gc_says(strategy: str | None, ends: str, cleaned: str) -> None:
    gc = {"podGC": {"strategy": strategy, "deleteDelayDuration": "1s"}} if strategy else {}
    cluster = Cluster({"entrypoint": "main", "templates": [container("main")], **gc})
    cluster.decide()
    plan = getattr(cluster, ends)("wf")
    later = cluster.advance(5) if cleaned == "delete" else plan
    actions = [
        a for a in (*plan.actions, *later.actions) if getattr(a, "resource", None) and a.resource.plural == "pods"
    ]
    kinds = {type(action) for action in actions}
    assert kinds == {Delete if cleaned == "delete" else Patch}
