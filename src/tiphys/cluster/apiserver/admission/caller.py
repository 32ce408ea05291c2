"""Calls webhooks over HTTPS: at a URL, or behind a Service of the cluster. The only file of admission that does I/O."""

from __future__ import annotations

import base64
import binascii
import ssl
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from tiphys.cluster.apiserver.backends import service_address
from tiphys.cluster.apiserver.store import Store
from tiphys.machinery.errors import ApiError, DriverError

if TYPE_CHECKING:
    import aiohttp

ANSWER_BYTES_MAX: Final = 6 << 20
_CHUNK_BYTES: Final = 1 << 16
_CONTEXTS_MAX: Final = 64


class CallFailed(DriverError):
    """A webhook was not reached, or did not answer as one does; worded as Go's client does."""


class Caller:
    """``service_address`` finds where a Service's requests go. TLS contexts are kept by their CA."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._contexts: dict[str, ssl.SSLContext] = {}

    async def call(self, config: Mapping[str, Any], body: bytes, seconds: int) -> bytes:
        """Posts; the answer's body. Raises CallFailed."""
        import aiohttp  # a tenth of a second, that a start without webhooks need not take

        url, shown, name = self._place(config)
        timeout = aiohttp.ClientTimeout(total=seconds)
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        separator = "&" if urlsplit(url).query else "?"
        query = f"{separator}timeout={seconds}s"
        head = f'failed to call webhook: Post "{shown}{query}"'
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.post(
                    url + query,
                    data=body,
                    headers=headers,
                    allow_redirects=False,
                    ssl=self._context(config),
                    server_hostname=name or None,
                ) as answer,
            ):
                text = await _read(answer)
        except TimeoutError as err:
            raise CallFailed(f"{head}: context deadline exceeded") from err
        except aiohttp.ClientConnectorCertificateError as err:
            raise CallFailed(f"{head}: tls: failed to verify certificate: {err.certificate_error}") from err
        except aiohttp.ClientConnectorError as err:
            raise CallFailed(f"{head}: {_dial(err)}") from err
        except aiohttp.ClientError as err:
            raise CallFailed(f"{head}: {err or 'EOF'}") from err
        if len(text) > ANSWER_BYTES_MAX:
            raise CallFailed(f"{head}: the answer is too large")
        if answer.status != 200:
            raise CallFailed(f"failed to call webhook: {_unexpected(answer.status, text)}")
        return text

    def _place(self, config: Mapping[str, Any]) -> tuple[str, str, str]:
        """(where to post, what to call it in messages, the name that the certificate must have). Raises CallFailed."""
        if config.get("url"):
            return str(config["url"]), str(config["url"]), ""
        service = config.get("service") or {}
        namespace, name = str(service.get("namespace")), str(service.get("name"))
        port, path = int(service.get("port") or 443), str(service.get("path") or "/")
        host = f"{name}.{namespace}.svc"
        try:
            address, number = service_address(self._store, namespace, name, port)
        except ApiError as err:
            raise CallFailed(f'failed to call webhook: Post "https://{host}:{port}{path}": {err.message}') from err
        return f"https://{address}:{number}{path}", f"https://{host}:{port}{path}", host

    def _context(self, config: Mapping[str, Any]) -> ssl.SSLContext:
        """TLS that trusts the CA of the registration, without one what the system trusts. Raises CallFailed."""
        bundle = str(config.get("caBundle") or "")
        known = self._contexts.get(bundle)
        if known is not None:
            return known
        try:
            text = base64.b64decode(bundle).decode("ascii") if bundle else None
            context = ssl.create_default_context(cadata=text)
        except (binascii.Error, ValueError, ssl.SSLError) as err:
            text = "unable to load root certificates: unable to parse bytes as PEM block"
            raise CallFailed(f"could not get REST client: {text}") from err
        if len(self._contexts) >= _CONTEXTS_MAX:
            self._contexts.clear()
        self._contexts[bundle] = context
        return context


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    """The body, or a little more of it than is allowed: a stream's ``read`` gives no more than has come."""
    text = bytearray()
    async for chunk in answer.content.iter_chunked(_CHUNK_BYTES):
        text += chunk
        if len(text) > ANSWER_BYTES_MAX:
            break
    return bytes(text)


def _dial(err: aiohttp.ClientConnectorError) -> str:
    why = (err.os_error.strerror or str(err.os_error)).lower()
    if "connect call failed" in why:
        why = "connection refused"
    return f"dial tcp {err.host}:{err.port}: connect: {why}"


def _unexpected(status: int, text: bytes) -> str:
    if status >= 500:
        shown = text[:1024].decode("utf-8", "replace").strip() or "unknown"
        return f'an error on the server ("{shown}") has prevented the request from succeeding'
    if status == 404:
        return "the server could not find the requested resource"
    return "the server rejected our request for an unknown reason"
