"""The composition root: the only place that knows every part of the embedded cluster, and the order they start in."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tiphys.app.settings import Settings
from tiphys.client.client import Client
from tiphys.machinery.errors import DriverError
from tiphys.runtime.clock import Clock, SystemClock
from tiphys.runtime.ids import Ids, SystemIds
from tiphys.runtime.trace import NO_TRACE, Trace


@dataclass(frozen=True)
class World:
    """Where time, chance and ids come from: the machine's, or a simulation's."""

    clock: Clock = field(default_factory=SystemClock)
    rng: random.Random = field(default_factory=random.Random)
    ids: Ids = field(default_factory=SystemIds)


class Node(Protocol):
    """What makes pods happen: the node agent with a runtime, or a stage."""

    @property
    def runtime_name(self) -> str: ...

    @property
    def runtime_why(self) -> str:
        """One sentence: why this runtime, and what it means for the user."""
        ...

    async def run(self) -> None:
        """Serves the pods bound to this node until cancelled."""
        ...


@dataclass(frozen=True)
class NodeContext:
    """What a node gets; ``node_name`` is the Node object that pods are bound to, ``data_dir`` its own directory."""

    client: Client
    world: World
    node_name: str
    data_dir: Path
    trace: Trace = NO_TRACE


NodeFactory = Callable[[NodeContext], Awaitable[Node]]


@dataclass(frozen=True)
class Parts:
    """The running parts of an embedded cluster."""

    client: Client
    node: Node


def compose(
    settings: Settings,
    *,
    node: NodeFactory | None = None,
    trace: Trace = NO_TRACE,
    world: World | None = None,
) -> AbstractAsyncContextManager[Parts]:
    """A running embedded cluster; everything in it stops when the block ends."""
    raise DriverError("the API server has not landed yet")
