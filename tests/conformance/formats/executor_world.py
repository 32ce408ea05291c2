"""What the executor's golden rows need around them: files to start from, servers to talk to, and a look at the result.

Paths of the recordings (/argo, /var/run/argo, /tmp/argo, /mainctrfs, $DIR) lie below a directory of the test's own.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import os
import stat
import tarfile
import threading
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from tiphys.workflows.executor.errors import ExecutorError
from tiphys.workflows.executor.trees import Place

DIR = "/scratch-dir"
LONG = 4096
# What the recorder gave every member of its archives.
RECORDED_MTIME = 1_600_000_000


@dataclass
class World:
    """One row's machine."""

    root: Path
    names: dict[str, str] = field(default_factory=dict)

    def place(self, path: str) -> Place:
        return Place(self.root / path.lstrip("/"), path)

    def fill_in(self, value: Any) -> Any:
        """The row with its placeholders replaced."""
        text = json.dumps(value)
        for name, real in self.names.items():
            text = text.replace(name, real)
        return json.loads(text)

    def take_out(self, value: Any) -> Any:
        text = json.dumps(value)
        for name, real in self.names.items():
            text = text.replace(real, name)
        return json.loads(text)

    def make(self, specification: Mapping[str, Any]) -> None:
        """A file, directory, link or pipe as a row describes it."""
        real = self.place(specification["path"]).real
        for parent in reversed([p for p in real.parents if not p.exists()]):
            parent.mkdir()
            parent.chmod(0o755)
        if specification.get("dir"):
            real.mkdir(exist_ok=True)
        elif specification.get("fifo"):
            os.mkfifo(real)
        elif "symlink" in specification:
            real.symlink_to(specification["symlink"])
            return
        else:
            real.write_bytes(content_of(specification))
            real.chmod(0o644)
        if "mode" in specification:
            real.chmod(int(specification["mode"], 8))

    def secret(self, name: str, key: str) -> str:
        path = f"/argo/secret/{name}/{key}"
        try:
            return self.place(path).real.read_text()
        except FileNotFoundError as err:
            raise ExecutorError(f"open {path}: no such file or directory") from err

    def tree(self, top: str, *, directories: bool = True) -> dict[str, Any]:
        """Everything below ``top``, by its path in the recording."""
        found: dict[str, Any] = {}
        real = self.place(top).real
        for place in sorted(real.rglob("*")) if real.is_dir() else ():
            entry = describe(place)
            if directories or entry["type"] != "dir":
                found[f"{top}/{place.relative_to(real).as_posix()}"] = entry
        return found


def describe(place: Path) -> dict[str, Any]:
    state = place.lstat()
    mode = f"{stat.S_IMODE(state.st_mode):04o}"
    if stat.S_ISLNK(state.st_mode):
        return {"link": os.readlink(place), "type": "symlink"}
    if stat.S_ISDIR(state.st_mode):
        return {"mode": mode, "type": "dir"}
    if stat.S_ISFIFO(state.st_mode):
        return {"mode": mode, "type": "fifo"}
    data = place.read_bytes()
    archive = archive_of(data)
    if archive is None and data and place.suffix in (".tgz", ".zip"):
        archive = {"content": shown(data), "format": "raw"}
    if archive is not None:
        return {"archive": archive, "mode": mode, "type": "file"}
    return {"content": shown(data), "mode": mode, "type": "file"}


def shown(data: bytes) -> Any:
    if len(data) > LONG:
        head, tail = data[:32].decode("utf-8", "replace"), data[-32:].decode("utf-8", "replace")
        return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "head": head, "tail": tail}
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(data).decode()}


def archive_of(data: bytes) -> dict[str, Any] | None:
    if data[:2] == b"\x1f\x8b":
        inner = gzip.decompress(data)
        try:
            with tarfile.open(fileobj=io.BytesIO(inner)) as archive:
                members = [_tar_member(archive, member) for member in archive]
        except tarfile.TarError:
            return {"format": "gz", "content": shown(inner), "xfl": data[8]}
        return {"format": "tgz", "members": members, "xfl": data[8]}
    if data[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        with zipfile.ZipFile(io.BytesIO(data)) as zipped:
            return {"format": "zip", "members": [_zip_member(zipped, info) for info in zipped.infolist()]}
    return None


def _tar_member(archive: tarfile.TarFile, member: tarfile.TarInfo) -> dict[str, Any]:
    kinds = {tarfile.DIRTYPE: "dir", tarfile.SYMTYPE: "symlink", tarfile.FIFOTYPE: "fifo", tarfile.LNKTYPE: "link"}
    entry: dict[str, Any] = {"mode": f"{member.mode & 0o7777:04o}", "name": member.name}
    entry["type"] = kinds.get(member.type, "file")
    if member.uname or member.gname:
        entry["owner"] = f"{member.uname}:{member.gname}"
    if member.issym():
        entry["link"] = member.linkname
    elif member.isreg():
        file = archive.extractfile(member)
        entry["content"] = shown(file.read() if file else b"")
    return entry


def _zip_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> dict[str, Any]:
    mode = f"{info.external_attr >> 16:06o}"
    return {"content": shown(archive.read(info)), "method": info.compress_type, "mode": mode, "name": info.filename}


def content_of(specification: Mapping[str, Any]) -> bytes:
    """Bytes as a row describes them."""
    for kind in ("tgz", "tar"):
        if kind in specification:
            raw = _make_tar(specification[kind])
            return gzip.compress(raw, 6, mtime=0) if kind == "tgz" else raw
    if "zip" in specification:
        return _make_zip(specification["zip"])
    if "gz" in specification:
        return gzip.compress(str(specification["gz"]).encode(), 6, mtime=0)
    if "b64" in specification:
        return base64.b64decode(specification["b64"])
    if "repeat" in specification:
        text, count = specification["repeat"]
        data = (text * count).encode()[: specification.get("truncate")]
        return data + str(specification.get("then", "")).encode()
    return str(specification.get("text", "")).encode()


def _make_tar(members: list[dict[str, Any]]) -> bytes:
    target = io.BytesIO()
    kinds = {
        "dir": tarfile.DIRTYPE,
        "symlink": tarfile.SYMTYPE,
        "fifo": tarfile.FIFOTYPE,
        "link": tarfile.LNKTYPE,
        "hardlink": tarfile.LNKTYPE,
        "char": tarfile.CHRTYPE,
        "block": tarfile.BLKTYPE,
    }
    with tarfile.open(fileobj=target, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for member in members:
            info = tarfile.TarInfo(member["name"])
            info.type = kinds.get(member.get("type", "file"), tarfile.REGTYPE)
            info.mode = int(member.get("mode", "0644" if member.get("type", "file") == "file" else "0755"), 8)
            info.linkname = member.get("link", "")
            info.mtime = RECORDED_MTIME
            data = content_of(member)
            info.size = len(data) if info.isreg() else 0
            archive.addfile(info, io.BytesIO(data) if info.isreg() else None)
    return target.getvalue()


def _make_zip(members: list[dict[str, Any]]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for member in members:
            directory = member.get("type") == "dir"
            info = zipfile.ZipInfo(member["name"].rstrip("/") + ("/" if directory else ""))
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 0 if member.get("nomode") else 3
            mode = int(member.get("mode", "0755" if directory else "0644"), 8)
            kind = stat.S_IFDIR if directory else stat.S_IFREG
            info.external_attr = 0 if info.create_system == 0 else (kind | mode) << 16
            with warnings.catch_warnings():  # duplicate names are what some rows are about
                warnings.simplefilter("ignore")
                archive.writestr(info, b"" if directory else content_of(member))
    return target.getvalue()


@dataclass
class Served:
    """What an artifact server holds and saw."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    scripts: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    requests: list[dict[str, Any]] = field(default_factory=list)
    uploads: list[dict[str, Any]] = field(default_factory=list)
    s3: bool = False


@contextmanager
def serving(served: Served) -> Iterator[str]:
    """Runs the server; yields its host:port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer("GET", b"")

        def do_HEAD(self) -> None:
            self._answer("HEAD", b"")

        def do_PUT(self) -> None:
            self._answer("PUT", self._body())

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            data = b""
            while size := int(self.rfile.readline().strip() or b"0", 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return data

        def _answer(self, method: str, body: bytes) -> None:
            path = unquote(urlsplit(self.path).path)
            served.requests.append({"method": method, "path": path, "headers": dict(self.headers), "body": body})
            script = served.scripts.get(f"{method} {path}")
            if script:
                step = script.pop(0) if len(script) > 1 else script[0]
                if method == "PUT" and step.get("status", 200) < 300:
                    served.uploads.append({"path": path, "body": body})
                text = base64.b64decode(step["b64"]) if "b64" in step else str(step.get("body", "")).encode()
                self._reply(step.get("status", 200), text, step.get("headers") or {})
            elif method == "PUT":
                served.uploads.append({"path": path, "body": body})
                served.blobs[path] = body
                self._reply(200, b"")
            elif served.s3 and "list-type" in parse_qs(urlsplit(self.path).query):
                self._reply(200, _listing(served, path, parse_qs(urlsplit(self.path).query)))
            elif path in served.blobs:
                self._reply(200, served.blobs[path])
            else:
                text = "<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message></Error>"
                self._reply(404, text.encode() if served.s3 else b"")

        def _reply(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _listing(served: Served, bucket: str, query: Mapping[str, list[str]]) -> bytes:
    prefix = query.get("prefix", [""])[0]
    top = bucket.rstrip("/") + "/"
    keys = sorted(p.removeprefix(top) for p in served.blobs if p.startswith(top + prefix))
    entries = "".join(f"<Contents><Key>{escape(key)}</Key></Contents>" for key in keys)
    return f"<ListBucketResult>{entries}</ListBucketResult>".encode()
