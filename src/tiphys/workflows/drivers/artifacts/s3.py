"""S3 and what speaks its language (MinIO, Ceph …): objects and "directories" (all keys below a prefix), streamed.

Requests are signed with AWS Signature Version 4 (header form, payload unsigned over TLS, hashed otherwise); without
keys they are anonymous. Path style for addresses with a port or of no Amazon domain, virtual-host style for Amazon's,
or as ``addressingStyle`` says. Large files go up in parts. What is transient is tried again. Encryption by the store is
asked for in headers (its own keys, KMS, or a key of the customer's, which only travels over TLS).
Words of failures follow workflow/artifacts/s3 and minio-go.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import http.client
import os
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from tiphys.runtime.clock import SystemClock
from tiphys.workflows.drivers.artifacts import web
from tiphys.workflows.drivers.artifacts.http import SecretReader
from tiphys.workflows.executor.errors import ExecutorError
from tiphys.workflows.executor.trees import Place

Object = Mapping[str, Any]
LIST_PAGE = 1000
_UNSIGNED = "UNSIGNED-PAYLOAD"
_EMPTY_HASH = hashlib.sha256(b"").hexdigest()


# Parts of an upload, and from which size on there are any; a store takes 10,000 parts.
PART_BYTES, PARTS_MAX = 64 << 20, 10_000
# workflow/artifacts/s3/errors.go
_TRANSIENT_CODES = {
    "RequestError", "RequestTimeout", "Throttling", "ThrottlingException", "RequestLimitExceeded", "RequestThrottled",
    "InternalError", "SlowDown", "ServiceUnavailable",
}  # fmt: skip


class S3Error(web.Refusal):
    """The store's refusal; ``code`` is S3's (NoSuchKey …)."""

    def __init__(self, code: str, message: str, status: int = 0) -> None:
        super().__init__(status, "", b"", message)
        self.code = code
        self.missing = code == "NoSuchKey"

    @property
    def transient(self) -> bool:
        return self.code in _TRANSIENT_CODES or 500 <= self.status < 600


class S3Driver:
    def __init__(self, secret: SecretReader, now: Callable[[], datetime] | None = None) -> None:
        self._secret = secret
        self._now = now or SystemClock().now

    def load(self, artifact: Object, target: Path) -> None:
        store, key = self._store(artifact)
        try:
            web.patiently(lambda: store.get(key, target))
        except S3Error as err:
            if err.code != "NoSuchKey":
                raise ExecutorError(f"failed to get file: {err}") from err
            keys = web.patiently(lambda: list(store.keys(_as_directory(key))))
            if not keys:
                raise
            _load_directory(store, _as_directory(key), keys, target)

    def save(self, source: Place, artifact: Object) -> None:
        store, key = self._store(artifact)
        options = artifact["s3"].get("createBucketIfNotPresent")
        if options is not None:
            web.patiently(lambda: store.make_bucket(locking=bool(options.get("objectLocking"))))
        if not source.real.is_dir():
            self._put(store, key, source.real, "file")
            return
        for place in sorted(p for p in source.real.rglob("*") if p.is_file() and not p.is_symlink()):
            self._put(store, f"{key.rstrip('/')}/{place.relative_to(source.real).as_posix()}", place, "directory")

    def delete(self, artifact: Object) -> None:
        """A key that ends in a slash is a directory's."""
        store, key = self._store(artifact)
        keys = web.patiently(lambda: list(store.keys(key))) if key.endswith("/") else [key]
        for one in keys:
            web.patiently(lambda one=one: store.delete(one))  # type: ignore[misc]

    def list_objects(self, artifact: Object) -> list[str]:
        """The keys below the artifact's key, which must name its bucket itself."""
        if not artifact["s3"].get("bucket"):
            raise ExecutorError("failed to list directory: Bucket name cannot be empty")
        store, key = self._store(artifact)
        return web.patiently(lambda: list(store.keys(_as_directory(key))))

    def _put(self, store: Bucket, key: str, source: Path, what: str) -> None:
        try:
            web.patiently(lambda: store.put(key, source))
        except S3Error as err:
            raise ExecutorError(f"failed to put {what}: {err}") from err

    def _store(self, artifact: Object) -> tuple[Bucket, str]:
        body = artifact["s3"]
        found = {}
        for name in ("accessKeySecret", "secretKeySecret", "sessionTokenSecret"):
            reference = body.get(name)
            found[name] = self._secret(reference["name"], reference["key"]) if reference else ""
        authority = body.get("caSecret")
        bucket = Bucket(
            endpoint=body["endpoint"],
            name=body["bucket"],
            region=body.get("region") or "us-east-1",
            secure=not body.get("insecure"),
            who=_who(body, found),
            virtual=_virtual(body.get("addressingStyle") or "", body["endpoint"]),
            encryption=self._encryption(body.get("encryptionOptions") or {}, secure=not body.get("insecure")),
            authority=self._secret(authority["name"], authority["key"]) if authority else "",
            now=self._now,
        )
        return bucket, str(body.get("key") or "")

    def _encryption(self, options: Object, *, secure: bool) -> Mapping[str, str]:
        """The headers that ask the store to encrypt (EncryptOpts.buildServerSideEnc)."""
        reference = options.get("serverSideCustomerKeySecret")
        own = self._secret(reference["name"], reference["key"]) if reference else ""
        kms = str(options.get("kmsKeyId") or "")
        if not (options.get("enableEncryption") or kms or own):
            return {}
        if kms and own:
            raise ExecutorError("EncryptOpts.KmsKeyId and EncryptOpts.SSECPassword cannot be set together")
        if own:
            if not secure:
                raise ExecutorError("Secure must be set if EncryptOpts.SSECPassword is set")
            key = own.encode()[:32].ljust(32, b"\0")
            prefix = "x-amz-server-side-encryption-customer-"
            digest = base64.b64encode(hashlib.md5(key, usedforsecurity=False).digest()).decode()
            return {
                f"{prefix}algorithm": "AES256",
                f"{prefix}key": base64.b64encode(key).decode(),
                f"{prefix}key-md5": digest,
            }
        if not kms:
            return {"x-amz-server-side-encryption": "AES256"}
        headers = {"x-amz-server-side-encryption": "aws:kms", "x-amz-server-side-encryption-aws-kms-key-id": kms}
        context = str(options.get("kmsEncryptionContext") or "")
        if context:
            headers["x-amz-server-side-encryption-context"] = base64.b64encode(context.encode()).decode()
        return headers


@dataclass(frozen=True)
class Who:
    """Who asks. Without an access key: nobody in particular."""

    access_key: str = ""
    secret_key: str = field(default="", repr=False)
    session_token: str = field(default="", repr=False)


def _who(body: Object, found: Mapping[str, str]) -> Who:
    """The artifact's keys; else, where it asks for that, those of the environment, as Amazon's clients find them."""
    if found["accessKeySecret"]:
        return Who(found["accessKeySecret"], found["secretKeySecret"], found["sessionTokenSecret"])
    if body.get("useSDKCreds") or body.get("roleARN"):
        names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
        key, secret, token = (os.environ.get(name, "") for name in names)
        if not key:
            raise ExecutorError("no S3 credentials: useSDKCreds finds none in AWS_ACCESS_KEY_ID")
        return Who(key, secret, token)
    return Who()


@dataclass(frozen=True)
class Bucket:
    """One bucket, with who asks. All methods raise ``S3Error`` for refusals and ``ExecutorError`` for lost networks."""

    endpoint: str
    name: str
    region: str
    secure: bool
    who: Who
    virtual: bool
    encryption: Mapping[str, str]
    authority: str
    now: Callable[[], datetime]

    def get(self, key: str, target: Path) -> None:
        with self._request("GET", key, headers=self._customer_key()) as response:
            web.download(response, target)
            target.chmod(0o600)

    def put(self, key: str, source: Path) -> None:
        size = source.stat().st_size
        if size <= PART_BYTES:
            with self._request("PUT", key, body=web.whole(source), headers=self.encryption):
                return
        part_bytes = max(PART_BYTES, -(-size // PARTS_MAX))
        with self._request("POST", key, {"uploads": ""}, b"", self.encryption) as response:
            upload = web.element_text(web.parse_xml(web.read(response)), "UploadId")
        try:
            self._put_parts(key, source, part_bytes, upload)
        except ExecutorError:
            with contextlib.suppress(ExecutorError), self._request("DELETE", key, {"uploadId": upload}):
                pass
            raise

    def _put_parts(self, key: str, source: Path, part_bytes: int, upload: str) -> None:
        rows = []
        for number, part in enumerate(web.slices(source, part_bytes), 1):
            tag = web.patiently(lambda number=number, part=part: self._put_part(key, upload, number, part))  # type: ignore[misc]
            rows.append(f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(tag)}</ETag></Part>")
        body = f"<CompleteMultipartUpload>{''.join(rows)}</CompleteMultipartUpload>".encode()
        with self._request("POST", key, {"uploadId": upload}, body) as response:
            answer = web.parse_xml(web.read(response))
        if answer.tag.rpartition("}")[2] == "Error":  # told of after the status was
            raise S3Error(web.element_text(answer, "Code"), web.element_text(answer, "Message"), 500)

    def _put_part(self, key: str, upload: str, number: int, part: web.Slice) -> str:
        words = {"partNumber": str(number), "uploadId": upload}
        with self._request("PUT", key, words, part, self._customer_key()) as response:
            return response.getheader("ETag") or ""

    def _customer_key(self) -> Mapping[str, str]:
        """What has to come with every request for an object that was encrypted with it."""
        return {n: v for n, v in self.encryption.items() if n.startswith("x-amz-server-side-encryption-customer-")}

    def keys(self, prefix: str) -> Iterator[str]:
        token = ""
        while True:
            query = {"list-type": "2", "max-keys": str(LIST_PAGE), "prefix": prefix}
            if token:
                query["continuation-token"] = token
            with self._request("GET", "", query) as response:
                page = web.parse_xml(web.read(response))
            for entry in page.iter():
                if entry.tag.rpartition("}")[2] == "Key" and entry.text:
                    yield entry.text
            token = web.element_text(page, "NextContinuationToken")
            if not token:
                return

    def delete(self, key: str) -> None:
        with self._request("DELETE", key):
            pass

    def make_bucket(self, *, locking: bool = False) -> None:
        body = b""
        if self.region != "us-east-1":
            where = f"<LocationConstraint>{escape(self.region)}</LocationConstraint>"
            body = f"<CreateBucketConfiguration>{where}</CreateBucketConfiguration>".encode()
        headers = {"x-amz-bucket-object-lock-enabled": "true"} if locking else {}
        try:
            with self._request("PUT", "", body=body, headers=headers):
                pass
        except S3Error as err:
            if err.transient:
                raise
            if err.code not in ("BucketAlreadyExists", "BucketAlreadyOwnedByYou"):
                raise ExecutorError(f"failed to create bucket {self.name}: {err}") from err

    @contextmanager
    def _request(
        self,
        method: str,
        key: str,
        query: Mapping[str, str] | None = None,
        body: web.Body = None,
        headers: Mapping[str, str] | None = None,
    ) -> Iterator[http.client.HTTPResponse]:
        host = f"{self.name}.{self.endpoint}" if self.virtual else self.endpoint
        path = quote(
            f"/{key}" if self.virtual else f"/{self.name}/{key}".rstrip("/") if not key else f"/{self.name}/{key}"
        )
        words = urlencode(sorted((query or {}).items()), quote_via=quote, safe="")
        signed = self._signed(method, host, path, words, self._payload_hash(body), headers or {})
        url = f"{'https' if self.secure else 'http'}://{host}{path}" + (f"?{words}" if words else "")
        try:
            with web.send(method, url, signed, body, tls=self._tls()) as response:
                yield response
        except web.Refusal as err:
            if isinstance(err, S3Error):
                raise
            raise _refusal(err) from err

    def _tls(self) -> ssl.SSLContext | None:
        return ssl.create_default_context(cadata=self.authority) if self.authority else None

    def _payload_hash(self, body: web.Body) -> str:
        if not body:
            return _EMPTY_HASH
        if self.secure:
            return _UNSIGNED
        if isinstance(body, bytes):
            return hashlib.sha256(body).hexdigest()
        total = hashlib.sha256()
        for block in body.blocks():
            total.update(block)
        return total.hexdigest()

    def _signed(
        self, method: str, host: str, path: str, query: str, payload: str, more: Mapping[str, str]
    ) -> dict[str, str]:
        """The headers of a request with its signature (AWS Signature Version 4)."""
        moment = self.now().astimezone(UTC)
        stamp, day = moment.strftime("%Y%m%dT%H%M%SZ"), moment.strftime("%Y%m%d")
        headers = {"host": host, "x-amz-content-sha256": payload, "x-amz-date": stamp, **more}
        if self.who.session_token:
            headers["x-amz-security-token"] = self.who.session_token
        if not self.who.access_key:
            return headers
        names = ";".join(sorted(headers))
        lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
        canonical = f"{method}\n{path}\n{query}\n{lines}\n{names}\n{payload}"
        scope = f"{day}/{self.region}/s3/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        key = f"AWS4{self.who.secret_key}".encode()
        for part in (day, self.region, "s3", "aws4_request"):
            key = hmac.digest(key, part.encode(), "sha256")
        signature = hmac.digest(key, text.encode(), "sha256").hex()
        credential = f"Credential={self.who.access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
        return {**headers, "Authorization": f"AWS4-HMAC-SHA256 {credential}"}


def _load_directory(store: Bucket, prefix: str, keys: list[str], target: Path) -> None:
    for key in keys:
        rest = key.removeprefix(prefix)
        if not rest or rest.endswith("/"):
            continue
        place = web.place_below(target, rest)
        web.patiently(lambda key=key, place=place: store.get(key, place))  # type: ignore[misc]


def _as_directory(key: str) -> str:
    return key if not key or key.endswith("/") else f"{key}/"


def _virtual(style: str, endpoint: str) -> bool:
    """Whether the bucket is part of the host's name."""
    if style:
        return style.lower().startswith("virtual")
    return endpoint.partition(":")[0].endswith((".amazonaws.com", ".amazonaws.com.cn"))


def _refusal(err: web.Refusal) -> S3Error:
    try:
        answer = ElementTree.fromstring(err.body)
    except ElementTree.ParseError:
        reason = http.client.responses.get(err.status, "")
        code = {404: "NoSuchKey", 403: "AccessDenied"}.get(err.status, reason)
        text = {"NoSuchKey": "The specified key does not exist.", "AccessDenied": "Access Denied."}.get(code)
        return S3Error(code, text or f"{err.status} {reason}", err.status)
    return S3Error(web.element_text(answer, "Code"), web.element_text(answer, "Message"), err.status)
