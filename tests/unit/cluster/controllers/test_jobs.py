from __future__ import annotations

from typing import Any

from tests.unit.cluster.controllers.world import World, in_world, template
from tiphys.machinery.resources import JOBS, PODS

PREFIX = "simulated.tiphys.dev"


def pod(**annotations: str) -> dict[str, Any]:
    made = template("job", restartPolicy="Never")
    made["metadata"]["annotations"] = {f"{PREFIX}/{key}": value for key, value in annotations.items()}
    return made


async def reasons(world: World, name: str) -> list[str]:
    status = (await world.get(JOBS, name))["status"]
    return [each["reason"] for each in status.get("conditions") or () if each["status"] == "True"]


def test_each_index_has_its_own_limit() -> None:
    async def test(world: World) -> None:
        spec = {"completionMode": "Indexed", "completions": 2, "parallelism": 2, "backoffLimitPerIndex": 1}
        await world.make(JOBS, "each", spec={**spec, "template": pod(exit="1")})
        await world.settle(60)
        status = (await world.get(JOBS, "each"))["status"]
        assert (status["failed"], status["failedIndexes"]) == (4, "0,1")
        assert await reasons(world, "each") == ["FailedIndexes", "FailedIndexes"]
        count = "batch.kubernetes.io/job-index-failure-count"
        counts = sorted(each["metadata"]["annotations"][count] for each in await world.all(PODS))
        assert counts == ["0", "0", "1", "1"]

    in_world(test)


def test_ignored_failures_do_not_count() -> None:
    async def test(world: World) -> None:
        ignore = {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [7]}}
        spec = {"backoffLimit": 0, "podFailurePolicy": {"rules": [ignore]}}
        await world.make(JOBS, "patient", spec={**spec, "template": pod(exit="7")})
        await world.settle(30)
        assert len(await world.all(PODS)) > 1
        status = (await world.get(JOBS, "patient"))["status"]
        assert (status.get("failed"), await reasons(world, "patient")) == (None, [])

    in_world(test)


def test_success_of_the_named_indexes_is_enough() -> None:
    async def test(world: World) -> None:
        rules = [{"succeededIndexes": "2"}]
        spec = {"completionMode": "Indexed", "completions": 4, "parallelism": 1, "successPolicy": {"rules": rules}}
        await world.make(JOBS, "enough", spec={**spec, "template": pod()})
        await world.settle(60)
        status = (await world.get(JOBS, "enough"))["status"]
        assert (status["completedIndexes"], await reasons(world, "enough")) == ("0-2", ["SuccessPolicy"] * 2)

    in_world(test)


def test_a_work_queue_is_done_when_one_pod_succeeds_and_none_runs() -> None:
    async def test(world: World) -> None:
        await world.make(JOBS, "queue", spec={"parallelism": 3, "completions": None, "template": pod(delay="2000")})
        await world.settle(30)
        status = (await world.get(JOBS, "queue"))["status"]
        assert status["succeeded"] == 3 and await reasons(world, "queue") == ["CompletionsReached"] * 2

    in_world(test)


def test_less_parallelism_ends_pods_that_do_not_count() -> None:
    async def test(world: World) -> None:
        await world.make(JOBS, "wide", spec={"parallelism": 4, "completions": 8, "template": pod(run="forever")})
        await world.settle()
        await world.patch(JOBS, "wide", {"spec": {"parallelism": 1}})
        await world.settle()
        status = (await world.get(JOBS, "wide"))["status"]
        assert (len(await world.all(PODS)), status["active"], status.get("failed")) == (1, 1, None)

    in_world(test)


def test_a_deleted_pod_counts_as_failed_and_is_replaced() -> None:
    async def test(world: World) -> None:
        await world.make(JOBS, "one", spec={"backoffLimit": 3, "template": pod(run="forever")})
        await world.settle()
        name = (await world.all(PODS))[0]["metadata"]["name"]
        from tiphys.machinery.resources import ObjectKey

        await world.client.delete(PODS, ObjectKey("default", name))
        await world.settle(30)
        status = (await world.get(JOBS, "one"))["status"]
        assert (status["failed"], status["active"]) == (1, 1)

    in_world(test)
