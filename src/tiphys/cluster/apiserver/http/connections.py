"""Connections that must be worth their place: a request's head has to come in time, and there is a most of them.

aiohttp ends connections that are idle between requests, but not those that send a byte a minute of a head that never
ends (slow-loris). Bodies have a deadline of their own, where they are read.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

HEAD_SECONDS_MAX: Final = 30.0
CONNECTIONS_MAX: Final = 4096


class Connection(RequestHandler):
    """One connection. ``begin`` and ``finish`` are called around each request's service."""

    def __init__(self, manager: Connections, **settings: Any) -> None:
        super().__init__(manager, **settings)
        self._connections = manager
        self._deadline: asyncio.TimerHandle | None = None
        self._is_served = False
        self._is_counted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self._connections.open >= CONNECTIONS_MAX:
            assert isinstance(transport, asyncio.Transport), "TCP gives transports"
            transport.abort()
            return
        self._is_counted = True
        self._connections.open += 1
        super().connection_made(transport)
        self._expect()

    def data_received(self, data: bytes) -> None:
        if not self._is_served and self._deadline is None:
            self._expect()
        super().data_received(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._let_be()
        if self._is_counted:
            self._connections.open -= 1
            self._is_counted = False
            super().connection_lost(exc)

    def begin(self) -> None:
        self._is_served = True
        self._let_be()

    def finish(self) -> None:
        self._is_served = False

    def _expect(self) -> None:
        self._deadline = asyncio.get_running_loop().call_later(self._connections.head_seconds, self._too_late)

    def _let_be(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_late(self) -> None:
        self._deadline = None
        if self.transport is not None:
            self.transport.abort()


class Connections(web.Server):
    """A ``web.Server`` whose connections are ``Connection``."""

    def __init__(
        self,
        handler: Any,
        *,
        head_seconds: float = HEAD_SECONDS_MAX,
        handler_cancellation: bool = False,
        **settings: Any,
    ) -> None:
        super().__init__(handler, handler_cancellation=handler_cancellation, **settings)
        self.head_seconds = head_seconds
        self.open = 0
        self._settings = settings

    def __call__(self) -> RequestHandler:
        return Connection(self, loop=asyncio.get_running_loop(), **self._settings)
