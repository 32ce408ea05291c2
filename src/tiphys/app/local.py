"""The embedded cluster inside this process, for ``tiphys run``, tests and notebooks.

    async with LocalCluster.start(settings) as cluster:
        await cluster.client.create(WORKFLOWS, workflow)
        async for state in follow(cluster.client, [key]): ...

Nothing listens and nothing outlives the block; pods that still run at its end are killed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tiphys.app.compose import NodeFactory, Parts, World, compose
from tiphys.app.settings import Settings
from tiphys.client.client import Client
from tiphys.runtime.trace import NO_TRACE, Trace


@dataclass(frozen=True, slots=True)
class RuntimeChoice:
    """What runs the pods, and a sentence that says why this one and what it means; meant to be printed."""

    name: str
    why: str


@dataclass(frozen=True)
class LocalCluster:
    client: Client
    runtime: RuntimeChoice
    parts: Parts

    @classmethod
    @asynccontextmanager
    async def start(
        cls,
        settings: Settings,
        *,
        node: NodeFactory | None = None,
        trace: Trace = NO_TRACE,
        world: World | None = None,
    ) -> AsyncIterator[LocalCluster]:
        """Ready to take objects when it yields. ``node`` replaces the node agent (``testing.stage.stage(script)``)."""
        async with compose(settings, node=node, trace=trace, world=world) as parts:
            yield cls(parts.client, RuntimeChoice(parts.node.runtime_name, parts.node.runtime_why), parts)
