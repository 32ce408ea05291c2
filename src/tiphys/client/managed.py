"""A transport that writes under a name: what it changes is recorded in ``managedFields`` as this manager's.

In process nobody's writes are recorded unless they say whose they are; controllers whose fields other tools look at
(server-side apply, Argo CD's ``managedFieldsManagers``) go through this.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import Any, Final

from tiphys.client.transport import Request, Transport, WatchEvent

_WRITES: Final = frozenset(("create", "update", "patch"))


@dataclass(frozen=True)
class ManagedTransport:
    """A ``Transport`` around another one."""

    inner: Transport
    manager: str

    async def call(self, request: Request) -> Mapping[str, Any]:
        if request.verb in _WRITES and "fieldManager" not in request.query:
            request = replace(request, query={**request.query, "fieldManager": self.manager})
        return await self.inner.call(request)

    def watch(self, request: Request) -> AbstractAsyncContextManager[AsyncIterator[WatchEvent]]:
        return self.inner.watch(request)

    def stream(self, request: Request) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        return self.inner.stream(request)

    async def close(self) -> None:
        await self.inner.close()
