"""The HTTP router of a cluster: requests from outside go to the Service that an Ingress names.

Each request is read up to the end of its head, sent to a back end and answered on the same connection, which then ends:
a next request may belong elsewhere. An upgrade (WebSocket) goes on for as long as both sides like. Certificates come
from the secrets that Ingresses name, chosen by the host that the client asks for; for all other hosts there is one that
nobody trusts, as ingress controllers have it.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
import tempfile
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

from tiphys.cluster.node.network.ingress_rules import Routes, Target
from tiphys.cluster.node.network.routes import Endpoint
from tiphys.serving.certificates import Authority

HEAD_BYTES_MAX = 64 * 1024
HEAD_SECONDS = 30.0
CONNECT_SECONDS = 5.0
LINGER_SECONDS = 2.0
_CHUNK = 256 * 1024
# Said by the router only: back ends believe it.
_OURS = ("x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip")
_DROPPED = frozenset(("connection", "keep-alive", "proxy-connection", *_OURS))

Lookup = Callable[[Target], list[Endpoint]]


class IngressRouter:
    """``routes`` and ``endpoints`` say where things go, as of each request."""

    def __init__(self, routes: Callable[[], Routes], endpoints: Lookup, rng: random.Random) -> None:
        self.routes = routes
        self.endpoints = endpoints
        self._rng = rng
        self._servers: list[asyncio.Server] = []
        self._contexts: dict[str, ssl.SSLContext] = {}

    async def start(self, address: str, now: datetime, http: int = 80, https: int = 443) -> None:
        """Raises OSError where a port cannot be had; it then has neither."""
        plain = await asyncio.start_server(self._plain, address, http, limit=HEAD_BYTES_MAX)
        try:
            context = await asyncio.to_thread(_untrusted_context, now)
            context.sni_callback = self._by_name
            secure = await asyncio.start_server(self._secure, address, https, limit=HEAD_BYTES_MAX, ssl=context)
        except OSError:
            plain.close()
            raise
        self._servers += [plain, secure]

    async def stop(self) -> None:
        for server in self._servers:
            server.close()

    def ports(self) -> list[int]:
        return [int(server.sockets[0].getsockname()[1]) for server in self._servers]

    def certify(self, certificates: Mapping[str, tuple[bytes, bytes]]) -> None:
        """Certificate chain and key (PEM) by host, "" for all others. One that is unusable is left out."""
        self._contexts = {}
        for host, (chain, key) in certificates.items():
            with contextlib.suppress(ssl.SSLError, OSError):
                self._contexts[host] = _context(chain, key)

    def _by_name(self, sock: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        wildcard = f"*.{(name or '').partition('.')[2]}"
        for host in (name or "", wildcard, ""):
            if host in self._contexts:
                sock.context = self._contexts[host]
                return

    async def _plain(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._serve(reader, writer, "http")

    async def _secure(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._serve(reader, writer, "https")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, scheme: str) -> None:
        try:
            async with asyncio.timeout(HEAD_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
            await self._answer(head, reader, writer, scheme)
        except (OSError, asyncio.IncompleteReadError):  # slow, gone, or out of reach: there is nobody to tell
            pass
        except asyncio.LimitOverrunError:
            _refuse(writer, 431, "the head of the request is too long")
            await _hear_out(reader, writer)
        finally:
            writer.close()

    async def _answer(
        self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, scheme: str
    ) -> None:
        request, headers = _read_head(head)
        words = request.split(" ")
        if len(words) != 3 or not words[1].startswith("/"):
            _refuse(writer, 400, "this is no request")
            return
        path = words[1].partition("?")[0]
        target = self.routes().find(headers.get("host", ""), path, headers, self._rng.random())
        if target is None:
            _refuse(writer, 404, "no Ingress has a rule for this host and path")
            return
        back = await self._connect(target)
        if back is None:
            _refuse(writer, 503, f"service {target.namespace}/{target.service} has no endpoint that answers")
            return
        peer = str((writer.get_extra_info("peername") or ("",))[0])
        back[1].write(_forwarded(head, peer, scheme, headers.get("host", "")))
        await _exchange((reader, writer), back)

    async def _connect(self, target: Target) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        endpoints = self.endpoints(target)
        self._rng.shuffle(endpoints)
        for one in endpoints:
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    return await asyncio.open_connection(one.address, one.port)
            except (OSError, TimeoutError):
                continue
        return None


def _read_head(head: bytes) -> tuple[str, dict[str, str]]:
    """The request line, and the headers with names in lower case; of repeated ones the first."""
    lines = head.decode("latin-1").split("\r\n")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if colon:
            headers.setdefault(name.strip().lower(), value.strip())
    return lines[0], headers


def _forwarded(head: bytes, peer: str, scheme: str, host: str) -> bytes:
    """The head as the back end gets it: who asks and how is added, and the connection ends with the answer."""
    lines = head.decode("latin-1").split("\r\n")
    is_upgrade = any(line.lower().startswith("upgrade:") for line in lines[1:])
    kept = [line for line in lines[1:] if line and (line.partition(":")[0].strip().lower() not in _DROPPED)]
    connection = "Connection: Upgrade" if is_upgrade else "Connection: close"
    added = [connection, f"X-Forwarded-For: {peer}", f"X-Forwarded-Proto: {scheme}"]
    added += [f"X-Real-IP: {peer}", f"X-Forwarded-Host: {host}"]
    return "\r\n".join([lines[0], *kept, *added, "", ""]).encode("latin-1")


async def _exchange(
    front: tuple[asyncio.StreamReader, asyncio.StreamWriter], back: tuple[asyncio.StreamReader, asyncio.StreamWriter]
) -> None:
    """Copies both ways until the back end has said all."""
    upwards = asyncio.create_task(_copy(front[0], back[1]))
    try:
        await _copy(back[0], front[1])
    finally:
        upwards.cancel()
        back[1].close()
        await asyncio.gather(upwards, return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_CHUNK):
        writer.write(data)
        await writer.drain()


def _refuse(writer: asyncio.StreamWriter, code: int, why: str) -> None:
    names = {
        400: "Bad Request",
        404: "Not Found",
        431: "Request Header Fields Too Large",
        503: "Service Unavailable",
    }
    body = f"{code} {names[code]}: {why}\n".encode()
    head = f"HTTP/1.1 {code} {names[code]}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n"
    writer.write(head.encode() + b"Connection: close\r\n\r\n" + body)


async def _hear_out(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Reads on for a moment: who is still sending would lose the answer to a reset."""
    if writer.can_write_eof():
        writer.write_eof()
    with contextlib.suppress(TimeoutError, ConnectionError):
        async with asyncio.timeout(LINGER_SECONDS):
            while await reader.read(_CHUNK):
                pass


def _untrusted_context(now: datetime) -> ssl.SSLContext:
    """With a certificate whose authority is gone by the time it is used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        pair = Authority(Path(folder)).server([], now)
        context.load_cert_chain(pair.certificate, pair.key)
    return context


def _context(chain: bytes, key: bytes) -> ssl.SSLContext:
    """The ssl module reads certificates from files only."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "pair.pem"
        place.touch(mode=0o600)
        place.write_bytes(chain.rstrip() + b"\n" + key)
        context.load_cert_chain(place)
    return context
