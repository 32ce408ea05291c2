"""``artifactGC``: what is decided about a workflow that ended, and that its artifacts really go."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.unit.workflows.kit import Objects
from tiphys.app.follow import follow
from tiphys.app.local import LocalCluster
from tiphys.app.settings import Settings as AppSettings
from tiphys.client.client import Client
from tiphys.machinery.actions import Create, Delete, Emit, Patch, Plan
from tiphys.machinery.patches import merge
from tiphys.machinery.resources import PODS, WORKFLOW_ARTIFACT_GC_TASKS, WORKFLOWS, ObjectKey, Resource, key_of
from tiphys.runtime.clock import SystemClock
from tiphys.workflows.plan.artifact_collection import Observed, plan
from tiphys.workflows.plan.artifact_gc import FINALIZER
from tiphys.workflows.preview import preview_artifact_gc
from tiphys.workflows.settings import Settings

NOW = datetime(2026, 1, 1, tzinfo=UTC)
COMPLETION, DELETION = "OnWorkflowCompletion", "OnWorkflowDeletion"
AWAY = {"endpoint": "s3.example.com", "bucket": "b", "key": "k"}


def artifact(name: str, when: str = "", **more: Any) -> dict[str, Any]:
    gc = {"artifactGC": {"strategy": when, **more.pop("gc", {})}} if when else {}
    return {"name": name, "path": f"/tmp/{name}", "s3": {"key": f"wf/{name}"}, **gc, **more}


def workflow(*artifacts: Any, template: Mapping[str, Any] | None = None, **gc: Any) -> dict[str, Any]:
    node = {"id": "n", "name": "wf", "type": "Pod", "templateName": "main", "phase": "Succeeded"}
    main = {"name": "main", "container": {"image": "busybox"}, **(template or {})}
    return {
        "metadata": {
            "name": "wf",
            "namespace": "default",
            "uid": "u",
            "resourceVersion": "7",
            "finalizers": [FINALIZER],
            "labels": {"workflows.argoproj.io/completed": "true"},
        },
        "spec": {"entrypoint": "main", "templates": [main], **({"artifactGC": gc} if gc else {})},
        "status": {"phase": "Succeeded", "nodes": {"n": {**node, "outputs": {"artifacts": list(artifacts)}}}},
    }


class World:
    """Carries plans out on values, and plays the pods."""

    def __init__(self, workflow: dict[str, Any], settings: Settings | None = None) -> None:
        self.workflow, self.settings = workflow, settings or Settings()
        self.pods: dict[str, Any] = {}
        self.tasks: dict[str, Any] = {}
        self.events: list[str] = []
        self.waits = ""

    def step(self) -> Plan:
        seen = Observed(self.workflow, list(self.pods.values()), self.tasks)
        made = plan(seen, self.settings, Objects(), NOW)
        self.waits = made.waits.get("wf", "")
        for action in made.actions:
            match action:
                case Create(resource, obj):
                    place = self.pods if resource is PODS else self.tasks
                    place[obj["metadata"]["name"]] = {**obj, "status": {}}
                case Patch(patch=patch):
                    self.workflow = merge.apply(self.workflow, patch)
                case Delete(key=key):
                    del self.tasks[key.name]
                case Emit(message=message):
                    self.events.append(message)
        return made

    def settle(self) -> None:
        while self.step().actions:
            pass

    def end_pod(self, name: str, phase: str = "Succeeded", **errors: str) -> None:
        self.pods[name] = {**self.pods[name], "status": {"phase": phase}}
        task = self.tasks[f"{name}-0"]
        results = {
            node_id: {
                "artifactResults": {
                    a: {"name": a, "error": errors[a]} if a in errors else {"name": a, "success": True}
                    for a in spec["artifacts"]
                }
            }
            for node_id, spec in task["spec"]["artifactsByNode"].items()
        }
        self.tasks[f"{name}-0"] = {**task, "status": {"artifactResultsByNode": results}}

    @property
    def deleted(self) -> list[str]:
        found = self.workflow["status"]["nodes"]["n"]["outputs"]["artifacts"]
        return [a["name"] for a in found if a.get("deleted")]

    @property
    def is_free(self) -> bool:
        return not self.workflow["metadata"].get("finalizers")

    @property
    def conditions(self) -> dict[str, str]:
        return {c["type"]: c["message"] for c in self.workflow["status"].get("conditions") or ()}

    def delete(self) -> None:
        self.workflow["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"


def test_what_is_deleted_at_the_end_and_what_with_the_workflow() -> None:
    world = World(workflow(artifact("a", COMPLETION), artifact("b"), artifact("c", "Never"), strategy=DELETION))
    world.settle()
    (first,) = world.pods
    assert list(world.tasks[f"{first}-0"]["spec"]["artifactsByNode"]["n"]["artifacts"]) == ["a"]
    assert world.waits == f"pod {first} to delete artifacts"
    world.end_pod(first)
    world.settle()
    assert (world.deleted, world.is_free, world.tasks) == (["a"], False, {})
    assert world.waits == "its deletion, to delete artifacts then"
    world.delete()
    world.settle()
    (second,) = world.pods.keys() - {first}
    world.end_pod(second)
    world.settle()
    assert (world.deleted, world.is_free) == (["a", "b"], True)
    assert world.workflow["status"]["artifactGCStatus"] == {
        "strategiesProcessed": {COMPLETION: True, DELETION: True},
        "podsRecouped": {first: True, second: True},
    }


def test_one_pod_for_each_identity() -> None:
    other = {"serviceAccountName": "sa", "podMetadata": {"labels": {"x": "y"}}}
    world = World(workflow(artifact("a"), artifact("b", COMPLETION, gc=other), strategy=COMPLETION))
    world.settle()
    found = {pod["spec"].get("serviceAccountName"): pod["metadata"]["labels"].get("x") for pod in world.pods.values()}
    assert found == {None: None, "sa": "y"}


def test_nothing_to_delete_frees_the_workflow() -> None:
    world = World(workflow(strategy=COMPLETION))
    world.settle()
    assert world.is_free and not world.pods


def test_a_pod_that_vanished_is_made_again() -> None:
    world = World(workflow(artifact("a"), strategy=COMPLETION))
    world.settle()
    (name,) = world.pods
    world.pods.clear()
    world.settle()
    assert list(world.pods) == [name]


@pytest.mark.parametrize(("insists", "free"), [(False, False), (True, True)])
def test_what_cannot_be_deleted_holds_the_workflow_unless_it_insists(insists: bool, free: bool) -> None:
    world = World(workflow(artifact("a"), strategy=COMPLETION, forceFinalizerRemoval=insists))
    world.settle()
    (name,) = world.pods
    world.end_pod(name, a="no access")
    world.settle()
    assert (world.deleted, world.is_free) == ([], free)
    assert world.conditions == {"ArtifactGCError": f"no access (artifactGCTask: {name}-0)"}
    assert world.events == [f"Artifact Garbage Collection failed for strategy {COMPLETION}, err:no access"]
    assert list(world.tasks) == [f"{name}-0"], "kept to be looked at"
    assert free or world.waits == "somebody to look at the artifacts that could not be deleted"


def test_a_pod_that_failed_says_so() -> None:
    world = World(workflow(artifact("a"), strategy=COMPLETION))
    world.settle()
    (name,) = world.pods
    world.pods[name] = {**world.pods[name], "status": {"phase": "Failed"}}
    world.settle()
    text = (
        f"Artifact Garbage Collection failed for strategy {COMPLETION}, pod {name} exited with non-zero exit code: "
        "check pod logs for more information"
    )
    assert (world.conditions, world.events) == ({"ArtifactGCError": text}, [text])


def test_a_template_that_is_gone_is_named() -> None:
    world = World(workflow(artifact("a"), strategy=COMPLETION))
    world.workflow["status"]["nodes"]["n"]["templateName"] = "old"
    world.settle()
    assert world.conditions == {"ArtifactGCError": "template name 'old' belonging to node wf not found"}


def test_the_place_of_an_inline_template_is_found() -> None:
    made = workflow(artifact("a"), strategy=COMPLETION)
    inline = {"container": {"image": "busybox"}, "archiveLocation": {"s3": AWAY}}
    made["spec"]["templates"] = [{"name": "main", "steps": [[{"name": "s", "inline": inline}]]}]
    nodes = made["status"]["nodes"]
    nodes["n"] |= {"name": "wf[0].s", "boundaryID": "wf", "templateName": ""}
    nodes["wf"] = {"id": "wf", "name": "wf", "type": "Steps", "templateName": "main"}
    world = World(made)
    world.settle()
    (task,) = world.tasks.values()
    assert task["spec"]["artifactsByNode"]["n"]["archiveLocation"] == {"s3": AWAY}


def test_a_workflow_that_runs_is_left_alone() -> None:
    world = World(workflow(artifact("a"), strategy=COMPLETION))
    world.workflow["status"]["phase"] = "Running"
    world.delete()
    assert world.step() == Plan()


def gc_workflow() -> dict[str, Any]:
    outputs = [
        {"name": "a", "path": "/tmp/tiphys-gc-a", "artifactGC": {"strategy": COMPLETION}},
        {"name": "b", "path": "/tmp/tiphys-gc-b"},
    ]
    script = "echo a > /tmp/tiphys-gc-a; mkdir -p /tmp/tiphys-gc-b; echo b > /tmp/tiphys-gc-b/b"
    main = {
        "name": "main",
        "container": {"image": "busybox", "command": ["sh", "-c", script]},
        "outputs": {"artifacts": outputs},
    }
    spec = {"entrypoint": "main", "artifactGC": {"strategy": DELETION}, "templates": [main]}
    return {"metadata": {"name": "gc", "namespace": "default"}, "spec": spec}


async def test_artifacts_really_go(tmp_path: Path) -> None:
    key = ObjectKey("default", "gc")
    store = tmp_path / "artifacts" / "artifacts"
    async with LocalCluster.start(AppSettings(data_dir=tmp_path, runtime="process")) as cluster:
        await cluster.client.create(WORKFLOWS, gc_workflow())
        async for _ in follow(cluster.client, [key]):
            pass
        await until(cluster.client, WORKFLOWS, key, lambda found: names_of_deleted(found) == ["a"])
        assert [place.name for place in store.rglob("*.tgz")] == ["b.tgz"]
        waits = (await preview_artifact_gc(cluster.client, key, SystemClock())).waits
        assert waits == {"gc": "its deletion, to delete artifacts then"}
        await cluster.client.delete(WORKFLOWS, key)
        await until(cluster.client, WORKFLOWS, key, is_gone)
        assert not store.exists()
        (task,) = (await cluster.client.list(WORKFLOW_ARTIFACT_GC_TASKS))["items"] or (None,)
        if task is not None:
            await until(cluster.client, WORKFLOW_ARTIFACT_GC_TASKS, key_of(task), is_gone)


def names_of_deleted(workflow: Mapping[str, Any] | None) -> list[str]:
    nodes = ((workflow or {}).get("status") or {}).get("nodes", {}).values()
    artifacts = [a for node in nodes for a in (node.get("outputs") or {}).get("artifacts") or ()]
    return [a["name"] for a in artifacts if a.get("deleted")]


def is_gone(obj: Any) -> bool:
    return obj is None


async def until(client: Client, resource: Resource, key: ObjectKey, holds: Callable[[Any], bool]) -> None:
    listed = await client.list(resource)
    now = next((obj for obj in listed["items"] if obj["metadata"]["name"] == key.name), None)
    if holds(now):
        return
    async with client.watch(resource, resourceVersion=listed["metadata"]["resourceVersion"]) as events:
        async for event in events:
            if event.object["metadata"]["name"] == key.name and holds(
                None if event.type == "DELETED" else event.object
            ):
                return
