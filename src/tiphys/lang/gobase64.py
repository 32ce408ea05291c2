"""Where Go's base64 decoder gives up."""

from __future__ import annotations

_BASE64_ALPHABET = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")


def first_illegal(data: bytes) -> int:
    """Where Go's decoder gives up: at the first foreign byte, or where the last group of four is not complete."""
    group, position = 0, 0
    while position < len(data):
        byte = data[position]
        if byte in b"\r\n":
            position += 1
            continue
        if byte == ord("="):
            if group < 2:
                return position
            rest = data[position + 1 :].replace(b"\r", b"").replace(b"\n", b"")
            if group == 2 and rest[:1] != b"=":
                return len(data) if not rest else position + 1 + data[position + 1 :].index(rest[:1])
            extra = rest[1:] if group == 2 else rest
            return len(data) - len(extra) if extra else len(data)
        if byte not in _BASE64_ALPHABET:
            return position
        group = (group + 1) % 4
        position += 1
    return len(data) - group if group else len(data)
