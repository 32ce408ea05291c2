"""Object stores written for the tests: what Google, Azure, Alibaba and HDFS answer, over one dictionary of objects.

Each refuses requests without the credentials that its driver must send, and can be told to fail a few times first.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from tiphys.workflows.drivers.artifacts import azure

ACCOUNT, ACCOUNT_KEY = "acct", "c2VjcmV0LWFjY291bnQta2V5"


class Store(ThreadingHTTPServer):
    def __init__(self, handler: type[Handler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.objects: dict[str, bytes] = {}
        self.parts: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.failures = 0

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


@contextmanager
def serving(handler: type[Handler]) -> Iterator[Store]:
    with Store(handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class Handler(BaseHTTPRequestHandler):
    server: Store
    protocol_version = "HTTP/1.1"

    def handle_any(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked.append(f"{self.command} {parts.path}")
        if self.server.failures:
            self.server.failures -= 1
            self.answer(503)
            return
        self.serve(parts.path, query, body)

    do_GET = do_PUT = do_POST = do_DELETE = handle_any

    def serve(self, path: str, query: dict[str, str], body: bytes) -> None:
        raise NotImplementedError

    def answer(self, code: int, body: bytes | dict[str, Any] = b"", **headers: str) -> None:
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def below(self, prefix: str) -> list[str]:
        return sorted(key for key in self.server.objects if key.startswith(prefix))

    def log_message(self, *_: Any) -> None:
        """Nothing: the test says what went wrong."""


class Google(Handler):
    def serve(self, path: str, query: dict[str, str], body: bytes) -> None:
        if path == "/token":
            claims = dict(parse_qs(body.decode()))
            self.answer(200, {"access_token": "T" if b"assertion=" in body and claims else ""})
            return
        key = unquote(path.partition("/o/")[2])
        if path.startswith("/upload/"):
            where = f"http://{self.server.endpoint}/session/{quote(query['name'])}"
            self.answer(200, Location=where)
        elif path.startswith("/session/"):
            self._part(unquote(path.removeprefix("/session/")), body)
        elif self.command == "DELETE":
            self.answer(204 if self.server.objects.pop(key, None) is not None else 404)
        elif not key:
            found = self.below(query.get("prefix", ""))
            first = int(query.get("pageToken", "0"))
            page: dict[str, Any] = {"items": [{"name": name} for name in found[first : first + 2]]}
            self.answer(200, page | ({"nextPageToken": str(first + 2)} if first + 2 < len(found) else {}))
        elif key in self.server.objects:
            self.answer(200, self.server.objects[key])
        else:
            self.answer(404)

    def _part(self, key: str, body: bytes) -> None:
        span = self.headers["Content-Range"].removeprefix("bytes ")
        place, _, size = span.partition("/")
        begun = b"" if place in ("*",) or place.startswith("0-") else self.server.parts.get(key, b"")
        self.server.parts[key] = begun + body
        if len(self.server.parts[key]) == int(size):
            self.server.objects[key] = self.server.parts.pop(key)
            self.answer(200, {"name": key})
        else:
            self.answer(308, Range=f"bytes=0-{len(self.server.parts[key]) - 1}")


class Azure(Handler):
    def serve(self, path: str, query: dict[str, str], body: bytes) -> None:
        headers = {
            name: value
            for name, value in self.headers.items()
            if name.lower() not in ("authorization", "host", "accept-encoding")
        }
        headers.pop("Content-Length", None)
        url = f"http://{self.server.endpoint}{self.path}"
        wanted = azure.authorization(ACCOUNT, ACCOUNT_KEY, self.command, url, headers, len(body))
        if self.headers.get("Authorization") != wanted:
            self.answer(403, b"<Error><Code>AuthenticationFailed</Code></Error>")
            return
        name = unquote(path.removeprefix(f"/{ACCOUNT}/box").strip("/"))
        if query.get("comp") == "list":
            rows = "".join(f"<Blob><Name>{n}</Name></Blob>" for n in self.below(query["prefix"]))
            self.answer(200, f"<EnumerationResults><Blobs>{rows}</Blobs><NextMarker/></EnumerationResults>".encode())
        elif query.get("comp") == "block":
            self.server.parts[query["blockid"]] = body
            self.answer(201)
        elif query.get("comp") == "blocklist":
            ids = [part.partition("<")[0] for part in body.decode().split("<Latest>")[1:]]
            self.server.objects[name] = b"".join(self.server.parts.pop(i) for i in ids)
            self.answer(201)
        elif self.command == "PUT":
            assert self.headers["x-ms-blob-type"] == "BlockBlob"
            self.server.objects[name] = body
            self.answer(201)
        elif self.command == "DELETE":
            self.answer(202 if self.server.objects.pop(name, None) is not None else 404)
        elif name in self.server.objects:
            self.answer(200, self.server.objects[name])
        else:
            self.answer(404, b"<Error><Code>BlobNotFound</Code></Error>")


class Alibaba(Handler):
    def serve(self, path: str, query: dict[str, str], body: bytes) -> None:
        if not self.headers.get("Authorization", "").startswith("OSS id:"):
            self.answer(403, b"<Error><Code>AccessDenied</Code><Message>no</Message><RequestId>1</RequestId></Error>")
            return
        key = unquote(path.removeprefix("/box").strip("/"))
        if "uploads" in query:
            self.answer(200, b"<R><UploadId>u1</UploadId></R>")
        elif "partNumber" in query:
            self.server.parts[query["partNumber"]] = body
            self.answer(200, ETag=f'"{query["partNumber"]}"')
        elif "uploadId" in query:
            self.server.objects[key] = b"".join(self.server.parts[n] for n in sorted(self.server.parts, key=int))
            self.answer(200, b"<R/>")
        elif not key and self.command == "PUT":
            self.answer(200)
        elif not key:
            rows = "".join(f"<Contents><Key>{n}</Key></Contents>" for n in self.below(query.get("prefix", "")))
            self.answer(200, f"<R>{rows}<IsTruncated>false</IsTruncated></R>".encode())
        elif self.command == "PUT":
            self.server.objects[key] = body
            self.answer(200)
        elif self.command == "DELETE":
            self.server.objects.pop(key, None)
            self.answer(204)
        elif key in self.server.objects:
            self.answer(200, self.server.objects[key])
        else:
            text = b"<Error><Code>NoSuchKey</Code><Message>gone</Message><RequestId>7</RequestId></Error>"
            self.answer(404, text)


class Hadoop(Handler):
    def serve(self, path: str, query: dict[str, str], body: bytes) -> None:
        name = unquote(path.removeprefix("/webhdfs/v1"))
        operation = query.get("op")
        if path.startswith("/data"):
            self._data(unquote(path.removeprefix("/data")), body)
        elif not query.get("user.name"):
            self.answer(401, {"RemoteException": {"message": "who are you"}})
        elif operation == "GETFILESTATUS":
            kind = "FILE" if name in self.server.objects else "DIRECTORY" if self.below(f"{name}/") else ""
            self.answer(200 if kind else 404, {"FileStatus": {"type": kind}})
        elif operation == "MKDIRS":
            self.answer(200, {"boolean": True})
        elif operation in ("OPEN", "CREATE"):
            self.answer(307, Location=f"http://{self.server.endpoint}/data{quote(name)}")

    def _data(self, name: str, body: bytes) -> None:
        if self.command == "PUT":
            self.server.objects[name] = body
            self.answer(201)
        else:
            self.answer(200, self.server.objects[name])


class Standby(Handler):
    def serve(self, path: str, query: dict[str, str], body: bytes) -> None:
        self.answer(403, {"RemoteException": {"exception": "StandbyException", "message": "not me"}})
