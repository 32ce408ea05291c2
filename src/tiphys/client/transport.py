"""How a client reaches an API server: one Protocol, two implementations (``inprocess.py``, ``http.py``).

``call`` answers one request with one object; ``stream`` opens what does not end by itself: watches and logs. Nobody
above this package may ask which transport it has. Objects that come out are read-only: they may be shared with the
server's cache (in process) and must be copied on write.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

from tiphys.machinery.resources import Resource

Verb = Literal["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "connect"]


@dataclass(frozen=True, slots=True)
class Request:
    """One API request. ``query`` holds the wire's query parameters (labelSelector, resourceVersion, limit …).

    ``content_type`` matters for patches (``PatchType``); ``body`` is an object as plain Python values.
    """

    verb: Verb
    resource: Resource
    namespace: str | None = None
    name: str | None = None
    subresource: str | None = None
    query: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    content_type: str = "application/json"


class WatchEvent(NamedTuple):
    """A frame of a watch: ADDED, MODIFIED, DELETED or BOOKMARK (an ERROR frame is raised as the ApiError it holds)."""

    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]
    object: Mapping[str, Any]


class Transport(Protocol):
    """What every way to an API server can do. Failures are ``machinery.errors.ApiError``; a lost connection is a
    ``ServiceUnavailable``."""

    async def call(self, request: Request) -> Mapping[str, Any]: ...

    def watch(self, request: Request) -> AbstractAsyncContextManager[AsyncIterator[WatchEvent]]: ...

    def stream(self, request: Request) -> AbstractAsyncContextManager[AsyncIterator[bytes]]: ...

    async def close(self) -> None: ...
