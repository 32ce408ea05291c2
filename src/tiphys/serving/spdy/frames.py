"""Frames of SPDY/3.1 as bytes and back, without I/O (draft-mbelshe-httpbis-spdy-00, section 2).

    control:  1 | version 15 | type 16 | flags 8 | length 24 | payload
    data:     0 | stream 31            | flags 8 | length 24 | payload

Header blocks are compressed with one zlib stream per direction and connection, so they must be read in order, also
those of streams that nobody wants.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from tiphys.machinery.errors import TiphysError

VERSION: Final = 3
SYN_STREAM, SYN_REPLY, RST_STREAM, SETTINGS, PING, GOAWAY, HEADERS, WINDOW_UPDATE = 1, 2, 3, 4, 6, 7, 8, 9
FLAG_FIN: Final = 1
PROTOCOL_ERROR, REFUSED_STREAM, CANCEL = 1, 3, 5
INITIAL_WINDOW_SETTING: Final = 7
FRAME_BYTES_MAX: Final = 1 << 20
HEADER_BYTES_MAX: Final = 64 << 10
HEADERS_MAX: Final = 128

_WORDS: Final = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow"
    " authorization cache-control connection content-base content-encoding content-language content-length"
    " content-location content-md5 content-range content-type date etag expect expires from host if-match"
    " if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma"
    " proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade"
    " user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url public set-cookie"
    " keep-alive origin"
)
_TAIL: Final = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203"
    " Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden"
    "404 Not Found500 Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug"
    " Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,"
    "application/xml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdch"
    "charset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
# Section 2.6.10.1: words with their lengths, then text that is common in values.
DICTIONARY: Final = (
    b"".join(struct.pack(">I", len(word)) + word.replace("_", " ").encode() for word in _WORDS.split()) + _TAIL.encode()
)


class SpdyError(TiphysError):
    """What was sent is not SPDY/3.1, or more than we are willing to read: the connection ends."""


@dataclass(frozen=True, slots=True)
class Data:
    stream: int
    payload: bytes
    fin: bool = False


@dataclass(frozen=True, slots=True)
class Control:
    kind: int
    flags: int
    payload: bytes

    @property
    def stream(self) -> int:
        """The stream that a frame about one names first."""
        return number(self.payload, 0)


def number(payload: bytes, at: int) -> int:
    """A 31 or 32 bit number without its highest bit; raises SpdyError for a frame that is too short."""
    if len(payload) < at + 4:
        raise SpdyError("a control frame is too short")
    return int(struct.unpack_from(">I", payload, at)[0]) & 0x7FFFFFFF


class FrameReader:
    """Cuts a byte stream into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Data | Control]:
        """The frames that are complete now. Raises SpdyError."""
        self._buffer += data
        start = 0
        while len(self._buffer) - start >= 8:
            first, second = struct.unpack_from(">II", self._buffer, start)
            length = second & 0xFFFFFF
            if length > FRAME_BYTES_MAX:
                raise SpdyError(f"a frame of {length} bytes is too long")
            if len(self._buffer) - start - 8 < length:
                break
            payload = bytes(self._buffer[start + 8 : start + 8 + length])
            start += 8 + length
            yield _frame(first, second >> 24, payload)
        del self._buffer[:start]


def _frame(first: int, flags: int, payload: bytes) -> Data | Control:
    if not first & 0x80000000:
        return Data(first, payload, bool(flags & FLAG_FIN))
    version = first >> 16 & 0x7FFF
    if version != VERSION:
        raise SpdyError(f"version {version} is not spoken here")
    return Control(first & 0xFFFF, flags, payload)


def control(kind: int, payload: bytes, flags: int = 0) -> bytes:
    return struct.pack(">II", 0x80000000 | VERSION << 16 | kind, flags << 24 | len(payload)) + payload


def data(stream: int, payload: bytes, *, fin: bool = False) -> bytes:
    return struct.pack(">II", stream, (FLAG_FIN << 24 if fin else 0) | len(payload)) + payload


class HeaderReader:
    """Decompresses header blocks, in the order in which they came."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)

    def read(self, block: bytes) -> dict[str, str]:
        """Names are lower case; values of one name are joined by commas. Raises SpdyError."""
        try:
            text = self._inflate.decompress(block, HEADER_BYTES_MAX)
        except zlib.error as err:
            raise SpdyError(f"a header block cannot be decompressed: {err}") from None
        if self._inflate.unconsumed_tail:
            raise SpdyError("a header block is too long")
        return dict(_pairs(text))


def _pairs(text: bytes) -> Iterator[tuple[str, str]]:
    count = number(text, 0)
    if count > HEADERS_MAX:
        raise SpdyError(f"{count} headers are too many")
    at = 4
    for _ in range(count):
        name, at = _string(text, at)
        value, at = _string(text, at)
        yield name.lower(), value.replace("\0", ",")


def _string(text: bytes, at: int) -> tuple[str, int]:
    end = at + 4 + number(text, at)
    if end > len(text):
        raise SpdyError("a header block is too short")
    return text[at + 4 : end].decode("utf-8", "replace"), end


class HeaderWriter:
    """Compresses header blocks."""

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(zdict=DICTIONARY)

    def write(self, headers: Mapping[str, str]) -> bytes:
        words = [struct.pack(">I", len(headers))]
        for pair in headers.items():
            words += [struct.pack(">I", len(word.encode())) + word.encode() for word in pair]
        return self._deflate.compress(b"".join(words)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
