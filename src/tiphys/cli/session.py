"""Which cluster a command talks to, and how it gets a client for it.

    --context, --kubeconfig or $KUBECONFIG given    that cluster, over HTTPS
    none of them                                    `run`: an own one inside this process, gone afterwards
                                                    other verbs: the one that `tiphys up` keeps

Everything above the client is the same for all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tiphys.app.settings import Settings
from tiphys.client.client import Client
from tiphys.runtime.clock import Clock, SystemClock
from tiphys.runtime.trace import NO_TRACE, Trace

T = TypeVar("T")


@dataclass(frozen=True)
class Session:
    """A client, the namespace that its context names, and a sentence about where the pods run ("" if not ours)."""

    client: Client
    namespace: str = "default"
    where: str = ""
    clock: Clock = field(default_factory=SystemClock)


@asynccontextmanager
async def local(settings: Settings, trace: Trace = NO_TRACE) -> AsyncIterator[Session]:
    """An embedded cluster inside this process; pods that still run at the end are killed."""
    from tiphys.app.local import LocalCluster

    async with LocalCluster.start(settings, trace=trace) as cluster:
        choice = cluster.runtime
        yield Session(cluster.client, where=f"{choice.name}: {choice.why}")


def run(work: Coroutine[Any, Any, T]) -> T:
    """Runs ``work`` on an event loop; uvloop's where it is installed (the extra ``speed``)."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(work)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)
