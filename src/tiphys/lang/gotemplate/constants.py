"""Go's literals: strings with escapes, characters, and numbers that fit several types at once."""

from __future__ import annotations

import re

from tiphys.lang.gofmt import quote
from tiphys.lang.gotemplate.nodes import Number
from tiphys.lang.gotext import from_utf8, utf8
from tiphys.lang.govalues import float_to_int, parse_float, parse_int

_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|([0-7]{3})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))|([^\\]+)", re.DOTALL)
_SIMPLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\"}
_COMPLEX = re.compile(r"([+-]?[^+-]+(?:[eEpP][+-]?\d+)?)([+-][^+-]+(?:[eEpP][+-]?\d+)?)i")
_UINT64 = 1 << 64


def unquote(source: str) -> str:
    """strconv.Unquote of a quoted or raw string. Raises ValueError."""
    if source[0] == "`":
        return source[1:-1].replace("\r", "")
    return _unescaped(source[1:-1], source[0])


def _unescaped(body: str, quotes: str) -> str:
    if "\\" not in body:
        return body
    parts: list[bytes] = []
    at = 0
    while at < len(body):
        found = _ESCAPE.match(body, at)
        if found is None:
            raise ValueError("invalid syntax")
        parts.append(_part(found, quotes))
        at = found.end()
    return from_utf8(b"".join(parts))


def _part(found: re.Match[str], quotes: str) -> bytes:
    byte, octal, short, long, simple, plain = found.groups()
    if plain is not None:
        return utf8(plain)
    if byte is not None:
        return bytes((int(byte, 16),))
    if octal is not None:
        if int(octal, 8) > 255:
            raise ValueError("invalid syntax")
        return bytes((int(octal, 8),))
    if simple is not None:
        if simple != quotes and simple not in _SIMPLE:
            raise ValueError("invalid syntax")
        return (quotes if simple == quotes else _SIMPLE[simple]).encode()
    point = int(short or long, 16)
    if point > 0x10FFFF or 0xD800 <= point <= 0xDFFF:
        raise ValueError("invalid syntax")
    return chr(point).encode()


def character(position: int, source: str) -> Number:
    """``'a'``, which is a number of any type. Raises ValueError."""
    body = source[1:-1]
    if not body:
        raise ValueError("invalid syntax")
    found = _ESCAPE.match(body) if body[0] == "\\" else None
    if found is None and body[0] == "\\":
        raise ValueError("invalid syntax")
    end = found.end() if found else 1
    if end != len(body):
        raise ValueError(f"malformed character constant: {source}")
    raw = found is not None and (found[1] is not None or found[2] is not None)
    data = _part(found, "'") if found else utf8(body)
    value = data[0] if raw else ord(data.decode("utf-8", "replace"))
    return Number(position, source, value, value, float(value))


def complex_number(position: int, source: str) -> Number:
    """``1+2i``. Raises ValueError."""
    found = _COMPLEX.fullmatch(source)
    if found is None:
        raise ValueError("syntax error scanning complex number")
    return _simplified(Number(position, source, imaginary=complex(parse_float(found[1]), parse_float(found[2]))))


def number(position: int, source: str) -> Number:
    """An integer or float constant in all types that it fits. Raises ValueError."""
    if source.endswith("i"):
        try:
            return _simplified(Number(position, source, imaginary=complex(0, parse_float(source[:-1]))))
        except ValueError:
            pass
    found = Number(position, source, _signed(source), _unsigned(source))
    if found.integer is not None:
        found.real = float(found.integer)
        found.unsigned = 0 if found.integer == 0 else found.unsigned
    elif found.unsigned is not None:
        found.real = float(found.unsigned)
    else:
        _read_float(found)
    if found.integer is None and found.unsigned is None and found.real is None:
        raise ValueError(f"illegal number syntax: {quote(source)}")
    return found


def _read_float(found: Number) -> None:
    try:
        value = parse_float(found.source.replace("_", "") if "x" in found.source.lower() else found.source)
    except ValueError:
        return
    if not any(mark in found.source for mark in ".eEpP"):
        raise ValueError(f"integer overflow: {quote(found.source)}")
    found.real = value
    _fit_integers(found, value)


def _fit_integers(found: Number, value: float) -> None:
    if float(float_to_int(value)) == value:
        found.integer = float_to_int(value)
    if 0 <= value < _UINT64 and float(int(value)) == value:
        found.unsigned = int(value)


def _simplified(found: Number) -> Number:
    """A complex number without an imaginary part is also a real one."""
    if found.imaginary is not None and found.imaginary.imag == 0:
        found.real = found.imaginary.real
        _fit_integers(found, found.real)
    return found


def _signed(source: str) -> int | None:
    try:
        return parse_int(source, 0)
    except ValueError:
        return None


def _unsigned(source: str) -> int | None:
    if source[:1] in ("+", "-"):
        return None
    try:
        value = parse_int(source, 0, 65)
    except ValueError:
        return None
    return value if 0 <= value < _UINT64 else None
