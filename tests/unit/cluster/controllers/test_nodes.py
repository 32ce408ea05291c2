from __future__ import annotations

from typing import Any

import pytest

from tests.unit.cluster.controllers.world import World, in_world, workload
from tiphys.cluster.controllers.plan.node_taints import is_mistainted, taints_of
from tiphys.machinery.resources import DEPLOYMENTS, EVENTS, LEASES, NODES, PODS, ObjectKey


def node(conditions: dict[str, str], taints: list[dict[str, str]] | None = None, **spec: Any) -> dict[str, Any]:
    listed = [{"type": kind, "status": status} for kind, status in conditions.items()]
    return {"spec": {"taints": taints or [], **spec}, "status": {"conditions": listed}}


def taint(name: str, effect: str = "NoSchedule") -> dict[str, str]:
    return {"key": f"node.kubernetes.io/{name}", "effect": effect}


NOW = "2026-01-01T00:00:00Z"
LEFT = {"timeAdded": NOW}
OWN = {"key": "mine", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    ("seen", "wanted"),
    [
        (node({"Ready": "True"}), None),
        (node({"Ready": "True"}, [taint("not-ready"), OWN]), [OWN]),
        (
            node({"Ready": "Unknown"}, [taint("not-ready")]),
            [LEFT | taint("unreachable", "NoExecute"), taint("unreachable")],
        ),
        (node({"Ready": "False"}, [taint("not-ready")]), [taint("not-ready"), LEFT | taint("not-ready", "NoExecute")]),
        (node({"Ready": "False"}, [taint("not-ready"), taint("not-ready", "NoExecute")]), None),
        (
            node({"Ready": "True"}, [taint("not-ready", "NoExecute"), taint("mine", "NoExecute")]),
            [taint("mine", "NoExecute")],
        ),
        (
            node({"PIDPressure": "True"}, [OWN], unschedulable=True),
            [OWN, taint("pid-pressure"), taint("unschedulable")],
        ),
    ],
)
def test_taints_follow_what_is_wrong_with_a_node(seen: dict[str, Any], wanted: list[dict[str, str]] | None) -> None:
    assert is_mistainted(seen) is (wanted is not None)
    assert taints_of(seen, NOW) == (seen["spec"]["taints"] if wanted is None else wanted)


def test_a_node_that_is_closed_says_so_by_a_taint_until_it_is_open_again() -> None:
    async def test(world: World) -> None:
        await world.client.create(NODES, {"metadata": {"name": "n"}, "spec": {"unschedulable": True}})
        await world.settle()
        closed = await world.client.get(NODES, ObjectKey("", "n"))
        assert closed["spec"]["taints"] == [taint("unschedulable")]
        await world.client.replace(NODES, {**closed, "spec": {**closed["spec"], "unschedulable": False}})
        await world.settle()
        assert not (await world.client.get(NODES, ObjectKey("", "n")))["spec"].get("taints")

    in_world(test)


def test_a_node_is_told_to_be_known_and_has_a_lease() -> None:
    async def test(world: World) -> None:
        await world.settle()
        [event] = (await world.client.list(EVENTS, "default"))["items"]
        assert event["reason"] == "RegisteredNode"
        assert event["message"] == "Node node-1 event: Registered Node node-1 in Controller"
        assert "namespace" not in event["involvedObject"]
        lease = await world.client.get(LEASES, ObjectKey("kube-node-lease", "node-1"))
        assert lease["spec"]["holderIdentity"] == "node-1"
        held = await world.client.get(NODES, ObjectKey("", "node-1"))
        assert held["metadata"]["annotations"] == {"node.alpha.kubernetes.io/ttl": "0"}

    in_world(test)


def test_pods_of_a_lost_node_are_replaced_elsewhere_after_five_minutes() -> None:
    async def test(world: World) -> None:
        # as admission gives it to pods of a cluster that others reach
        a_while = {"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
        spec = {"tolerations": [a_while | {"key": f"node.kubernetes.io/{why}"} for why in ("not-ready", "unreachable")]}
        await world.make(DEPLOYMENTS, "web", spec=workload("web", 2, pod=spec))
        await world.settle()
        lost = (await world.all(PODS))[0]["spec"]["nodeName"]
        held = await world.client.get(NODES, ObjectKey("", lost))
        silent = {"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown", "message": "silence"}
        await world.client.replace(NODES, {**held, "status": {**held["status"], "conditions": [silent]}}, "status")
        await world.settle(290)
        assert lost in [pod["spec"]["nodeName"] for pod in await world.all(PODS)]
        await world.settle(30)
        pods = await world.all(PODS)
        assert len(pods) == 2 and lost not in [pod["spec"]["nodeName"] for pod in pods]

    in_world(test, nodes=2)
