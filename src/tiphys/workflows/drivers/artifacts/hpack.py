"""HPACK, the header compression of HTTP/2 (RFC 7541): what a client needs that reads answers and sends plain literals.

    index 1xxxxxxx │ literal, added to the table 01xxxxxx │ table size 001xxxxx │ literal 000xxxxx

A string is plain or in the Huffman code of the RFC's appendix B, which is canonical: the lengths of the codes say all.
"""

from __future__ import annotations

from functools import lru_cache

TABLE_BYTES = 4096
_ENTRY_BYTES = 32
_NUMBER_BITS_MAX = 28

_STATIC = (
    (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"), (":path", "/index.html"),
    (":scheme", "http"), (":scheme", "https"), (":status", "200"), (":status", "204"), (":status", "206"),
    (":status", "304"), (":status", "400"), (":status", "404"), (":status", "500"), ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"), *((name, "") for name in (
        "accept-language", "accept-ranges", "accept", "access-control-allow-origin", "age", "allow", "authorization",
        "cache-control", "content-disposition", "content-encoding", "content-language", "content-length",
        "content-location", "content-range", "content-type", "cookie", "date", "etag", "expect", "expires", "from",
        "host", "if-match", "if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "last-modified",
        "link", "location", "max-forwards", "proxy-authenticate", "proxy-authorization", "range", "referer", "refresh",
        "retry-after", "server", "set-cookie", "strict-transport-security", "transfer-encoding", "user-agent", "vary",
        "via", "www-authenticate",
    )),
)  # fmt: skip

# The length of each byte's code; the 257th is the end of the string, which never comes.
_LENGTHS = (
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28,
    28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12,
    10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6,
    5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22,
    22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20,
    22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28,
    27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28,
    27, 27, 27, 27, 27, 26, 30,
)  # fmt: skip


class HpackError(ValueError):
    """The bytes are no header block."""


class Decoder:
    """The headers of one connection, block after block."""

    def __init__(self) -> None:
        self._recent: list[tuple[str, str]] = []
        self._limit = TABLE_BYTES

    def decode(self, block: bytes) -> list[tuple[str, str]]:
        """Raises ``HpackError``."""
        found: list[tuple[str, str]] = []
        at = 0
        while at < len(block):
            first = block[at]
            if first & 0x80:
                index, at = _number(block, at, 7)
                found.append(self._entry(index))
            elif first & 0xE0 == 0x20:
                self._limit, at = _number(block, at, 5)
                if self._limit > TABLE_BYTES:
                    raise HpackError("the table is larger than allowed")
                self._evict()
            else:
                kept = bool(first & 0x40)
                index, at = _number(block, at, 6 if kept else 4)
                name, at = (self._entry(index)[0], at) if index else _string(block, at)
                value, at = _string(block, at)
                found.append((name, value))
                if kept:
                    self._recent.insert(0, (name, value))
                    self._evict()
        return found

    def _entry(self, index: int) -> tuple[str, str]:
        if 1 <= index <= len(_STATIC):
            return _STATIC[index - 1]
        if 0 <= index - len(_STATIC) - 1 < len(self._recent):
            return self._recent[index - len(_STATIC) - 1]
        raise HpackError(f"there is no header {index}")

    def _evict(self) -> None:
        used = sum(len(name) + len(value) + _ENTRY_BYTES for name, value in self._recent)
        while used > self._limit:
            name, value = self._recent.pop()
            used -= len(name) + len(value) + _ENTRY_BYTES


def encode(headers: list[tuple[str, str]]) -> bytes:
    """Plain literals that enter no table."""
    return b"".join(b"\x00" + _plain(name) + _plain(value) for name, value in headers)


def _plain(text: str) -> bytes:
    data = text.encode()
    length = len(data)
    if length < 0x7F:
        return bytes([length]) + data
    length -= 0x7F
    out = b"\x7f"
    while length > 0x7F:
        out += bytes([length & 0x7F | 0x80])
        length >>= 7
    return out + bytes([length]) + data


def _number(block: bytes, at: int, bits: int) -> tuple[int, int]:
    most = (1 << bits) - 1
    value = _byte(block, at) & most
    at += 1
    if value < most:
        return value, at
    shift = 0
    while True:
        byte = _byte(block, at)
        at += 1
        value += (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
        shift += 7
        if shift > _NUMBER_BITS_MAX:
            raise HpackError("a number is too long")


def _string(block: bytes, at: int) -> tuple[str, int]:
    coded = bool(_byte(block, at) & 0x80)
    length, at = _number(block, at, 7)
    data = block[at : at + length]
    if len(data) < length:
        raise HpackError("a string is cut off")
    return (_huffman(data) if coded else data).decode("utf-8", "replace"), at + length


def _byte(block: bytes, at: int) -> int:
    if at >= len(block):
        raise HpackError("the block is cut off")
    return block[at]


def _huffman(data: bytes) -> bytes:
    codes, out = _codes(), bytearray()
    code = length = 0
    for byte in data:
        for place in range(7, -1, -1):
            code, length = code << 1 | byte >> place & 1, length + 1
            symbol = codes.get((length, code))
            if symbol is not None:
                if symbol == 256:
                    raise HpackError("a string holds its own end")
                out.append(symbol)
                code = length = 0
    if length > 7 or code != (1 << length) - 1:  # what is left over is all ones
        raise HpackError("a string ends within a code")
    return bytes(out)


@lru_cache(maxsize=1)
def _codes() -> dict[tuple[int, int], int]:
    """(length, code) → byte: codes count up, shorter ones first, equally long ones by their byte."""
    found: dict[tuple[int, int], int] = {}
    code = before = 0
    for symbol in sorted(range(len(_LENGTHS)), key=lambda symbol: (_LENGTHS[symbol], symbol)):
        length = _LENGTHS[symbol]
        code <<= length - before
        found[length, code] = symbol
        code, before = code + 1, length
    return found
