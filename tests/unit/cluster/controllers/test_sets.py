from __future__ import annotations

from typing import Any

from tests.unit.cluster.controllers.world import World, in_world, template, workload
from tiphys.machinery.resources import (
    DAEMON_SETS,
    EVENTS,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    STATEFUL_SETS,
    STORAGE_CLASSES,
    ObjectKey,
)


def claiming(replicas: int, **policy: str) -> dict[str, Any]:
    spec = workload("db", replicas, serviceName="db")
    wanted = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    claim = {"metadata": {"name": "data"}, "spec": {**wanted, "storageClassName": "local"}}
    return {**spec, "volumeClaimTemplates": [claim], "persistentVolumeClaimRetentionPolicy": policy}


async def storage(world: World) -> None:
    """Volumes made by hand: the test's world has no directories."""
    for number in range(3):
        spec = {
            "capacity": {"storage": "2Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "local",
            "hostPath": {"path": f"/v{number}"},
        }
        await world.make(PERSISTENT_VOLUMES, f"v{number}", spec=spec)
    waits = {"provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer"}
    await world.make(STORAGE_CLASSES, "local", **waits)


async def names(world: World, kind: Any) -> list[str]:
    return sorted(each["metadata"]["name"] for each in await world.all(kind))


async def volumes(world: World) -> dict[str, str]:
    claims = await world.all(PERSISTENT_VOLUME_CLAIMS)
    return {each["metadata"]["name"]: each["spec"]["volumeName"] for each in claims}


def test_claims_wait_for_their_pods_and_stay_when_these_go() -> None:
    async def test(world: World) -> None:
        await storage(world)
        await world.make(STATEFUL_SETS, "db", spec=claiming(2))
        await world.settle(10)
        assert await names(world, PODS) == ["db-0", "db-1"]
        bound = await volumes(world)
        await world.client.delete(PODS, ObjectKey("default", "db-0"))
        await world.patch(STATEFUL_SETS, "db", {"spec": {"replicas": 1}})
        await world.settle(10)
        assert await names(world, PODS) == ["db-0"]
        assert await volumes(world) == bound and len(bound) == 2

    in_world(test)


def test_claims_of_pods_that_are_too_many_go_where_the_policy_says_so() -> None:
    async def test(world: World) -> None:
        await storage(world)
        await world.make(STATEFUL_SETS, "db", spec=claiming(3, whenScaled="Delete", whenDeleted="Delete"))
        await world.settle(15)
        await world.patch(STATEFUL_SETS, "db", {"spec": {"replicas": 1}})
        await world.settle(15)
        assert await names(world, PERSISTENT_VOLUME_CLAIMS) == ["data-db-0"]
        await world.client.delete(STATEFUL_SETS, ObjectKey("default", "db"))
        await world.settle(15)
        assert await names(world, PERSISTENT_VOLUME_CLAIMS) == [] == await names(world, PODS)

    in_world(test)


def test_the_highest_goes_first() -> None:
    async def test(world: World) -> None:
        await world.make(STATEFUL_SETS, "db", spec=workload("db", 3, serviceName="db"))
        await world.settle(10)
        await world.patch(STATEFUL_SETS, "db", {"spec": {"replicas": 0}})
        await world.settle(10)
        gone = [each["message"] for each in await world.all(EVENTS) if each["reason"] == "SuccessfulDelete"]
        assert sorted(gone) == [f"Delete Pod db-{n} in StatefulSet db successful" for n in range(3)]
        assert await names(world, PODS) == []

    in_world(test)


def test_a_daemon_with_surge_starts_the_new_one_first() -> None:
    async def test(world: World) -> None:
        rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
        spec = {"selector": {"matchLabels": {"app": "ds"}}, "template": template("ds"), "updateStrategy": rolling}
        await world.make(DAEMON_SETS, "ds", spec=spec)
        await world.settle()
        await world.patch(DAEMON_SETS, "ds", {"spec": {"template": {"metadata": {"labels": {"v": "2"}}}}})
        await world.settle(10)
        pods = await world.all(PODS)
        assert [each["metadata"]["labels"].get("v") for each in pods] == ["2", "2"]
        status = (await world.get(DAEMON_SETS, "ds"))["status"]
        assert (status["updatedNumberScheduled"], status["numberAvailable"]) == (2, 2)

    in_world(test, nodes=2)
