"""S3 and what speaks its language (MinIO, Ceph …): objects and "directories" (all keys below a prefix), streamed.

Requests are signed with AWS Signature Version 4 (header form, payload unsigned over TLS, hashed otherwise); without
keys they are anonymous. Path style for addresses with a port or of no Amazon domain, virtual-host style for Amazon's,
or as ``addressingStyle`` says. The standard library's HTTP client, in the caller's thread.
Words of failures follow workflow/artifacts/s3 and minio-go.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import shutil
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode
from xml.etree import ElementTree

from tiphys.runtime.clock import SystemClock
from tiphys.workflows.drivers.artifacts.http import SecretReader
from tiphys.workflows.executor.archives import CHUNK, Place
from tiphys.workflows.executor.errors import ExecutorError, network_reason

Object = Mapping[str, Any]
TIMEOUT_SECONDS = 60.0
LIST_PAGE = 1000
ANSWER_BYTES_MAX = 8 << 20
_UNSIGNED = "UNSIGNED-PAYLOAD"
_EMPTY_HASH = hashlib.sha256(b"").hexdigest()


class S3Error(ExecutorError):
    """The store's refusal; ``code`` is S3's (NoSuchKey …)."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message, missing=code == "NoSuchKey")
        self.code = code


class S3Driver:
    def __init__(self, secret: SecretReader, now: Callable[[], datetime] | None = None) -> None:
        self._secret = secret
        self._now = now or SystemClock().now

    def load(self, artifact: Object, target: Path) -> None:
        store, key = self._store(artifact)
        try:
            store.get(key, target)
        except S3Error as err:
            if err.code != "NoSuchKey":
                raise ExecutorError(f"failed to get file: {err}") from err
            keys = list(store.keys(_as_directory(key)))
            if not keys:
                raise
            _load_directory(store, _as_directory(key), keys, target)

    def save(self, source: Place, artifact: Object) -> None:
        store, key = self._store(artifact)
        if artifact["s3"].get("createBucketIfNotPresent") is not None:
            store.make_bucket()
        if not source.real.is_dir():
            self._put(store, key, source.real, "file")
            return
        for place in sorted(p for p in source.real.rglob("*") if p.is_file() and not p.is_symlink()):
            self._put(store, f"{key.rstrip('/')}/{place.relative_to(source.real).as_posix()}", place, "directory")

    def delete(self, artifact: Object) -> None:
        """A key that ends in a slash is a directory's."""
        store, key = self._store(artifact)
        keys = list(store.keys(key)) if key.endswith("/") else [key]
        for one in keys:
            store.delete(one)

    def list_objects(self, artifact: Object) -> list[str]:
        """The keys below the artifact's key, which must name its bucket itself."""
        if not artifact["s3"].get("bucket"):
            raise ExecutorError("failed to list directory: Bucket name cannot be empty")
        store, key = self._store(artifact)
        return list(store.keys(_as_directory(key)))

    def _put(self, store: Bucket, key: str, source: Path, what: str) -> None:
        try:
            store.put(key, source)
        except S3Error as err:
            raise ExecutorError(f"failed to put {what}: {err}") from err

    def _store(self, artifact: Object) -> tuple[Bucket, str]:
        body = artifact["s3"]
        found = {}
        for field in ("accessKeySecret", "secretKeySecret", "sessionTokenSecret"):
            reference = body.get(field)
            found[field] = self._secret(reference["name"], reference["key"]) if reference else ""
        bucket = Bucket(
            endpoint=body["endpoint"],
            name=body["bucket"],
            region=body.get("region") or "us-east-1",
            secure=not body.get("insecure"),
            access_key=found["accessKeySecret"],
            secret_key=found["secretKeySecret"],
            session_token=found["sessionTokenSecret"],
            virtual=_virtual(body.get("addressingStyle") or "", body["endpoint"]),
            now=self._now,
        )
        return bucket, str(body.get("key") or "")


@dataclass(frozen=True)
class Bucket:
    """One bucket, with who asks. All methods raise ``S3Error`` for refusals and ``ExecutorError`` for lost networks."""

    endpoint: str
    name: str
    region: str
    secure: bool
    access_key: str
    secret_key: str
    session_token: str
    virtual: bool
    now: Callable[[], datetime]

    def get(self, key: str, target: Path) -> None:
        with self._request("GET", key) as response, target.open("wb") as file:
            target.chmod(0o600)
            shutil.copyfileobj(response, file, CHUNK)

    def put(self, key: str, source: Path) -> None:
        with self._request("PUT", key, source=source):
            pass

    def keys(self, prefix: str) -> Iterator[str]:
        token = ""
        while True:
            query = {"list-type": "2", "max-keys": str(LIST_PAGE), "prefix": prefix}
            if token:
                query["continuation-token"] = token
            with self._request("GET", "", query) as response:
                page = ElementTree.fromstring(response.read(ANSWER_BYTES_MAX))
            for entry in page.iter():
                if entry.tag.rpartition("}")[2] == "Key" and entry.text:
                    yield entry.text
            token = _text(page, "NextContinuationToken")
            if not token:
                return

    def delete(self, key: str) -> None:
        with self._request("DELETE", key):
            pass

    def make_bucket(self) -> None:
        try:
            with self._request("PUT", ""):
                pass
        except S3Error as err:
            if err.code not in ("BucketAlreadyExists", "BucketAlreadyOwnedByYou"):
                raise ExecutorError(f"failed to create bucket {self.name}: {err}") from err

    @contextmanager
    def _request(
        self, method: str, key: str, query: Mapping[str, str] | None = None, source: Path | None = None
    ) -> Iterator[http.client.HTTPResponse]:
        host = f"{self.name}.{self.endpoint}" if self.virtual else self.endpoint
        path = quote(
            f"/{key}" if self.virtual else f"/{self.name}/{key}".rstrip("/") if not key else f"/{self.name}/{key}"
        )
        words = urlencode(sorted((query or {}).items()), quote_via=quote)
        headers = self._signed(method, host, path, words, self._payload_hash(source))
        if source is not None:
            headers["Content-Length"] = str(source.stat().st_size)
        with closing(self._connect(host)) as connection:
            try:
                if source is None:
                    connection.request(method, f"{path}?{words}" if words else path, headers=headers)
                else:
                    with source.open("rb") as body:
                        connection.request(method, path, body, headers)
                response = connection.getresponse()
            except (OSError, http.client.HTTPException) as err:
                raise ExecutorError(f'{method.title()} "{host}{path}": {network_reason(err, host)}') from err
            if response.status >= 300:
                raise _refusal(response)
            yield response

    def _connect(self, host: str) -> http.client.HTTPConnection:
        if self.secure:
            return http.client.HTTPSConnection(host, timeout=TIMEOUT_SECONDS, context=ssl.create_default_context())
        return http.client.HTTPConnection(host, timeout=TIMEOUT_SECONDS)

    def _payload_hash(self, source: Path | None) -> str:
        if source is None:
            return _EMPTY_HASH
        if self.secure:
            return _UNSIGNED
        with source.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def _signed(self, method: str, host: str, path: str, query: str, payload: str) -> dict[str, str]:
        """The headers of a request with its signature (AWS Signature Version 4)."""
        moment = self.now().astimezone(UTC)
        stamp, day = moment.strftime("%Y%m%dT%H%M%SZ"), moment.strftime("%Y%m%d")
        headers = {"host": host, "x-amz-content-sha256": payload, "x-amz-date": stamp}
        if self.session_token:
            headers["x-amz-security-token"] = self.session_token
        if not self.access_key:
            return headers
        names = ";".join(sorted(headers))
        lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
        canonical = f"{method}\n{path}\n{query}\n{lines}\n{names}\n{payload}"
        scope = f"{day}/{self.region}/s3/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        key = f"AWS4{self.secret_key}".encode()
        for part in (day, self.region, "s3", "aws4_request"):
            key = hmac.digest(key, part.encode(), "sha256")
        signature = hmac.digest(key, text.encode(), "sha256").hex()
        credential = f"Credential={self.access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
        return {**headers, "Authorization": f"AWS4-HMAC-SHA256 {credential}"}


def _load_directory(store: Bucket, prefix: str, keys: list[str], target: Path) -> None:
    for key in keys:
        rest = key.removeprefix(prefix)
        if not rest or rest.endswith("/"):
            continue
        place = target / rest
        if not place.resolve().is_relative_to(target.resolve()):
            raise ExecutorError(f"failed to get directory: illegal key: {key}")
        missing = [p for p in (place.parent, *place.parent.parents) if not p.exists()]
        for directory in reversed(missing):
            directory.mkdir(mode=0o700)
        store.get(key, place)


def _as_directory(key: str) -> str:
    return key if not key or key.endswith("/") else f"{key}/"


def _virtual(style: str, endpoint: str) -> bool:
    """Whether the bucket is part of the host's name."""
    if style:
        return style.lower().startswith("virtual")
    return endpoint.partition(":")[0].endswith((".amazonaws.com", ".amazonaws.com.cn"))


def _refusal(response: http.client.HTTPResponse) -> S3Error:
    body = response.read(ANSWER_BYTES_MAX)
    try:
        answer = ElementTree.fromstring(body)
    except ElementTree.ParseError:
        code = {404: "NoSuchKey", 403: "AccessDenied"}.get(response.status, response.reason)
        text = {"NoSuchKey": "The specified key does not exist.", "AccessDenied": "Access Denied."}.get(code)
        return S3Error(code, text or f"{response.status} {response.reason}")
    return S3Error(_text(answer, "Code"), _text(answer, "Message"))


def _text(element: ElementTree.Element, name: str) -> str:
    found = next((e for e in element.iter() if e.tag.rpartition("}")[2] == name), None)
    return (found.text or "") if found is not None else ""
