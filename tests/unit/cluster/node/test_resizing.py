"""Other resources for pods that run: what is granted and told (pure), and what really changes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cluster.node.harness import Node, Object, a_pod, node, phase
from tests.unit.cluster.node.test_runtime_contract import until
from tiphys.cluster.node import resizing
from tiphys.cluster.node.cgroups import find
from tiphys.cluster.node.resizing import Resizing
from tiphys.machinery.actions import PatchType
from tiphys.machinery.resources import PODS, ObjectKey

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NODE = {"cpu": "2", "memory": "1Gi"}


def wants(cpu: str, generation: int = 1, name: str = "p", **more: Any) -> dict[str, Any]:
    container = {"name": "c", "resources": {"requests": {"cpu": cpu}}, **more}
    meta = {"name": name, "uid": name, "generation": generation}
    return {"metadata": meta, "spec": {"containers": [container]}, "status": {"qosClass": "Burstable"}}


def refused(*others: Object) -> Any:
    return lambda pod: resizing.no_room_for(pod, others, NODE)


def summary(cpu: str, error: str = "") -> str:
    end = f',"error":"{error}"' if error else ""
    return f'{{"containers":[{{"name":"c","resources":{{"requests":{{"cpu":"{cpu}"}}}}}}],"generation":2{end}}}'


def test_what_fits_is_granted_and_told_when_it_is_given() -> None:
    state = Resizing(wants("100m"))
    state.give("c")
    wish = wants("200m", 2)
    assert state.consider(wish, refused(), NOW) == (
        ("Normal", "ResizeStarted", f"Pod resize started: {summary('200m')}"),
    )
    assert [row["type"] for row in state.conditions()] == ["PodResizeInProgress"]
    assert state.outstanding(["c"]) == ["c"]
    state.give("c")
    assert state.outstanding(["c"]) == []
    assert state.complete(wish) == (("Normal", "ResizeCompleted", f"Pod resize completed: {summary('200m')}"),)
    assert state.conditions() == [] == list(state.complete(wish))


def test_the_same_amount_in_other_words_is_no_change() -> None:
    state = Resizing(wants("1"))
    assert state.consider(wants("1000m", 2), refused(), NOW) == ()
    assert state.conditions() == []


def test_more_than_the_node_has_is_infeasible_and_told_once() -> None:
    state, said = Resizing(wants("1")), "Node didn't have enough capacity: cpu, requested: 64000, capacity: 2000"
    wish = wants("64", 2)
    assert state.consider(wish, refused(), NOW) == (
        ("Warning", "ResizeInfeasible", f"Pod resize Infeasible: {summary('64', said)}"),
    )
    assert state.consider(wish, refused(), NOW) == ()
    (row,) = state.conditions()
    assert (row["reason"], row["message"], row["observedGeneration"]) == ("Infeasible", said, 2)
    assert state.as_granted(wish)["spec"] == wants("1")["spec"]
    assert state.consider(wants("1", 3), refused(), NOW) == ()
    assert state.conditions() == []


def test_memory_is_named_first_where_both_are_too_much() -> None:
    wish = wants("64")
    wish["spec"]["containers"][0]["resources"]["requests"]["memory"] = "2Gi"
    found = resizing.no_room_for(wish, (), NODE)
    assert found == (
        "Infeasible",
        f"Node didn't have enough capacity: memory, requested: {2 << 30}, capacity: {1 << 30}",
    )


def test_what_others_have_now_is_waited_for() -> None:
    state, other = Resizing(wants("100m")), wants("1500m", name="other")
    (event,) = state.consider(wants("1", 2), refused(other), NOW)
    assert event[1] == "ResizeDeferred"
    assert state.pending is not None
    assert state.pending.message == (
        "Node didn't have enough resource: cpu, requested: 1000, used: 1500, capacity: 2000"
    )
    (event,) = state.consider(wants("1", 2), refused(), NOW)
    assert event[1] == "ResizeStarted"


def test_a_limit_that_is_refused_is_told_until_it_is_another_reason() -> None:
    state, wish = Resizing(wants("100m")), wants("200m", 2)
    state.consider(wish, refused(), NOW)
    assert [event[1] for event in state.fail(wish, "busy")] == ["ResizeError"]
    assert state.fail(wish, "busy") == ()
    (row,) = state.conditions()
    assert (row["type"], row["reason"], row["message"]) == ("PodResizeInProgress", "Error", "busy")


@pytest.mark.parametrize(
    ("resource", "before", "after", "restarts"),
    [
        ("cpu", {"requests": {"cpu": "1"}}, {"requests": {"cpu": "2"}}, True),
        ("cpu", {"limits": {"cpu": "1"}}, {"limits": {"cpu": "1000m"}}, False),
        ("cpu", {"limits": {"memory": "1Gi"}}, {"limits": {"memory": "2Gi"}}, False),
        ("memory", {"limits": {"memory": "1Gi"}}, {"limits": {"memory": "2Gi"}}, True),
        ("memory", {"requests": {"memory": "1Gi"}}, {"requests": {"memory": "2Gi"}}, False),
    ],
)
def test_who_is_started_again(resource: str, before: Object, after: Object, restarts: bool) -> None:
    container = {"name": "c", "resizePolicy": [{"resourceName": resource, "restartPolicy": "RestartContainer"}]}
    assert resizing.needs_restart(container, before, after) is restarts


def test_who_waits_for_room_is_served_in_turn() -> None:
    def place(cpu: str, held: str, **spec: Any) -> Any:
        pod = wants(cpu)
        pod["spec"].update(spec)
        return resizing.turn(pod, wants(held), NOW)

    assert sorted([place("2", "1"), place("1", "2"), place("2", "1", priority=7)]) == [
        place("1", "2"), place("2", "1", priority=7), place("2", "1"),
    ]  # fmt: skip


def test_a_later_agent_knows_what_was_given() -> None:
    pod = wants("200m", 2)
    pod["status"]["containerStatuses"] = [{"name": "c", "resources": {"requests": {"cpu": "100m"}}}]
    state = Resizing(pod)
    state.resume(pod)
    assert [event[1] for event in state.consider(pod, refused(), NOW)] == ["ResizeStarted"]
    assert state.outstanding(["c"]) == ["c"]


# Really.


@pytest.fixture(params=["sandbox", "oci"])
async def here(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Node]:
    if find().missing:
        pytest.skip(f"this machine's control groups cannot be used for: {', '.join(find().missing)}")
    async with node(request.param, tmp_path / "node") as made:
        await made.start()
        yield made


def given(pod: Object) -> Any:
    rows = (pod.get("status") or {}).get("containerStatuses") or [{}]
    return rows[0].get("resources") or {}


async def resize(here: Node, key: ObjectKey, **limits: str) -> Object:
    """The pod, once its container has the new limits."""
    change = {"spec": {"containers": [{"name": "c", "resources": {"limits": limits}}]}}
    await here.client.patch(PODS, key, change, PatchType.STRATEGIC, subresource="resize")
    return await here.until(key, lambda pod: limits.items() <= given(pod).get("limits", {}).items())


def groups_of(here: Node) -> Any:
    assert here.agent is not None
    ((_, container),) = here.agent.containers()
    return container.group()  # type: ignore[attr-defined]


async def test_limits_of_a_container_that_runs(here: Node) -> None:
    """Also a limit of a kind that it had none of, for which it has to enter another group."""
    resources = {"requests": {"cpu": "100m"}}
    key = await here.create(a_pod("sleep 60 & wait", container={"resources": resources}))
    await here.until(key, lambda pod: phase(pod) == "Running")
    pod = await resize(here, key, cpu="300m", memory="64Mi")
    assert pod["status"]["containerStatuses"][0]["restartCount"] == 0
    group = groups_of(here)

    def inside(name: str) -> set[str]:
        return set((group.places[name] / "cgroup.procs").read_text().split())

    await until(lambda: len(inside("memory")) >= 2)  # the shell may not have begun its own process yet
    assert inside("memory") == inside("cpu")
    memory, quota = ("memory.max", "cpu.max") if group.unified else ("memory.limit_in_bytes", "cpu.cfs_quota_us")
    assert (group.places["memory"] / memory).read_text().strip() == str(64 << 20)
    assert (group.places["cpu"] / quota).read_text().split()[0] == "30000"
    await resize(here, key, cpu="200m", memory="128Mi")
    assert (group.places["memory"] / memory).read_text().strip() == str(128 << 20)
    await here.client.delete(PODS, key, {"gracePeriodSeconds": 0})
    await here.gone(key)
    await until(lambda: not any(place.exists() for place in group.places.values()))


async def test_a_container_whose_policy_asks_for_it_is_started_again(here: Node) -> None:
    policy = [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]
    container = {"resources": {"limits": {"memory": "64Mi"}}, "resizePolicy": policy}
    script = "trap 'exit 0' TERM; while :; do sleep 0.1; done"
    key = await here.create(a_pod(script, restartPolicy="Always", container=container))
    await here.until(key, lambda pod: phase(pod) == "Running")
    pod = await resize(here, key, memory="96Mi")
    assert pod["status"]["containerStatuses"][0]["restartCount"] == 1
    pod = await resize(here, key, memory="64Mi")
    assert pod["status"]["containerStatuses"][0]["restartCount"] == 2
    await only_two_lives_are_kept(here, key)


async def only_two_lives_are_kept(here: Node, key: ObjectKey) -> None:
    """The one that runs, and the one before for its log."""
    assert here.agent is not None
    worker = here.agent.worker(key)
    assert worker is not None
    assert (sorted(worker.launches), sorted(worker.logs)) == ([("c", 1), ("c", 2)],) * 2
    await until(lambda: [p.suffix for p in worker.directory.glob("c.0.*")] == [".life"])
    assert await here.log(key, previous="true") in ("", "Terminated\n")  # its shell may not have set its trap yet


async def test_a_limit_below_what_is_in_use_is_refused(here: Node) -> None:
    """The container goes on as it was."""
    script = "head -c 40000000 /dev/zero >/dev/shm/x; sleep 60"
    container = {"resources": {"limits": {"memory": "128Mi"}, "requests": {"memory": "1Mi"}}}
    key = await here.create(a_pod(script, container=container))
    await here.until(key, lambda pod: phase(pod) == "Running")
    group = groups_of(here)
    await until(lambda: (group.memory_bytes or 0) > 40_000_000)
    change = {"spec": {"containers": [{"name": "c", "resources": {"limits": {"memory": "16Mi"}}}]}}
    await here.client.patch(PODS, key, change, PatchType.STRATEGIC, subresource="resize")
    pod = await here.until(key, lambda pod: "Error" in str(pod["status"].get("conditions")))
    (row,) = [row for row in pod["status"]["conditions"] if row["type"] == "PodResizeInProgress"]
    assert row["message"].startswith('cannot decrease memory limits: attempting to set container "c" memory limit')
    assert given(pod)["limits"] == {"memory": "128Mi"}
