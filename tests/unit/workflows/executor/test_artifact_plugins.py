"""Artifact plugins beside steps on a real node, under every runtime."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.services import S3, serving
from tests.unit.cluster.node.harness import RUNTIMES, Node, node, phase, state
from tests.unit.workflows.drivers.test_plugin import DRIVER, an_artifact
from tests.unit.workflows.executor.test_native import a_step, outputs, sh
from tiphys.cluster.node.images.map import ImageMap, entries_with, search_path
from tiphys.machinery.resources import WORKFLOW_ARTIFACT_GC_TASKS, ObjectKey
from tiphys.workflows.drivers.artifacts.registry import native_executor
from tiphys.workflows.executor import native

IMAGES = """[[entry]]
name = "driver"
match = ["driver"]
entrypoint = ["/artifact-driver"]
provides = {{ "/artifact-driver" = ["{driver}"], "/usr/local/bin/python3" = ["python3", "@interpreter"] }}
"""
INIT = {"name": "init", "image": "tiphys/executor", "command": ["tiphys-executor", "init"]}
SIDECAR = {
    "name": "artifact-plugin-test",
    "image": "driver",
    "args": ["/tmp/artifact-plugins/test/socket"],
    "restartPolicy": "Always",
}


@dataclass
class World:
    here: Node
    s3: S3

    def artifact(self, key: str, **more: Any) -> dict[str, Any]:
        return {**an_artifact(self.s3.endpoint, key), "archive": {"none": {}}, **more}


@pytest.fixture
def s3() -> Iterator[S3]:
    with serving(S3()) as server:
        yield server


@pytest.fixture(params=sorted(RUNTIMES))
async def world(request: pytest.FixtureRequest, tmp_path: Path, s3: S3) -> AsyncIterator[World]:
    images = tmp_path / "images.toml"
    images.write_text(IMAGES.format(driver=DRIVER))
    async with node(request.param, tmp_path) as made:
        entries = entries_with(images)
        made.images = lambda runtime: ImageMap(entries, search_path(isolated=runtime.isolated))
        made.extensions = (native_executor(made.client, tmp_path / "artifacts"),)
        await made.start()
        yield World(made, s3)


def with_plugin(pod: dict[str, Any], *more: dict[str, Any]) -> dict[str, Any]:
    pod["spec"] |= {"initContainers": [SIDECAR, *more], "restartPolicy": "Never"}
    return pod


async def test_a_step_with_artifacts_of_a_plugin(world: World, tmp_path: Path) -> None:
    world.s3.objects["/b/given"] = b"hello"
    given, made = tmp_path / "given", tmp_path / "made"
    template = {
        "name": "t",
        "container": sh(f"cat {given}; sed s/hello/bye/ {given} > {made}; exit 3"),
        "inputs": {"artifacts": [world.artifact("given", path=str(given))]},
        "outputs": {"artifacts": [world.artifact("made", name="made", path=str(made))]},
        "archiveLocation": {"archiveLogs": True, **world.artifact("logs")},
    }
    pod = await world.here.run(with_plugin(a_step(template), INIT))
    assert state(pod, "main")["terminated"]["exitCode"] == 3  # outputs are kept all the same
    assert world.s3.objects["/b/made"] == b"bye"
    assert b"hello" in world.s3.objects["/b/logs/main.log"]
    assert [artifact["name"] for artifact in (await outputs(world.here))["artifacts"]] == ["made", "main-logs"]
    assert "running" not in state(pod, "artifact-plugin-test")


async def test_what_a_plugin_cannot_load(world: World, tmp_path: Path) -> None:
    template = {
        "name": "t",
        "container": sh("true"),
        "inputs": {"artifacts": [world.artifact("none", path=str(tmp_path / "given"))]},
        "outputs": {"artifacts": [world.artifact("made", name="made", path=str(tmp_path / "made"))]},
    }
    pod = await world.here.run(with_plugin(a_step(template), INIT))
    assert phase(pod) == "Failed"
    ended = state(pod, "init")["terminated"]
    assert ended["exitCode"] == native.EXIT_FAILED
    assert ended["message"] == "artifact a failed to load: plugin test load failed: key not found: none"
    assert [row["name"] for row in pod["status"]["containerStatuses"]] == ["main"]


async def test_artifacts_are_deleted_through_a_plugin(world: World) -> None:
    world.s3.objects |= {"/b/old": b"x", "/b/kept": b"y"}
    task = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "WorkflowArtifactGCTask",
        "metadata": {"name": "task", "namespace": "default"},
        "spec": {"artifactsByNode": {"n": {"artifacts": {"a": world.artifact("old")}}}},
    }
    await world.here.client.create(WORKFLOW_ARTIFACT_GC_TASKS, task)
    pod = with_plugin(a_step({"name": "t"}))
    pod["metadata"] |= {
        "annotations": {},
        "labels": {native.LABEL_WORKFLOW: "wf", native.LABEL_COMPONENT: native.DELETER},
        "ownerReferences": [{**task, "metadata": None, "name": "task", "uid": "u"}],
    }
    assert phase(await world.here.run(pod)) == "Succeeded"
    assert sorted(world.s3.objects) == ["/b/kept"]
    found = await world.here.client.get(WORKFLOW_ARTIFACT_GC_TASKS, ObjectKey("default", "task"))
    assert found["status"]["artifactResultsByNode"]["n"]["artifactResults"]["a"]["success"] is True
