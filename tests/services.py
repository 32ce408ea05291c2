"""Small servers that stand where the original's tests and examples have whole ones: an S3 (for MinIO), pages of
httpbin, a repository of files (for Artifactory).

They listen on the loopback interface at a free port, keep everything in memory and check no passwords.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape


class _Answering(BaseHTTPRequestHandler):
    def answer(self, code: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = b""
        while size := int(self.rfile.readline(), 16):
            chunks += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return chunks

    def log_message(self, *_: Any) -> None:
        """Nothing: the test says what went wrong."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, handler: type[_Answering]) -> None:
        super().__init__(("127.0.0.1", 0), handler)

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class S3(_Server):
    """Objects by path (``/bucket/key``); every bucket is there."""

    def __init__(self) -> None:
        super().__init__(_S3Handler)
        self.objects: dict[str, bytes] = {}


class _S3Handler(_Answering):
    server: S3

    def do_PUT(self) -> None:
        parts = urlsplit(self.path)
        if "/" in parts.path.strip("/"):
            self.server.objects[unquote(parts.path)] = self.body()
        self.answer(200)

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.query:
            prefix = parse_qs(parts.query).get("prefix", [""])[0]
            keys = [path.removeprefix(f"{parts.path}/") for path in sorted(self.server.objects)]
            found = "".join(f"<Contents><Key>{escape(key)}</Key></Contents>" for key in keys if key.startswith(prefix))
            self.answer(200, f"<ListBucketResult>{found}</ListBucketResult>".encode())
        elif unquote(parts.path) in self.server.objects:
            self.answer(200, self.server.objects[unquote(parts.path)])
        else:
            self.answer(404)

    def do_DELETE(self) -> None:
        self.server.objects.pop(unquote(urlsplit(self.path).path), None)
        self.answer(204)


class HttpBin(_Server):
    """``/get`` answers what was asked, ``/basic-auth/…`` and ``/bearer`` whoever authenticates, ``/put`` takes.

    ``/token`` gives a token for client credentials, whichever way they come. What is put below ``/webhdfs/`` is sent on
    to another place, as a name node does.
    """

    def __init__(self) -> None:
        super().__init__(_HttpBinHandler)


class _HttpBinHandler(_Answering):
    def do_GET(self) -> None:
        if self.path.startswith(("/basic-auth/", "/bearer", "/webhdfs/")) and not self.headers.get("Authorization"):
            self.answer(401)
            return
        self.answer(200, json.dumps({"url": self.path, "headers": dict(self.headers)}).encode())

    def do_POST(self) -> None:
        form = parse_qs(self.body().decode())
        knows = "client_secret" in form or (self.path == "/token" and self.headers.get("Authorization"))
        if form.get("grant_type") != ["client_credentials"] or not knows:
            self.answer(401, b"who is there?")
        else:
            token = {"access_token": form.get("scope", ["any"])[0], "token_type": "bearer"}
            self.answer(200, json.dumps(token).encode())

    def do_PUT(self) -> None:
        body = self.body().decode("utf-8", "replace")
        if self.path.startswith("/webhdfs/"):
            self.answer(307, headers={"Location": "/put"})
        else:
            self.answer(200, json.dumps({"data": body}).encode())


class Files(_Server):
    """Files by path, for whoever authenticates."""

    def __init__(self) -> None:
        super().__init__(_FilesHandler)
        self.files: dict[str, bytes] = {}


class _FilesHandler(_Answering):
    server: Files

    def do_PUT(self) -> None:
        body = self.body()
        if not self.headers.get("Authorization"):
            self.answer(401)
            return
        self.server.files[self.path] = body
        self.answer(201)

    def do_GET(self) -> None:
        if not self.headers.get("Authorization"):
            self.answer(401)
        elif self.path in self.server.files:
            self.answer(200, self.server.files[self.path])
        else:
            self.answer(404)


Served = TypeVar("Served", bound=_Server)


@contextmanager
def serving(server: Served) -> Iterator[Served]:
    """The server while the block lasts."""
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
