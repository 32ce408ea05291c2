"""Which cluster a command talks to, and how it gets a client for it.

    --context, --kubeconfig or $KUBECONFIG given    that cluster, over HTTPS
    --runtime stage                                 `run`: one that only pretends, in virtual time
    none of them                                    `run`: an own one inside this process, gone afterwards
                                                    other verbs: the one that `tiphys up` keeps, else ~/.kube/config

Everything above the client is the same for all of them.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tiphys.client.client import Client
from tiphys.machinery.errors import SpecError
from tiphys.runtime.clock import Clock, SystemClock

T = TypeVar("T")


@dataclass(frozen=True)
class Session:
    """A client and the namespace to work in. ``where`` says which cluster it is, or how its pods are run."""

    client: Client
    namespace: str = "default"
    where: str = ""
    clock: Clock = field(default_factory=SystemClock)


def for_run(given: Mapping[str, Any]) -> AbstractAsyncContextManager[Session]:
    """The cluster that is named, else an own one. ``given`` are the options of ``run``."""
    if names_a_cluster(given):
        return remote(given)
    if given.get("world") is not None:
        return staged(given)
    return local(given)


def names_a_cluster(given: Mapping[str, Any]) -> bool:
    return bool(given.get("context") or given.get("kubeconfig") or os.environ.get("KUBECONFIG"))


@asynccontextmanager
async def local(given: Mapping[str, Any]) -> AsyncIterator[Session]:
    """An embedded cluster inside this process; pods that still run at the end are killed."""
    from tiphys.app import settings
    from tiphys.app.local import LocalCluster
    from tiphys.app.logs import log
    from tiphys.cli.tracing import tracing

    chosen = settings.load({"runtime": given.get("runtime"), "data_dir": given.get("keep")})
    log(chosen)
    clock = SystemClock()
    with tracing(bool(given.get("trace")), clock) as trace:
        async with LocalCluster.start(chosen, trace=trace) as cluster:
            choice = cluster.runtime
            where = f"steps run as {choice.name}: {choice.why}"
            yield Session(cluster.client, given.get("namespace") or "default", where, clock)


@asynccontextmanager
async def staged(given: Mapping[str, Any]) -> AsyncIterator[Session]:
    """An embedded cluster whose pods only pretend, by the ``script`` in ``given`` and in the time of its ``world``."""
    from tiphys.app import settings
    from tiphys.app.local import LocalCluster
    from tiphys.cli.tracing import tracing
    from tiphys.testing.stage import stage

    world = given["world"]
    with tracing(bool(given.get("trace")), world.clock) as trace:
        chosen = settings.load({"runtime": "stage", "data_dir": given.get("keep")})
        async with LocalCluster.start(chosen, node=stage(given["script"]), world=world, trace=trace) as cluster:
            where = f"steps run as {cluster.runtime.name}: {cluster.runtime.why}"
            yield Session(cluster.client, given.get("namespace") or "default", where, world.clock)


@asynccontextmanager
async def remote(given: Mapping[str, Any]) -> AsyncIterator[Session]:
    """A running cluster: the one that is named, else that of ``tiphys up``, else the user's own."""
    from tiphys.client import kubeconfig
    from tiphys.client.http import HttpTransport

    cluster = kubeconfig.load(_kubeconfig(given), given.get("context"))
    transport = HttpTransport(cluster)
    try:
        namespace = given.get("namespace") or cluster.namespace
        yield Session(Client(transport), namespace, f"on the cluster at {cluster.url}, namespace {namespace}")
    finally:
        await transport.close()


def _kubeconfig(given: Mapping[str, Any]) -> Path | None:
    """The file to read; None for what kubectl would read (``$KUBECONFIG``, ``~/.kube/config``)."""
    if given.get("kubeconfig"):
        return Path(given["kubeconfig"])
    if os.environ.get("KUBECONFIG") or given.get("context"):
        return None
    from tiphys.app import settings, up

    found = up.status(settings.load({}))
    if found.server is not None:
        return Path(found.server.kubeconfig)
    if (Path.home() / ".kube" / "config").is_file():
        return None
    raise SpecError("", "no cluster to talk to: start one with `tiphys up`, or name one with --kubeconfig or --context")


def run(work: Coroutine[Any, Any, T]) -> T:
    """Runs ``work`` on an event loop; uvloop's where it is installed (the extra ``speed``)."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(work)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)
