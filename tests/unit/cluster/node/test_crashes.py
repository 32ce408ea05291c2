"""The agent is killed between any two of its actions: side effects happen once, and every pod ends right."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cluster.node.harness import RUNTIMES, Node, a_pod, node, phase, state
from tiphys.machinery.resources import PODS, WORKFLOW_TASK_RESULTS, ObjectKey
from tiphys.workflows.drivers.artifacts.registry import native_executor
from tiphys.workflows.executor import native

Object = Mapping[str, Any]


class CrashAt:
    """Lets ``count`` actions pass, then the agent is gone: nothing it would do after is done."""

    def __init__(self, count: int) -> None:
        self.left = count
        self.dead = asyncio.Event()
        self.seen: list[str] = []

    def before(self, action: str, pod: Object) -> None:
        if self.dead.is_set():
            raise asyncio.CancelledError
        if self.left == 0:
            self.dead.set()
            raise asyncio.CancelledError
        self.left -= 1
        self.seen.append(action)


def step(tmp_path: Path) -> dict[str, Any]:
    """A step with a side effect, an output parameter and an init container with a side effect of its own."""
    effects = {"volumeMounts": [{"name": "v", "mountPath": str(tmp_path / "seen")}]}
    out = str(tmp_path / "out.txt")
    declared = [{"name": "a", "valueFrom": {"path": out}}]
    template = json.dumps({"name": "t", "container": {"image": "busybox"}, "outputs": {"parameters": declared}})
    init = {"name": "i", "image": "busybox", "command": ["sh", "-c", f"echo init >> {tmp_path}/seen/x"], **effects}
    pod = a_pod(
        f"echo main >> {tmp_path}/seen/x; sleep 0.15; echo value > {out}; exit 0",
        initContainers=[init],
        volumes=[{"name": "v", "hostPath": {"path": str(tmp_path / "effects")}}],
        container={"name": "main", **effects},
        metadata={"annotations": {native.TEMPLATE: template}, "labels": {native.LABEL_WORKFLOW: "wf"}},
    )
    return pod


@pytest.mark.parametrize("runtime", sorted(RUNTIMES))
async def test_one_life_whenever_the_agent_dies(runtime: str, tmp_path: Path) -> None:
    (tmp_path / "effects").mkdir()
    async with node(runtime, tmp_path) as here:
        here.extensions = (native_executor(here.client, tmp_path / "artifacts"),)
        for count in itertools.count():
            effects = CrashAt(count)
            (tmp_path / "effects" / "x").unlink(missing_ok=True)
            survived = await _run_with_crash(here, effects, step(tmp_path))
            assert (tmp_path / "effects" / "x").read_text() == "init\nmain\n", (
                f"crash at action {count}: {effects.seen}"
            )
            if survived:
                assert {"stage", "start", "collect", "finish", "remove"} <= set(effects.seen)
                return


async def _run_with_crash(here: Node, effects: CrashAt, pod: Object) -> bool:
    """Runs the pod to its end and removal, with a crash where ``effects`` wants one. True: none came."""
    await here.start(effects)
    key = await here.create(pod)
    end = asyncio.create_task(here.ended(key))
    crash = asyncio.create_task(effects.dead.wait())
    await asyncio.wait([end, crash], return_when=asyncio.FIRST_COMPLETED)
    if effects.dead.is_set():
        await here.kill()
        await here.start()
    ended = await end
    assert (phase(ended), state(ended, "main")["terminated"]["exitCode"]) == ("Succeeded", 0)
    result = await here.client.get(WORKFLOW_TASK_RESULTS, key)
    assert result["outputs"]["parameters"][0]["value"] == "value"
    await here.client.delete(WORKFLOW_TASK_RESULTS, key)
    await _remove(here, key, crash, effects)
    await here.kill()
    crash.cancel()
    return not effects.dead.is_set()


async def _remove(here: Node, key: ObjectKey, crash: asyncio.Task[Any], effects: CrashAt) -> None:
    died_before = effects.dead.is_set()
    await here.client.delete(PODS, key)
    gone = asyncio.create_task(here.gone(key))
    await asyncio.wait([gone, crash], return_when=asyncio.FIRST_COMPLETED)
    if effects.dead.is_set() and not died_before:
        await here.kill()
        await here.start()
    await gone
    assert here.agent is not None
    places = here.agent.pods_directory
    async with asyncio.timeout(10):
        while any(places.iterdir()) and not effects.dead.is_set():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
