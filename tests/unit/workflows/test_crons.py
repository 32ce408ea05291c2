from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tiphys.app.compose import World
from tiphys.app.local import LocalCluster
from tiphys.app.settings import Settings
from tiphys.machinery.actions import Create, Delete, Patch, Plan
from tiphys.machinery.resources import CRON_WORKFLOWS, WORKFLOWS, ObjectKey
from tiphys.testing.stage import Script, run_on_stage, stage
from tiphys.workflows.plan.crons import COMPLETED_LABEL, LAST_SCHEDULE, Observed, plan

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def cron(*, status: dict[str, Any] | None = None, used: str = "", **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "nightly",
            "namespace": "default",
            "uid": "c1",
            "labels": {"workflows.argoproj.io/creator": "ann", "team": "red"},
            "annotations": {LAST_SCHEDULE: used} if used else {},
        },
        "spec": {"schedules": ["0 * * * *"], "workflowSpec": {"entrypoint": "main"}, **spec},
        "status": status or {},
    }


def child(name: str, phase: str, finished: int = 0) -> dict[str, Any]:
    meta = {"name": name, "namespace": "default", "uid": f"u-{name}"}
    status = {"phase": phase, "finishedAt": f"2026-01-01T00:00:{finished:02}Z"}
    return {"metadata": meta, "status": status}


def decide(
    seen: dict[str, Any],
    *children: dict[str, Any],
    armed: datetime = NOON - timedelta(minutes=1),
    now: datetime = NOON,
) -> Plan:
    return plan(Observed(seen, children, armed), now)


def created(made: Plan) -> list[str]:
    return [action.obj["metadata"]["name"] for action in made.actions if isinstance(action, Create)]


def status_of(made: Plan) -> dict[str, Any]:
    found = [a.patch for a in made.actions if isinstance(a, Patch) and a.resource == CRON_WORKFLOWS]
    status: dict[str, Any] = found[0].get("status", {}) if found else {}
    return status


def test_a_due_moment_is_submitted_under_its_time_and_the_next_is_awaited() -> None:
    made = decide(cron())
    (action,) = made.stages[0]
    assert isinstance(action, Create)
    meta = action.obj["metadata"]
    assert meta["name"] == f"nightly-{int(NOON.timestamp())}"
    assert meta["labels"] == {
        "workflows.argoproj.io/creator": "ann",
        "workflows.argoproj.io/cron-workflow": "nightly",
    }
    assert meta["annotations"] == {"workflows.argoproj.io/scheduled-time": "2026-01-01T12:00:00Z"}
    assert status_of(made)["lastScheduledTime"] == "2026-01-01T12:00:00Z"
    assert made.wake_at == NOON + timedelta(hours=1)


def test_before_its_time_nothing_happens() -> None:
    made = decide(cron(), now=NOON - timedelta(seconds=1))
    assert made.actions == ()
    assert made.wake_at == NOON


@pytest.mark.parametrize("deadline", [None, 60, 7200])
def test_a_missed_moment_is_made_up_for_only_within_the_deadline(deadline: int | None) -> None:
    seen = cron(
        used="0 * * * *", status={"lastScheduledTime": "2026-01-01T09:00:00Z"}, startingDeadlineSeconds=deadline
    )
    made = decide(seen, armed=NOON + timedelta(minutes=30), now=NOON + timedelta(minutes=30))
    assert created(made) == ([f"nightly-{int(NOON.timestamp())}"] if deadline == 7200 else [])


def test_a_changed_schedule_makes_up_for_nothing() -> None:
    seen = cron(used="5 * * * *", status={"lastScheduledTime": "2026-01-01T09:00:00Z"}, startingDeadlineSeconds=7200)
    assert created(decide(seen, armed=NOON + timedelta(minutes=1), now=NOON + timedelta(minutes=1))) == []


@pytest.mark.parametrize(
    ("policy", "submits", "terminates"),
    [("Allow", True, False), ("Forbid", False, False), ("Replace", True, True)],
)
def test_concurrency(policy: str, submits: bool, terminates: bool) -> None:
    made = decide(cron(concurrencyPolicy=policy), child("old", "Running"))
    ends = [a for a in made.actions if isinstance(a, Patch) and a.resource == WORKFLOWS]
    assert (bool(created(made)), bool(ends)) == (submits, terminates)
    assert [ref["name"] for ref in status_of(made)["active"]] == ["old"]


@pytest.mark.parametrize(
    ("spec", "submits"),
    [
        ({"suspend": True}, False),
        ({"when": "{{= cronworkflow.succeeded > 2}}"}, False),
        ({"when": "'{{cronworkflow.name}}' == 'nightly'"}, True),
        ({"timezone": "Asia/Tokyo"}, True),
        ({"schedules": ["30 12 * * *", "0 12 * * *"]}, True),
    ],
)
def test_who_may_run(spec: dict[str, Any], submits: bool) -> None:
    assert bool(created(decide(cron(**spec)))) is submits


@pytest.mark.parametrize(("last", "submits"), [("11:59", False), ("09:00", True)])
def test_when_may_ask_how_long_ago_the_last_run_was(last: str, submits: bool) -> None:
    when = "{{= (now() - cronworkflow.lastScheduledTime).Hours() > 1}}"
    seen = cron(status={"lastScheduledTime": f"2026-01-01T{last}:00Z"}, when=when)
    assert bool(created(decide(seen))) is submits


def test_a_wrong_schedule_or_policy_is_a_condition() -> None:
    (row,) = status_of(decide(cron(schedules=["every day"])))["conditions"]
    assert row["type"] == "SpecError"
    status = status_of(decide(cron(concurrencyPolicy="Maybe")))
    assert (status["conditions"][0]["type"], status["failed"]) == ("SubmissionError", 1)


def test_finished_children_are_counted_once_and_the_oldest_deleted() -> None:
    active = [{"uid": "u-b", "name": "b"}, {"uid": "u-f", "name": "f"}]
    seen = cron(status={"active": active, "succeeded": 4}, successfulJobsHistoryLimit=1, failedJobsHistoryLimit=0)
    made = decide(
        seen,
        child("a", "Succeeded", 1),
        child("b", "Succeeded", 2),
        child("f", "Failed", 3),
        now=NOON - timedelta(hours=0, seconds=1),
    )
    assert status_of(made) == {"active": None, "succeeded": 5, "failed": 1}
    assert [a.key.name for a in made.actions if isinstance(a, Delete)] == ["a", "f"]


def test_a_stop_strategy_ends_it() -> None:
    seen = cron(
        status={"active": [{"uid": "u-a"}], "failed": 2}, stopStrategy={"expression": "cronworkflow.failed >= 3"}
    )
    made = decide(seen, child("a", "Error"))
    assert status_of(made)["phase"] == "Stopped"
    assert created(made) == []
    assert made.wake_at is None
    (patch,) = [a for a in made.actions if isinstance(a, Patch)]
    assert patch.patch["metadata"]["labels"] == {COMPLETED_LABEL: "true"}


def test_in_a_cluster_a_day_of_runs_leaves_the_newest_three() -> None:
    wanted = cron()
    wanted["spec"]["workflowSpec"]["templates"] = [{"name": "main", "container": {"image": "busybox"}}]
    wanted = {"metadata": {"name": "nightly", "namespace": "default"}, "spec": wanted["spec"]}

    async def job(world: World) -> tuple[list[str], dict[str, Any]]:
        async with LocalCluster.start(Settings(), node=stage(Script()), world=world) as cluster:
            await cluster.client.create(CRON_WORKFLOWS, wanted)
            await world.clock.sleep_until(86_400 + 600)
            left = await cluster.client.list(WORKFLOWS)
            after = await cluster.client.get(CRON_WORKFLOWS, ObjectKey("default", "nightly"))
            return [item["metadata"]["name"] for item in left["items"]], dict(after["status"])

    names, status = run_on_stage(job)
    midnight = int(datetime(2026, 1, 2, tzinfo=UTC).timestamp())
    assert names == [f"nightly-{midnight - 3600 * back}" for back in (2, 1, 0)]
    assert status["succeeded"] == 24
