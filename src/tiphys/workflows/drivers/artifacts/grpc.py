"""Calls to a gRPC service that listens at a unix socket: unary ones. They block.

    preface, SETTINGS, HEADERS, DATA (one message)  ─►     ◄─  HEADERS, DATA … , HEADERS (grpc-status, grpc-message)

HTTP/2 by hand, as far as one call on a connection of its own needs it (RFC 9113): what is asked is small, what comes
back is read as it comes. A service that says nothing is asked for a sign of life, so that none is waited for in vain.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote_to_bytes

from tiphys.workflows.drivers.artifacts.hpack import Decoder, HpackError, encode

DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, ACKNOWLEDGED, END_HEADERS, PADDED, PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
STREAM = 1
FRAME_BYTES = 16_384
REQUEST_BYTES_MAX = 65_535
MESSAGE_BYTES_MAX = 64 << 20
SILENCE_SECONDS = 60.0
_RETRY_SECONDS = 0.05
_NAMES = (
    "OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound", "AlreadyExists",
    "PermissionDenied", "ResourceExhausted", "FailedPrecondition", "Aborted", "OutOfRange", "Unimplemented",
    "Internal", "Unavailable", "DataLoss", "Unauthenticated",
)  # fmt: skip
_UNKNOWN, _RESOURCE_EXHAUSTED, _INTERNAL, _UNAVAILABLE = 2, 8, 13, 14


class GrpcError(Exception):
    """The call failed; the text is that of the original's client."""

    def __init__(self, code: int, message: str) -> None:
        name = _NAMES[code] if 0 <= code < len(_NAMES) else f"Code({code})"
        super().__init__(f"rpc error: code = {name} desc = {message}")
        self.code = code


class Channel:
    """Where a service listens. ``ready_seconds``: in what time it must begin to speak."""

    def __init__(self, place: Path, ready_seconds: float) -> None:
        self._place = place
        self._ready_seconds = ready_seconds

    def call(self, method: str, request: bytes) -> bytes:
        """The one message of the answer. ``method`` is ``/package.Service/Method``. Raises ``GrpcError``."""
        found: list[bytes] = []
        with closing(self._answers(method, request)) as answers:
            for message in answers:
                if found:
                    raise GrpcError(_INTERNAL, "more than one message came")
                found.append(message)
        if not found:
            raise GrpcError(_INTERNAL, "no message came")
        return found[0]

    def _answers(self, method: str, request: bytes) -> Generator[bytes, None, None]:
        if len(request) + 5 > REQUEST_BYTES_MAX:
            raise GrpcError(_RESOURCE_EXHAUSTED, f"the request is longer than {REQUEST_BYTES_MAX} bytes")
        try:
            with closing(_connect(self._place, self._ready_seconds)) as link:
                yield from _Call(link, self._ready_seconds).answers(method, request)
        except (OSError, EOFError, HpackError) as err:
            raise GrpcError(_UNAVAILABLE, str(err) or "connection closed") from err


def _connect(place: Path, seconds: float) -> socket.socket:
    """Tries again where nobody listens yet. Through its directory, since an address may not be as long as a path."""
    until = time.monotonic() + seconds
    while True:
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        directory = os.open(place.parent, os.O_PATH | os.O_CLOEXEC)
        try:
            link.connect(f"/proc/self/fd/{directory}/{place.name}")
            return link
        except OSError:
            link.close()
            if time.monotonic() >= until:
                raise
        finally:
            os.close(directory)
        time.sleep(_RETRY_SECONDS)


class _Call:
    def __init__(self, link: socket.socket, ready_seconds: float) -> None:
        self._link = link
        self._headers = Decoder()
        self._ready_seconds = ready_seconds
        self._buffer = bytearray()

    def answers(self, method: str, request: bytes) -> Iterator[bytes]:
        self._link.settimeout(self._ready_seconds)
        self._ask(method, request)
        closed = False
        while not closed:
            kind, flags, stream, payload = self._frame()
            self._link.settimeout(SILENCE_SECONDS)
            if kind == SETTINGS and not flags & ACKNOWLEDGED:
                self._send(SETTINGS, ACKNOWLEDGED, 0)
            elif kind == PING and not flags & ACKNOWLEDGED:
                self._send(PING, ACKNOWLEDGED, 0, payload)
            elif kind == GOAWAY and int.from_bytes(payload[:4], "big") < STREAM:
                raise GrpcError(_UNAVAILABLE, "the connection is being closed")
            elif stream != STREAM:
                continue
            elif kind == DATA:
                self._take(_unpadded(flags, payload), len(payload))
                yield from self._messages()
            elif kind == HEADERS:
                self._check(self._header_block(flags, payload))
            elif kind == RESET:
                raise GrpcError(_INTERNAL, f"stream terminated by RST_STREAM with error code: {payload.hex()}")
            closed = stream == STREAM and kind in (DATA, HEADERS) and bool(flags & END_STREAM)

    def _ask(self, method: str, request: bytes) -> None:
        fields = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", method),
            (":authority", "localhost"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("user-agent", "tiphys"),
        ]
        self._link.sendall(PREFACE)
        self._send(SETTINGS, 0, 0)
        self._send(HEADERS, END_HEADERS, STREAM, encode(fields))
        message = struct.pack(">BI", 0, len(request)) + request
        for at in range(0, len(message), FRAME_BYTES):
            last = at + FRAME_BYTES >= len(message)
            self._send(DATA, END_STREAM if last else 0, STREAM, message[at : at + FRAME_BYTES])

    def _send(self, kind: int, flags: int, stream: int, payload: bytes = b"") -> None:
        self._link.sendall(len(payload).to_bytes(3, "big") + struct.pack(">BBI", kind, flags, stream) + payload)

    def _frame(self) -> tuple[int, int, int, bytes]:
        head = self._read(9)
        length = int.from_bytes(head[:3], "big")
        if length > FRAME_BYTES:
            raise GrpcError(_INTERNAL, "a frame is longer than was agreed")
        return head[3], head[4], int.from_bytes(head[5:], "big") & 0x7FFF_FFFF, self._read(length)

    def _read(self, count: int) -> bytes:
        """Exactly so many bytes. Silence is answered with a PING; after a second time there is nobody."""
        found = bytearray()
        asked = False
        while len(found) < count:
            try:
                part = self._link.recv(count - len(found))
            except TimeoutError:
                if asked or self._link.gettimeout() != SILENCE_SECONDS:
                    raise TimeoutError("the plugin does not answer") from None
                self._send(PING, 0, 0, bytes(8))
                asked = True
                continue
            if not part:
                raise EOFError("connection closed")
            found += part
        return bytes(found)

    def _take(self, data: bytes, taken: int) -> None:
        self._buffer += data
        if taken:
            for stream in (0, STREAM):
                self._send(WINDOW_UPDATE, 0, stream, taken.to_bytes(4, "big"))

    def _messages(self) -> Iterator[bytes]:
        """The whole messages that have come."""
        while len(self._buffer) >= 5:
            compressed, length = struct.unpack(">BI", self._buffer[:5])
            if compressed or length > MESSAGE_BYTES_MAX:
                raise GrpcError(_INTERNAL, "a message is compressed" if compressed else "a message is too long")
            if len(self._buffer) < 5 + length:
                return
            message = bytes(self._buffer[5 : 5 + length])
            del self._buffer[: 5 + length]
            yield message

    def _header_block(self, flags: int, payload: bytes) -> dict[str, str]:
        block = _unpadded(flags, payload)
        block = block[5:] if flags & PRIORITY else block
        while not flags & END_HEADERS:
            kind, flags, _, more = self._frame()
            if kind != CONTINUATION or len(block) > REQUEST_BYTES_MAX:
                raise GrpcError(_INTERNAL, "headers are broken off")
            block += more
        return dict(self._headers.decode(block))

    def _check(self, headers: dict[str, str]) -> None:
        """Raises ``GrpcError`` where the headers, or those at the end, say that it failed."""
        status = headers.get(":status", "200")
        code = headers.get("grpc-status")
        if code is not None and code != "0":
            message = unquote_to_bytes(headers.get("grpc-message", "")).decode("utf-8", "replace")
            raise GrpcError(int(code) if code.isdecimal() else _UNKNOWN, message)
        if status != "200" and code is None:
            raise GrpcError(_UNKNOWN, f"unexpected HTTP status code received from server: {status}")


def _unpadded(flags: int, payload: bytes) -> bytes:
    return payload[1 : len(payload) - payload[0]] if flags & PADDED and payload else payload
