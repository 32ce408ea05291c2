#!/usr/bin/env -S python3 -I -S
"""An artifact plugin that stands where the end-to-end suite has argoproj-labs/artifact-driver-s3: files in an S3.

    artifact_driver.py SOCKET

gRPC for one client, ours: HTTP/2 as far as that speaks it (headers as plain literals, small requests). Of the
configuration only ``endpoint`` and ``bucket`` are read. Standard library only: it runs in containers.
"""

from __future__ import annotations

import http.client
import os
import re
import signal
import socketserver
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

DATA, HEADERS, SETTINGS, PING = 0, 1, 4, 6
END_STREAM, ACKNOWLEDGED, END_HEADERS = 1, 1, 4
PREFACE_BYTES = 24
Fields = dict[int, "bytes | int"]


def main(place: str) -> None:
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    Path(place).unlink(missing_ok=True)
    with socketserver.ThreadingUnixStreamServer(place, Call) as server:
        os.chmod(place, 0o777)
        server.daemon_threads = True
        server.serve_forever()


class Call(socketserver.StreamRequestHandler):
    """One connection with one call."""

    def handle(self) -> None:
        self.rfile.read(PREFACE_BYTES)
        self.send(SETTINGS, 0, 0, b"")
        method, message, stream = "", b"", 0
        while True:
            head = self.rfile.read(9)
            if len(head) < 9:
                return
            payload = self.rfile.read(int.from_bytes(head[:3], "big"))
            kind, flags, about = head[3], head[4], int.from_bytes(head[5:], "big")
            if kind == SETTINGS and not flags & ACKNOWLEDGED:
                self.send(SETTINGS, ACKNOWLEDGED, 0, b"")
            elif kind == PING and not flags & ACKNOWLEDGED:
                self.send(PING, ACKNOWLEDGED, 0, payload)
            elif kind == HEADERS:
                method, stream = dict(literals(payload))[":path"].rpartition("/")[2], about
            elif kind == DATA:
                message += payload
                if flags & END_STREAM:
                    self.answer(stream, method, message[5:])

    def answer(self, stream: int, method: str, request: bytes) -> None:
        self.send(HEADERS, END_HEADERS, stream, header(":status", "200") + header("content-type", "application/grpc"))
        reply = carry_out(method, request)
        if reply is None:
            end = header("grpc-status", "12") + header("grpc-message", f"unknown method {method}")
        else:
            self.send(DATA, 0, stream, struct.pack(">BI", 0, len(reply)) + reply)
            end = header("grpc-status", "0")
        self.send(HEADERS, END_HEADERS | END_STREAM, stream, end)

    def send(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        self.wfile.write(len(payload).to_bytes(3, "big") + struct.pack(">BBI", kind, flags, stream) + payload)
        self.wfile.flush()


def carry_out(method: str, request: bytes) -> bytes | None:
    """The answer; None: there is no such method."""
    asked = fields(request)
    artifact, path = {"Save": (2, 1), "Load": (1, 2)}.get(method, (1, 2))
    bucket = Bucket(fields(fields(as_bytes(asked[artifact]))[5]))
    place = Path(os.fsdecode(as_bytes(asked.get(path, b""))))
    try:
        match method:
            case "Load":
                bucket.load(place)
            case "Save":
                bucket.save(place)
            case "Delete":
                bucket.delete()
            case "ListObjects":
                return b"".join(field(1, key.encode()) for key in bucket.listed())
            case _:
                return None
    except (OSError, http.client.HTTPException) as err:
        return field(2, str(err).encode())
    return b"\x08\x01"


class Bucket:
    """Where an artifact lies in the S3."""

    def __init__(self, plugin: Fields) -> None:
        configuration = as_bytes(plugin.get(2, b"")).decode()
        found = dict(re.findall(r"(?m)^\s*(endpoint|bucket):\s*(\S+)", configuration))
        self._address, self._bucket = found["endpoint"], found["bucket"]
        self._key = as_bytes(plugin.get(4, b"")).decode()

    def load(self, target: Path) -> None:
        status, data = self._ask("GET", self._key)
        if status == 200:
            target.write_bytes(data)
            return
        keys = self.listed()
        if not keys:
            raise OSError(f"key not found: {self._key}")
        for key in keys:
            place = target / key.removeprefix(f"{self._key}/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(self._ask("GET", key)[1])

    def save(self, source: Path) -> None:
        if source.is_file():
            self._ask("PUT", self._key, source.read_bytes())
            return
        for place in source.rglob("*"):
            if place.is_file():
                self._ask("PUT", f"{self._key}/{place.relative_to(source).as_posix()}", place.read_bytes())

    def delete(self) -> None:
        for key in (self._key, *self.listed()):
            self._ask("DELETE", key)

    def listed(self) -> list[str]:
        _, page = self._ask("GET", "", query=f"?list-type=2&prefix={quote(self._key)}/")
        return re.findall(r"<Key>([^<]*)</Key>", page.decode())

    def _ask(self, method: str, key: str, body: bytes | None = None, query: str = "") -> tuple[int, bytes]:
        link = http.client.HTTPConnection(self._address, timeout=60)
        try:
            link.request(method, f"/{self._bucket}" + (f"/{quote(key)}" if key else query), body)
            answer = link.getresponse()
            return answer.status, answer.read()
        finally:
            link.close()


def literals(block: bytes) -> Iterator[tuple[str, str]]:
    """Headers that are plain literals, names and values shorter than 127 bytes."""
    at = 0
    while at < len(block):
        words = []
        at += 1
        for _ in range(2):
            length = block[at]
            words.append(block[at + 1 : at + 1 + length].decode())
            at += 1 + length
        yield words[0], words[1]


def header(name: str, value: str) -> bytes:
    return b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()


def fields(message: bytes | int) -> Fields:
    """Field number → value, of a message without repeated fields."""
    data, found, at = as_bytes(message), {}, 0
    while at < len(data):
        key, at = number(data, at)
        value, at = number(data, at)
        if key & 7 == 2:
            value, at = data[at : at + value], at + value
        found[key >> 3] = value
    return found


def number(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value, shift, at = value | (byte & 0x7F) << shift, shift + 7, at + 1
        if not byte & 0x80:
            return value, at


def field(tag: int, data: bytes) -> bytes:
    length = len(data)
    head = bytes([tag << 3 | 2])
    while length > 0x7F:
        head += bytes([length & 0x7F | 0x80])
        length >>= 7
    return head + bytes([length]) + data


def as_bytes(value: bytes | int) -> bytes:
    assert isinstance(value, bytes)
    return value


if __name__ == "__main__":
    main(sys.argv[1])
