"""JSON as Go's encoding/json writes it, byte for byte.

Argo hashes, compares and substitutes marshalled values, so "equal JSON" is not enough: keys are sorted, ``<``, ``>``
and ``&`` and the two Unicode line separators are escaped, whole floats lose their point (``1.0`` is ``1``) and the
exponent starts at 1e21 and below 1e-6.

orjson does the work. Its text differs from Go's in a few spots only, which are put right afterwards; values that
orjson refuses (integers beyond 64 bits, lone surrogates, nesting beyond 254) take the slow path. This is not a JSON
reader: `orjson.loads` is good enough for that.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import orjson

from tiphys.lang import gofmt

DEPTH_MAX = 10_000
"""Deepest nesting that is written; Go's decoder refuses to read more."""


class GoJsonError(ValueError):
    """The value has no JSON form: NaN, an infinity, a key that is no string, an unknown type, or too deep a nesting."""


def dumps(obj: Any, *, escape_html: bool = True, keep_order: bool = False) -> str:
    """The text of ``json.Marshal(obj)``; with ``escape_html=False`` that of an encoder with SetEscapeHTML(false).

    ``keep_order`` writes keys as they come: for a value that already has the order of a Go struct's fields.
    Takes what JSON knows (dict with str keys, list, tuple, str, int, float, bool, None) and raises `GoJsonError`
    on anything else.
    """
    return dump_bytes(obj, escape_html=escape_html, keep_order=keep_order).decode()


def dump_bytes(obj: Any, *, escape_html: bool = True, keep_order: bool = False) -> bytes:
    """Same as `dumps`, as UTF-8."""
    try:
        data = orjson.dumps(obj, option=_ORJSON_OPTIONS if keep_order else _ORJSON_OPTIONS | orjson.OPT_SORT_KEYS)
    except TypeError:
        data = "".join(_slow(obj, list if keep_order else sorted)).encode()
    else:
        if b"null" in data:
            _refuse_nan(obj)
        if _WHOLE_FLOAT.search(data) or _EXPONENT.search(data):
            data = _STRING_OR_FLOAT.sub(_go_number, data)
    for plain, escaped in _ESCAPED if escape_html else _ALWAYS_ESCAPED:
        if plain in data:
            data = data.replace(plain, escaped)
    return data


def indented(obj: Any, indent: str) -> str:
    """The text of ``json.MarshalIndent(obj, "", indent)``."""
    depth = 0
    out: list[str] = []
    for token in _TOKENS.findall(dumps(obj)):
        if token in ("{", "["):
            depth += 1
            out.append(f"{token}\n{indent * depth}")
        elif token in ("}", "]"):
            depth -= 1
            out.append(f"\n{indent * depth}{token}")
        elif token == ",":
            out.append(f",\n{indent * depth}")
        else:
            out.append(": " if token == ":" else token)
    return "".join(out)


def is_valid(text: str) -> bool:
    """Whether a text is one JSON value."""
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        # orjson gives up at a nesting of 1,024, and on lone surrogates, which are fine in escapes
        try:
            json.loads(text, parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            return False
    return True


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def format_float(value: float) -> str:
    """A float64 as encoding/json writes it: shortest digits that read back the same; no point when whole."""
    if not math.isfinite(value):
        raise GoJsonError(f"json: unsupported value: {_go_inf(value)}")
    sign, digits, exponent = gofmt.shortest_digits(value)
    if value and not 1e-6 <= abs(value) < 1e21:
        fraction = f".{digits[1:]}" if len(digits) > 1 else ""
        return f"{sign}{digits[0]}{fraction}e{'-' if exponent < 0 else '+'}{abs(exponent)}"
    return sign + gofmt.plain_decimal(digits, exponent)


_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*"|\{\}|\[\]|[{}\[\],:]|[^{}\[\],:"]+')
_ORJSON_OPTIONS = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
_ALWAYS_ESCAPED = (("\u2028".encode(), b"\\u2028"), ("\u2029".encode(), b"\\u2029"))
_ESCAPED = ((b"<", b"\\u003c"), (b">", b"\\u003e"), (b"&", b"\\u0026"), *_ALWAYS_ESCAPED)

# Floats that orjson writes otherwise end in ".0" or have an exponent. Both patterns start with a literal, so that the
# search is fast; a hit may be inside a string, which only costs the second, exact pass.
_WHOLE_FLOAT = re.compile(rb"\.0(?=[,\]}]|\Z)")
_EXPONENT = re.compile(rb"e[+-]?[0-9]+(?=[,\]}]|\Z)")
_FLOAT = rb"-?\d+(?:\.0(?!\d)|(?:\.\d+)?e[+-]?\d+)"
_STRING_OR_FLOAT = re.compile(rb'"(?:[^"\\]|\\.)*"|' + _FLOAT)


def _go_number(match: re.Match[bytes]) -> bytes:
    text = match.group()
    return text if text[:1] == b'"' else format_float(float(text)).encode()


def _go_inf(value: float) -> str:
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"


def _refuse_nan(obj: Any) -> None:
    """orjson writes NaN and the infinities as null; Go refuses them."""
    todo = [obj]
    while todo:
        value = todo.pop()
        if isinstance(value, float):
            if not math.isfinite(value):
                raise GoJsonError(f"json: unsupported value: {_go_inf(value)}")
        elif isinstance(value, dict):
            todo.extend(value.values())
        elif isinstance(value, (list, tuple)):
            todo.extend(value)


def _slow(obj: Any, order: Callable[[Iterable[Any]], list[Any]]) -> Iterator[str]:
    """Writes any value piece by piece, without recursion, so that nesting is bounded by `DEPTH_MAX` alone."""
    stack: list[Iterator[tuple[str, Any]]] = [iter([("", obj)])]
    closers: list[str] = [""]
    while stack:
        try:
            prefix, value = next(stack[-1])
        except StopIteration:
            stack.pop()
            yield closers.pop()
            continue
        if prefix:
            yield prefix
        if isinstance(value, (dict, list, tuple)):
            if len(stack) > DEPTH_MAX:
                raise GoJsonError(f"json: nested deeper than {DEPTH_MAX}")
            yield "{" if isinstance(value, dict) else "["
            closers.append("}" if isinstance(value, dict) else "]")
            stack.append(_fields(value, order) if isinstance(value, dict) else _items(value))
        else:
            yield _scalar(value)


def _fields(value: dict[Any, Any], order: Callable[[Iterable[Any]], list[Any]]) -> Iterator[tuple[str, Any]]:
    for key in value:
        if not isinstance(key, str):
            raise GoJsonError(f"json: a key must be a string, not {type(key).__name__}")
    for index, key in enumerate(order(value)):
        yield f"{',' if index else ''}{_text(key)}:", value[key]


def _items(value: list[Any] | tuple[Any, ...]) -> Iterator[tuple[str, Any]]:
    for index, item in enumerate(value):
        yield "," if index else "", item


def _scalar(value: object) -> str:
    if isinstance(value, str):
        return _text(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        return _integer(value)
    if isinstance(value, float):
        return format_float(value)
    raise GoJsonError(f"json: unsupported type: {type(value).__name__}")


def _integer(value: int) -> str:
    try:
        return str(value)
    except ValueError as err:  # Python refuses to print integers of more than 4,300 digits
        raise GoJsonError("json: integer too long") from err


def _text(value: str) -> str:
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        return '"' + "\\ufffd".join(_text(part)[1:-1] for part in _SURROGATE.split(value)) + '"'


_SURROGATE = re.compile("[\ud800-\udfff]")
