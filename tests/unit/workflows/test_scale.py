"""What must not cost a look at everything: counted in executed templates, not in seconds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.workflows.kit import Cluster, container
from tiphys.machinery.actions import Patch, Plan
from tiphys.workflows.plan import execute, parallelism, patches
from tiphys.workflows.plan.nodes import Node
from tiphys.workflows.plan.problems import Outcome
from tiphys.workflows.plan.state import Call, State

MANY = 300


def dag(**more: Any) -> dict[str, Any]:
    return {"name": "main", "dag": {"tasks": [{"name": f"t{n}", "template": "t"} for n in range(MANY)]}, **more}


def loop(**more: Any) -> dict[str, Any]:
    step = {"name": "one", "template": "t", "withSequence": {"count": str(MANY)}}
    return {"name": "main", "steps": [[step]], **more}


def cluster_of(main: dict[str, Any], leaf: dict[str, Any] | None = None, **spec: Any) -> Cluster:
    return Cluster({"entrypoint": "main", "templates": [main, leaf or container("t")], **spec})


@pytest.mark.parametrize(
    "cluster",
    [
        lambda: cluster_of(dag(), parallelism=3),
        lambda: cluster_of(dag(parallelism=3)),
        lambda: cluster_of(loop(), parallelism=3),
        lambda: cluster_of(loop(), container("t", synchronization={"mutexes": [{"name": "m"}]})),
    ],
)
def test_the_end_of_one_pod_does_not_look_at_all_that_wait(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = cluster()
    made.decide()
    executed: list[str] = []
    process = execute.process

    def counted(state: State, call: Call, node: Node | None, template: dict[str, Any]) -> dict[str, Any]:
        executed.append(call.name)
        return process(state, call, node, template)

    monkeypatch.setattr(execute, "process", counted)
    for _ in range(3):
        made.succeed(made.running_pods()[0])
    assert len(made.created) > 3
    assert len(executed) < MANY


def test_a_decision_makes_so_many_pods_and_the_next_one_goes_on_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    few = parallelism.Limit("turn", "", 100)
    monkeypatch.setattr(parallelism, "TURN_MAX", 100)
    monkeypatch.setattr(parallelism, "THIS_TURN", few)
    cluster = cluster_of(loop())
    plan = cluster.decide()
    assert len(cluster.created) == 100
    assert plan.wake_at == cluster.now
    while plan.wake_at == cluster.now:
        plan = cluster.decide()
    assert len(cluster.created) == MANY


def children_written(plan: Plan) -> int:
    patch = next(action.patch for action in plan.actions if isinstance(action, Patch))
    return sum("children" in node for node in patch["status"]["nodes"].values())


def test_the_children_of_a_big_loop_are_written_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patches, "BIG", 5)
    cluster = cluster_of(loop(), parallelism=10)
    cluster.decide()
    written = [children_written(cluster.succeed(cluster.running_pods()[0])) for _ in range(4)]
    assert sum(written) == 1
    assert children_written(cluster.advance(2)) == 1
    cluster.reload()
    cluster.decide()
    while cluster.running_pods():
        cluster.succeed(cluster.running_pods()[0])
    group = next(n for n in cluster.workflow["status"]["nodes"].values() if n["type"] == "StepGroup")
    assert len(group["children"]) == MANY


class Walked(dict[str, None]):
    """Counts who goes through all of it."""

    times = 0

    def __iter__(self) -> Iterator[str]:
        self.times += 1
        return super().__iter__()


def test_the_end_of_a_task_does_not_walk_over_all_open_ones() -> None:
    cluster = cluster_of(dag())
    cluster.decide()
    frame = cluster.run._state.frames["wf"]
    frame.open = walked = Walked(frame.open)
    for _ in range(3):
        cluster.succeed(cluster.running_pods()[0])
    assert len(walked) == MANY - 3
    assert walked.times == 0


def test_the_end_of_a_copy_with_an_exit_handler_executes_no_other_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    task = {"name": "a", "template": "t", "withSequence": {"count": str(MANY)}, "hooks": {"exit": {"template": "t"}}}
    cluster = cluster_of({"name": "main", "dag": {"tasks": [task]}})
    cluster.decide()
    executed: list[str] = []
    execute_one = execute.execute

    def counted(state: State, call: Call) -> Outcome:
        executed.append(call.name)
        return execute_one(state, call)

    monkeypatch.setattr(execute, "execute", counted)
    for number in range(3):
        cluster.succeed(f"wf.a({number}:{number})")
        cluster.succeed(f"wf.a({number}:{number}).onExit")
    assert len(cluster.created) == MANY + 3
    assert len(executed) < MANY
