"""What credentials mean for a request over HTTP(S): who is trusted, who we are, which way it goes.

Certificates given for a host are the only ones that are trusted for it, and a repository's proxy replaces that of the
environment, both as in the original (util/proxy, util/cert of argo-cd). A password is only for the repository's own
scheme and host: an index, or a redirect, may point anywhere.
"""

from __future__ import annotations

import base64
import ipaddress
import ssl
import tempfile
from functools import lru_cache
from urllib.parse import urlsplit

import aiohttp

from tiphys.cd.sources import urls
from tiphys.cd.sources.credentials import Credentials
from tiphys.cd.sources.request import RenderError

_PORTS = {"http": 80, "https": 443}


def verification(credentials: Credentials) -> ssl.SSLContext | bool:
    """What aiohttp wants to know of TLS. Raises `RenderError` for certificates that are none."""
    if not (credentials.insecure or credentials.ca_certificates or credentials.client_certificate):
        return True
    return tls(credentials)


def tls(credentials: Credentials) -> ssl.SSLContext:
    """Raises `RenderError` for certificates that are none."""
    given = credentials
    return _context(given.insecure, given.ca_certificates, given.client_certificate, given.client_key)


@lru_cache(maxsize=64)
def _context(insecure: bool, authorities: str, certificate: str, key: str) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cadata=authorities or None)
        if insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if certificate and key:
            with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:  # Python loads keys from files only
                file.write(f"{certificate.strip()}\n{key.strip()}\n")
                file.flush()
                context.load_cert_chain(file.name)
    except (ssl.SSLError, ValueError) as err:
        raise RenderError(f"the certificates of the repository cannot be used: {err}") from None
    return context


def authorization(credentials: Credentials, url: str, repository: str, *, anywhere: bool = False) -> dict[str, str]:
    """The header that says who we are; ``anywhere`` also to other hosts than the repository's."""
    if not anywhere and urlsplit(url)[:2] != urlsplit(repository)[:2]:
        return {}
    if credentials.username or credentials.password:
        pair = base64.b64encode(f"{credentials.username}:{credentials.password}".encode()).decode()
        return {"Authorization": f"Basic {pair}"}
    if credentials.bearer_token:
        return {"Authorization": f"Bearer {credentials.bearer_token}"}
    return {}


def proxy(credentials: Credentials, url: str) -> str | None:
    """The repository's proxy for a URL; None: that of the environment, if any."""
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    port = parts.port or _PORTS.get(parts.scheme, 0)
    if not credentials.proxy or any(_excepts(one, host, port) for one in credentials.no_proxy.split(",")):
        return None
    return credentials.proxy


async def body(answer: aiohttp.ClientResponse, bytes_max: int) -> bytes:
    """All of an answer; a stream's ``read`` gives no more than has come. Raises `RenderError` for a longer one."""
    data = bytearray()
    async for chunk in answer.content.iter_chunked(1 << 16):
        data += chunk
        if len(data) > bytes_max:
            raise RenderError(f"{urls.sanitized(str(answer.url))} is longer than {bytes_max} bytes")
    return bytes(data)


def _excepts(pattern: str, host: str, port: int) -> bool:
    """One entry of ``noProxy``: ``*``, a domain with all below it, ``.domain`` for those below, an address or network,
    any but a network with a port (golang.org/x/net/http/httpproxy)."""
    pattern = pattern.strip().lower()
    if pattern in ("", "*"):
        return pattern == "*"
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(pattern, strict=False)
    except (ValueError, TypeError):
        pass
    name, colon, wanted = pattern.rpartition(":")
    if colon and wanted.isdecimal():
        if int(wanted) != port:
            return False
        pattern = name
    pattern = pattern.removeprefix("*").strip("[]")
    return host.endswith(pattern) if pattern.startswith(".") else host == pattern or host.endswith(f".{pattern}")
