"""Request bodies: JSON and YAML (and what each content type may carry), bounded in size, depth and time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections import Counter
from typing import Any, Final

from aiohttp import web

from tiphys.api import decode, kube_messages, protobuf
from tiphys.api.decode import Repeated
from tiphys.lang import goyaml
from tiphys.machinery.actions import PatchType
from tiphys.machinery.errors import BadRequest, Timeout, TooLarge, UnsupportedMediaType

BODY_BYTES_MAX: Final = 3 * 1024 * 1024
BODY_SECONDS_MAX: Final = 60.0
JSON: Final = "application/json"
YAML: Final = "application/yaml"
PROTOBUF: Final = "application/vnd.kubernetes.protobuf"
# Its older parser, which reads objects, counts lines otherwise.
_PARSER_LINE: Final = re.compile(r"line (\d+): (did not find expected)")
_IN_PLACE: Final = re.compile(r" \(in [^)]*\)$")
_PATCHES: Final = frozenset(kind.value for kind in PatchType)


async def read(request: web.BaseRequest) -> bytes:
    """The whole body; raises TooLarge, or Timeout for one that does not come to its end."""
    if request.content_length is not None and request.content_length > BODY_BYTES_MAX:
        raise _too_large()
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_SECONDS_MAX):
            async for chunk in request.content.iter_any():
                size += len(chunk)
                if size > BODY_BYTES_MAX:
                    raise _too_large()
                chunks.append(chunk)
    except TimeoutError:
        raise Timeout(f"the body of the request did not come within {BODY_SECONDS_MAX:g} seconds") from None
    return b"".join(chunks)


def check(body: Any, api_version: str, kind: str) -> None:
    """Raises BadRequest for a body whose values are not of the types of the kind; kinds that we do not know pass."""
    found = kube_messages.message_of(api_version, kind)
    try:
        if found is not None and body is not None:
            decode.decode(found.name, body)
    except decode.DecodeError as err:
        version = api_version.rpartition("/")[2]
        raise BadRequest(f'{kind} in version "{version}" cannot be handled as a {kind}: {err}') from None


def media_type(request: web.BaseRequest) -> str:
    """The body's type without parameters, "" for none."""
    return request.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def parse(content: bytes, media: str, kind: str) -> Any:
    """The body as plain values; objects in which a key stands twice say so (``decode.Repeated``).

    Raises BadRequest or UnsupportedMediaType; ``kind`` is what the endpoint expects, for the message.
    """
    if media in ("", JSON):
        return _json(content, kind)
    if media in _PATCHES - {PatchType.APPLY.value}:
        return _patch(content)
    if media in (YAML, PatchType.APPLY.value):
        return _yaml(content, kind, applies=media != YAML)
    if media == PROTOBUF:
        return _protobuf(content)
    raise UnsupportedMediaType(
        f"the body of the request was in an unknown format - accepted media types include: {JSON}, {YAML}, {PROTOBUF}"
    )


def _json(content: bytes, kind: str) -> Any:
    try:
        # The standard library's parser: the fast one does not tell of keys that stand twice.
        return json.loads(content, object_pairs_hook=_object, parse_constant=_no_constant)
    except (ValueError, RecursionError) as err:
        why = _go_complaint(content, err)
        shown = (
            content[:30].decode("utf-8", "replace") + (" ..." if len(content) > 30 else "") if content else "<empty>"
        )
        text = f"couldn't get version/kind; json parse error: {why} ({shown})"
        raise BadRequest(f"the object provided is unrecognized (must be of type {kind}): {text}") from None


def _patch(content: bytes) -> Any:
    try:
        return json.loads(content, object_pairs_hook=_object, parse_constant=_no_constant)
    except (ValueError, RecursionError) as err:
        raise BadRequest(_go_complaint(content, err)) from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    repeated = Repeated(pairs)
    counts = Counter(key for key, _ in pairs)
    lost = [f"{key}.{inner}" for key, value in pairs if value is not found[key] for inner in _repeated_in(value)]
    repeated.repeated = (*lost, *(key for key, count in counts.items() if count > 1))
    return repeated


def _repeated_in(value: Any) -> tuple[str, ...]:
    return value.repeated if isinstance(value, Repeated) else ()


def _no_constant(name: str) -> Any:
    raise ValueError(f"invalid character '{name[0]}' looking for beginning of value")


def _go_complaint(content: bytes, err: Exception) -> str:
    """What encoding/json says of the commonest faults."""
    if isinstance(err, json.JSONDecodeError):
        rest = err.doc[err.pos :].lstrip()
        if not rest:
            return "unexpected end of JSON input"
        if err.msg == "Extra data":
            return f"invalid character '{rest[0]}' after top-level value"
        return f"invalid character '{rest[0]}' looking for beginning of value"
    return str(err) if content else "unexpected end of JSON input"


def _yaml(content: bytes, kind: str, *, applies: bool = False) -> Any:
    if content.lstrip()[:1] in (b"{", b"["):
        # JSON is YAML, and read much faster; what only looks like it is a flow mapping.
        with contextlib.suppress(ValueError, RecursionError):
            return json.loads(content, object_pairs_hook=_object, parse_constant=_no_constant)
    try:
        found = goyaml.load(content)
    except goyaml.YamlError as err:
        shown = content[:30].hex() + (" ..." if len(content) > 30 else "")
        why = _PARSER_LINE.sub(lambda m: f"line {int(m[1]) - 1}: {m[2]}", str(err))
        if applies:
            raise BadRequest(f"error decoding YAML: error converting YAML to JSON: {why}") from None
        raise BadRequest(f"the object provided is unrecognized (must be of type {kind}): {why} ({shown})") from None
    twice = goyaml.positions.duplicates(content, 0) if isinstance(found, dict) else ()
    if not twice:
        return found
    repeated = Repeated(found)
    repeated.told = tuple(_IN_PLACE.sub("", str(each)) for each in twice)
    return repeated


def _protobuf(content: bytes) -> Any:
    try:
        return protobuf.decode(content)
    except protobuf.ProtobufError as err:
        raise BadRequest(str(err)) from None


def _too_large() -> TooLarge:
    return TooLarge(f"Request entity too large: limit is {BODY_BYTES_MAX}")
