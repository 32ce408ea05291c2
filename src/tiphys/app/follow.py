"""Follows workflows from outside, through the API alone: works the same on the embedded cluster and on a real one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from typing import Any

from tiphys.client.client import Client
from tiphys.machinery.errors import NotFound
from tiphys.machinery.resources import WORKFLOWS, ObjectKey, key_of

Object = Mapping[str, Any]

FINISHED = frozenset({"Succeeded", "Failed", "Error"})


async def follow(client: Client, keys: Collection[ObjectKey]) -> AsyncIterator[Object]:
    """Each state of the named workflows (one namespace or several) as it comes, until every one has finished.

    Begins with their present state. Raises NotFound when one does not exist or is deleted meanwhile.
    """
    waiting = set(keys)
    namespaces = {key.namespace for key in keys}
    namespace = namespaces.pop() if len(namespaces) == 1 else None
    query = {"fieldSelector": f"metadata.name={next(iter(keys)).name}"} if len(keys) == 1 else {}
    listed = await client.list(WORKFLOWS, namespace, **query)
    found = {key_of(workflow): workflow for workflow in listed["items"] if key_of(workflow) in waiting}
    for key in waiting - found.keys():
        raise NotFound(f'workflows.argoproj.io "{key.name}" not found')
    for key, workflow in found.items():
        if is_finished(workflow):
            waiting.discard(key)
        yield workflow
    if not waiting:
        return
    version = listed["metadata"]["resourceVersion"]
    async with client.watch(WORKFLOWS, namespace, resourceVersion=version, **query) as events:
        async for event in events:
            key = key_of(event.object)
            if key not in waiting:
                continue
            if event.type == "DELETED":
                raise NotFound(f'workflows.argoproj.io "{key.name}" was deleted')
            if is_finished(event.object):
                waiting.discard(key)
            yield event.object
            if not waiting:
                return


def is_finished(workflow: Object) -> bool:
    return (workflow.get("status") or {}).get("phase") in FINISHED
