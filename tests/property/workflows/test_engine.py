"""Workflows of any shape: what must hold whatever the cluster does, and in whatever order."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.workflows.kit import Cluster, container
from tiphys.machinery.actions import Patch

Spec = dict[str, Any]
DONE = {"Succeeded", "Failed", "Error", "Skipped", "Omitted"}
RESULTS = ("Succeeded", "Failed", "Skipped", "Omitted")


@st.composite
def dags(draw: st.DrawFn) -> Spec:
    """A DAG of containers with dependencies, conditions, loops and retries."""
    tasks: list[dict[str, Any]] = []
    for index in range(draw(st.integers(1, 7))):
        task: dict[str, Any] = {"name": f"t{index}", "template": draw(st.sampled_from(["work", "again"]))}
        needed = draw(st.lists(st.integers(0, index - 1), unique=True, max_size=3)) if index else []
        if needed and draw(st.booleans()):
            task["depends"] = draw(st.sampled_from([" && ", " || "])).join(
                f"t{other}.{draw(st.sampled_from(RESULTS))}" for other in needed
            )
        elif needed:
            task["depends"] = " && ".join(f"t{other}" for other in needed)
        if draw(st.integers(0, 4)) == 0:
            task["when"] = draw(st.sampled_from(["a == a", "a == b"]))
        if draw(st.integers(0, 4)) == 0:
            task["withItems"] = ["x", "y"]
        tasks.append(task)
    return spec_of({"name": "main", "dag": {"tasks": tasks, "failFast": draw(st.booleans())}})


@st.composite
def steps(draw: st.DrawFn) -> Spec:
    """Groups of steps side by side."""
    groups = []
    for index in range(draw(st.integers(1, 4))):
        group = []
        for at in range(draw(st.integers(1, 3))):
            step: dict[str, Any] = {"name": f"s{index}-{at}", "template": draw(st.sampled_from(["work", "again"]))}
            if draw(st.integers(0, 3)) == 0:
                step["continueOn"] = {"failed": True}
            if draw(st.integers(0, 4)) == 0:
                step["withItems"] = ["x", "y"]
            group.append(step)
        groups.append(group)
    return spec_of({"name": "main", "steps": groups})


def spec_of(main: dict[str, Any]) -> Spec:
    again = container("again", retryStrategy={"limit": 1})
    return {"entrypoint": "main", "templates": [main, container("work"), again]}


def fails(node_name: str) -> bool:
    """Which pods fail: an answer that does not depend on when it is asked."""
    return random.Random(node_name).random() < 0.25


def run(spec: Spec, order: random.Random, *, reloads: bool = False, never: str = "/") -> Cluster:
    """Plays a workflow to its end, one pod at a time in an order of chance; pods called ``never`` do not fail."""
    cluster = Cluster(spec)
    cluster.decide()
    for _ in range(200):
        running = cluster.running_pods()
        if not running:
            return cluster
        if reloads:
            cluster.reload()
        name = order.choice(running)
        if fails(name) and not name.endswith(never):
            cluster.fail(name)
        else:
            cluster.succeed(name)
    raise AssertionError("no end")


def outcome(cluster: Cluster) -> tuple[str, dict[str, str]]:
    return cluster.phase, cluster.nodes()


@settings(max_examples=40)
@given(st.one_of(dags(), steps()), st.randoms(use_true_random=False))
def test_everything_ends(spec: Spec, order: random.Random) -> None:
    cluster = run(spec, order)
    assert cluster.phase in ("Succeeded", "Failed", "Error")
    assert set(cluster.nodes().values()) <= DONE
    assert len(cluster.created) == len(set(cluster.created))


@settings(max_examples=40)
@given(st.one_of(dags(), steps()), st.integers(0, 1000))
def test_a_run_loaded_before_every_event_ends_the_same(spec: Spec, seed: int) -> None:
    kept = run(spec, random.Random(seed))
    loaded = run(spec, random.Random(seed), reloads=True)
    assert outcome(loaded) == outcome(kept)
    assert sorted(loaded.created) == sorted(kept.created)


@settings(max_examples=40)
@given(steps(), st.integers(0, 1000))
def test_the_order_of_steps_side_by_side_does_not_matter(spec: Spec, seed: int) -> None:
    one, other = run(spec, random.Random(seed)), run(spec, random.Random(seed + 1))
    assert outcome(one) == outcome(other)


@settings(max_examples=40)
@given(st.one_of(dags(), steps()), st.integers(0, 1000))
def test_a_template_called_from_one_step_ends_as_it_does_alone(spec: Spec, seed: int) -> None:
    alone = run(spec, random.Random(seed))
    around = {"name": "around", "steps": [[{"name": "only", "template": "main"}]]}
    nested = {"entrypoint": "around", "templates": [around, *spec["templates"]]}
    names = {f"wf[0].only{name.removeprefix('wf')}": phase for name, phase in alone.nodes().items()}
    cluster = Cluster(nested)
    cluster.decide()
    while running := cluster.running_pods():
        name = running[0]
        succeeds = not fails("wf" + name.removeprefix("wf[0].only"))
        cluster.succeed(name) if succeeds else cluster.fail(name)
    if all("dag" not in template for template in spec["templates"]):  # in a DAG, order decides what fails fast
        inner = {name: phase for name, phase in cluster.nodes().items() if name in names}
        assert inner == names
        assert cluster.phase == alone.phase


@settings(max_examples=40)
@given(st.one_of(dags(), steps()), st.randoms(use_true_random=False))
def test_nothing_is_written_twice(spec: Spec, order: random.Random) -> None:
    cluster = Cluster(spec)
    cluster.decide()
    while running := cluster.running_pods():
        cluster.succeed(order.choice(running))
        again = cluster.decide()
        assert not [action for action in again.actions if isinstance(action, Patch)]


UNUSED = "unused"


class ByName(random.Random):
    """Takes pods in the order of their names, the unused one at its own time."""

    def __init__(self, unused_first: bool) -> None:
        super().__init__(0)
        self._unused_first = unused_first

    def choice(self, seq: Any) -> Any:
        return min(seq, key=lambda name: (name.endswith(UNUSED) != self._unused_first, name))


def with_unused(spec: Spec, group: int) -> Spec:
    """The workflow with one more task that nothing refers to; a step stands in the group of that number."""
    main, *others = spec["templates"]
    extra = {"name": UNUSED, "template": UNUSED}
    if "dag" in main:
        main = {**main, "dag": {**main["dag"], "tasks": [*main["dag"]["tasks"], extra]}}
    else:
        groups = [*main["steps"]]
        at = group % len(groups)
        groups[at] = [*groups[at], extra]
        main = {**main, "steps": groups}
    return {**spec, "templates": [main, *others, container(UNUSED)]}


def told(cluster: Cluster) -> tuple[str, str, dict[str, Any]]:
    """All that a workflow says, but for the unused task, its share in the progress, and times."""
    status = cluster.workflow["status"]
    nodes = {node_id: node for node_id, node in status["nodes"].items() if node["displayName"] != UNUSED}
    left_out = ("startedAt", "finishedAt", "progress", "resourcesDuration", "children", "outboundNodes")
    said = {
        node_id: {key: value for key, value in node.items() if key not in left_out}
        | {key: [other for other in node.get(key) or () if other in nodes] for key in ("children", "outboundNodes")}
        for node_id, node in nodes.items()
    }
    return status["phase"], status.get("message", ""), said


@settings(max_examples=60)
@given(st.one_of(dags(), steps()), st.integers(0, 3), st.booleans())
def test_a_task_that_succeeds_and_is_not_used_changes_nothing_else(spec: Spec, group: int, first: bool) -> None:
    without = run(spec, ByName(first))
    added = run(with_unused(spec, group), ByName(first), never=UNUSED)
    assert told(added) == told(without)
