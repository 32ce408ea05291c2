"""Resource templates on a real node and a real API server: acted on once, waited for by watching, ended on request."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cluster.node.harness import Node, a_pod, node, phase, state
from tiphys.app.names import RegistryNames
from tiphys.machinery.errors import NotFound
from tiphys.machinery.resources import CONFIG_MAPS, PODS, WORKFLOW_TASK_RESULTS, ObjectKey
from tiphys.runtime.clock import SystemClock
from tiphys.workflows.drivers.artifacts.registry import native_executor
from tiphys.workflows.executor import native
from tiphys.workflows.executor.kubectl.verbs import LAST_APPLIED
from tiphys.workflows.executor.resource import ResourceExecutor

Object = Mapping[str, Any]
SETTINGS = ObjectKey("default", "settings")


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Node]:
    async with node("process", tmp_path) as made:
        resources = ResourceExecutor(made.client, RegistryNames(made.server.registry), SystemClock())
        made.extensions = (native_executor(made.client, tmp_path / "artifacts", lambda: resources),)
        await made.start()
        yield made


def config_map(name: str = "settings", **data: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "default", "labels": {"a": "b"}},
        "data": data,
    }


def a_step(
    action: str, manifest: Object | list[Any] | None = None, outputs: Object | None = None, **more: Any
) -> Object:
    resource = {"action": action, **more}
    if manifest is not None:
        resource["manifest"] = json.dumps(manifest)
    template = {"name": "t", "resource": resource, "outputs": outputs or {}}
    pod = a_pod("", "step")
    pod["metadata"] |= {
        "annotations": {native.TEMPLATE: json.dumps(template), native.NODE_ID: "step-id"},
        "labels": {native.LABEL_WORKFLOW: "wf"},
        "ownerReferences": [{"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "name": "wf", "uid": "wf-uid"}],
    }
    pod["spec"]["containers"] = [{"name": "main", "image": "tiphys/executor", "command": ["tiphys-executor"]}]
    return pod


def message(pod: Object) -> str:
    ended = state(pod, "main")["terminated"]
    assert ended["exitCode"] == 64
    return str(ended["message"])


async def test_what_is_created_is_reported(here: Node) -> None:
    read = {"name": "k", "valueFrom": {"jsonPath": "{.data.k}"}}
    counted = {"name": "n", "valueFrom": {"jqFilter": ".data | length"}}
    pod = await here.run(a_step("create", config_map(k="v"), {"parameters": [read, counted]}))
    assert phase(pod) == "Succeeded"
    result = await here.client.get(WORKFLOW_TASK_RESULTS, ObjectKey("default", "step-id"))
    assert [p["value"] for p in result["outputs"]["parameters"]] == ["v", "1"]


async def test_a_condition_is_waited_for(here: Node) -> None:
    key = await here.create(a_step("create", config_map(state="begun"), successCondition="data.state == done"))
    await here.until(key, lambda pod: phase(pod) == "Running")
    await here.client.patch(CONFIG_MAPS, SETTINGS, {"data": {"state": "done"}})
    assert phase(await here.ended(key)) == "Succeeded"


async def test_a_failure_condition_ends_the_wait(here: Node) -> None:
    pod = await here.run(a_step("create", config_map(state="bad"), failureCondition="data.state in (bad, worse)"))
    assert message(pod) == "failure condition '{data.state in [bad worse]}' evaluated true"


async def test_a_deleted_object_ends_the_wait(here: Node) -> None:
    await here.client.create(CONFIG_MAPS, config_map())
    key = await here.create(a_step("get", flags=["cm", "settings"], successCondition="data.state == done"))
    await here.until(key, lambda pod: phase(pod) == "Running")
    await here.client.delete(CONFIG_MAPS, SETTINGS)
    assert message(await here.ended(key)).endswith('Will not be retried: configmaps "settings" not found')


async def test_a_restarted_agent_does_not_act_twice(here: Node) -> None:
    manifest = config_map(state="begun")
    manifest["metadata"] |= {"name": "", "generateName": "settings-"}
    key = await here.create(a_step("create", manifest, successCondition="data.state == done"))
    await here.until(key, lambda pod: phase(pod) == "Running")
    (made,) = (await here.client.list(CONFIG_MAPS, "default", labelSelector="a=b"))["items"]
    await here.kill()
    await here.start()
    await here.client.patch(CONFIG_MAPS, ObjectKey("default", made["metadata"]["name"]), {"data": {"state": "done"}})
    assert phase(await here.ended(key)) == "Succeeded"
    assert len((await here.client.list(CONFIG_MAPS, "default", labelSelector="a=b"))["items"]) == 1


async def test_deleting_the_pod_ends_the_wait(here: Node) -> None:
    key = await here.create(a_step("create", config_map(), successCondition="data.state == done"))
    await here.until(key, lambda pod: phase(pod) == "Running")
    await here.client.delete(PODS, key)
    await here.gone(key)


async def test_a_deadline_ends_the_wait(here: Node) -> None:
    pod = dict(a_step("create", config_map(), successCondition="data.state == done"))
    pod["spec"] = {**pod["spec"], "activeDeadlineSeconds": 1}
    ended = await here.run(pod)
    assert (phase(ended), ended["status"]["reason"]) == ("Failed", "DeadlineExceeded")


async def test_apply_takes_away_only_what_it_gave(here: Node) -> None:
    await here.client.create(CONFIG_MAPS, config_map(theirs="1"))
    await here.run(a_step("apply", config_map(ours="1", both="1")))
    await here.client.delete(PODS, ObjectKey("default", "step"))
    await here.gone(ObjectKey("default", "step"))
    await here.run(a_step("apply", config_map(both="2")))
    found = await here.client.get(CONFIG_MAPS, SETTINGS)
    assert found["data"] == {"theirs": "1", "both": "2"}
    assert json.loads(found["metadata"]["annotations"][LAST_APPLIED])["data"] == {"both": "2"}


async def test_replace_and_json_patch(here: Node) -> None:
    await here.client.create(CONFIG_MAPS, config_map(k="1"))
    await here.run(a_step("replace", config_map(k="2")))
    await here.client.delete(PODS, ObjectKey("default", "step"))
    await here.gone(ObjectKey("default", "step"))
    patch = [{"op": "add", "path": "/data/more", "value": "3"}]
    await here.run(a_step("patch", patch, mergeStrategy="json", flags=["configmaps/settings"]))
    assert (await here.client.get(CONFIG_MAPS, SETTINGS))["data"] == {"k": "2", "more": "3"}


async def test_delete_by_label(here: Node) -> None:
    await here.client.create(CONFIG_MAPS, config_map("one"))
    await here.client.create(CONFIG_MAPS, config_map("two"))
    assert phase(await here.run(a_step("delete", flags=["configmap", "--selector", "a=b"]))) == "Succeeded"
    for name in ("one", "two"):
        with pytest.raises(NotFound):
            await here.client.get(CONFIG_MAPS, ObjectKey("default", name))


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (a_step("get", flags=["nope", "x"]), 'no more retries error: the server doesn\'t have a resource type "nope"'),
        (a_step("get", flags=["cm", "x"]), 'no more retries Error from server (NotFound): configmaps "x" not found'),
        (a_step("create", flags=["-n"], manifest={}), "no more retries flag needs an argument: 'n' in -n"),
        (
            a_step("delete", flags=["pods"]),
            "no more retries error: resource(s) were provided, but no name was specified",
        ),
        (a_step("get"), "Must provide at least one of flags or manifest."),
    ],
)
async def test_failures_are_worded_as_kubectl_does(here: Node, step: Object, said: str) -> None:
    assert message(await here.run(step)).startswith(said)


async def test_the_log_says_what_it_is_about(here: Node) -> None:
    await here.run(a_step("create", config_map()))
    assert await here.log(ObjectKey("default", "step"), container="main") == "configmap/settings\n"
