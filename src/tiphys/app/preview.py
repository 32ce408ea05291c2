"""``tiphys plan``: what would happen first if these objects were created in an empty cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

from tiphys.app.compose import World, api_server
from tiphys.app.furniture import furnish
from tiphys.client.client import Client
from tiphys.machinery.actions import Plan
from tiphys.machinery.resources import WORKFLOWS, Resource, key_of
from tiphys.workflows.preview import preview

Object = Mapping[str, Any]


async def plans(objects: Iterable[tuple[Resource, Object]]) -> AsyncIterator[tuple[Object, Plan]]:
    """Each Workflow among ``objects`` (as the API made it) with the first decision about it.

    The others (templates, config maps …) are there when it is made; all live in memory for the length of the call.
    Raises ApiError for what the API refuses.
    """
    world = World()
    async with api_server(world) as server:
        client = Client(server.transport())
        await furnish(client)
        made = [(resource, await client.create(resource, obj)) for resource, obj in objects]
        for resource, obj in made:
            if resource == WORKFLOWS:
                yield obj, await preview(client, key_of(obj), world.clock)
