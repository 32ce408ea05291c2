"""One question of the gRPC health protocol (grpc.health.v1.Health/Check), over HTTP/2 by hand.

A probe needs no HTTP/2 library: it sends one request and looks at the first message that comes back. Headers are sent
as plain literals; those of the answer are not read (the message says all, and an answer without one is a refusal).

    request  field 1: service name        response  field 1: 0 unknown, 1 serving, 2 not serving, 3 service unknown
"""

from __future__ import annotations

import asyncio
import contextlib
import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACKNOWLEDGED, END_HEADERS, PADDED = 0x1, 0x1, 0x4, 0x8
STATUS_NAMES = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")
SERVING = 1
FRAME_BYTES_MAX = 1 << 20
STREAM = 1
_RETRY_SECONDS = 0.1


class Refused(Exception):
    """The other side answered, but not this question."""


async def check(host: str, port: int, service: str, timeout_seconds: float) -> tuple[bool, str]:
    """Whether the service serves, and what to say if not (kubernetes pkg/probe/grpc)."""
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    connected = False
    try:
        async with asyncio.timeout(timeout_seconds):
            reader, writer = await _connect(host, port)
            connected = True
            try:
                status = await _ask(reader, writer, place, service)
            finally:
                writer.close()
    except TimeoutError:
        if connected:
            return False, f"timeout: health rpc did not complete within {timeout_seconds:g}s"
        text = f'timeout: failed to connect service "{place}" within {timeout_seconds:g}s'
        return False, f"{text}: context deadline exceeded"
    except Refused as err:
        return False, f"error: health rpc probe failed: {err}"
    except (OSError, asyncio.IncompleteReadError, struct.error, IndexError) as err:
        return (
            False,
            f"error: health rpc probe failed: rpc error: code = Unavailable desc = {err or 'connection closed'}",
        )
    name = STATUS_NAMES[status] if status < len(STATUS_NAMES) else str(status)
    return status == SERVING, "" if status == SERVING else f'service unhealthy (responded with "{name}")'


async def _connect(host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Tries until the deadline around it, as a blocking dial does."""
    while True:
        with contextlib.suppress(OSError):
            return await asyncio.open_connection(host, port)
        await asyncio.sleep(_RETRY_SECONDS)


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, authority: str, service: str) -> int:
    name = service.encode()
    message = b"\x0a" + _varint(len(name)) + name if name else b""
    writer.write(
        PREFACE
        + _frame(SETTINGS, 0, 0, b"")
        + _frame(HEADERS, END_HEADERS, STREAM, _headers(authority))
        + _frame(DATA, END_STREAM, STREAM, struct.pack(">BI", 0, len(message)) + message)
    )
    await writer.drain()
    body = b""
    while True:
        kind, flags, stream, payload = await _read_frame(reader)
        if kind == SETTINGS and not flags & ACKNOWLEDGED:
            writer.write(_frame(SETTINGS, ACKNOWLEDGED, 0, b""))
        elif kind == PING and not flags & ACKNOWLEDGED:
            writer.write(_frame(PING, ACKNOWLEDGED, 0, payload))
        elif kind == GOAWAY or (kind == RESET and stream == STREAM):
            raise Refused("rpc error: code = Unavailable desc = the connection was closed")
        elif kind == DATA and stream == STREAM:
            body += payload[1 : len(payload) - payload[0]] if flags & PADDED else payload
            if len(body) > FRAME_BYTES_MAX:
                raise Refused("the answer is too long")
            if len(body) >= 5 and len(body) >= 5 + struct.unpack(">I", body[1:5])[0]:
                return _status(body[5 : 5 + struct.unpack(">I", body[1:5])[0]])
        if stream == STREAM and kind in (DATA, HEADERS) and flags & END_STREAM:
            raise Refused("this server does not implement the grpc health protocol (grpc.health.v1.Health)")


async def _read_frame(reader: asyncio.StreamReader) -> tuple[int, int, int, bytes]:
    head = await reader.readexactly(9)
    length = int.from_bytes(head[:3], "big")
    if length > FRAME_BYTES_MAX:
        raise Refused("a frame is too long")
    stream = int.from_bytes(head[5:9], "big") & 0x7FFF_FFFF
    return head[3], head[4], stream, await reader.readexactly(length)


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + struct.pack(">BBI", kind, flags, stream) + payload


def _headers(authority: str) -> bytes:
    fields = (
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/grpc.health.v1.Health/Check"),
        (":authority", authority),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("user-agent", "kube-probe/1.35"),
    )
    return b"".join(b"\x00" + _literal(name) + _literal(value) for name, value in fields)


def _literal(text: str) -> bytes:
    """An HPACK string, without Huffman code; these are all shorter than 127 bytes."""
    data = text.encode()[:126]
    return bytes([len(data)]) + data


def _varint(number: int) -> bytes:
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def _status(message: bytes) -> int:
    """Field 1 of the response; 0 where it is left out."""
    return message[1] if message[:1] == b"\x08" else 0
