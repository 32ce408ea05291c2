"""HTTP and Artifactory artifacts: GET to load, PUT to save, streamed; headers, redirects, authentication (basic, OAuth2
client credentials, client certificates).

Words of failures are the original's (workflow/artifacts/http). The standard library's client, in the caller's thread.
"""

from __future__ import annotations

import base64
import http.client
import json
import shutil
import ssl
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote_plus, urlencode, urljoin, urlsplit

from tiphys.workflows.drivers.artifacts import web
from tiphys.workflows.executor.archives import create
from tiphys.workflows.executor.deletion import NOT_SUPPORTED
from tiphys.workflows.executor.errors import ExecutorError, network_reason
from tiphys.workflows.executor.trees import CHUNK, Place

Object = Mapping[str, Any]
# A reference to a key of a Secret (name, key) → its text. Raises ``ExecutorError``.
SecretReader = Callable[[str, str], str]
REDIRECTS_MAX = 10
_REDIRECTS = (301, 302, 303, 307, 308)


class HttpDriver:
    def __init__(self, secret: SecretReader) -> None:
        self._secret = secret

    def load(self, artifact: Object, target: Path) -> None:
        url, headers, tls = self._request(artifact)
        with create(Place(target, str(target))) as file, self._open("GET", url, headers, tls) as response:
            if response.status == 404:
                raise ExecutorError(_status(response), missing=True)
            if not 200 <= response.status < 300:
                raise ExecutorError(f"loading content from {url} failed with reason: {_status(response)}")
            shutil.copyfileobj(response, file, CHUNK)

    def save(self, source: Place, artifact: Object) -> None:
        url, headers, tls = self._request(artifact)
        try:
            with self._open("PUT", url, headers, tls, source) as response:
                if not 200 <= response.status < 300:
                    said = _status(response)
                    raise ExecutorError(f"saving file {source.shown} to {url} failed with reason: {said}")
        except IsADirectoryError as err:
            raise ExecutorError(f'Put "{url}": read {source.shown}: is a directory') from err

    def delete(self, artifact: Object) -> None:
        del artifact
        raise ExecutorError(NOT_SUPPORTED)

    def _request(self, artifact: Object) -> tuple[str, dict[str, str], ssl.SSLContext | None]:
        body = artifact.get("http") or artifact.get("artifactory") or {}
        headers = {h["name"]: h["value"] for h in body.get("headers") or ()}
        user, password = self._credentials(body if "artifactory" in artifact else (body.get("auth") or {}))
        if (user and password) or "artifactory" in artifact:
            headers["Authorization"] = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        auth = body.get("auth") or {}
        if (auth.get("oauth2") or {}).get("tokenURLSecret"):
            headers["Authorization"] = f"Bearer {self._oauth2_token(auth['oauth2'])}"
        return str(body.get("url") or ""), headers, self._client_certificate(auth.get("clientCert") or {})

    def _oauth2_token(self, auth: Object) -> str:
        """By the client credentials grant (RFC 6749, 4.4), the client named in the header."""
        names = ("clientIDSecret", "clientSecretSecret", "tokenURLSecret")
        client, word, url = (self._text(auth.get(name)) for name in names)
        form = [("grant_type", "client_credentials")]
        if auth.get("scopes"):
            form.append(("scope", " ".join(auth["scopes"])))
        form += [(row["key"], row.get("value", "")) for row in auth.get("endpointParams") or ()]
        basic = base64.b64encode(f"{quote_plus(client)}:{quote_plus(word)}".encode()).decode()
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Authorization": f"Basic {basic}"}
        try:
            answer = json.loads(web.patiently(lambda: web.ask("POST", url, headers, urlencode(form).encode())))
        except web.Refusal as err:
            said = err.body.decode("utf-8", "replace")
            raise ExecutorError(f"oauth2: cannot fetch token: {err.status}\nResponse: {said}") from err
        except ValueError as err:
            raise ExecutorError(f"oauth2: cannot parse json: {err}") from err
        token = answer.get("access_token") if isinstance(answer, dict) else None
        if not token:
            raise ExecutorError("oauth2: server response missing access_token")
        return str(token)

    def _client_certificate(self, auth: Object) -> ssl.SSLContext | None:
        """A context with the client's certificate; None where there is none."""
        certificate, key = self._text(auth.get("clientCertSecret")), self._text(auth.get("clientKeySecret"))
        if not certificate or not key:
            return None
        context = ssl.create_default_context()
        with tempfile.TemporaryDirectory(prefix="tiphys-tls-") as folder:  # the library only reads files
            place = Path(folder, "client.pem")
            place.touch(0o600)
            place.write_text(f"{certificate}\n{key}\n")
            try:
                context.load_cert_chain(place)
            except ssl.SSLError as err:
                raise ExecutorError(f"tls: failed to load the client certificate: {err.reason}") from err
        return context

    def _text(self, reference: Object | None) -> str:
        return self._secret(reference["name"], reference["key"]) if reference else ""

    def _credentials(self, body: Object) -> tuple[str, str]:
        holder = body.get("basicAuth") or body
        found = []
        for name in ("usernameSecret", "passwordSecret"):
            found.append(self._text(holder.get(name)))
        return found[0], found[1]

    @contextmanager
    def _open(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        tls: ssl.SSLContext | None = None,
        source: Place | None = None,
    ) -> Iterator[http.client.HTTPResponse]:
        """The final response after redirects."""
        first = url
        for _ in range(REDIRECTS_MAX):
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https"):
                raise ExecutorError(f'{method.title()} "{first}": unsupported protocol scheme "{parts.scheme}"')
            with closing(web.connect(parts.scheme, parts.netloc, tls)) as connection:
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
