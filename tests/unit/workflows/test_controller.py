"""The workflow controller in a cluster on a stage: what it adds to the decisions of the engine."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from tiphys.app.compose import World
from tiphys.app.follow import follow
from tiphys.app.local import LocalCluster
from tiphys.app.settings import Settings
from tiphys.client.client import Client
from tiphys.machinery.resources import NAMESPACES, PODS, WORKFLOWS, ObjectKey
from tiphys.testing.stage import Script, run_on_stage, stage

COMPLETED = "workflows.argoproj.io/completed"


def workflow(name: str, *, template: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    main = {"name": "main", "container": {"image": "busybox"}, **(template or {})}
    return {
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"entrypoint": "main", "templates": [main], **spec},
    }


def in_cluster(body: Callable[[Client, World], Awaitable[Any]], script: str = "") -> Any:
    async def job(world: World) -> Any:
        async with LocalCluster.start(Settings(), node=stage(Script.parse(script)), world=world) as cluster:
            return await body(cluster.client, world)

    return run_on_stage(job)


async def end_of(client: Client, *names: str) -> list[dict[str, Any]]:
    last: dict[str, dict[str, Any]] = {}
    async for state in follow(client, [ObjectKey("default", name) for name in names]):
        last[state["metadata"]["name"]] = dict(state)
    return [last[name] for name in names]


def test_a_pod_that_the_api_will_never_make_is_an_error_of_its_node() -> None:
    async def body(client: Client, world: World) -> dict[str, Any]:
        await client.create(WORKFLOWS, workflow("bad", template={"metadata": {"labels": {"no good!": "x"}}}))
        (end,) = await end_of(client, "bad")
        return end

    end = in_cluster(body)
    (node,) = end["status"]["nodes"].values()
    assert (end["status"]["phase"], node["phase"]) == ("Error", "Error")
    assert 'Pod "bad" is invalid: metadata.labels' in node["message"]


def test_pods_are_marked_when_they_are_done_with() -> None:
    async def body(client: Client, world: World) -> str:
        await client.create(WORKFLOWS, workflow("done"))
        await end_of(client, "done")
        await world.clock.sleep_until(world.clock.monotonic() + 1)
        pod = await client.get(PODS, ObjectKey("default", "done"))
        return str(pod["metadata"]["labels"][COMPLETED])

    assert in_cluster(body) == "true"


def test_pods_are_deleted_after_the_delay_of_their_pod_gc() -> None:
    async def body(client: Client, world: World) -> list[int]:
        gc = {"strategy": "OnPodCompletion", "deleteDelayDuration": "30s"}
        await client.create(WORKFLOWS, workflow("gone", podGC=gc))
        await end_of(client, "gone")
        counts = []
        for seconds in (20, 40):
            await world.clock.sleep_until(seconds)
            counts.append(len((await client.list(PODS))["items"]))
        return counts

    assert in_cluster(body) == [1, 0]


def test_a_namespace_may_limit_how_many_workflows_run() -> None:
    async def body(client: Client, world: World) -> tuple[str, str, float]:
        limit = {"metadata": {"labels": {"workflows.argoproj.io/parallelism-limit": "1"}}}
        await client.patch(NAMESPACES, ObjectKey("", "default"), limit)
        await world.clock.sleep_until(1)
        await client.create(WORKFLOWS, workflow("first"))
        await world.clock.sleep_until(2)
        await client.create(WORKFLOWS, workflow("second"))
        await world.clock.sleep_until(3)
        waiting = (await client.get(WORKFLOWS, ObjectKey("default", "second")))["status"]
        first, second = await end_of(client, "first", "second")
        assert first["status"]["phase"] == second["status"]["phase"] == "Succeeded"
        return waiting["phase"], waiting["message"], world.clock.monotonic()

    phase, message, seconds = in_cluster(body, "rules: [{duration: 100s}]")
    assert phase == "Pending"
    assert "too many workflows are already running" in message
    assert seconds > 200


def test_a_workflow_that_somebody_stops_ends() -> None:
    async def body(client: Client, world: World) -> tuple[str, str]:
        await client.create(WORKFLOWS, workflow("endless"))
        await world.clock.sleep_until(10)
        await client.patch(WORKFLOWS, ObjectKey("default", "endless"), {"spec": {"shutdown": "Stop"}})
        (end,) = await end_of(client, "endless")
        return end["status"]["phase"], end["status"]["message"]

    assert in_cluster(body, "rules: [{phase: Running}]") == ("Failed", "Stopped with strategy 'Stop'")
