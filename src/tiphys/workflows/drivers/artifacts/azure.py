"""Azure Blob Storage artifacts, through its REST API with a shared key. Directories are blobs below a prefix.

Large files go up as blocks that are then put together. Without an account key (``useSDKCreds``) a token comes from the
machine's managed identity.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from tiphys.runtime.clock import SystemClock
from tiphys.workflows.drivers.artifacts import web
from tiphys.workflows.executor.errors import ExecutorError
from tiphys.workflows.executor.trees import Place

Object = Mapping[str, Any]
SecretReader = Callable[[str, str], str]
VERSION = "2021-12-02"
BLOCK_BYTES = 32 << 20
PAGE = "5000"
IDENTITY = "http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fstorage.azure.com%2F"
# In the order in which the signature wants them (Authorize with Shared Key, version 2015-02-21 and later).
_SIGNED_HEADERS = (
    "content-encoding", "content-language", "content-length", "content-md5", "content-type", "date",
    "if-modified-since", "if-match", "if-none-match", "if-unmodified-since", "range",
)  # fmt: skip


class AzureDriver:
    def __init__(self, secret: SecretReader, now: Callable[[], datetime] | None = None) -> None:
        self._secret = secret
        self._now = now or SystemClock().now

    def load(self, artifact: Object, target: Path) -> None:
        container, blob = self._container(artifact)
        try:
            web.patiently(lambda: container.get(blob, target))
            return
        except web.Refusal as err:
            if err.status != 404:
                raise ExecutorError(f"unable to download blob {blob}: {err}") from err
            refused = err
        target.unlink(missing_ok=True)
        prefix = _as_directory(blob)
        names = web.patiently(lambda: list(container.names(prefix)))
        if not names:
            raise ExecutorError(str(refused), missing=True) from refused
        for name in names:
            rest = name.removeprefix(prefix)
            if rest and not rest.endswith("/"):
                place = web.place_below(target, rest)
                web.patiently(lambda name=name, place=place: container.get(name, place))  # type: ignore[misc]

    def save(self, source: Place, artifact: Object) -> None:
        container, blob = self._container(artifact)
        what, rows = "file", [(blob, source.real)]
        if source.real.is_dir():
            what = "directory"
            rows = [(_as_directory(blob) + name, place) for name, place in web.files_below(source.real)]
        for name, place in rows:
            try:
                web.patiently(lambda name=name, place=place: container.put(name, place))  # type: ignore[misc]
            except ExecutorError as err:
                raise ExecutorError(f"unable to upload {what} {source.shown} to Azure: {err}") from err

    def delete(self, artifact: Object) -> None:
        container, blob = self._container(artifact)
        below = web.patiently(lambda: list(container.names(_as_directory(blob))))
        for name in below or [blob]:
            web.patiently(lambda name=name: container.delete(name))  # type: ignore[misc]

    def list_objects(self, artifact: Object) -> list[str]:
        container, blob = self._container(artifact)
        return web.patiently(lambda: list(container.names(_as_directory(blob))))

    def _container(self, artifact: Object) -> tuple[_Container, str]:
        body = artifact["azure"]
        endpoint = str(body.get("endpoint") or "").rstrip("/")
        reference = body.get("accountKeySecret")
        key, token = "", ""
        if body.get("useSDKCreds"):
            answer = web.patiently(lambda: web.ask("GET", IDENTITY, {"Metadata": "true"}), attempts=2)
            token = str(json.loads(answer)["access_token"])
        elif reference:
            key = self._secret(reference["name"], reference["key"])
        else:
            raise ExecutorError("accountKey secret is required for Azure Blob Storage if useSDKCreds is false")
        return _Container(endpoint, str(body.get("container") or ""), key, token, self._now), str(
            body.get("blob") or ""
        )


class _Container:
    def __init__(self, endpoint: str, name: str, key: str, token: str, now: Callable[[], datetime]) -> None:
        self._url = f"{endpoint}/{quote(name)}"
        self._account = account_of(endpoint)
        self._key = key
        self._token = token
        self._now = now

    def get(self, blob: str, target: Path) -> None:
        with self._send("GET", f"/{quote(blob)}") as response:
            web.download(response, target)

    def put(self, blob: str, source: Path) -> None:
        if source.stat().st_size <= BLOCK_BYTES:
            with self._send("PUT", f"/{quote(blob)}", web.whole(source), {"x-ms-blob-type": "BlockBlob"}):
                return
        ids = []
        for number, part in enumerate(web.slices(source, BLOCK_BYTES)):
            ids.append(base64.b64encode(f"{number:08d}".encode()).decode())
            query = urlencode({"comp": "block", "blockid": ids[-1]})
            with self._send("PUT", f"/{quote(blob)}?{query}", part):
                pass
        rows = "".join(f"<Latest>{block}</Latest>" for block in ids)
        body = f'<?xml version="1.0" encoding="utf-8"?><BlockList>{rows}</BlockList>'.encode()
        with self._send("PUT", f"/{quote(blob)}?comp=blocklist", body, {"Content-Type": "application/xml"}):
            pass

    def delete(self, blob: str) -> None:
        with self._send("DELETE", f"/{quote(blob)}", accept=(404,)):
            pass

    def names(self, prefix: str) -> Iterator[str]:
        marker = ""
        while True:
            query = {"restype": "container", "comp": "list", "prefix": prefix, "maxresults": PAGE}
            with self._send("GET", f"?{urlencode({**query, **({'marker': marker} if marker else {})})}") as response:
                page = web.parse_xml(web.read(response))
            for element in page.iter("Blob"):
                yield element.findtext("Name") or ""
            marker = web.element_text(page, "NextMarker")
            if not marker:
                return

    def _send(
        self,
        method: str,
        path: str,
        body: web.Body = None,
        headers: Mapping[str, str] | None = None,
        accept: tuple[int, ...] = (),
    ) -> Any:
        url = self._url + path
        sent = {
            **(headers or {}),
            "x-ms-date": format_datetime(self._now().astimezone(UTC), usegmt=True),
            "x-ms-version": VERSION,
        }
        if self._token:
            sent["Authorization"] = f"Bearer {self._token}"
        elif self._key:
            length = 0 if body is None else len(body) if isinstance(body, bytes) else body.length
            sent["Authorization"] = authorization(self._account, self._key, method, url, sent, length)
        return web.send(method, url, sent, body, accept=accept)


def account_of(endpoint: str) -> str:
    """The storage account: the first label of the host, or, of an emulator's, the first part of the path."""
    parts = urlsplit(endpoint)
    host, path = parts.hostname or "", parts.path.strip("/")
    if path:
        return path.partition("/")[0]
    if "." not in host:
        raise ExecutorError(f"unable to determine storage account name from {endpoint}")
    return host.partition(".")[0]


def authorization(account: str, key: str, method: str, url: str, headers: Mapping[str, str], length: int) -> str:
    """The value of the Authorization header (Shared Key)."""
    parts = urlsplit(url)
    named = {name.lower(): value for name, value in headers.items()}
    named["content-length"] = str(length) if length else ""
    own = sorted((name, value) for name, value in named.items() if name.startswith("x-ms-"))
    words: dict[str, list[str]] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        words.setdefault(name.lower(), []).append(value)
    lines = [method, *(named.get(name, "") for name in _SIGNED_HEADERS)]
    lines += [f"{name}:{value}" for name, value in own]
    lines.append(f"/{account}{quote(unquote(parts.path))}")
    lines += [f"{name}:{','.join(sorted(words[name]))}" for name in sorted(words)]
    try:
        secret = base64.b64decode(key, validate=True)
    except ValueError as err:
        raise ExecutorError("unable to create Azure shared key credential: decode account key: illegal base64") from err
    signature = base64.b64encode(hmac.digest(secret, "\n".join(lines).encode(), hashlib.sha256)).decode()
    return f"SharedKey {account}:{signature}"


def _as_directory(name: str) -> str:
    return name if not name or name.endswith("/") else f"{name}/"
