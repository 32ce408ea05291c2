"""Notes the stops of a run where the parts meet: writes to the API, containers started, outputs collected.

Wrappers put in by ``compose`` when somebody asked for a trace (``tiphys run --trace``); without one nothing is wrapped.
What each stop names is the function behind the wrapper (``runtime/trace.py``).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from tiphys.client.transport import Request, Transport, WatchEvent
from tiphys.cluster.apiserver.verbs import Verbs
from tiphys.cluster.node.extension import PodExtension
from tiphys.machinery.podlife import Exit, Harvest, PodDirs, Staged
from tiphys.machinery.resources import key_of
from tiphys.runtime.trace import Trace

_WRITES: Mapping[str, Callable[..., Any]] = {
    "create": Verbs.create,
    "update": Verbs.update,
    "patch": Verbs.change,
    "delete": Verbs.delete,
}


@dataclass(frozen=True)
class TracedTransport:
    """Notes every write; events, leases and what the node says of itself are not part of anybody's story."""

    inner: Transport
    trace: Trace

    async def call(self, request: Request) -> Mapping[str, Any]:
        handler = _WRITES.get(request.verb)
        if handler is not None and request.resource.plural not in ("events", "leases", "nodes"):
            self.trace.stop(handler, _describe(request))
        return await self.inner.call(request)

    def watch(self, request: Request) -> AbstractAsyncContextManager[AsyncIterator[WatchEvent]]:
        return self.inner.watch(request)

    def stream(self, request: Request) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        return self.inner.stream(request)

    async def close(self) -> None:
        await self.inner.close()


@dataclass(frozen=True)
class TracedExtension:
    inner: PodExtension
    trace: Trace

    def claims(self, pod: Mapping[str, Any]) -> bool:
        return self.inner.claims(pod)

    async def stage(self, pod: Mapping[str, Any], dirs: PodDirs) -> Staged:
        self.trace.stop(type(self.inner).stage, f"pod {key_of(pod)}")
        return await self.inner.stage(pod, dirs)

    async def collect(self, pod: Mapping[str, Any], dirs: PodDirs, exits: Mapping[str, Exit]) -> Harvest:
        self.trace.stop(type(self.inner).collect, f"pod {key_of(pod)}")
        return await self.inner.collect(pod, dirs, exits)


def _describe(request: Request) -> str:
    body = request.body if isinstance(request.body, Mapping) else {}
    meta = body.get("metadata") or {}
    name = request.name or meta.get("name") or f"{meta.get('generateName', '')}…"
    phase = (body.get("status") or {}).get("phase")
    said = f"{request.verb} {request.resource.plural} {request.namespace or ''}/{name}"
    return f"{said} → {phase}" if phase else said
