from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.cluster.controllers.world import World, in_world
from tiphys.client.client import Client
from tiphys.client.managed import ManagedTransport
from tiphys.client.transport import Request
from tiphys.cluster.controllers.plan import eviction
from tiphys.cluster.controllers.plan.scheduling.cluster import ClusterState, PodFacts
from tiphys.cluster.controllers.plan.scheduling.decide import decide
from tiphys.cluster.controllers.scheduler import Scheduler
from tiphys.machinery.errors import ServiceUnavailable
from tiphys.machinery.resources import EVENTS, NODES, PODS, key_of


def node(name: str, **spec: Any) -> dict[str, Any]:
    labels = {"kubernetes.io/hostname": name, "zone": name[-1], **spec.pop("labels", {})}
    size = {"cpu": "2", "memory": "4Gi", "pods": "10"}
    return {"metadata": {"name": name, "labels": labels}, "spec": spec, "status": {"allocatable": size}}


def pod(name: str, cpu: str = "", priority: int = 0, labels: dict[str, str] | None = None, **spec: Any) -> PodFacts:
    resources = {"resources": {"requests": {"cpu": cpu}}} if cpu else {}
    meta = {
        "name": name,
        "namespace": "d",
        "uid": name,
        "labels": labels or {},
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }
    whole = {"containers": [{"name": "c", **resources}], "priority": priority, **spec}
    return PodFacts.of({"metadata": meta, "spec": whole})


def cluster(*nodes: dict[str, Any]) -> ClusterState:
    state = ClusterState()
    for each in nodes:
        state.set_node(each)
    return state


TAINT = {"key": "k", "value": "v", "effect": "NoSchedule"}
END = "no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"nodeSelector": {"a": "b"}}, "1 node(s) didn't match Pod's node affinity/selector"),
        ({"cpu": "3"}, "1 Insufficient cpu"),
    ],
)
def test_why_a_pod_is_nowhere(spec: dict[str, Any], reason: str) -> None:
    found = decide(pod("p", **spec), cluster(node("n1")), {})
    assert found.message == f"0/1 nodes are available: {reason}. {END}"


def test_taints_and_cordons() -> None:
    assert "untolerated taint(s)" in decide(pod("p"), cluster(node("n1", taints=[TAINT])), {}).message
    tolerant = pod("p", tolerations=[{"key": "k", "operator": "Exists"}])
    assert decide(tolerant, cluster(node("n1", taints=[TAINT])), {}).node == "n1"
    assert "1 node(s) were unschedulable" in decide(pod("p"), cluster(node("n1", unschedulable=True)), {}).message
    assert decide(pod("p"), ClusterState(), {}).message == "no nodes available to schedule pods"


def test_pods_apart_and_together() -> None:
    state = cluster(node("n1"), node("n2"))
    state.place(pod("a", labels={"app": "a"}), "n1")
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "a"}}}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": [term]}
    assert decide(pod("p", affinity={"podAffinity": required}), state, {}).node == "n1"
    apart = pod("p", affinity={"podAntiAffinity": required})
    assert decide(apart, state, {}).node == "n2"
    state.place(apart, "n2")
    assert decide(pod("a2", labels={"app": "a"}), state, {}).node == "n1"  # the other one does not want it


def test_namespaces_of_an_affinity_are_chosen_by_their_labels() -> None:
    state = cluster(node("n1"), node("n2"))
    state.namespaces = {"d": {"team": "one"}, "e": {"team": "two"}}
    state.place(pod("a", labels={"app": "a"}), "n1")

    def chosen(**where: Any) -> str:
        term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "a"}}, **where}
        near = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
        return decide(pod("p", affinity=near), state, {}).node

    assert chosen(namespaceSelector={"matchLabels": {"team": "one"}}) == "n1"
    assert chosen(namespaceSelector={}) == "n1"
    assert chosen(namespaceSelector={"matchLabels": {"team": "two"}}) == ""
    assert chosen(namespaceSelector={"matchLabels": {"team": "two"}}, namespaces=["d"]) == "n1"
    assert chosen(namespaces=["e"]) == ""


def test_spread_keeps_the_skew() -> None:
    state = cluster(node("n1"), node("n2"))
    constraint = {"topologyKey": "zone", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule",
                  "labelSelector": {"matchLabels": {"app": "a"}}}  # fmt: skip
    for number in range(4):
        facts = pod(f"a{number}", labels={"app": "a"}, topologySpreadConstraints=[constraint])
        state.place(facts, decide(facts, state, {}).node)
    assert [len(each.pods) for each in state.nodes.values()] == [2, 2]


def test_the_least_important_make_room() -> None:
    state = cluster(node("n1"), node("n2"))
    for name, place, priority in (("a", "n1", 5), ("b", "n1", 1), ("c", "n2", 3), ("d", "n2", 3)):
        state.place(pod(name, "1", priority), place)
    found = decide(pod("p", "1", 10), state, {})
    assert (found.nominated, [each.uid for each in found.victims]) == ("n1", ["b"])
    assert "No preemption victims" in decide(pod("p", "1", 1), state, {}).message


def test_room_that_is_made_is_kept_for_whom_it_is_made() -> None:
    state = cluster(node("n1"))
    state.place(pod("a", "2", 1), "n1")
    high = pod("high", "2", 10)
    found = decide(high, state, {})
    assert (found.nominated, [each.uid for each in found.victims]) == ("n1", ["a"])
    state.expect(high, found.nominated)
    state.place(replace(pod("a", "2", 1), leaving=True), "n1")
    waits = decide(high, state, {})
    assert (waits.nominated, waits.victims) == ("n1", ())
    assert "not eligible due to a terminating pod on the nominated node." in waits.message
    state.remove("a")
    assert decide(pod("another", "2", 1), state, {}).node == ""
    assert decide(pod("higher", "2", 20), state, {}).node == "n1"
    assert decide(high, state, {}).node == "n1"


def test_pods_of_a_node_that_goes_and_comes_count_once_and_only_while_they_are_there() -> None:
    state = cluster(node("n1"))
    for name in ("stays", "goes"):
        state.place(pod(name, "1"), "n1")
    state.drop_node("n1")
    state.remove("goes")
    state.set_node(node("n1"))
    assert [each.uid for each in state.nodes["n1"].pods.values()] == ["stays"]
    assert decide(pod("p", "2"), state, {}).node == ""
    assert decide(pod("p", "1"), state, {}).node == "n1"


def test_host_ports_clash() -> None:
    state = cluster(node("n1"))
    port = {"containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 80}]}]}
    state.place(pod("a", **port), "n1")
    assert "didn't have free ports" in decide(pod("p", **port), state, {}).message


def test_a_pod_is_tried_again_when_there_is_room() -> None:
    async def test(world: World) -> None:
        big = [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "20"}}}]
        await world.make(PODS, "first", spec={"containers": big})
        await world.settle(1)
        await world.make(PODS, "second", spec={"containers": big})
        await world.settle(5)
        condition = (await world.get(PODS, "second"))["status"]["conditions"][0]
        assert (condition["status"], condition["reason"]) == ("False", "Unschedulable")
        await world.client.delete(PODS, (await key(world, "first")))
        await world.settle(15)
        assert (await world.get(PODS, "second"))["status"]["phase"] == "Running"

    async def key(world: World, name: str) -> Any:
        from tiphys.machinery.resources import key_of

        return key_of(await world.get(PODS, name))

    in_world(test)


def test_a_pod_is_tried_again_every_five_minutes_of_silence() -> None:
    async def test(world: World) -> None:
        await world.make(PODS, "large", spec=asks("1000"))
        await world.settle(290)
        before = await failures(world)
        await world.settle(340)  # two tries; a series is written again after some minutes
        assert await failures(world) == before + 2

    async def failures(world: World) -> int:
        (event,) = [each for each in await world.all(EVENTS) if each["involvedObject"]["name"] == "large"]
        assert event["reason"] == "FailedScheduling"
        return int((event.get("series") or {"count": 1})["count"])

    in_world(test)


class NoStatusOnce(ManagedTransport):
    """Refuses the first write of a status."""

    refused = False

    async def call(self, request: Request) -> Any:
        if request.subresource == "status" and not NoStatusOnce.refused:
            NoStatusOnce.refused = True
            raise ServiceUnavailable("not now")
        return await super().call(request)


def test_a_refused_status_does_not_end_the_scheduler() -> None:
    async def test(world: World) -> None:
        await world.make(PODS, "first", spec=asks("20"))
        await world.settle(1)
        scheduler = world.controllers.manager.running["default-scheduler"]
        scheduler.client = Client(NoStatusOnce(world.server.transport(), scheduler.manager))
        await world.make(PODS, "large", spec=asks("20"))
        await world.settle(1)
        assert NoStatusOnce.refused
        await world.make(PODS, "small", spec=asks("1"))
        await world.settle(5)
        assert (await world.get(PODS, "small"))["status"]["phase"] == "Running"

    in_world(test)


def test_the_room_of_a_pod_that_went_unseen_is_free_when_another_has_its_name() -> None:
    async def test(world: World) -> None:
        made = await world.make(PODS, "db", spec=asks("1"))
        await world.settle()
        scheduler = world.controllers.manager.running["default-scheduler"]
        assert isinstance(scheduler, Scheduler)
        first = await world.get(PODS, "db")
        second = {**made, "metadata": {**made["metadata"], "uid": "another"}}
        scheduler._on_pod(key_of(made), first, second)
        assert scheduler.cluster.node_of(first["metadata"]["uid"]) is None

    in_world(test)


def asks(cpu: str) -> dict[str, Any]:
    return {"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}]}


def test_a_noexecute_taint_evicts_after_its_time() -> None:
    async def test(world: World) -> None:
        toleration = {"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60}
        containers = [{"name": "c", "image": "i"}]
        await world.make(PODS, "patient", spec={"containers": containers, "tolerations": [toleration]})
        await world.make(PODS, "plain", spec={"containers": containers})
        await world.settle(3)
        taint = {"key": "k", "effect": "NoExecute", "timeAdded": "2026-01-01T00:00:03Z"}
        await world.patch(NODES, "node-1", {"spec": {"taints": [taint]}})
        await world.settle(5)
        assert [each["metadata"]["name"] for each in await world.all(PODS)] == ["patient"]
        await world.settle(60)
        assert await world.all(PODS) == []

    in_world(test)


def test_pods_of_nodes_that_never_were_go_and_so_do_too_many_ended_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eviction, "ENDED_MAX", 1)

    async def test(world: World) -> None:
        await world.make(PODS, "lost", spec={**asks("1"), "nodeName": "nowhere"})
        for name in ("one", "two"):
            made = await world.make(PODS, name, spec=asks("1"))
            await world.client.replace(PODS, {**made, "status": {**made["status"], "phase": "Failed"}}, "status")
            await world.settle(1)
        await world.settle(25)
        assert [each["metadata"]["name"] for each in await world.all(PODS)] == ["lost", "two"]
        await world.settle(40)
        assert [each["metadata"]["name"] for each in await world.all(PODS)] == ["two"]

    in_world(test)
