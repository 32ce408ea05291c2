"""The transport over HTTP(S), to a real cluster or to ours: JSON, watches as lines, logs as bytes.

It resumes nothing: a watch that ends is the informer's business. A connection that breaks is ``ServiceUnavailable``;
what the server refuses is the ``ApiError`` that its Status says.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import aiohttp
import orjson

from tiphys.client.credentials import CredentialSource
from tiphys.client.kubeconfig import Cluster, load
from tiphys.client.transport import Request, WatchEvent
from tiphys.machinery.errors import ApiError, DriverError, ServiceUnavailable, Unauthorized, from_status

_METHODS: Final = {
    "get": "GET",
    "list": "GET",
    "watch": "GET",
    "create": "POST",
    "update": "PUT",
    "patch": "PATCH",
    "delete": "DELETE",
    "deletecollection": "DELETE",
    "connect": "POST",
}
CALL_SECONDS_MAX: Final = 60.0
WHOLE_BYTES_MAX: Final = 512 * 1024
LINE_BYTES_MAX: Final = 64 * 1024 * 1024
"""The longest watch frame: a workflow of 100,000 nodes is tens of megabytes."""


@dataclass
class HttpTransport:
    """A ``Transport``. Use from one event loop; ``close`` when done."""

    cluster: Cluster
    user_agent: str = "tiphys"
    _session: aiohttp.ClientSession | None = field(default=None, repr=False)
    _source: CredentialSource | None = field(default=None, repr=False)

    @classmethod
    def from_kubeconfig(cls, path: str | Path | None = None, context: str | None = None) -> HttpTransport:
        """Raises SpecError for a kubeconfig that cannot be used."""
        return cls(load(path, context))

    async def call(self, request: Request) -> Mapping[str, Any]:
        answer: dict[str, Any] = orjson.loads(await self._body(request))
        if request.verb == "list":
            _complete_items(answer, request)
        return answer

    @asynccontextmanager
    async def watch(self, request: Request) -> AsyncIterator[AsyncIterator[WatchEvent]]:
        async with self._send(request, None) as response:
            yield _events(response)

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[AsyncIterator[bytes]]:
        async with self._send(request, None) as response:
            yield _chunks(response)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None
            # Sockets of abandoned streams close in the next turns of the loop.
            for _ in range(2):
                await asyncio.sleep(0)

    async def _body(self, request: Request) -> bytes:
        async with self._send(request, CALL_SECONDS_MAX) as response:
            try:
                return await response.read()
            except (aiohttp.ClientError, TimeoutError) as err:
                raise ServiceUnavailable(f"{self.cluster.url}: {err or type(err).__name__}") from err

    @asynccontextmanager
    async def _send(self, request: Request, seconds: float | None) -> AsyncIterator[aiohttp.ClientResponse]:
        try:
            response = await self._response(request, seconds)
        except Unauthorized:
            if self._source is None or not self._source.renew():
                raise
            response = await self._response(request, seconds)
        try:
            yield response
        finally:
            if response.content.at_eof():
                response.release()
            else:
                _abandon(response)

    async def _response(self, request: Request, seconds: float | None) -> aiohttp.ClientResponse:
        session, authorization = await self._admission()
        headers = {"Accept": "application/json", "User-Agent": self.user_agent, **authorization}
        if self.cluster.impersonate is not None:
            headers["Impersonate-User"] = self.cluster.impersonate
        body: bytes | BytesIO | None = None
        if request.body is not None:
            content = orjson.dumps(request.body, default=_plain)
            # aiohttp sends what can be read in pieces; long bytes would hold up the loop.
            body = BytesIO(content) if len(content) > WHOLE_BYTES_MAX else content
            headers["Content-Type"] = request.content_type
        query = dict(request.query)
        if request.verb == "watch":
            query["watch"] = "true"
        url = self.cluster.url + request.resource.path(request.namespace, request.name, request.subresource)
        timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=CALL_SECONDS_MAX)
        method = "GET" if request.subresource == "log" else _METHODS[request.verb]
        try:
            response = await session.request(
                method,
                url,
                params=query,
                data=body,
                headers=headers,
                timeout=timeout,
                server_hostname=self.cluster.server_name,
                proxy=self.cluster.proxy,
            )
            if response.status >= 400:
                raise _refusal(response.status, await response.read())
        except (
            aiohttp.ClientError,
            TimeoutError,
            ValueError,
        ) as err:  # ValueError: a proxy of an odd kind
            raise ServiceUnavailable(f"{self.cluster.url}: {err or type(err).__name__}") from err
        return response

    async def _admission(self) -> tuple[aiohttp.ClientSession, Mapping[str, str]]:
        """Credentials that cannot be had now (a plugin fails, a file is gone, TLS material is broken) are a server that
        cannot be reached: whoever watches tries again."""
        try:
            session = await self._opened()
            assert self._source is not None
            return session, await self._source.headers()
        except (DriverError, OSError, ValueError) as err:
            raise ServiceUnavailable(f"{self.cluster.url}: no credentials: {err}") from err

    async def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._source = CredentialSource(self.cluster)
            context = await self._source.ssl_context() if self.cluster.url.startswith("https") else None
            connector = aiohttp.TCPConnector(limit=0, limit_per_host=0, ssl=context or True)
            self._session = aiohttp.ClientSession(connector=connector, read_bufsize=2**18, auto_decompress=True)
        return self._session


def _abandon(response: aiohttp.ClientResponse) -> None:
    """Ends a response that has more to come (a watch left early): at once, without waiting for the server's goodbye."""
    transport = response.connection.transport if response.connection is not None else None
    if transport is not None:
        transport.abort()
    response.close()


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[WatchEvent]:
    """The frames of a watch; an ERROR frame is raised as what it says."""
    async for line in _lines(response):
        frame = orjson.loads(line)
        if frame["type"] == "ERROR":
            raise from_status(frame["object"])
        yield WatchEvent(frame["type"], frame["object"])


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    rest: list[bytes] = []
    held = 0
    async for chunk in _chunks(response):
        first, *others = chunk.split(b"\n")
        rest.append(first)
        held += len(first)
        if held > LINE_BYTES_MAX:
            raise ServiceUnavailable(f"a watch frame is longer than {LINE_BYTES_MAX} bytes")
        for part in others:
            line = b"".join(rest)
            if line:
                yield line
            rest, held = [part], len(part)


async def _chunks(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    try:
        async for chunk in response.content.iter_any():
            yield chunk
    except (aiohttp.ClientError, asyncio.IncompleteReadError, TimeoutError) as err:
        raise ServiceUnavailable(f"the connection broke: {err or type(err).__name__}") from err


def _refusal(code: int, body: bytes) -> ApiError:
    """The error that a failed answer says; one that is no Status is told by its code."""
    try:
        status = orjson.loads(body)
    except orjson.JSONDecodeError:
        status = None
    if not isinstance(status, dict) or status.get("kind") != "Status":
        status = {"code": code, "message": body[:500].decode("utf-8", "replace").strip()}
    return from_status(status)


def _complete_items(answer: dict[str, Any], request: Request) -> None:
    """A real server leaves kind and apiVersion out of the items of a list; our readers find them."""
    resource = request.resource
    for item in answer.get("items") or ():
        item.setdefault("kind", resource.kind)
        item.setdefault("apiVersion", resource.api_version)
    if answer.get("items") is None:
        answer["items"] = []


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} cannot be part of a request")
