"""The transport into an API server of the same process: function calls, shared objects, no sockets.

What comes out is what the server holds: read-only. What goes in is copied by the server.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from tiphys.client.transport import Request, WatchEvent


class LocalWatch(Protocol):
    """An open watch. Iterating raises the ApiError that ended it, if one did."""

    def __aiter__(self) -> AsyncIterator[WatchEvent]: ...

    def close(self) -> None: ...


class LocalServer(Protocol):
    """The side of an API server that this transport talks to. All raise ``machinery.errors.ApiError``."""

    async def call(self, request: Request) -> Mapping[str, Any]: ...

    def events(self, request: Request) -> LocalWatch:
        """Opens a watch: nothing that happens from now on is missed."""
        ...

    def open_log(self, request: Request) -> AbstractAsyncContextManager[AsyncIterator[bytes]]: ...


@dataclass(frozen=True)
class InProcessTransport:
    """A ``Transport``. Closing it does nothing: the server has an owner of its own."""

    server: LocalServer

    async def call(self, request: Request) -> Mapping[str, Any]:
        return await self.server.call(request)

    @asynccontextmanager
    async def watch(self, request: Request) -> AsyncIterator[AsyncIterator[WatchEvent]]:
        opened = self.server.events(request)
        try:
            yield opened.__aiter__()
        finally:
            opened.close()

    def stream(self, request: Request) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        return self.server.open_log(request)

    async def close(self) -> None:
        return None
