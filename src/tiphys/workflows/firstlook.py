"""What a new workflow refers to may be younger than the caches: each kind comes through a watch of its own.

Whoever applies a template and a workflow that uses it, one right after the other, expects that it is found. So before
the first decision about a workflow, templates and config maps that it names and that no cache holds are asked for
directly. What is not there either is the decision's to complain about.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tiphys.client.client import Client, Object
from tiphys.machinery.errors import NotFound
from tiphys.machinery.resources import (
    CLUSTER_WORKFLOW_TEMPLATES,
    CONFIG_MAPS,
    WORKFLOW_TEMPLATES,
    ObjectKey,
    Resource,
)
from tiphys.workflows.caches import Caches
from tiphys.workflows.plan import repositories

ASKED_MAX = 100
"""Objects asked for in vain before one workflow; who names more that do not exist may wait for an Error."""
_PLUGINS = "workflows.argoproj.io/configmap-type=ExecutorPlugin"
_ARTIFACTS = ("artifacts", "artifactPaths")


async def fill(caches: Caches, client: Client, workflow: Object) -> None:
    """Puts into the caches what ``workflow`` names, directly or through what it names."""
    namespace = str(workflow["metadata"].get("namespace", ""))
    todo, seen = [workflow.get("spec") or {}], set[tuple[Resource, ObjectKey]]()
    asked, knows_plugins = 0, False
    while todo:
        spec = todo.pop()
        if not knows_plugins and uses_plugins(spec):
            knows_plugins = True
            for plugin in (await client.list(CONFIG_MAPS, namespace, labelSelector=_PLUGINS))["items"]:
                caches.shared[CONFIG_MAPS].learn(plugin)
        for resource, name in references(spec):
            key = ObjectKey("" if resource is CLUSTER_WORKFLOW_TEMPLATES else namespace, name)
            if (resource, key) in seen or "{{" in name:
                continue
            seen.add((resource, key))
            found = caches.shared[resource].get(key)
            if found is None and asked < ASKED_MAX:
                asked += 1
                found = await _ask(caches, client, resource, key)
            if found is not None and resource is not CONFIG_MAPS:
                todo.append(found.get("spec") or {})


def references(value: Any) -> Iterator[tuple[Resource, str]]:
    """(kind, name) of every template and config map that a spec names, or means without naming it."""
    if isinstance(value, list):
        for inner in value:
            yield from references(inner)
    if not isinstance(value, dict):
        return
    for key, inner in value.items():
        if key in ("workflowTemplateRef", "templateRef") and isinstance(inner, dict):
            yield (
                (CLUSTER_WORKFLOW_TEMPLATES if inner.get("clusterScope") else WORKFLOW_TEMPLATES),
                str(inner.get("name")),
            )
        elif key == "configMapKeyRef" and isinstance(inner, dict):
            yield CONFIG_MAPS, str(inner.get("name"))
        elif key == "artifactRepositoryRef" and isinstance(inner, dict):
            yield CONFIG_MAPS, str(inner.get("configMap") or repositories.CONFIG_MAP)
        elif isinstance(inner, (dict, list)):
            if key in _ARTIFACTS:  # those without a place of their own go where this says
                yield CONFIG_MAPS, repositories.CONFIG_MAP
            yield from references(inner)


def uses_plugins(value: Any) -> bool:
    """Whether a spec has plugin templates, whose plugins config maps describe that nothing names."""
    if isinstance(value, list):
        return any(map(uses_plugins, value))
    if not isinstance(value, dict):
        return False
    own = value.get("plugin")  # with a key it is the place of an artifact
    return (isinstance(own, dict) and "key" not in own) or any(map(uses_plugins, value.values()))


async def _ask(caches: Caches, client: Client, resource: Resource, key: ObjectKey) -> Object | None:
    try:
        found = await client.get(resource, key)
    except NotFound:
        return None
    caches.shared[resource].learn(found)
    return found
