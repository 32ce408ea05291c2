"""DNS messages on the wire (RFC 1035, RFC 2782 for SRV): what a cluster's resolver reads and writes. Pure.

    message  = header { question } { answer } …
    header   = id flags counts(4)                   12 bytes
    question = name type class
    record   = name type class ttl length data
    name     = { length label } 0, or a pointer to one

Names are lower case, without the last dot. What is no message, or loops, is a `DnsError`.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

A, NS, CNAME, SOA, PTR, TXT, AAAA, SRV, OPT, ANY = 1, 2, 5, 6, 12, 16, 28, 33, 41, 255
NO_ERROR, FORMAT_ERROR, SERVER_FAILURE, NO_SUCH_NAME, NOT_IMPLEMENTED, REFUSED = range(6)
UDP_BYTES_MAX = 512
_RESPONSE, _AUTHORITATIVE, _TRUNCATED, _WANTS_RECURSION, _HAS_RECURSION = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080
_POINTERS_MAX = 32


class DnsError(ValueError):
    """The bytes are no DNS message."""


@dataclass(frozen=True)
class Question:
    name: str
    type: int
    klass: int = 1


@dataclass(frozen=True)
class Record:
    """``data`` is an address, a name, or for SRV (priority, weight, port, target)."""

    name: str
    type: int
    ttl: int
    data: str | tuple[int, int, int, str]


@dataclass(frozen=True)
class Query:
    """``size`` is how many bytes of an answer the client takes over UDP."""

    id: int
    question: Question
    wants_recursion: bool
    size: int = UDP_BYTES_MAX


@dataclass(frozen=True)
class Answer:
    code: int = NO_ERROR
    records: Sequence[Record] = ()
    extra: Sequence[Record] = ()


def read_query(message: bytes) -> Query:
    """Raises `DnsError` for anything but one question."""
    try:
        identity, flags, questions, answers, authority, extra = struct.unpack_from(">6H", message)
        if flags & _RESPONSE or questions != 1:
            raise DnsError("not a query with one question")
        name, at = _read_name(message, 12)
        kind, klass = struct.unpack_from(">2H", message, at)
        size = _offered_size(message, at + 4) if extra and not answers and not authority else UDP_BYTES_MAX
    except (struct.error, IndexError) as err:
        raise DnsError("message is too short") from err
    return Query(identity, Question(name, kind, klass), bool(flags & _WANTS_RECURSION), size)


def _offered_size(message: bytes, at: int) -> int:
    """The size in an EDNS record, if that is what follows."""
    _, at = _read_name(message, at)
    kind, size = struct.unpack_from(">2H", message, at)
    return max(size, UDP_BYTES_MAX) if kind == OPT else UDP_BYTES_MAX


def _read_name(message: bytes, at: int) -> tuple[str, int]:
    labels: list[str] = []
    end = -1
    for _ in range(_POINTERS_MAX * 8):
        length = message[at]
        if length & 0xC0 == 0xC0:
            end = at + 2 if end < 0 else end
            at = (length & 0x3F) << 8 | message[at + 1]
        elif not length:
            name = ".".join(labels)
            if len(name) > 253:
                raise DnsError("name is too long")
            return name.lower(), at + 1 if end < 0 else end
        elif length > 63:
            raise DnsError("label is too long")
        else:
            labels.append(message[at + 1 : at + 1 + length].decode("ascii", "replace"))
            at += length + 1
    raise DnsError("name does not end")


def write_answer(query: Query, answer: Answer, *, size: int | None = None) -> bytes:
    """The response; records that do not fit into ``size`` bytes are left out and the message says so."""
    flags = (
        _RESPONSE | _AUTHORITATIVE | _HAS_RECURSION | (_WANTS_RECURSION if query.wants_recursion else 0) | answer.code
    )
    question = _name(query.question.name) + struct.pack(">2H", query.question.type, query.question.klass)
    parts = [_record(one) for one in answer.records]
    extra = [_record(one) for one in answer.extra]
    whole = 12 + len(question) + sum(map(len, parts))
    if size is not None and whole > size:
        return struct.pack(">6H", query.id, flags | _TRUNCATED, 1, 0, 0, 0) + question
    while extra and size is not None and whole + sum(map(len, extra)) > size:
        extra.pop()
    header = struct.pack(">6H", query.id, flags, 1, len(parts), 0, len(extra))
    return header + question + b"".join(parts) + b"".join(extra)


def _record(one: Record) -> bytes:
    data = _data(one)
    return _name(one.name) + struct.pack(">2HIH", one.type, 1, one.ttl, len(data)) + data


def _data(one: Record) -> bytes:
    if isinstance(one.data, tuple):
        priority, weight, port, target = one.data
        return struct.pack(">3H", priority, weight, port) + _name(target)
    if one.type == A:
        return IPv4Address(one.data).packed
    if one.type == AAAA:
        return IPv6Address(one.data).packed
    return _name(one.data)


def _name(name: str) -> bytes:
    labels = [label.encode("ascii", "replace") for label in name.split(".") if label]
    return b"".join(bytes([min(len(label), 63)]) + label[:63] for label in labels) + b"\0"
