from __future__ import annotations

from typing import Any

from tests.unit.cluster.controllers.world import World, in_world, template, workload
from tiphys.cluster.controllers.plan import indexes
from tiphys.machinery.resources import (
    CONFIG_MAPS,
    CRON_JOBS,
    DAEMON_SETS,
    DEPLOYMENTS,
    JOBS,
    NODES,
    PODS,
    REPLICA_SETS,
    STATEFUL_SETS,
    ObjectKey,
)


def test_nothing_runs_before_there_is_something_to_do() -> None:
    async def test(world: World) -> None:
        await world.make(CONFIG_MAPS, "unconcerned", data={})
        await world.settle(1)
        assert set(world.controllers.manager.running) <= {
            "service-account-controller",
            "root-ca-certificate-publisher-controller",
            "node-controller",
            "pod-garbage-collector",
            "clusterrole-aggregation-controller",
        }

    in_world(test)


def test_scaling_a_rollout_under_way_keeps_its_proportions() -> None:
    async def test(world: World) -> None:
        rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}}
        await world.make(DEPLOYMENTS, "web", spec=workload("web", 10, strategy=rolling))
        await world.settle()
        never = {"spec": {"template": {"metadata": {"annotations": {"simulated.tiphys.dev/not-ready": "1"}}}}}
        await world.patch(DEPLOYMENTS, "web", never)
        await world.settle()
        sizes = sorted(each["spec"]["replicas"] for each in await world.all(REPLICA_SETS))
        assert sizes == [5, 8]
        await world.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 15}})
        await world.settle()
        assert sorted(each["spec"]["replicas"] for each in await world.all(REPLICA_SETS)) == [7, 11]

    in_world(test)


def test_old_sets_go_beyond_the_history_limit_and_undo_is_a_new_revision() -> None:
    async def test(world: World) -> None:
        await world.make(DEPLOYMENTS, "web", spec=workload("web", 1, revisionHistoryLimit=1))
        for version in ("2", "3", "4"):
            await world.settle()
            await world.patch(DEPLOYMENTS, "web", image(version))
        await world.settle()
        held = await world.all(REPLICA_SETS)
        revisions = sorted(each["metadata"]["annotations"]["deployment.kubernetes.io/revision"] for each in held)
        assert revisions == ["3", "4"]
        await world.patch(DEPLOYMENTS, "web", image("3"))
        await world.settle()
        found = await world.get(DEPLOYMENTS, "web")
        assert found["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "5"

    def image(version: str) -> dict[str, Any]:
        return {"spec": {"template": {"metadata": {"labels": {"app": "web", "version": version}}}}}

    in_world(test)


def test_a_stateful_set_updates_from_the_top_down_to_its_partition() -> None:
    async def test(world: World) -> None:
        rolling = {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}
        await world.make(STATEFUL_SETS, "db", spec=workload("db", 3, serviceName="db", updateStrategy=rolling))
        await world.settle()
        await world.patch(STATEFUL_SETS, "db", {"spec": {"template": {"metadata": {"labels": {"v": "2"}}}}})
        await world.settle(10)
        pods = {each["metadata"]["name"]: each["metadata"]["labels"].get("v") for each in await world.all(PODS)}
        assert pods == {"db-0": None, "db-1": "2", "db-2": "2"}
        status = (await world.get(STATEFUL_SETS, "db"))["status"]
        assert (status["updatedReplicas"], status["currentReplicas"]) == (2, 1)
        assert status["currentRevision"] != status["updateRevision"]

    in_world(test)


def test_a_daemon_runs_on_every_node_that_is_meant() -> None:
    async def test(world: World) -> None:
        spec = {"selector": {"matchLabels": {"app": "ds"}}, "template": template("ds")}
        await world.make(DAEMON_SETS, "ds", spec=spec)
        await world.settle()
        nodes = sorted(each["spec"]["nodeName"] for each in await world.all(PODS))
        assert nodes == ["node-1", "node-2", "node-3"]
        await world.client.delete(NODES, ObjectKey("", "node-2"))
        await world.settle()
        assert sorted(each["spec"]["nodeName"] for each in await world.all(PODS)) == ["node-1", "node-3"]

    in_world(test, nodes=3)


def test_a_daemon_that_fails_again_and_again_is_replaced_ever_later() -> None:
    async def test(world: World) -> None:
        async def fail() -> str:
            pod = (await world.all(PODS))[0]
            status = {**pod["status"], "phase": "Failed", "reason": "Evicted"}
            await world.client.replace(PODS, {**pod, "status": status}, "status")
            return str(pod["metadata"]["name"])

        async def there() -> list[str]:
            return [each["metadata"]["name"] for each in await world.all(PODS)]

        spec = {"selector": {"matchLabels": {"app": "ds"}}, "template": template("ds")}
        await world.make(DAEMON_SETS, "ds", spec=spec)
        await world.settle()
        first = await fail()
        await world.settle(0.5)
        assert first not in await there()
        for wait in (0.4, 1.2, 3.2):  # it stays for 1, 2, 4 s from when the one before was taken away
            name = await fail()
            await world.settle(wait)
            assert await there() == [name]
            await world.settle(0.7)
            assert len(await there()) == 1 and name not in await there()

    in_world(test, nodes=1)


def test_a_forbidding_cron_job_starts_no_second_one() -> None:
    async def test(world: World) -> None:
        pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}
        running = {"metadata": {"annotations": {"simulated.tiphys.dev/run": "forever"}}, "spec": pod}
        job = {"spec": {"template": running}}
        spec = {"schedule": "* * * * *", "concurrencyPolicy": "Forbid", "jobTemplate": job}
        await world.make(CRON_JOBS, "tick", spec=spec)
        await world.settle(200)
        assert len(await world.all(JOBS)) == 1
        await world.patch(CRON_JOBS, "tick", {"spec": {"concurrencyPolicy": "Replace"}})
        await world.settle(120)
        assert len(await world.all(JOBS)) == 1

    in_world(test)


def test_failed_pods_of_a_job_are_replaced_after_a_growing_while() -> None:
    async def test(world: World) -> None:
        pod = template("job", restartPolicy="Never")
        pod["metadata"]["annotations"] = {"simulated.tiphys.dev/exit": "1"}
        await world.make(JOBS, "fails", spec={"backoffLimit": 3, "template": pod})
        counts = []
        for _ in range(4):
            await world.settle(5)
            counts.append(len(await world.all(PODS)))
            await world.settle(5 * 2 ** len(counts))
        assert counts == [1, 2, 3, 4]
        await world.settle(200)
        conditions = (await world.get(JOBS, "fails"))["status"]["conditions"]
        assert [each["reason"] for each in conditions] == ["BackoffLimitExceeded"] * 2

    in_world(test)


def test_a_namespace_goes_with_everything_in_it() -> None:
    async def test(world: World) -> None:
        from tiphys.machinery.errors import NotFound
        from tiphys.machinery.resources import NAMESPACES

        await world.make(NAMESPACES, "gone")
        await world.make(DEPLOYMENTS, "web", metadata={"namespace": "gone"}, spec=workload("web", 2))
        await world.settle()
        await world.client.delete(NAMESPACES, ObjectKey("", "gone"))
        await world.settle(20)
        assert await world.all(PODS) == await world.all(DEPLOYMENTS) == []
        try:
            await world.get(NAMESPACES, "gone")
        except NotFound:
            return
        raise AssertionError("the namespace is still there")

    in_world(test)


def test_indexes_read_and_print() -> None:
    assert indexes.text({0, 1, 2, 4, 6, 7}) == "0-2,4,6,7"
    assert indexes.parse("0-2,4,9", 8) == {0, 1, 2, 4}
