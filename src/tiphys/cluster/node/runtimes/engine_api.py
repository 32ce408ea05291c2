"""The Docker Engine API over its socket, as Docker and Podman (``podman system service``) both speak it.

Blocking calls for what the runtime's Protocol wants at once, asynchronous ones for what lasts. Failures are
``EngineError`` with the engine's own message.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import socket
import struct
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import IO, Any, cast
from urllib.parse import urlencode

from tiphys.machinery.errors import DriverError

TIMEOUT_SECONDS = 30.0
ANSWER_BYTES_MAX = 64 << 20
_HEADER = struct.Struct(">BxxxI")


class EngineError(DriverError):
    """``status`` is HTTP's; 0 where nobody answered."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def sockets() -> list[Path]:
    """Where an engine may listen, in the order in which they are to be tried."""
    named = os.environ.get("DOCKER_HOST", "")
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    places = [named.removeprefix("unix://")] if named.startswith("unix://") else []
    places += ["/var/run/docker.sock", str(Path.home() / ".docker/run/docker.sock"), "/run/podman/podman.sock"]
    places += [f"{runtime}/podman/podman.sock"] if runtime else []
    return [Path(place) for place in places if Path(place).is_socket()]


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, place: Path) -> None:
        super().__init__("engine", timeout=TIMEOUT_SECONDS)
        self._place = place

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._place))


class Engine:
    def __init__(self, place: Path) -> None:
        self.place = place

    # At once.

    def call(self, method: str, path: str, body: Any = None, /, **query: str) -> Any:
        """The answer, parsed where it is JSON. Raises ``EngineError``."""
        with contextlib.closing(_UnixConnection(self.place)) as connection:
            response = self._send(connection, method, path, body, query)
            data = response.read(ANSWER_BYTES_MAX)
        return _parsed(data)

    def download(self, path: str, target: IO[bytes], query: Mapping[str, str]) -> None:
        with contextlib.closing(_UnixConnection(self.place)) as connection:
            response = self._send(connection, "GET", path, None, query)
            while block := response.read(1 << 20):
                target.write(block)

    def _send(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: Any, query: Mapping[str, str]
    ) -> http.client.HTTPResponse:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        data = json.dumps(body).encode() if body is not None else None
        try:
            connection.request(method, path + (f"?{urlencode(query)}" if query else ""), data, headers)
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as err:
            raise EngineError(0, f"no container engine answers at {self.place}: {err}") from err
        if response.status >= 400:
            raise EngineError(response.status, _message(response.read(ANSWER_BYTES_MAX), response.status))
        return response

    # What lasts.

    async def ask(self, method: str, path: str, body: Any = None, /, **query: str) -> Any:
        """As ``call``, however long the answer takes."""
        async with self._stream(method, path, body, query) as (status, reader):
            data = await reader.read()
        if status >= 400:
            raise EngineError(status, _message(data, status))
        return _parsed(data)

    async def frames(self, path: str, **query: str) -> AsyncIterator[tuple[int, bytes]]:
        """(1 or 2, bytes) of a container's output, until it ends."""
        async with self._stream("GET", path, None, query) as (status, reader):
            if status >= 400:
                raise EngineError(status, _message(await reader.read(), status))
            while True:
                try:
                    stream, size = _HEADER.unpack(await reader.readexactly(_HEADER.size))
                    yield stream, await reader.readexactly(size)
                except asyncio.IncompleteReadError:
                    return

    @contextlib.asynccontextmanager
    async def _stream(
        self, method: str, path: str, body: Any, query: Mapping[str, str]
    ) -> AsyncIterator[tuple[int, asyncio.StreamReader]]:
        """A request of its own connection (HTTP/1.0: the answer ends with it): status, and the body."""
        data = b"" if body is None else json.dumps(body).encode()
        try:
            reader, writer = await asyncio.open_unix_connection(str(self.place))
        except OSError as err:
            raise EngineError(0, f"no container engine answers at {self.place}: {err}") from err
        try:
            target = path + (f"?{urlencode(query)}" if query else "")
            head = f"{method} {target} HTTP/1.0\r\nHost: engine\r\nContent-Type: application/json\r\n"
            writer.write(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
            await writer.drain()
            status = int((await reader.readline()).split()[1])
            while (await reader.readline()).strip():
                pass
            yield status, reader
        except (OSError, IndexError, ValueError) as err:
            raise EngineError(0, f"the engine at {self.place} went away: {err}") from err
        finally:
            writer.close()


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data) if data.strip() else None
    except ValueError:
        return data.decode("utf-8", "replace")


def _message(data: bytes, status: int) -> str:
    document = _parsed(data)
    if isinstance(document, dict):
        return str(document.get("message") or document.get("cause") or f"status {status}")
    return cast(str, document) if document else f"status {status}"
