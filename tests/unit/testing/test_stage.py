from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from tiphys.machinery.actions import Create, Delete, Patch, Plan
from tiphys.machinery.errors import SpecError
from tiphys.runtime.virtual import EPOCH
from tiphys.testing.stage import Part, Role, Script
from tiphys.testing.stage.play import play, role_of

SCRIPT = Script.parse(
    """
    rules:
    - match: {template: flaky, attempt: [0, 1]}
      exitCode: 3
    - match: {node: "*.heads(*"}
      result: heads
    - match: {template: slow}
      startAfter: 1s
      duration: 10s
      parameters: {size: 7}
    - match: {template: stuck}
      phase: Pending
      reason: ErrImagePull
      message: no such image
    - match: {template: evicted}
      phase: Failed
      exitCode: 137
      reason: Evicted
      message: low on memory
      outputsLost: true
    """
)


def pod(template: str, node: str = "wf.step", *, status: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "wf-step-1",
            "namespace": "default",
            "uid": "u1",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"workflows.argoproj.io/workflow": "wf"},
            "annotations": {
                "workflows.argoproj.io/node-name": node,
                "workflows.argoproj.io/node-id": "wf-123",
                "workflows.argoproj.io/template": json.dumps(
                    {"name": template, "outputs": {"parameters": [{"name": "size", "valueFrom": {"path": "/s"}}]}}
                ),
            },
            "ownerReferences": [{"kind": "Workflow", "name": "wf", "uid": "w1", "controller": True}],
        },
        "spec": {"containers": [{"name": "main", "image": "busybox"}], **spec},
        "status": status or {},
    }


def status_of(plan: Plan) -> dict[str, Any]:
    (patch,) = [action for action in plan.actions if isinstance(action, Patch)]
    status: dict[str, Any] = patch.patch["status"]
    return status


def test_the_first_rule_that_matches_decides() -> None:
    assert SCRIPT.part(Role("p", template="flaky", attempt=1)).exit_code == 3
    assert SCRIPT.part(Role("p", template="flaky", attempt=2)) == Part()
    assert SCRIPT.part(Role("p", node="wf.heads(0:x)")).result == "heads"


def test_a_role_is_read_from_the_pod() -> None:
    assert role_of(pod("flaky", "wf.a(0:x)(2)")) == Role("wf-step-1", "wf", "flaky", "wf.a(0:x)(2)", 2)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("rules: {}", "rules"),
        ("rules: [{phase: Done}]", "rules[0].phase"),
        ("rules: [{match: {tenplate: x}}]", "rules[0].match.tenplate"),
        ("rules: [{duration: soon}]", "rules[0].duration"),
        ("rules: [{exitCode: 900}]", "rules[0].exitCode"),
        ("rules: [{}, {match: {attempt: x}}]", "rules[1].match.attempt"),
        ("rolls: []", "rolls"),
    ],
)
def test_a_wrong_rule_is_refused_with_its_place(text: str, path: str) -> None:
    with pytest.raises(SpecError) as raised:
        Script.parse(text)
    assert raised.value.path == path


def test_a_pod_without_a_duration_ends_at_once_with_its_outputs_before_its_status() -> None:
    plan = play(pod("flaky", "wf.step(0)"), SCRIPT, EPOCH)
    (result,), (last,) = plan.stages
    assert isinstance(result, Create)
    assert result.obj["outputs"] == {"parameters": [{"name": "size", "value": ""}]}
    assert isinstance(last, Patch)
    assert last.patch["status"]["phase"] == "Failed"
    assert last.patch["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 3


def test_a_slow_pod_is_pending_then_running_then_done() -> None:
    slow = pod("slow")
    assert play(slow, SCRIPT, EPOCH) == Plan(wake_at=EPOCH + timedelta(seconds=1))
    running = status_of(play(slow, SCRIPT, EPOCH + timedelta(seconds=1)))
    assert running["phase"] == "Running"
    slow["status"] = running
    assert play(slow, SCRIPT, EPOCH + timedelta(seconds=5)) == Plan(wake_at=EPOCH + timedelta(seconds=11))
    plan = play(slow, SCRIPT, EPOCH + timedelta(seconds=11))
    assert status_of(plan)["phase"] == "Succeeded"
    (result, _) = plan.actions
    assert isinstance(result, Create)
    assert result.obj["outputs"]["parameters"] == [{"name": "size", "value": "7"}]


def test_a_pod_past_its_deadline_is_killed() -> None:
    late = pod("slow", activeDeadlineSeconds=3)
    late["status"] = status_of(play(late, SCRIPT, EPOCH + timedelta(seconds=1)))
    assert play(late, SCRIPT, EPOCH + timedelta(seconds=2)).wake_at == EPOCH + timedelta(seconds=4)
    status = status_of(play(late, SCRIPT, EPOCH + timedelta(seconds=4)))
    assert (status["phase"], status["reason"]) == ("Failed", "DeadlineExceeded")
    assert status["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 143


def test_a_stuck_pod_says_why_and_is_then_left_alone() -> None:
    stuck = pod("stuck")
    stuck["status"] = status_of(play(stuck, SCRIPT, EPOCH))
    waiting = stuck["status"]["containerStatuses"][0]["state"]["waiting"]
    assert waiting == {"reason": "ErrImagePull", "message": "no such image"}
    assert play(stuck, SCRIPT, EPOCH + timedelta(days=1)) == Plan()


def test_lost_outputs_leave_no_task_result() -> None:
    plan = play(pod("evicted"), SCRIPT, EPOCH)
    assert status_of(plan)["reason"] == "Evicted"
    assert not [action for action in plan.actions if isinstance(action, Create)]


def test_a_deleted_pod_that_runs_is_killed_and_goes() -> None:
    gone = pod("slow")
    gone["status"] = status_of(play(gone, SCRIPT, EPOCH + timedelta(seconds=1)))
    gone["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:02Z"
    plan = play(gone, SCRIPT, EPOCH + timedelta(seconds=2))
    assert status_of(plan)["phase"] == "Failed"
    (goodbye,) = [action for action in plan.stages[-1] if isinstance(action, Delete)]
    assert (goodbye.uid, goodbye.grace_seconds) == ("u1", 0)
