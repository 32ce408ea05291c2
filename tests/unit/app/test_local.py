from __future__ import annotations

from typing import Any

import pytest

from tiphys.app.compose import NODE_NAME, Node, NodeContext, World
from tiphys.app.follow import follow
from tiphys.app.local import LocalCluster
from tiphys.app.settings import Settings
from tiphys.machinery.errors import Bug, NotFound, SpecError
from tiphys.machinery.resources import PODS, WORKFLOWS, ObjectKey, key_of
from tiphys.testing.stage import Script, run_on_stage, stage
from tiphys.testing.stage.node import StageNode

HELLO = {
    "metadata": {"name": "hello", "namespace": "default"},
    "spec": {"entrypoint": "main", "templates": [{"name": "main", "container": {"image": "busybox"}}]},
}


def on_stage(body: Any, script: str = "") -> Any:
    async def job(world: World) -> Any:
        settings = Settings(runtime="stage")
        async with LocalCluster.start(settings, node=stage(Script.parse(script)), world=world) as cluster:
            return await body(cluster, world)

    return run_on_stage(job)


def test_a_workflow_runs_to_its_end_in_virtual_time() -> None:
    async def body(cluster: LocalCluster, world: World) -> tuple[list[str], float, str]:
        await cluster.client.create(WORKFLOWS, HELLO)
        phases = [
            (state.get("status") or {}).get("phase", "")
            async for state in follow(cluster.client, [ObjectKey("default", "hello")])
        ]
        pod = await cluster.client.get(PODS, ObjectKey("default", "hello"))
        return phases, world.clock.monotonic(), pod["spec"]["nodeName"]

    phases, seconds, node = on_stage(body, "rules: [{duration: 2h}]")
    assert phases[-1] == "Succeeded"
    assert 7200 <= seconds < 7300
    assert node == NODE_NAME


def test_the_choice_of_the_runtime_is_said() -> None:
    async def body(cluster: LocalCluster, world: World) -> str:
        return cluster.runtime.name

    assert on_stage(body) == "stage"


def test_an_error_of_the_block_comes_out_as_it_is() -> None:
    async def body(cluster: LocalCluster, world: World) -> None:
        raise SpecError("spec", "wrong")

    with pytest.raises(SpecError, match="spec: wrong"):
        on_stage(body)


def test_a_part_that_fails_ends_the_block_with_its_error() -> None:
    class Failing(StageNode):
        async def run(self) -> None:
            raise Bug("the node came to grief")

    async def failing(context: NodeContext) -> Node:
        return Failing(context, Script())

    async def job(world: World) -> None:
        async with LocalCluster.start(Settings(), node=failing, world=world):
            await world.clock.sleep_until(1e6)

    with pytest.raises(ExceptionGroup) as raised:
        run_on_stage(job)
    assert raised.group_contains(Bug, match="came to grief")


def test_following_what_is_not_there_or_goes_away() -> None:
    async def body(cluster: LocalCluster, world: World) -> list[str]:
        errors = []
        try:
            async for _ in follow(cluster.client, [ObjectKey("default", "nobody")]):
                pass
        except NotFound as err:
            errors.append(str(err))
        made = await cluster.client.create(WORKFLOWS, HELLO)
        try:
            async for _ in follow(cluster.client, [key_of(made)]):
                await cluster.client.delete(WORKFLOWS, key_of(made))
        except NotFound as err:
            errors.append(str(err))
        return errors

    assert on_stage(body, "rules: [{phase: Running}]") == [
        'workflows.argoproj.io "nobody" not found',
        'workflows.argoproj.io "hello" was deleted',
    ]
