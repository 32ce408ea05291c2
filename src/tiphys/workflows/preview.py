"""What the controller would decide about a workflow now, without doing it: ``tiphys plan`` and ``tiphys explain``.

Reads the cluster through the API, as the controller does, with caches that live for this one question.
"""

from __future__ import annotations

import asyncio
import random

from tiphys.client.client import Client
from tiphys.machinery.actions import Plan
from tiphys.machinery.resources import WORKFLOWS, ObjectKey
from tiphys.runtime.clock import Clock
from tiphys.workflows.caches import CacheLookup, Caches
from tiphys.workflows.observe import Changes
from tiphys.workflows.plan.engine import Run
from tiphys.workflows.settings import Settings


async def preview(client: Client, key: ObjectKey, clock: Clock, settings: Settings | None = None) -> Plan:
    """The next decision about ``key``. Raises NotFound."""
    workflow = await client.get(WORKFLOWS, key)
    caches = Caches(client, clock, random.Random(0), key.namespace)
    filling = asyncio.create_task(caches.run())
    try:
        await caches.synced()
        run = Run.load(workflow, settings or Settings(), CacheLookup(caches, key))
        return run.decide(Changes(), clock.now())
    finally:
        filling.cancel()
        await asyncio.wait([filling])
