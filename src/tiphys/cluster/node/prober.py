"""Asks a container how it is: commands in it, HTTP, TCP and gRPC questions to its address. The words are a kubelet's.

    answer, output = await Asker(address, run).ask(probe.action, timeout_seconds)

Only what a probe needs of HTTP: one request, the status, a little of the body, redirects to the same host
(kubernetes pkg/probe/http); https is not verified. gRPC is in ``grpc_health.py``. What an answer means is for
``probes.py``.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin, urlsplit

from tiphys.cluster.node import grpc_health
from tiphys.cluster.node.probes import ASKED_MAX, Answer
from tiphys.cluster.node.runtime import StartFailure

Object = Mapping[str, Any]
# Runs a command in the container: exit code and output. Raises ``StartFailure``.
RunCommand = Callable[[Sequence[str]], Awaitable[tuple[int, bytes]]]

USER_AGENT = "kube-probe/1.35"
OUTPUT_BYTES_MAX = 10 << 10
HEAD_BYTES_MAX = 64 << 10
REDIRECTS_MAX = 10


class ProbeError(Exception):
    """The question could not be put at all."""


@dataclass(frozen=True, slots=True)
class Asker:
    """``address`` is the container's; ``ports`` are its named ports."""

    address: str
    run: RunCommand
    ports: Mapping[str, int] = field(default_factory=dict)

    async def ask(self, action: Object, timeout_seconds: float) -> tuple[Answer, str]:
        """The answer and what to say of it; a question that cannot be put is tried again at once."""
        output = ""
        for _ in range(ASKED_MAX):
            try:
                return await self._once(action, timeout_seconds)
            except ProbeError as err:
                output = str(err)
        return Answer.ERROR, output

    async def _once(self, action: Object, timeout_seconds: float) -> tuple[Answer, str]:
        if "exec" in action:
            return await self._exec(action["exec"].get("command") or (), timeout_seconds)
        if "httpGet" in action:
            return await self._http(action["httpGet"], timeout_seconds)
        if "tcpSocket" in action:
            return await self._tcp(action["tcpSocket"], timeout_seconds)
        if "grpc" in action:
            port = int(action["grpc"]["port"])
            service = action["grpc"].get("service") or ""
            healthy, text = await grpc_health.check(self.address, port, service, timeout_seconds)
            return (Answer.SUCCESS if healthy else Answer.FAILURE), text
        raise ProbeError(f"missing probe handler for {action}")

    async def _exec(self, command: Sequence[str], timeout_seconds: float) -> tuple[Answer, str]:
        try:
            async with asyncio.timeout(timeout_seconds):
                code, output = await self.run(command)
        except TimeoutError:
            words = " ".join(command)
            return Answer.FAILURE, f'command timed out: "{words}" timed out after {timeout_seconds:g}s'
        except StartFailure as err:
            raise ProbeError(f"{cannot_exec(command)}: {err}") from err
        return (Answer.SUCCESS if code == 0 else Answer.FAILURE), _text(output)

    async def _http(self, action: Object, timeout_seconds: float) -> tuple[Answer, str]:
        url = url_of(action, self.address, self._port(action["port"]))
        headers = {str(h["name"]): str(h["value"]) for h in action.get("httpHeaders") or ()}
        try:
            async with asyncio.timeout(timeout_seconds):
                return await get(url, headers)
        except TimeoutError:
            return (
                Answer.FAILURE,
                f'Get "{url}": context deadline exceeded (Client.Timeout exceeded while awaiting headers)',
            )
        except (OSError, asyncio.IncompleteReadError, ValueError) as err:
            return Answer.FAILURE, f'Get "{url}": {network_error(err, *_place(url))}'

    async def _tcp(self, action: Object, timeout_seconds: float) -> tuple[Answer, str]:
        host, port = action.get("host") or self.address, self._port(action["port"])
        try:
            async with asyncio.timeout(timeout_seconds):
                _, writer = await asyncio.open_connection(host, port)
        except TimeoutError:
            return Answer.FAILURE, f"dial tcp {join(host, port)}: i/o timeout"
        except OSError as err:
            return Answer.FAILURE, network_error(err, host, port)
        writer.close()
        return Answer.SUCCESS, ""

    def _port(self, port: int | str) -> int:
        if isinstance(port, int):
            return port
        found = self.ports.get(port, int(port) if port.isdigit() else 0)
        if not 0 < found < 1 << 16:
            raise ProbeError(f"couldn't extract port: port {port} not found")
        return found


def cannot_exec(command: Sequence[str]) -> str:
    """How containerd says that a command could not be started; it numbers them, with 64 hexadecimal digits."""
    number = hashlib.sha256("\0".join(command).encode()).hexdigest()
    return f'rpc error: code = Unknown desc = failed to exec in container: failed to start exec "{number}"'


def url_of(action: Object, address: str, port: int) -> str:
    """The URL of an ``httpGet``, as the original prints it."""
    path = action.get("path") or ""
    path = path if path.startswith("/") else f"/{path}"
    return f"{(action.get('scheme') or 'HTTP').lower()}://{join(action.get('host') or address, port)}{path}"


def join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def network_error(err: BaseException, host: str, port: int) -> str:
    """An error in Go's words."""
    if isinstance(err, ConnectionRefusedError):
        return f"dial tcp {join(host, port)}: connect: connection refused"
    if isinstance(err, ConnectionResetError):
        return f"read tcp {join(host, port)}: read: connection reset by peer"
    if isinstance(err, asyncio.IncompleteReadError):
        return "EOF"
    if isinstance(err, OSError):
        return f"dial tcp {join(host, port)}: connect: {(err.strerror or str(err)).lower()}"
    return str(err)


async def get(url: str, headers: Mapping[str, str]) -> tuple[Answer, str]:
    """Asks ``url``; follows redirects to the same host. Raises OSError, ValueError (no HTTP), IncompleteReadError."""
    asked = url
    for _ in range(REDIRECTS_MAX):
        code, location, body = await _request(asked, headers)
        if code in (301, 302, 303, 307, 308) and location:
            target = urljoin(asked, location)
            if urlsplit(target).hostname != urlsplit(url).hostname:
                return Answer.WARNING, f"Probe terminated redirects, Response body: {body}"
            asked = target
            continue
        if 200 <= code < 400:
            return Answer.SUCCESS, body
        return Answer.FAILURE, f"HTTP probe failed with statuscode: {code}"
    return Answer.WARNING, f"Probe terminated redirects, Response body: {body}"


async def _request(url: str, headers: Mapping[str, str]) -> tuple[int, str, str]:
    """(status, Location, the beginning of the body)"""
    parts = urlsplit(url)
    host, port = _place(url)
    secure = _unverified() if parts.scheme == "https" else None
    reader, writer = await asyncio.open_connection(host, port, ssl=secure, limit=HEAD_BYTES_MAX)
    try:
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        writer.write(request_head(path, parts.netloc, headers).encode("latin-1", "replace"))
        await writer.drain()
        return await _response(reader)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def request_head(path: str, netloc: str, headers: Mapping[str, str]) -> str:
    given = {name.lower() for name in headers}
    lines = [f"GET {path} HTTP/1.1"]
    host = next((value for name, value in headers.items() if name.lower() == "host"), netloc.rpartition("@")[2])
    lines.append(f"Host: {host}")
    for name, value in (("User-Agent", USER_AGENT), ("Accept", "*/*")):
        if name.lower() not in given:
            lines.append(f"{name}: {value}")
    if "@" in netloc and "authorization" not in given:
        lines.append(f"Authorization: Basic {base64.b64encode(netloc.rpartition('@')[0].encode()).decode()}")
    lines += [f"{name}: {value}" for name, value in headers.items() if name.lower() != "host" and value]
    return "\r\n".join((*lines, "Connection: close", "", ""))


async def _response(reader: asyncio.StreamReader) -> tuple[int, str, str]:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.LimitOverrunError as err:
        raise ValueError("net/http: HTTP/1.x transport connection broken: headers too long") from err
    status, *lines = head.split("\r\n")
    words = status.split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/") or not words[1].isdigit():
        raise ValueError(f'net/http: HTTP/1.x transport connection broken: malformed HTTP response "{status}"')
    fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    length = fields.get("content-length", "")
    wanted = min(int(length), OUTPUT_BYTES_MAX) if length.isdigit() else OUTPUT_BYTES_MAX
    body = b""
    while len(body) < wanted:
        chunk = await reader.read(wanted - len(body))
        if not chunk:
            break
        body += chunk
    return int(words[1]), fields.get("location", ""), _text(body)


def _place(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def _unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _text(data: bytes) -> str:
    return data[:OUTPUT_BYTES_MAX].decode("utf-8", "replace")
