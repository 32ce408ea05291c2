"""Protobuf as Kubernetes sends it: JSON-like objects to bytes and back, driven by the field table.

    magic "k8s\\0" + Unknown{typeMeta{apiVersion, kind}, raw}          an object
    length (4 bytes, big endian) + WatchEvent{type, object.raw}        a watch frame

As Go's generated code: a field without a pointer is always written, zero or not; pointers, lists and maps only where
they are there; maps by sorted key. Input is bounded by its length: nothing is allocated beyond what the bytes hold,
and nesting is limited.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from tiphys.api.kube_messages import OMITS_ZERO_STRUCT, Field, Message, message, message_of
from tiphys.lang import durations

MAGIC = b"k8s\x00"
DEPTH_MAX = 100

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ProtobufError(ValueError):
    """The bytes are no such message, or the object does not fit its type."""


def decode(data: bytes) -> dict[str, Any]:
    """The object in an envelope. Raises ``ProtobufError``."""
    if not data:
        raise ProtobufError("empty data")
    if not data.startswith(MAGIC):
        prefix = " ".join(str(b) for b in MAGIC)
        raise ProtobufError(f"provided data does not appear to be a protobuf message, expected prefix [{prefix}]")
    if len(data) == len(MAGIC):
        raise ProtobufError("empty body")
    api_version, kind, raw = _envelope(data[len(MAGIC) :])
    found = message_of(api_version, kind)
    if found is None:
        group_version = api_version if "/" in api_version else f"/{api_version}"
        raise ProtobufError(
            f"no kind {kind!r} is registered for version {api_version!r} ({group_version}, Kind={kind})"
        )
    return {"kind": kind, "apiVersion": api_version, **_read(raw, found, 0)}


def encode(obj: dict[str, Any]) -> bytes:
    """An object in its envelope; it must be in normal form (``tiphys.api.decode``). Raises ``ProtobufError``."""
    api_version, kind = str(obj.get("apiVersion", "")), str(obj.get("kind", ""))
    found = message_of(api_version, kind)
    if found is None:
        raise ProtobufError(f"no protobuf type for kind {kind!r} of {api_version!r}")
    type_meta = bytes_field(1, api_version.encode()) + bytes_field(2, kind.encode())
    raw = _write(obj, found)
    return MAGIC + bytes_field(1, type_meta) + bytes_field(2, raw) + bytes_field(3, b"") + bytes_field(4, b"")


def encode_watch_event(kind: str, obj: dict[str, Any]) -> bytes:
    """A frame of a protobuf watch stream."""
    event = bytes_field(1, kind.encode()) + bytes_field(2, bytes_field(1, encode(obj)))
    return len(event).to_bytes(4, "big") + event


def decode_watch_event(frame: bytes) -> tuple[str, dict[str, Any]]:
    """The type and the object of one frame."""
    if len(frame) < 4 or int.from_bytes(frame[:4], "big") != len(frame) - 4:
        raise ProtobufError("unexpected EOF")
    parts = dict(read_fields(frame[4:]))
    raw = dict(read_fields(_as_bytes(parts.get(2, b""))))
    return _as_bytes(parts.get(1, b"")).decode(), decode(_as_bytes(raw.get(1, b"")))


def _envelope(data: bytes) -> tuple[str, str, bytes]:
    parts = dict(read_fields(data))
    type_meta = dict(read_fields(_as_bytes(parts.get(1, b""))))
    return (
        _as_bytes(type_meta.get(1, b"")).decode(),
        _as_bytes(type_meta.get(2, b"")).decode(),
        _as_bytes(parts.get(2, b"")),
    )


# Reading


def read_fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(number, value) of each field: an int for varints and fixed numbers, bytes for what has a length."""
    at, end = 0, len(data)
    while at < end:
        key, at = _varint(data, at)
        kind, number = key & 7, key >> 3
        if number == 0:
            raise ProtobufError("illegal tag 0")
        if kind == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        if kind == 2:
            length, at = _varint(data, at)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ProtobufError(f"wire type {kind} is not supported")
        if at + length > end:
            raise ProtobufError("unexpected EOF")
        chunk = data[at : at + length]
        at += length
        yield number, chunk if kind == 2 else int.from_bytes(chunk, "little")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data):
            raise ProtobufError("unexpected EOF")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
        shift += 7
        if shift > 63:
            raise ProtobufError("integer overflow")


def _as_bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ProtobufError("wrong wire type")
    return value


def _read(data: bytes, kind: Message, depth: int) -> dict[str, Any]:
    """A message as JSON: fields that Go leaves out when empty are absent, the others are there."""
    if depth > DEPTH_MAX:
        raise ProtobufError(f"nested more than {DEPTH_MAX} deep")
    found: dict[str, Any] = {}
    inlined: dict[str, bytes] = {}
    for number, value in read_fields(data):
        field = kind.by_number.get(number)
        if field is None:
            continue
        if field.inline:
            inlined[field.type] = _as_bytes(value)
        elif field.map_key:
            key, item = _read_entry(_as_bytes(value), field, depth)
            found.setdefault(field.name, {})[key] = item
        elif field.repeated:
            found.setdefault(field.name, []).append(_read_value(value, field, depth))
        else:
            found[field.name] = _read_value(value, field, depth)
    return _in_order(kind, found, inlined, depth)


def _in_order(kind: Message, found: dict[str, Any], inlined: dict[str, bytes], depth: int) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for field in kind.fields:
        if field.inline:
            out |= _read(inlined.get(field.type, b""), message(field.type), depth + 1)
            continue
        value = found.get(field.name)
        if field.name not in found and not field.pointer and not field.repeated and not field.map_key:
            value = _zero(field, depth)
        if field.name not in found and (field.pointer or field.repeated or field.map_key):
            value = None
        if not (field.omits_empty and _leaves_out(field, value)):
            out[field.name] = value
    return out


def _leaves_out(field: Field, value: Any) -> bool:
    if field.pointer or (value is None and (field.repeated or field.map_key)):
        return value is None
    if field.is_message and not field.repeated and not field.map_key:
        return value is None and ("ObjectMeta", field.name) in OMITS_ZERO_STRUCT
    return not value


def _zero(field: Field, depth: int) -> Any:
    if field.is_message:
        inner = message(field.type)
        return _read_special(b"", inner, depth) if inner.special else _read(b"", inner, depth + 1)
    return {"string": "", "bytes": None, "bool": False}.get(field.type, 0)


def _read_entry(data: bytes, field: Field, depth: int) -> tuple[str, Any]:
    parts = dict(read_fields(data))
    key = _as_bytes(parts.get(1, b"")).decode()
    if 2 in parts:
        return key, _read_value(parts[2], field, depth)
    return key, _zero(field, depth) if field.type != "bytes" else ""


def _read_value(value: int | bytes, field: Field, depth: int) -> Any:
    if field.is_message:
        inner = message(field.type)
        data = _as_bytes(value)
        return _read_special(data, inner, depth) if inner.special else _read(data, inner, depth + 1)
    if field.type == "string":
        return _text(_as_bytes(value))
    if field.type == "bytes":
        return base64.b64encode(_as_bytes(value)).decode()
    if isinstance(value, bytes):
        raise ProtobufError("wrong wire type")
    if field.type == "bool":
        return bool(value)
    if field.type == "double":
        return struct.unpack("<d", value.to_bytes(8, "little"))[0]
    return _signed(value, field.type)


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as err:
        raise ProtobufError("a string holds invalid UTF-8") from err


def _signed(value: int, kind: str) -> int:
    if kind.startswith("u"):
        return value
    bits = 32 if kind == "int32" else 64
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def _read_special(data: bytes, kind: Message, depth: int) -> Any:
    parts = dict(read_fields(data))
    match kind.special:
        case "quantity":
            return _as_bytes(parts.get(1, b"0")).decode() or "0"
        case "intorstring":
            if _as_int(parts.get(1, 0)):
                return _text(_as_bytes(parts.get(3, b"")))
            return _signed(_as_int(parts.get(2, 0)), "int32")
        case "time" | "microtime":
            return _read_time(data, kind.special == "microtime")
        case "duration":
            return durations.format(_signed(_as_int(parts.get(1, 0)), "int64"))
        case "items":
            return [_text(_as_bytes(value)) for _, value in read_fields(data)]
        case "rawextension":
            return _read_raw(_as_bytes(parts.get(1, b"")))
        case "json" | "fieldsv1":
            return _json(_as_bytes(parts.get(1, b"")))
        case "schemaorarray" | "schemaorbool" | "schemaorstringarray":
            return _read_schema_or(kind, data, depth)
    raise ProtobufError(f"{kind.short_name} is not on the wire")


def _as_int(value: int | bytes) -> int:
    if isinstance(value, bytes):
        raise ProtobufError("wrong wire type")
    return value


def _json(raw: bytes) -> Any:
    try:
        return orjson.loads(raw) if raw else None
    except orjson.JSONDecodeError as err:
        raise ProtobufError(f"embedded JSON is invalid: {err}") from err


def _read_raw(raw: bytes) -> Any:
    return decode(raw) if raw.startswith(MAGIC) else _json(raw)


def _read_schema_or(kind: Message, data: bytes, depth: int) -> Any:
    """JSONSchemaPropsOrArray, …OrBool, …OrStringArray: JSON is the one that is set."""
    fields = _read_plain(data, kind, depth)
    if fields.get("schema") is not None:
        return fields["schema"]
    if kind.special == "schemaorbool":
        return fields.get("allows", False)
    return fields.get("jSONSchemas" if kind.special == "schemaorarray" else "property")


def _read_plain(data: bytes, kind: Message, depth: int) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for number, value in read_fields(data):
        field = kind.by_number.get(number)
        if field is None:
            continue
        item = _read_value(value, field, depth + 1)
        if field.repeated:
            out.setdefault(field.name, []).append(item)
        else:
            out[field.name] = item
    return out


def _read_time(data: bytes, micro: bool) -> str | None:
    if not data:
        return None
    parts = dict(read_fields(data))
    seconds, nanos = _signed(_as_int(parts.get(1, 0)), "int64"), _signed(_as_int(parts.get(2, 0)), "int32")
    try:
        moment = _EPOCH + timedelta(seconds=seconds)
    except OverflowError as err:
        raise ProtobufError(f"time out of range: {seconds} s") from err
    whole = moment.strftime("%Y-%m-%dT%H:%M:%S").zfill(19)
    return f"{whole}.{nanos // 1000:06d}Z" if micro else f"{whole}Z"


# Writing


def _key(number: int, kind: int) -> bytes:
    return _uint(number << 3 | kind)


def _uint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def bytes_field(number: int, data: bytes) -> bytes:
    """A field with a length: text, bytes, or a message."""
    return _key(number, 2) + _uint(len(data)) + data


def number_field(number: int, value: int) -> bytes:
    """A field with a number that is not negative, or a truth value."""
    return _key(number, 0) + _uint(int(value))


def _write(obj: Any, kind: Message) -> bytes:
    if not isinstance(obj, dict):
        raise ProtobufError(f"{kind.short_name}: expected an object, got {type(obj).__name__}")
    out = []
    for field in sorted(kind.by_number.values(), key=lambda f: f.number):
        if field.inline:
            out.append(bytes_field(field.number, _write(obj, message(field.type))))
        else:
            out.append(_write_field(field, obj.get(field.name)))
    return b"".join(out)


def _write_field(field: Field, value: Any) -> bytes:
    if field.map_key:
        return b"".join(_write_entry(field, key, value[key]) for key in sorted(value or ()))
    if field.repeated:
        return b"".join(_write_value(field, item) for item in value or ())
    if value is None and (field.pointer or field.type == "bytes"):
        return b""
    return _write_value(field, value)


def _write_entry(field: Field, key: str, value: Any) -> bytes:
    inner = Field("", 2, field.type, False, False, False, False, False)
    return bytes_field(field.number, bytes_field(1, key.encode()) + _write_value(inner, value))


def _write_value(field: Field, value: Any) -> bytes:
    if field.is_message:
        inner = message(field.type)
        data = _write_special(value, inner) if inner.special else _write(value or {}, inner)
        return bytes_field(field.number, data)
    if field.type == "string":
        return bytes_field(field.number, str(value or "").encode())
    if field.type == "bytes":
        return bytes_field(field.number, base64.b64decode(value or ""))
    if field.type == "double":
        return _key(field.number, 1) + struct.pack("<d", value or 0)
    return _key(field.number, 0) + _uint(int(value or 0) & 0xFFFFFFFFFFFFFFFF)


def _write_special(value: Any, kind: Message) -> bytes:
    match kind.special:
        case "quantity":
            return bytes_field(1, str(value if value is not None else "0").encode())
        case "intorstring":
            text = isinstance(value, str)
            number = 0 if text else int(value or 0) & 0xFFFFFFFFFFFFFFFF
            return (
                _key(1, 0)
                + _uint(int(text))
                + _key(2, 0)
                + _uint(number)
                + bytes_field(3, value.encode() if text else b"")
            )
        case "time" | "microtime":
            return _write_time(value)
        case "duration":
            return _key(1, 0) + _uint(durations.parse(value or "0s") & 0xFFFFFFFFFFFFFFFF)
        case "items":
            return b"".join(bytes_field(1, item.encode()) for item in value or ())
        case "rawextension" | "json" | "fieldsv1":
            return b"" if value is None else bytes_field(1, orjson.dumps(value))
    return _write_schema_or(value, kind)


def _write_schema_or(value: Any, kind: Message) -> bytes:
    names = {"schemaorarray": "jSONSchemas", "schemaorstringarray": "property", "schemaorbool": "allows"}
    is_schema = isinstance(value, dict)
    fields: dict[str, Any] = {"schema": value} if is_schema else {names[kind.special]: value}
    if kind.special == "schemaorbool" and is_schema:
        fields["allows"] = True
    return b"".join(
        _write_field(f, fields.get(f.name)) for f in sorted(kind.by_number.values(), key=lambda f: f.number)
    )


def _write_time(value: str | None) -> bytes:
    if not value:
        return b""
    moment = datetime.fromisoformat(value)
    since = moment - _EPOCH
    seconds = since.days * 86_400 + since.seconds
    return _key(1, 0) + _uint(seconds & 0xFFFFFFFFFFFFFFFF) + _key(2, 0) + _uint(since.microseconds * 1000)
