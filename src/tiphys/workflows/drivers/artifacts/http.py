"""HTTP and Artifactory artifacts: GET to load, PUT to save, streamed; headers, basic authentication, redirects.

Words of failures are the original's (workflow/artifacts/http). The standard library's client, in the caller's thread.
"""

from __future__ import annotations

import base64
import http.client
import shutil
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.parse import urljoin, urlsplit

from tiphys.workflows.executor.archives import CHUNK, Place, create
from tiphys.workflows.executor.deletion import NOT_SUPPORTED
from tiphys.workflows.executor.errors import ExecutorError, network_reason

Object = Mapping[str, Any]
# A reference to a key of a Secret (name, key) → its text. Raises ``ExecutorError``.
SecretReader = Callable[[str, str], str]
TIMEOUT_SECONDS = 60.0
REDIRECTS_MAX = 10
_REDIRECTS = (301, 302, 303, 307, 308)


class HttpDriver:
    def __init__(self, secret: SecretReader) -> None:
        self._secret = secret

    def load(self, artifact: Object, target: Path) -> None:
        url, headers = self._request(artifact)
        with create(Place(target, str(target))) as file, self._open("GET", url, headers) as response:
            if response.status == 404:
                raise ExecutorError(_status(response), missing=True)
            if not 200 <= response.status < 300:
                raise ExecutorError(f"loading content from {url} failed with reason: {_status(response)}")
            shutil.copyfileobj(response, file, CHUNK)

    def save(self, source: Place, artifact: Object) -> None:
        url, headers = self._request(artifact)
        try:
            with self._open("PUT", url, headers, source) as response:
                if not 200 <= response.status < 300:
                    said = _status(response)
                    raise ExecutorError(f"saving file {source.shown} to {url} failed with reason: {said}")
        except IsADirectoryError as err:
            raise ExecutorError(f'Put "{url}": read {source.shown}: is a directory') from err

    def delete(self, artifact: Object) -> None:
        del artifact
        raise ExecutorError(NOT_SUPPORTED)

    def _request(self, artifact: Object) -> tuple[str, dict[str, str]]:
        body = artifact.get("http") or artifact.get("artifactory") or {}
        headers = {h["name"]: h["value"] for h in body.get("headers") or ()}
        user, password = self._credentials(body if "artifactory" in artifact else (body.get("auth") or {}))
        if (user and password) or "artifactory" in artifact:
            headers["Authorization"] = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        return str(body.get("url") or ""), headers

    def _credentials(self, body: Object) -> tuple[str, str]:
        holder = body.get("basicAuth") or body
        found = []
        for name in ("usernameSecret", "passwordSecret"):
            reference = holder.get(name)
            found.append(self._secret(reference["name"], reference["key"]) if reference else "")
        return found[0], found[1]

    @contextmanager
    def _open(
        self, method: str, url: str, headers: Mapping[str, str], source: Place | None = None
    ) -> Iterator[http.client.HTTPResponse]:
        """The final response after redirects."""
        first = url
        for _ in range(REDIRECTS_MAX):
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https"):
                raise ExecutorError(f'{method.title()} "{first}": unsupported protocol scheme "{parts.scheme}"')
            with closing(_connection(parts.scheme, parts.netloc)) as connection:
                try:
                    _send(connection, method, parts, headers, source)
                    response = connection.getresponse()
                except (ConnectionError, TimeoutError, http.client.HTTPException, OSError) as err:
                    if isinstance(err, IsADirectoryError):
                        raise
                    raise ExecutorError(f'{method.title()} "{first}": {network_reason(err, parts.netloc)}') from err
                where = response.getheader("Location")
                if response.status not in _REDIRECTS or not where:
                    yield response
                    return
                headers = {**headers, "Referer": url}
                url = urljoin(url, where)
                if response.status in (301, 302, 303) and method != "GET":
                    method, source = "GET", None
        raise ExecutorError(f'{method.title()} "{first}": stopped after {REDIRECTS_MAX} redirects')


def _connection(scheme: str, netloc: str) -> http.client.HTTPConnection:
    if scheme == "https":
        return http.client.HTTPSConnection(netloc, timeout=TIMEOUT_SECONDS, context=ssl.create_default_context())
    return http.client.HTTPConnection(netloc, timeout=TIMEOUT_SECONDS)


def _send(
    connection: http.client.HTTPConnection, method: str, parts: Any, headers: Mapping[str, str], source: Place | None
) -> None:
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if source is None:
        connection.request(method, path, headers=dict(headers))
        return
    with source.real.open("rb") as file:
        body = _chunks(file)
        connection.request(method, path, body, {**headers, "Transfer-Encoding": "chunked"}, encode_chunked=True)


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    while block := file.read(CHUNK):
        yield block


def _status(response: http.client.HTTPResponse) -> str:
    return f"{response.status} {response.reason}".strip()
