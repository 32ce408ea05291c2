"""Alibaba Cloud OSS artifacts, through its REST API (signatures of version 1). Directories are objects below a prefix.

Large files go up in parts. A bucket is made where ``createBucketIfNotPresent`` says so, with the life cycle that
``lifecycleRule`` asks for. Buckets are named in the path where the endpoint is an address, in the host otherwise.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from tiphys.runtime.clock import SystemClock
from tiphys.workflows.drivers.artifacts import web
from tiphys.workflows.executor.errors import ExecutorError
from tiphys.workflows.executor.trees import Place

Object = Mapping[str, Any]
SecretReader = Callable[[str, str], str]
PART_BYTES = 64 << 20
PAGE = "1000"
# What of a query counts for the signature (the SDK's signKeyList, as far as it is used here).
_SIGNED_WORDS = ("lifecycle", "partNumber", "uploadId", "uploads")


class OssDriver:
    def __init__(self, secret: SecretReader, now: Callable[[], datetime] | None = None) -> None:
        self._secret = secret
        self._now = now or SystemClock().now

    def load(self, artifact: Object, target: Path) -> None:
        bucket, key = self._bucket(artifact)
        try:
            web.patiently(lambda: bucket.get(key, target))
            return
        except web.Refusal as err:
            if _code(err) != "NoSuchKey":
                raise ExecutorError(f"failed to get file: {_said(err)}") from err
            refused = err
        target.unlink(missing_ok=True)
        prefix = _as_directory(key)
        keys = web.patiently(lambda: list(bucket.keys(prefix)))
        if not keys:
            raise ExecutorError(f"failed to get file: {_said(refused)}", missing=True) from refused
        for name in keys:
            rest = name.removeprefix(prefix)
            if rest and not rest.endswith("/"):
                place = web.place_below(target, rest)
                web.patiently(lambda name=name, place=place: bucket.get(name, place))  # type: ignore[misc]

    def save(self, source: Place, artifact: Object) -> None:
        bucket, key = self._bucket(artifact)
        body = artifact["oss"]
        if body.get("createBucketIfNotPresent"):
            web.patiently(lambda: bucket.make(body.get("lifecycleRule") or {}))
        rows = [(key, source.real)]
        if source.real.is_dir():
            rows = [(_as_directory(key) + name, place) for name, place in web.files_below(source.real)]
        for name, place in rows:
            try:
                web.patiently(lambda name=name, place=place: bucket.put(name, place))  # type: ignore[misc]
            except web.Refusal as err:
                raise ExecutorError(_said(err)) from err

    def delete(self, artifact: Object) -> None:
        bucket, key = self._bucket(artifact)
        for name in web.patiently(lambda: list(bucket.keys(key))) if key.endswith("/") else [key]:
            web.patiently(lambda name=name: bucket.delete(name))  # type: ignore[misc]

    def list_objects(self, artifact: Object) -> list[str]:
        bucket, key = self._bucket(artifact)
        return web.patiently(lambda: list(bucket.keys(key)))

    def _bucket(self, artifact: Object) -> tuple[_Bucket, str]:
        body = artifact["oss"]
        if body.get("useSDKCreds"):
            raise ExecutorError("OSS: useSDKCreds needs an Alibaba Cloud node identity, which there is none of here")
        found = {}
        for name in ("accessKeySecret", "secretKeySecret"):
            reference = body.get(name)
            found[name] = self._secret(reference["name"], reference["key"]) if reference else ""
        made = _Bucket(
            str(body.get("endpoint") or ""),
            str(body.get("bucket") or ""),
            found["accessKeySecret"],
            found["secretKeySecret"],
            str(body.get("securityToken") or ""),
            self._now,
        )
        return made, str(body.get("key") or "")


class _Bucket:
    def __init__(
        self, endpoint: str, name: str, access: str, secret: str, token: str, now: Callable[[], datetime]
    ) -> None:
        parts = urlsplit(endpoint if "://" in endpoint else f"http://{endpoint}")
        direct = _is_address(parts.hostname or "")
        self._name = name
        self._url = f"{parts.scheme}://{parts.netloc}/{name}" if direct else f"{parts.scheme}://{name}.{parts.netloc}"
        self._access, self._secret, self._token, self._now = access, secret, token, now

    def get(self, key: str, target: Path) -> None:
        with self._send("GET", key) as response:
            web.download(response, target)

    def put(self, key: str, source: Path) -> None:
        if source.stat().st_size <= PART_BYTES:
            with self._send("PUT", key, body=web.whole(source)):
                return
        with self._send("POST", key, {"uploads": ""}, b"") as response:
            upload = web.element_text(web.parse_xml(web.read(response)), "UploadId")
        rows = []
        for number, part in enumerate(web.slices(source, PART_BYTES), 1):
            with self._send("PUT", key, {"partNumber": str(number), "uploadId": upload}, part) as response:
                tag = response.getheader("ETag") or ""
            rows.append(f"<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>")
        body = f"<CompleteMultipartUpload>{''.join(rows)}</CompleteMultipartUpload>".encode()
        with self._send("POST", key, {"uploadId": upload}, body) as response:
            web.read(response)

    def delete(self, key: str) -> None:
        with self._send("DELETE", key, accept=(404,)):
            pass

    def keys(self, prefix: str) -> Iterator[str]:
        marker = ""
        while True:
            query = {"prefix": prefix, "max-keys": PAGE, **({"marker": marker} if marker else {})}
            with self._send("GET", "", query) as response:
                page = web.parse_xml(web.read(response))
            for element in page.iter():
                if element.tag.rpartition("}")[2] == "Key" and element.text:
                    yield element.text
            marker = web.element_text(page, "NextMarker")
            if web.element_text(page, "IsTruncated") != "true" or not marker:
                return

    def make(self, rule: Object) -> None:
        with self._send("PUT", "", body=b"", accept=(409,)) as response:
            web.read(response)
        days, rare = rule.get("markDeletionAfterDays") or 0, rule.get("markInfrequentAccessAfterDays") or 0
        if not days and not rare:
            return
        if days and rare and rare > days:
            raise ExecutorError("markInfrequentAccessAfterDays cannot be large than markDeletionAfterDays")
        parts = f"<Transition><Days>{rare}</Days><StorageClass>IA</StorageClass></Transition>" if rare else ""
        parts += f"<Expiration><Days>{days}</Days></Expiration>" if days else ""
        body = (
            "<LifecycleConfiguration><Rule><ID>argo-workflows</ID><Prefix></Prefix><Status>Enabled</Status>"
            f"{parts}</Rule></LifecycleConfiguration>"
        ).encode()
        with self._send("PUT", "", {"lifecycle": ""}, body):
            pass

    def _send(
        self,
        method: str,
        key: str,
        query: Mapping[str, str] | None = None,
        body: web.Body = None,
        accept: tuple[int, ...] = (),
    ) -> Any:
        words = dict(query or {})
        text = "&".join(f"{n}={quote(v, safe='')}" if v else n for n, v in sorted(words.items()))
        url = f"{self._url}/{quote(key)}" + (f"?{text}" if text else "")
        headers = {"Date": format_datetime(self._now().astimezone(UTC), usegmt=True)}
        headers["Content-Type"] = "application/octet-stream"
        if self._token:
            headers["x-oss-security-token"] = self._token
        if self._access:
            headers["Authorization"] = self._signature(method, key, words, headers)
        return web.send(method, url, headers, body, accept=accept)

    def _signature(self, method: str, key: str, words: Mapping[str, str], headers: Mapping[str, str]) -> str:
        own = "".join(f"{n.lower()}:{v}\n" for n, v in sorted(headers.items()) if n.lower().startswith("x-oss-"))
        counted = "&".join(f"{n}={words[n]}" if words[n] else n for n in sorted(words) if n in _SIGNED_WORDS)
        resource = f"/{self._name}/{key}" + (f"?{counted}" if counted else "")
        lines = f"{method}\n\n{headers['Content-Type']}\n{headers['Date']}\n{own}{resource}"
        digest = hmac.digest(self._secret.encode(), lines.encode(), hashlib.sha1)
        return f"OSS {self._access}:{base64.b64encode(digest).decode()}"


def _code(err: web.Refusal) -> str:
    try:
        return web.element_text(web.parse_xml(err.body), "Code")
    except ExecutorError:
        return "NoSuchKey" if err.status == 404 else ""


def _said(err: web.Refusal) -> str:
    """In the SDK's words."""
    try:
        answer = web.parse_xml(err.body)
    except ExecutorError:
        return str(err)
    code, message = web.element_text(answer, "Code"), web.element_text(answer, "Message")
    request = web.element_text(answer, "RequestId")
    return (
        f"oss: service returned error: StatusCode={err.status}, ErrorCode={code},"
        f' ErrorMessage="{message}", RequestId={request}'
    )


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return True


def _as_directory(key: str) -> str:
    return key if not key or key.endswith("/") else f"{key}/"
