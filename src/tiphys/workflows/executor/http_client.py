"""Sends the requests of http templates, with aiohttp. Imported only where one is to be sent: that takes a while."""

from __future__ import annotations

import asyncio
import os
import ssl
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import aiohttp
from yarl import URL

from tiphys.lang import gourl
from tiphys.workflows.executor.errors import ExecutorError
from tiphys.workflows.executor.http import (
    REDIRECTS_MAX,
    Answer,
    Call,
    ReadSecret,
    asks_for_gzip,
    canonical,
    check,
    judge,
    prepare,
    redirected,
)

Object = Mapping[str, Any]
# An answer is kept in the node's outputs; what is longer than the biggest object anyway is refused.
ANSWER_BYTES_MAX = 16 * 1024 * 1024
_BODY_METHODS = ("POST", "PUT", "PATCH")
_SKIPPED = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")


@dataclass
class HttpTemplates:
    """Sends. ``user_agent`` is what servers see where the template says nothing. Close it with ``close``."""

    user_agent: str
    _session: aiohttp.ClientSession | None = None

    async def run(self, http: Object, secret: ReadSecret) -> dict[str, Any]:
        """The node's result; what cannot be sent is a ``Failed`` one."""
        try:
            return judge(http, await self.ask(http, secret))
        except ExecutorError as err:
            return {"phase": "Failed", "message": str(err)}

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def ask(self, http: Object, secret: ReadSecret) -> Answer:
        """The answer to a template's request, whatever it says. Raises ``ExecutorError``."""
        seconds = http.get("timeoutSeconds")
        call = await prepare(http, secret)
        check(call)
        if seconds is not None and int(seconds) <= 0:
            raise call.failed("context deadline exceeded")
        due = None if seconds is None else asyncio.get_running_loop().time() + int(seconds)
        return await self._follow(call, due, verify=not http.get("insecureSkipVerify"))

    async def _follow(self, call: Call, due: float | None, *, verify: bool) -> Answer:
        """The last answer. ``due`` is a moment of the loop's clock, for all of it."""
        for _ in range(REDIRECTS_MAX):
            response = await self._send(call, due, verify=verify)
            async with response:
                location = response.headers.get("Location", "")
                if response.status not in (301, 302, 303, 307, 308) or not location:
                    return await _read(response, due, decode=asks_for_gzip(call))
                call = redirected(call, response.status, location)
                check(call)
        raise call.failed(f"stopped after {REDIRECTS_MAX} redirects", location)

    async def _send(self, call: Call, due: float | None, *, verify: bool) -> aiohttp.ClientResponse:
        headers = [(name, value) for name, value in call.headers if name != "Content-Length"]
        if call.host:
            headers.append(("Host", call.host))
        if not any(name == "User-Agent" for name, _ in headers):
            headers.append(("User-Agent", self.user_agent))
        if asks_for_gzip(call):
            headers.append(("Accept-Encoding", "gzip"))
        body = call.body if call.body or call.method in _BODY_METHODS else None
        try:
            async with asyncio.timeout_at(due):
                return await self._open().request(
                    call.method,
                    URL(_target(call.url), encoded=True),
                    headers=headers,
                    data=body,
                    allow_redirects=False,
                    skip_auto_headers=_SKIPPED,
                    ssl=True if verify else _UNVERIFIED,
                )
        except TimeoutError as err:
            raise call.failed("context deadline exceeded") from err
        except (aiohttp.ClientError, OSError) as err:
            raise call.failed(_reason(err, call.url)) from err

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=None)
            self._session = aiohttp.ClientSession(
                auto_decompress=False, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()
            )
            # A request that a server broke off is not made twice behind the user's back; there is no public switch.
            self._session._retry_connection = False
        return self._session


def _unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


_UNVERIFIED = _unverified()


async def _read(response: aiohttp.ClientResponse, due: float | None, *, decode: bool) -> Answer:
    data = bytearray()
    try:
        async with asyncio.timeout_at(due):
            async for chunk in response.content.iter_chunked(65536):
                data += chunk
                if len(data) > ANSWER_BYTES_MAX:
                    raise ExecutorError(f"the answer is longer than {ANSWER_BYTES_MAX} bytes")
    except TimeoutError as err:
        raise ExecutorError("context deadline exceeded") from err
    except aiohttp.ClientError as err:
        raise ExecutorError("unexpected EOF") from err
    headers: dict[str, list[str]] = {}
    for name, value in response.headers.items():
        headers.setdefault(canonical(name), []).append(value)
    body = bytes(data)
    if decode and headers.get("Content-Encoding") == ["gzip"]:
        body = _inflated(body)
        headers.pop("Content-Encoding")
        headers.pop("Content-Length", None)
    return Answer(response.status, body.decode("utf-8", "replace"), headers, response.reason or "")


def _inflated(data: bytes) -> bytes:
    decoder = zlib.decompressobj(wbits=31)
    try:
        body = decoder.decompress(data, ANSWER_BYTES_MAX)
    except zlib.error as err:
        raise ExecutorError("gzip: invalid header") from err
    if decoder.unconsumed_tail:
        raise ExecutorError(f"the answer is longer than {ANSWER_BYTES_MAX} bytes")
    return body


def _target(url: gourl.Url) -> str:
    text = str(replace(url, fragment=""))
    return text if url.path else text.replace(f"{url.host}", f"{url.host}/", 1)


def _reason(err: Exception, url: gourl.Url) -> str:
    """A connection's failure in Go's words."""
    if isinstance(err, (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError)):
        return "tls: failed to verify certificate: x509: certificate signed by unknown authority"
    if isinstance(err, aiohttp.ClientConnectorDNSError):
        return f"dial tcp: lookup {url.hostname}: no such host"
    if isinstance(err, aiohttp.ServerDisconnectedError):
        return "EOF"
    if isinstance(err, aiohttp.ClientConnectorError):
        port = "" if ":" in url.host else (":443" if url.scheme == "https" else ":80")
        why = os.strerror(err.os_error.errno).lower() if err.os_error.errno else str(err.os_error)
        return f"dial tcp {url.host}{port}: connect: {why}"
    return str(err)
