"""Request bodies: JSON and YAML (and what each content type may carry), bounded in size and depth."""

from __future__ import annotations

from typing import Any, Final

import orjson
import yaml
from aiohttp import web

from tiphys.cluster.apiserver.http.duplicates import duplicate_fields
from tiphys.machinery.actions import PatchType
from tiphys.machinery.errors import BadRequest, TooLarge, UnsupportedMediaType

BODY_BYTES_MAX: Final = 3 * 1024 * 1024
JSON: Final = "application/json"
YAML: Final = "application/yaml"
PROTOBUF: Final = "application/vnd.kubernetes.protobuf"
_PATCHES: Final = frozenset(kind.value for kind in PatchType)


async def read(request: web.BaseRequest) -> bytes:
    """The whole body; raises TooLarge."""
    if request.content_length is not None and request.content_length > BODY_BYTES_MAX:
        raise _too_large()
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.content.iter_any():
        size += len(chunk)
        if size > BODY_BYTES_MAX:
            raise _too_large()
        chunks.append(chunk)
    return b"".join(chunks)


def media_type(request: web.BaseRequest) -> str:
    """The body's type without parameters, "" for none."""
    return request.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def parse(content: bytes, media: str) -> Any:
    """The body as plain values; raises BadRequest or UnsupportedMediaType."""
    if media in ("", JSON) or media in _PATCHES - {PatchType.APPLY.value}:
        return _json(content)
    if media in (YAML, PatchType.APPLY.value):
        return _yaml(content)
    raise UnsupportedMediaType(
        f"the body of the request was in an unknown format - accepted media types include: {JSON}, {YAML}, {PROTOBUF}"
    )


def duplicates(content: bytes, media: str) -> list[str]:
    """The paths of keys that stand twice in one object; only JSON is looked at."""
    return duplicate_fields(content) if media in ("", JSON) else []


def _json(content: bytes) -> Any:
    if not content.strip():
        raise BadRequest("EOF")
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as err:
        raise BadRequest(f"the body is not JSON: {err}") from None


def _yaml(content: bytes) -> Any:
    if content.lstrip()[:1] in (b"{", b"["):
        return _json(content)
    try:
        return yaml.load(content, _Loader)
    except (yaml.YAMLError, ValueError) as err:
        raise BadRequest(f"error converting YAML to JSON: {err}") from None


class _Loader(yaml.CSafeLoader):
    """YAML as JSON could say it: no dates (they are strings), no merge of aliases without bound."""


def _no_timestamps() -> None:
    _Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
    }


_no_timestamps()


def _too_large() -> TooLarge:
    return TooLarge(f"Request entity too large: limit is {BODY_BYTES_MAX}")
