"""Google Cloud Storage artifacts, through its JSON API. Directories are objects below a prefix.

Who asks is told by the artifact's service account key (a token is signed for it), else by
``GOOGLE_APPLICATION_CREDENTIALS``, else by the machine's metadata server. ``STORAGE_EMULATOR_HOST`` names another
server, which is spoken to without credentials (as Google's own clients do).
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from tiphys.runtime.clock import SystemClock
from tiphys.workflows.drivers.artifacts import web
from tiphys.workflows.executor.errors import ExecutorError
from tiphys.workflows.executor.trees import Place

Object = Mapping[str, Any]
SecretReader = Callable[[str, str], str]
HOST = "https://storage.googleapis.com"
METADATA = "http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/token"
SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
TOKEN_SECONDS = 3600
# Pieces of an upload that can be gone on with; a multiple of 256 KiB.
PART_BYTES = 32 << 20
PAGE = 1000


class GcsDriver:
    def __init__(self, secret: SecretReader, now: Callable[[], datetime] | None = None) -> None:
        self._secret = secret
        self._now = now or SystemClock().now

    def load(self, artifact: Object, target: Path) -> None:
        bucket, key = self._bucket(artifact)
        keys = list(web.patiently(lambda: list(bucket.keys(key))))
        found = [name for name in keys if name == key or name.startswith(_as_directory(key))]
        if not found:
            raise ExecutorError(f'no results for key "{key}"', missing=True)
        if key in found:
            web.patiently(lambda: bucket.get(key, target))
            return
        for name in found:
            rest = name.removeprefix(_as_directory(key))
            if rest and not rest.endswith("/"):
                place = web.place_below(target, rest)
                web.patiently(lambda name=name, place=place: bucket.get(name, place))  # type: ignore[misc]

    def save(self, source: Place, artifact: Object) -> None:
        bucket, key = self._bucket(artifact)
        if not source.real.is_dir():
            _upload(bucket, key, source.real)
            return
        for name, place in web.files_below(source.real):
            _upload(bucket, _as_directory(key) + name, place)

    def delete(self, artifact: Object) -> None:
        bucket, key = self._bucket(artifact)
        for name in self.list_objects(artifact) if key.endswith("/") else [key]:
            web.patiently(lambda name=name: bucket.delete(name))  # type: ignore[misc]

    def list_objects(self, artifact: Object) -> list[str]:
        bucket, key = self._bucket(artifact)
        return web.patiently(lambda: list(bucket.keys(key)))

    def _bucket(self, artifact: Object) -> tuple[_Bucket, str]:
        body = artifact["gcs"]
        emulator = os.environ.get("STORAGE_EMULATOR_HOST", "")
        host = emulator if "://" in emulator else f"http://{emulator}" if emulator else HOST
        token = "" if emulator else self._token(body)
        return _Bucket(host, str(body.get("bucket") or ""), token), str(body.get("key") or "")

    def _token(self, body: Object) -> str:
        reference = body.get("serviceAccountKeySecret")
        if reference:
            return self._exchange(self._secret(reference["name"], reference["key"]))
        file = os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")
        if file:
            return self._exchange(Path(file).read_text(encoding="utf-8"))
        try:
            answer = web.patiently(lambda: web.ask("GET", METADATA, {"Metadata-Flavor": "Google"}), attempts=2)
        except ExecutorError as err:
            raise ExecutorError(f"GCS storage.NewClient: could not find default credentials: {err}") from err
        return str(json.loads(answer)["access_token"])

    def _exchange(self, text: str) -> str:
        """A token for the account whose key it is (RFC 7523)."""
        try:
            account = json.loads(text)
            moment = int(self._now().timestamp())
            url = account.get("token_uri") or "https://oauth2.googleapis.com/token"
            claims = {"iss": account["client_email"], "scope": SCOPE, "aud": url, "iat": moment}
            assertion = _signed({**claims, "exp": moment + TOKEN_SECONDS}, account["private_key"])
        except (ValueError, KeyError, TypeError) as err:
            raise ExecutorError(
                f"GCS client CredentialsFromJSON: not a service account key: {type(err).__name__}"
            ) from err
        form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion}
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = web.patiently(lambda: web.ask("POST", url, headers, urlencode(form).encode()))
        return str(json.loads(answer)["access_token"])


class _Bucket:
    def __init__(self, host: str, name: str, token: str) -> None:
        self._host = host.rstrip("/")
        self._name = quote(name, safe="")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def get(self, key: str, target: Path) -> None:
        url = f"{self._objects}/{quote(key, safe='')}?alt=media"
        try:
            with web.send("GET", url, self._headers) as response:
                web.download(response, target)
        except web.Refusal as err:
            if err.status == 404:
                raise ExecutorError("storage: object doesn't exist", missing=True) from err
            raise

    def put(self, key: str, source: Path) -> None:
        """In one session, piece by piece."""
        query = urlencode({"uploadType": "resumable", "name": key})
        url = f"{self._host}/upload/storage/v1/b/{self._name}/o?{query}"
        headers = {**self._headers, "Content-Type": "application/json"}
        with web.send("POST", url, headers, b"{}") as response:
            session = response.getheader("Location") or ""
        size = source.stat().st_size
        for part in web.slices(source, PART_BYTES):
            last = part.offset + part.length - 1
            span = f"bytes {part.offset}-{last}/{size}" if part.length else "bytes */0"
            sent = {**self._headers, "Content-Range": span}
            with web.send("PUT", session, sent, part, accept=(308,)) as response:
                web.read(response)

    def delete(self, key: str) -> None:
        with web.send("DELETE", f"{self._objects}/{quote(key, safe='')}", self._headers, accept=(404,)):
            pass

    def keys(self, prefix: str) -> Iterator[str]:
        token = ""
        while True:
            query = {"prefix": prefix, "maxResults": str(PAGE), **({"pageToken": token} if token else {})}
            page = json.loads(web.ask("GET", f"{self._objects}?{urlencode(query)}", self._headers))
            for item in page.get("items") or ():
                yield str(item["name"])
            token = page.get("nextPageToken") or ""
            if not token:
                return

    @property
    def _objects(self) -> str:
        return f"{self._host}/storage/v1/b/{self._name}/o"


def _upload(bucket: _Bucket, key: str, place: Path) -> None:
    try:
        web.patiently(lambda: bucket.put(key, place))
    except ExecutorError as err:
        raise ExecutorError(f"upload {place}: writer close: {err}") from err


def _as_directory(key: str) -> str:
    return key if not key or key.endswith("/") else f"{key}/"


def _signed(claims: Object, private_key: str) -> str:
    """A JSON web token, RS256."""
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import padding, rsa

    key = serialization.load_pem_private_key(private_key.encode(), None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise TypeError("not an RSA key")
    head = ".".join(_base64(json.dumps(part).encode()) for part in ({"alg": "RS256", "typ": "JWT"}, dict(claims)))
    return f"{head}.{_base64(key.sign(head.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
