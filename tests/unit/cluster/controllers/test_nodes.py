from __future__ import annotations

from typing import Any

import pytest

from tests.unit.cluster.controllers.world import World, in_world
from tiphys.cluster.controllers.plan.node_taints import taints_of
from tiphys.machinery.resources import EVENTS, LEASES, NODES, ObjectKey


def node(conditions: dict[str, str], taints: list[dict[str, str]] | None = None, **spec: Any) -> dict[str, Any]:
    listed = [{"type": kind, "status": status} for kind, status in conditions.items()]
    return {"spec": {"taints": taints or [], **spec}, "status": {"conditions": listed}}


def taint(name: str, effect: str = "NoSchedule") -> dict[str, str]:
    return {"key": f"node.kubernetes.io/{name}", "effect": effect}


OWN = {"key": "mine", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    ("seen", "wanted"),
    [
        (node({"Ready": "True"}), None),
        (node({"Ready": "True"}, [taint("not-ready"), OWN]), [OWN]),
        (node({"Ready": "Unknown"}, [taint("not-ready")]), [taint("unreachable")]),
        (node({"Ready": "False"}, [taint("not-ready"), taint("not-ready", "NoExecute")]), None),
        (node({"Ready": "True"}, [taint("not-ready", "NoExecute")]), None),
        (
            node({"PIDPressure": "True"}, [OWN], unschedulable=True),
            [OWN, taint("pid-pressure"), taint("unschedulable")],
        ),
    ],
)
def test_taints_follow_what_is_wrong_with_a_node(seen: dict[str, Any], wanted: list[dict[str, str]] | None) -> None:
    assert taints_of(seen) == wanted


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
