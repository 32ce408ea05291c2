"""A client for container registries (OCI distribution API): names to digests, and blobs into the store.

    resolve(reference)      HEAD, then GET of the manifest; through an index to this platform's
    fetch(reference, …)     a blob, in pieces: what a broken connection has left is gone on with, not begun again
    tags(reference)         every tag of a repository, page by page

Authentication is what the registry asks for: Basic, or Bearer with a token of the server that it names. Mirrors are
asked first and the registry itself last. A registry on this machine is spoken to over plain HTTP, others over HTTPS.
Failures read as containerd's do, since that is what people search for.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import hashlib
import json
import os
import re
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Protocol
from urllib.parse import urljoin, urlsplit

import aiohttp

from tiphys.oci.credentials import Credential, Keyring
from tiphys.oci.manifests import (
    ACCEPTED,
    DOCUMENT_BYTES_MAX,
    Descriptor,
    ImageError,
    Missing,
    Unreachable,
    parse_document,
)
from tiphys.oci.reference import DOCKER_HUB, Reference
from tiphys.oci.registries import Host, Registries
from tiphys.runtime.clock import Clock

CONNECT_SECONDS, READ_SECONDS = 10.0, 60.0
ATTEMPTS_MAX = 5
BACKOFF_SECONDS, BACKOFF_SECONDS_MAX = 0.5, 8.0
RETRY_AFTER_SECONDS_MAX = 30.0
CHUNK_BYTES = 1 << 20
TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
_CHALLENGE = re.compile(r'([a-zA-Z]+)="((?:[^"\\]|\\.)*)"|([a-zA-Z]+)=([^\s,"]+)')

TAG_PAGES_MAX, TAGS_PER_PAGE = 200, 1000
_NEXT_PAGE = re.compile(r'<([^>]+)>\s*;\s*rel="?next"?')

Progress = Callable[[Descriptor, int], None]
"""Called with a blob and how many bytes of it are here."""


class Blobs(Protocol):
    """Where blobs are put."""

    def downloading(self, digest: str) -> AbstractAsyncContextManager[bool]:
        """The right to download a blob; False where it is here (by then)."""

    def part(self, digest: str) -> Path:
        """The file of a download that is going on, or was broken off."""

    def complete(self, digest: str) -> None:
        """Checks a finished download and gives it its name. Raises ``ImageError``."""


class RegistryClient:
    """One session's worth of connections and tokens. Use as ``async with RegistryClient(…) as client``.

    ``tls`` and ``proxy`` are for all registries that are asked; without them the system's certificates and the
    environment's proxy count.
    """

    def __init__(
        self,
        clock: Clock,
        registries: Registries | None = None,
        keyring: Keyring | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        proxy: str | None = None,
    ) -> None:
        self._clock = clock
        self._registries = registries or Registries()
        self._keyring = keyring or Keyring()
        self._tls = tls
        self._proxy = proxy
        self._session: aiohttp.ClientSession | None = None
        self._authorization: dict[tuple[str, str], str] = {}

    async def __aenter__(self) -> RegistryClient:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=READ_SECONDS)
        self._session = aiohttp.ClientSession(
            timeout=timeout, auto_decompress=False, trust_env=True, headers={"User-Agent": "tiphys"}
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def resolve(self, reference: Reference) -> tuple[str, bytes]:
        """The digest and the text of what a name stands for: a manifest, or an index of several.

        Raises ``Missing``, ``Unreachable``, ``ImageError``.
        """
        failures: list[ImageError] = []
        for host in self._registries.hosts(reference.domain):
            try:
                return await self._resolve_at(host, reference)
            except ImageError as err:
                failures.append(err)
        raise _most_telling(failures)

    async def _resolve_at(self, host: Host, reference: Reference) -> tuple[str, bytes]:
        url = f"{host.url}/v2/{reference.path}/manifests/{reference.selector}"
        accept = {"Accept": ", ".join(ACCEPTED)}
        async with self._request("HEAD", host, url, reference, accept) as head:
            _check_status(head, "HEAD", url, reference)
        digest = reference.digest or head.headers.get("Docker-Content-Digest", "")
        async with self._request("GET", host, url, reference, accept) as answer:
            _check_status(answer, "GET", url, reference)
            data = await _read(answer)
        found = _digest(data)
        if digest and digest != found:
            raise ImageError(f"failed to resolve image: manifest of {reference} is not what it is called: got {found}")
        return found, data

    async def manifest(self, reference: Reference, digest: str) -> bytes:
        """A manifest that an index names."""
        return (await self.resolve(Reference(reference.domain, reference.path, digest=digest)))[1]

    async def tags(self, reference: Reference) -> list[str]:
        """The tags of a repository, of which at most ``TAG_PAGES_MAX`` pages are read. Raises as ``resolve``."""
        failures: list[ImageError] = []
        for host in self._registries.hosts(reference.domain):
            try:
                return await self._tags_at(host, reference)
            except ImageError as err:
                failures.append(err)
        raise _most_telling(failures)

    async def _tags_at(self, host: Host, reference: Reference) -> list[str]:
        found: list[str] = []
        url = f"{host.url}/v2/{reference.path}/tags/list?n={TAGS_PER_PAGE}"
        for _ in range(TAG_PAGES_MAX):
            async with self._request("GET", host, url, reference, {}) as answer:
                _check_status(answer, "GET", url, reference)
                rows = parse_document(await _read(answer)).get("tags") or []
                following = _NEXT_PAGE.search(answer.headers.get("Link", ""))
            if not isinstance(rows, list) or not all(isinstance(tag, str) for tag in rows):
                raise ImageError(f"failed to resolve image: the tags of {reference.repository} are no list of names")
            found.extend(rows)
            if following is None:
                break
            url = urljoin(url, following[1])
            if urlsplit(url)[:2] != urlsplit(host.url)[:2]:
                raise ImageError(f"failed to resolve image: the tags of {reference.repository} lead to another host")
        return found

    async def fetch(self, reference: Reference, blob: Descriptor, store: Blobs, progress: Progress) -> None:
        """Brings a blob into the store, unless it is there. Raises ``ImageError``."""
        async with store.downloading(blob.digest) as wanted:
            if wanted:
                await self._fetch(reference, blob, store, progress)

    async def _fetch(self, reference: Reference, blob: Descriptor, store: Blobs, progress: Progress) -> None:
        failures: list[ImageError] = []
        for host in self._registries.hosts(reference.domain):
            for attempt in range(ATTEMPTS_MAX):
                try:
                    await self._continue(host, reference, blob, store, progress)
                    await asyncio.to_thread(store.complete, blob.digest)
                    return
                except _Transient as err:
                    failures.append(err)
                    await self._pause(attempt, err.retry_after)
                except ImageError as err:
                    failures.append(err)
                    break
        raise _most_telling(failures)

    async def _pause(self, attempt: int, asked: float) -> None:
        wait = min(BACKOFF_SECONDS * 2**attempt, BACKOFF_SECONDS_MAX)
        await self._clock.sleep_until(self._clock.monotonic() + max(wait, min(asked, RETRY_AFTER_SECONDS_MAX)))

    async def _continue(
        self, host: Host, reference: Reference, blob: Descriptor, store: Blobs, progress: Progress
    ) -> None:
        """Gets what is missing of the blob."""
        part = store.part(blob.digest)
        have = _size(part)
        if have > blob.size:
            part.unlink()
            have = 0
        url = f"{host.url}/v2/{reference.path}/blobs/{blob.digest}"
        headers = {"Range": f"bytes={have}-"} if have else {}
        if have == blob.size and have:
            return
        async with self._request("GET", host, url, reference, headers) as answer:
            if answer.status in TRANSIENT:
                raise _Transient(_unexpected(answer, "GET", url), _retry_after(answer))
            _check_status(answer, "GET", url, reference)
            if answer.status != 206:
                have = 0
            try:
                await _append(answer, part, have, blob, progress)
            except (aiohttp.ClientError, TimeoutError) as err:
                raise _Transient(f"failed to copy: {err or type(err).__name__}") from err

    @asynccontextmanager
    async def _request(
        self, method: str, host: Host, url: str, reference: Reference, headers: Mapping[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One request, once more with credentials where the registry asks for them."""
        key = host.url, reference.path
        async with self._send(method, host, url, headers, self._authorization.get(key, "")) as answer:
            if answer.status != 401:
                yield answer
                return
            challenges = answer.headers.getall("WWW-Authenticate", [])
        last: ImageError | None = None
        for credential in [*await self._credentials(reference), None]:
            try:
                authorization = await self._authorize(challenges, credential, reference, host)
            except ImageError as err:
                last = last or err
                continue
            async with self._send(method, host, url, headers, authorization) as answer:
                if answer.status != 401:
                    self._authorization[key] = authorization
                    yield answer
                    return
        raise last or ImageError(
            "failed to resolve image: pull access denied, repository does not exist or may require authorization:"
            " authorization failed: incorrect username or password"
        )

    @asynccontextmanager
    async def _send(
        self, method: str, host: Host, url: str, headers: Mapping[str, str], authorization: str
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        assert self._session is not None, "the client is open"
        more = {"Authorization": authorization} if authorization else {}
        try:
            answer = await self._session.request(
                method,
                url,
                headers={**headers, **more},
                ssl=self._verification(host),
                proxy=self._proxy,
                max_redirects=5,
            )
        except (aiohttp.ClientError, TimeoutError, OSError) as err:
            raise Unreachable(
                f'failed to resolve image: failed to do request: {method.title()} "{url}": {_why(err)}'
            ) from err
        async with answer:
            try:
                yield answer
            except (aiohttp.ClientError, TimeoutError) as err:
                raise Unreachable(f"failed to resolve image: failed to copy: {_why(err)}") from err

    def _verification(self, host: Host) -> ssl.SSLContext | bool:
        return host.verify if self._tls is None else self._tls

    async def _credentials(self, reference: Reference) -> list[Credential]:
        helper = self._keyring.helper(reference)
        asked = await ask_helper(helper, reference.domain) if helper else None
        return [*([asked] if asked else []), *self._keyring.find(reference)]

    async def _authorize(
        self, challenges: Sequence[str], credential: Credential | None, reference: Reference, host: Host
    ) -> str:
        """The value of the header that answers the challenge. Raises ``ImageError``."""
        for challenge in challenges:
            scheme, _, rest = challenge.partition(" ")
            words = {m[1] or m[3]: m[2] or m[4] for m in _CHALLENGE.finditer(rest)}
            if scheme.lower() == "bearer" and words.get("realm"):
                return f"Bearer {await self._token(words, credential, reference, host)}"
            if scheme.lower() == "basic" and credential is not None and credential.username:
                return _basic(credential)
        raise ImageError(
            "failed to resolve image: pull access denied, repository does not exist or may require authorization:"
            " authorization failed: no basic auth credentials"
        )

    async def _token(
        self, words: Mapping[str, str], credential: Credential | None, reference: Reference, host: Host
    ) -> str:
        assert self._session is not None, "the client is open"
        realm, scope = words["realm"], words.get("scope") or f"repository:{reference.path}:pull"
        asked = {"service": words.get("service", ""), "scope": scope}
        kind = "oauth" if credential else "anonymous"
        try:
            if credential is not None and credential.identity_token:
                form = {**asked, "grant_type": "refresh_token", "client_id": "tiphys"}
                form["refresh_token"] = credential.identity_token
                request = self._session.post(realm, data=form, ssl=self._verification(host), proxy=self._proxy)
            else:
                headers = {"Authorization": _basic(credential)} if credential else {}
                request = self._session.get(
                    realm, params=asked, headers=headers, ssl=self._verification(host), proxy=self._proxy
                )
            async with request as answer:
                if answer.status != 200:
                    raise ImageError(
                        f"failed to resolve image: failed to authorize: failed to fetch {kind} token:"
                        f" unexpected status from GET request to {answer.url}: {answer.status} {answer.reason}"
                    )
                document = json.loads(await _read(answer))
        except (aiohttp.ClientError, TimeoutError, OSError) as err:
            raise Unreachable(f"failed to resolve image: failed to authorize: {_why(err)}") from err
        except ValueError as err:
            raise ImageError(f"failed to resolve image: failed to authorize: {realm} answers no JSON") from err
        token = document.get("token") or document.get("access_token") if isinstance(document, dict) else None
        if not token:
            raise ImageError(f"failed to resolve image: failed to authorize: {realm} gives no token")
        return str(token)


class _Transient(ImageError):
    """May well go away when asked again."""

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


async def ask_helper(name: str, domain: str) -> Credential | None:
    """What ``docker-credential-<name>`` knows of a registry; None where it knows nothing or is not there."""
    server = "https://index.docker.io/v1/" if domain == DOCKER_HUB else domain
    try:
        program = await asyncio.create_subprocess_exec(
            f"docker-credential-{name}",
            "get",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        async with asyncio.timeout(CONNECT_SECONDS):
            said, _ = await program.communicate(server.encode())
        row = json.loads(said) if program.returncode == 0 else {}
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            program.kill()
        await program.wait()
        return None
    except (OSError, ValueError):
        return None
    if not isinstance(row, dict):
        return None
    user, secret = str(row.get("Username") or ""), str(row.get("Secret") or "")
    if not secret:
        return None
    return Credential(identity_token=secret) if user == "<token>" else Credential(user, secret)


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    data = bytearray()
    async for chunk in answer.content.iter_chunked(CHUNK_BYTES):
        data += chunk
        if len(data) > DOCUMENT_BYTES_MAX:
            raise ImageError(f"a manifest of more than {DOCUMENT_BYTES_MAX} bytes")
    return bytes(data)


async def _append(answer: aiohttp.ClientResponse, part: Path, have: int, blob: Descriptor, progress: Progress) -> None:
    with part.open("r+b" if have else "wb") as file:
        file.seek(have)
        async for chunk in answer.content.iter_chunked(CHUNK_BYTES):
            have += len(chunk)
            if have > blob.size:
                raise ImageError(f"content {blob.digest} is longer than the {blob.size} bytes that its manifest says")
            file.write(chunk)
            progress(blob, have)
    if have < blob.size:
        raise _Transient(f"failed to copy: content {blob.digest} ends after {have} of {blob.size} bytes")


def _check_status(answer: aiohttp.ClientResponse, method: str, url: str, reference: Reference) -> None:
    if answer.status == 404:
        raise Missing(f"failed to resolve image: {reference}: not found")
    if answer.status == 403:
        raise ImageError(
            "failed to resolve image: pull access denied, repository does not exist or may require authorization:"
            " server message: insufficient_scope: authorization failed"
        )
    if answer.status not in (200, 206):
        raise ImageError(f"failed to resolve image: {_unexpected(answer, method, url)}")


def _unexpected(answer: aiohttp.ClientResponse, method: str, url: str) -> str:
    return f"unexpected status from {method} request to {url}: {answer.status} {answer.reason}"


def _retry_after(answer: aiohttp.ClientResponse) -> float:
    value = answer.headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else 0.0


def _most_telling(failures: Sequence[ImageError]) -> ImageError:
    """An answer tells more than silence; of equals the last, which is the registry's own."""
    return next((err for err in reversed(failures) if not isinstance(err, Unreachable)), failures[-1])


def _basic(credential: Credential) -> str:
    return "Basic " + base64.b64encode(f"{credential.username}:{credential.password}".encode()).decode()


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _size(place: Path) -> int:
    try:
        return place.stat().st_size
    except FileNotFoundError:
        return 0


def _why(err: BaseException) -> str:
    """A network failure in Go's words, as far as there are any."""
    if isinstance(err, aiohttp.ClientConnectorDNSError):
        return f"dial tcp: lookup {err.host}: no such host"
    if isinstance(err, aiohttp.ClientConnectorError):
        number = err.os_error.errno
        if isinstance(err.os_error, socket.gaierror):
            return f"dial tcp: lookup {err.host}: no such host"
        said = {errno.ECONNREFUSED: "connection refused", errno.ENETUNREACH: "network is unreachable"}
        what = said.get(number or 0, os.strerror(number).lower() if number else str(err.os_error))
        return f"dial tcp {err.host}:{err.port}: connect: {what}"
    if isinstance(err, TimeoutError):
        return "dial tcp: i/o timeout"
    return str(err) or type(err).__name__
