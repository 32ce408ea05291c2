"""Locks across restarts, loops with hooks, deadlines followed by a shutdown, and who may run."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.workflows.kit import Cluster, container
from tiphys.lang.names import LockName
from tiphys.workflows.plan.locks import LockTable
from tiphys.workflows.plan.throttle import Throttler


def workflow(spec: dict[str, Any], **status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "wf", "namespace": "ns"}, "spec": spec, "status": status}


def one(name: LockName, kind: str) -> int:
    return 1


MUTEXES = {"mutexes": [{"name": "m"}]}
HELD = {"mutex": {"holding": [{"mutex": "ns/Mutex/m", "holder": "wf-1"}]}}


@pytest.mark.parametrize(
    ("spec", "holder"),
    [
        ({"synchronization": MUTEXES}, "ns/wf"),
        ({"templates": [{"name": "t", "synchronization": MUTEXES}]}, "ns/wf/wf-1"),
    ],
)
def test_holders_of_old_statuses_are_told_apart_by_who_asks_for_the_lock(spec: dict[str, Any], holder: str) -> None:
    for given in (
        workflow(spec, synchronization=HELD),
        workflow({}, synchronization=HELD, storedWorkflowTemplateSpec=spec),
    ):
        table = LockTable()
        table.restore(given, one)
        assert list(table.locks["ns/Mutex/m"].holders) == [holder]


def test_a_lock_whose_holder_cannot_be_told_is_nobodys() -> None:
    table = LockTable()
    table.restore(workflow({}, synchronization=HELD), one)
    lock = table.locks["ns/Mutex/m"]
    free, why = lock.acquirable("ns/other", table)
    assert not free
    assert "poisoned state" in why
    assert "was unable to determine level for ns/Mutex/m" in why


def test_a_lock_without_a_limit_is_nobodys_although_somebody_holds_it() -> None:
    held = {"semaphore": {"holding": [{"semaphore": "ns/ConfigMap/c/k", "holders": ["ns/wf"]}]}}
    table = LockTable()
    table.restore(workflow({}, synchronization=held), lambda name, kind: 0)
    free, why = table.locks["ns/ConfigMap/c/k"].acquirable("ns/wf", table)
    assert not free
    assert "failed to initialize semaphore ns/ConfigMap/c/k with limit" in why


def test_the_next_task_takes_the_lock_that_the_one_before_held() -> None:
    tasks = [{"name": "a", "template": "t"}, {"name": "b", "template": "t", "depends": "a"}]
    synced = {**container("t"), "synchronization": MUTEXES}
    cluster = Cluster({"entrypoint": "main", "templates": [{"name": "main", "dag": {"tasks": tasks}}, synced]})
    cluster.decide()
    cluster.succeed("wf.a")
    assert cluster.running_pods() == ["wf.b"]
    holding = cluster.workflow["status"]["synchronization"]["mutex"]
    assert [entry["holder"].split("/")[-1] for entry in holding["holding"]] == [cluster.run._state.node_id("wf.b")]
    assert not holding.get("waiting")


@pytest.mark.parametrize("reloads", [False, True])
def test_a_loop_does_not_wait_for_the_last_exit_handler_of_its_copies(reloads: bool) -> None:
    task = {"name": "a", "template": "t", "withItems": [1, 2], "hooks": {"exit": {"template": "bye"}}}
    bye = {"name": "bye", "steps": [[{"name": "one", "template": "t"}], [{"name": "two", "template": "t"}]]}
    cluster = Cluster(
        {"entrypoint": "main", "templates": [{"name": "main", "dag": {"tasks": [task]}}, container("t"), bye]}
    )
    cluster.decide()
    pods = ["wf.a(0:1)", "wf.a(1:2)"]
    for handler in ("wf.a(0:1).onExit", "wf.a(1:2).onExit", "wf.a.onExit"):
        pods += [f"{handler}[0].one", f"{handler}[1].two"]
    for pod in pods:
        cluster.succeed(pod)
        if reloads:
            cluster.reload()
            cluster.decide()
        if pod == "wf.a(0:1).onExit[1].two":
            assert cluster.nodes()["wf.a"] == "Succeeded"
            assert cluster.running_pods() == ["wf.a(1:2).onExit[0].one", "wf.a.onExit[0].one"]
    assert cluster.phase == "Succeeded"


def test_a_workflow_that_runs_or_shall_be_terminated_is_not_held_up() -> None:
    throttler = Throttler(limit=1)
    first, second = ({"metadata": {"name": name, "namespace": "ns"}, "spec": {}} for name in "ab")
    throttler.add(first)
    throttler.add(second)
    assert throttler.lets_run(first)
    assert not throttler.lets_run(second)
    assert not throttler.lets_run({**second, "spec": {"shutdown": "Stop"}})
    assert throttler.lets_run({**second, "spec": {"shutdown": "Terminate"}})
    assert throttler.lets_run({**second, "status": {"phase": "Running"}})
