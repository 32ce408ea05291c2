"""How an answer looks on the wire: JSON, YAML or protobuf, whole objects, Tables or metadata only.

Lists of whole objects are joins of the records' bytes; nothing is parsed or encoded again. Who takes JSON gets it,
whatever else it likes better: protobuf costs us more, and only built-in kinds have it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal

import orjson

from tiphys.api import protobuf
from tiphys.cluster.apiserver.http.bodies import JSON, PROTOBUF, YAML
from tiphys.cluster.apiserver.listing import Page
from tiphys.cluster.apiserver.record import Object, Record, encode
from tiphys.cluster.apiserver.registry import ResourceInfo
from tiphys.cluster.apiserver.tables import Table
from tiphys.cluster.apiserver.watch import Event
from tiphys.lang import goyaml
from tiphys.machinery.errors import NotAcceptable

Shape = Literal["object", "Table", "PartialObjectMetadata", "PartialObjectMetadataList"]
_ACCEPTED: Final = "application/json, application/yaml, application/vnd.kubernetes.protobuf"
_STREAMS: Final = "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"
_SHAPES: Final[Mapping[str, Shape]] = {
    "Table": "Table",
    "PartialObjectMetadata": "PartialObjectMetadata",
    "PartialObjectMetadataList": "PartialObjectMetadataList",
}


@dataclass(frozen=True)
class Representation:
    """``version`` of the meta group is v1 or v1beta1. Only whole objects come as protobuf."""

    shape: Shape = "object"
    media_type: str = JSON
    version: str = "v1"

    @property
    def stream_type(self) -> str:
        """The media type of a watch."""
        return f"{PROTOBUF};stream=watch" if self.media_type == PROTOBUF else self.media_type

    @property
    def ending(self) -> bytes:
        """What ends a document, as Go's encoders do."""
        return b"\n" if self.media_type == JSON else b""

    def encode(self, value: Any) -> bytes:
        """Raises NotAcceptable for what has no protobuf form."""
        if self.media_type == PROTOBUF:
            return _as_protobuf(value)
        body = encode(value)
        return goyaml.dump(orjson.loads(body)).encode() if self.media_type == YAML else body


@lru_cache(maxsize=256)
def negotiate(accept: str) -> Representation:
    """The first acceptable way of an Accept header; raises NotAcceptable."""
    refused_shape = takes_protobuf = False
    for clause in accept.split(",") if accept.strip() else ["*/*"]:
        media, _, rest = clause.strip().partition(";")
        parameters = dict(part.strip().partition("=")[::2] for part in rest.split(";") if part)
        shape = parameters.get("as", "")
        takes_protobuf |= media == PROTOBUF and not shape
        if media not in (JSON, YAML, "*/*", "application/*"):
            continue
        if shape and not (
            shape in _SHAPES and parameters.get("g") == "meta.k8s.io" and parameters.get("v") in ("v1", "v1beta1")
        ):
            refused_shape = True
            continue
        kind = YAML if media == YAML else JSON
        return Representation(_SHAPES.get(shape, "object"), kind, parameters.get("v", "v1"))
    if takes_protobuf:
        return Representation(media_type=PROTOBUF)
    if refused_shape:
        raise NotAcceptable(f"only the following media types are accepted: {_ACCEPTED}")
    raise NotAcceptable(f"406: Not Acceptable\n\nAvailable representations: {_ACCEPTED}, {_STREAMS}", {})


def one(info: ResourceInfo, record: Record, how: Representation, table: Callable[[], Table]) -> bytes:
    """A single object."""
    if how.shape == "object":
        return record.bytes if how.media_type == JSON else how.encode(record.view)
    if how.shape == "Table":
        return how.encode(table().document([record], {"resourceVersion": str(record.version)}))
    return how.encode(partial(record.view, how.version))


def page(page: Page, how: Representation, table: Callable[[], Table]) -> bytes:
    """A list."""
    if how.shape == "Table":
        meta = page.metadata()
        if not page.token:
            meta.pop("continue", None)
        return how.encode(table().document(page.records, meta))
    if how.shape != "object":
        items = [partial(record.view, how.version) for record in page.records]
        kind = "PartialObjectMetadataList"
        meta_version = f"meta.k8s.io/{how.version}"
        return how.encode({"kind": kind, "apiVersion": meta_version, "metadata": page.metadata(), "items": items})
    info = page.info
    head = {"kind": info.list_kind, "apiVersion": info.resource.api_version, "metadata": page.metadata()}
    body = orjson.dumps(head)[:-1] + b',"items":[' + b",".join(_items(info, page.records)) + b"]}"
    return body if how.media_type == JSON else how.encode(orjson.loads(body))


def _items(info: ResourceInfo, records: Iterable[Record]) -> Iterable[bytes]:
    """The objects of a list; built-in ones without kind and apiVersion, which the list has said."""
    if info.custom is not None:
        return [record.bytes for record in records]
    prefix = b'{"kind":"%s","apiVersion":"%s",' % (info.kind.encode(), info.resource.api_version.encode())
    length = len(prefix)
    return [b"{" + record.bytes[length:] for record in records]


def frame(event: Event, how: Representation, table: Table | None) -> bytes:
    """One event of a watch; ``table`` where rows are asked for."""
    record = event.record
    if how.media_type == PROTOBUF:
        return protobuf.encode_watch_event(event.type, record.view)
    if table is not None:
        body = encode(table.document([record], {"resourceVersion": str(record.version)}))
    elif how.shape in ("PartialObjectMetadata", "PartialObjectMetadataList"):
        body = encode(partial(record.view, how.version))
    else:
        body = record.bytes
    return b'{"type":"%s","object":%s}\n' % (event.type.encode(), body)


def error_frame(status: dict[str, Any], how: Representation) -> bytes:
    if how.media_type == PROTOBUF:
        return protobuf.encode_watch_event("ERROR", status)
    return b'{"type":"ERROR","object":%s}\n' % orjson.dumps(status)


def _as_protobuf(value: Any) -> bytes:
    try:
        return protobuf.encode(value)
    except protobuf.ProtobufError as err:
        raise NotAcceptable(f"only the following media types are accepted: {JSON}, {YAML} ({err})") from err


def partial(obj: Object, version: str) -> Object:
    """Kind and metadata only."""
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": obj["metadata"],
    }
