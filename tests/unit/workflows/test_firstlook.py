"""A workflow is decided with what it names, however young that is."""

from __future__ import annotations

import random
from typing import Any

from tests.unit.workflows.test_controller import in_cluster
from tiphys.app.compose import World
from tiphys.client.client import Client
from tiphys.machinery.resources import (
    CLUSTER_WORKFLOW_TEMPLATES,
    CONFIG_MAPS,
    WORKFLOW_TEMPLATES,
    ObjectKey,
)
from tiphys.workflows import firstlook
from tiphys.workflows.caches import Caches


def test_what_a_spec_names() -> None:
    step = {"name": "a", "templateRef": {"name": "b", "template": "t", "clusterScope": True}}
    spec = {
        "workflowTemplateRef": {"name": "a"},
        "synchronization": {"semaphores": [{"configMapKeyRef": {"name": "c", "key": "k"}}]},
        "artifactRepositoryRef": {"key": "k"},
        "templates": [{"name": "main", "steps": [[step]]}],
    }
    found = [(resource.plural, name) for resource, name in firstlook.references(spec)]
    assert sorted(found) == [
        ("clusterworkflowtemplates", "b"),
        ("configmaps", "artifact-repositories"),
        ("configmaps", "c"),
        ("workflowtemplates", "a"),
    ]


def test_artifacts_go_where_the_namespace_says() -> None:
    template = {"name": "main", "outputs": {"artifacts": [{"name": "a", "path": "/a"}]}}
    assert list(firstlook.references({"templates": [template]})) == [(CONFIG_MAPS, "artifact-repositories")]
    assert list(firstlook.references({"templates": [{"name": "main", "outputs": {"parameters": [{}]}}]})) == []


def test_plugins_that_no_cache_holds_yet_are_asked_for() -> None:
    async def body(client: Client, world: World) -> list[bool]:
        labels = {"workflows.argoproj.io/configmap-type": "ExecutorPlugin"}
        meta = {"name": "hello-executor-plugin", "namespace": "default", "labels": labels}
        await client.create(CONFIG_MAPS, {"metadata": meta, "data": {}})
        call = {"name": "main", "plugin": {"hello": {}}}
        await client.create(WORKFLOW_TEMPLATES, template("greets", call))
        found = []
        specs: list[dict[str, Any]] = [
            {"templates": [{"name": "main", "container": {"image": "x"}}]},
            {"templates": [call]},
            {"workflowTemplateRef": {"name": "greets"}},
        ]
        for spec in specs:
            caches = Caches(client, world.clock, random.Random(0))
            await firstlook.fill(caches, client, {"metadata": {"namespace": "default"}, "spec": spec})
            known = caches.shared[CONFIG_MAPS].get(ObjectKey("default", "hello-executor-plugin"))
            found.append(known is not None)
        return found

    assert in_cluster(body) == [False, True, True]
    assert not firstlook.uses_plugins({"artifacts": [{"plugin": {"name": "n", "key": "k"}}]})


def test_templates_that_no_cache_holds_yet_are_asked_for_and_those_that_they_name() -> None:
    async def body(client: Client, world: World) -> list[bool]:
        inner = {
            "name": "inner",
            "synchronization": {"semaphores": [{"configMapKeyRef": {"name": "limits", "key": "k"}}]},
        }
        reference = {"name": "second", "template": "inner", "clusterScope": True}
        outer = {"name": "outer", "steps": [[{"name": "a", "templateRef": reference}]]}
        await client.create(WORKFLOW_TEMPLATES, template("first", outer))
        await client.create(
            CLUSTER_WORKFLOW_TEMPLATES, {"metadata": {"name": "second"}, "spec": {"templates": [inner]}}
        )
        await client.create(CONFIG_MAPS, {"metadata": {"name": "limits", "namespace": "default"}, "data": {"k": "1"}})
        caches = Caches(client, world.clock, random.Random(0))  # which nobody runs: they hold nothing
        workflow = {"metadata": {"namespace": "default"}, "spec": {"workflowTemplateRef": {"name": "first"}}}
        await firstlook.fill(caches, client, workflow)
        wanted = (
            (WORKFLOW_TEMPLATES, ObjectKey("default", "first")),
            (CLUSTER_WORKFLOW_TEMPLATES, ObjectKey("", "second")),
            (CONFIG_MAPS, ObjectKey("default", "limits")),
            (CONFIG_MAPS, ObjectKey("default", "none")),
        )
        return [caches.shared[resource].get(key) is not None for resource, key in wanted]

    assert in_cluster(body) == [True, True, True, False]


def template(name: str, *templates: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "default"}, "spec": {"templates": list(templates)}}
