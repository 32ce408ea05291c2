"""What the controller would decide about a workflow now, without doing it: ``tiphys plan`` and ``tiphys explain``.

Reads the cluster through the API, as the controller does, with caches that live for this one question.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tiphys.client.client import Client
from tiphys.machinery.actions import Plan
from tiphys.machinery.resources import WORKFLOW_ARTIFACT_GC_TASKS, WORKFLOWS, ObjectKey
from tiphys.runtime.clock import Clock
from tiphys.workflows.artifact_gc import by_workflow
from tiphys.workflows.caches import CacheLookup, Caches
from tiphys.workflows.controller import deletes_artifacts
from tiphys.workflows.observe import Changes
from tiphys.workflows.plan import artifact_collection
from tiphys.workflows.plan.engine import Run
from tiphys.workflows.settings import Settings


async def preview_artifact_gc(client: Client, key: ObjectKey, clock: Clock, settings: Settings | None = None) -> Plan:
    """The next decision about the artifacts of an ended workflow. Raises NotFound."""
    workflow = await client.get(WORKFLOWS, key)
    tasks = (await client.list(WORKFLOW_ARTIFACT_GC_TASKS, key.namespace))["items"]
    mine = {task["metadata"]["name"]: task for task in tasks if str(key) in by_workflow(task)}
    async with _lookup(client, key, clock) as lookup:
        pods = [pod for pod in lookup.pods() if deletes_artifacts(pod)]
        seen = artifact_collection.Observed(workflow, pods, mine)
        return artifact_collection.plan(seen, settings or Settings(), lookup, clock.now())


async def preview(client: Client, key: ObjectKey, clock: Clock, settings: Settings | None = None) -> Plan:
    """The next decision about ``key``. Raises NotFound."""
    workflow = await client.get(WORKFLOWS, key)
    async with _lookup(client, key, clock) as lookup:
        return Run.load(workflow, settings or Settings(), lookup).decide(Changes(), clock.now())


@asynccontextmanager
async def _lookup(client: Client, key: ObjectKey, clock: Clock) -> AsyncIterator[CacheLookup]:
    caches = Caches(client, clock, random.Random(0), key.namespace)
    filling = asyncio.create_task(caches.run())
    try:
        await caches.synced()
        yield CacheLookup(caches, key)
    finally:
        filling.cancel()
        await asyncio.wait([filling])
