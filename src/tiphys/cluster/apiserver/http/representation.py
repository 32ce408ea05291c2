"""How an answer looks on the wire: JSON or YAML, whole objects, Tables or metadata only.

Lists of whole objects are joins of the records' bytes; nothing is parsed or encoded again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal

import orjson

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
_SHAPES: Final = ("Table", "PartialObjectMetadata", "PartialObjectMetadataList")


@dataclass(frozen=True)
class Representation:
    """``include`` is the Table's ``includeObject``; ``version`` of the meta group is v1 or v1beta1."""

    shape: Shape = "object"
    is_yaml: bool = False
    version: str = "v1"

    @property
    def media_type(self) -> str:
        return "application/yaml" if self.is_yaml else "application/json"

    def encode(self, value: Any) -> bytes:
        body = encode(value)
        return goyaml.dump(orjson.loads(body)).encode() if self.is_yaml else body


@lru_cache(maxsize=256)
def negotiate(accept: str) -> Representation:
    """The first acceptable way of an Accept header; raises NotAcceptable."""
    refused_shape = False
    for clause in accept.split(",") if accept.strip() else ["*/*"]:
        media, _, rest = clause.strip().partition(";")
        parameters = dict(part.strip().partition("=")[::2] for part in rest.split(";") if part)
        shape = parameters.get("as", "")
        if media not in ("application/json", "application/yaml", "*/*", "application/*"):
            continue
        if shape and not (
            shape in _SHAPES and parameters.get("g") == "meta.k8s.io" and parameters.get("v") in ("v1", "v1beta1")
        ):
            refused_shape = True
            continue
        return Representation(shape or "object", media == "application/yaml", parameters.get("v", "v1"))  # type: ignore[arg-type]
    if refused_shape:
        raise NotAcceptable(f"only the following media types are accepted: {_ACCEPTED}")
    raise NotAcceptable(f"406: Not Acceptable\n\nAvailable representations: {_ACCEPTED}, {_STREAMS}", {})


def one(info: ResourceInfo, record: Record, how: Representation, table: Callable[[], Table]) -> bytes:
    """A single object."""
    if how.shape == "object":
        return how.encode(record.view) if how.is_yaml else record.bytes
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
    return how.encode(orjson.loads(body)) if how.is_yaml else body


def _items(info: ResourceInfo, records: Iterable[Record]) -> Iterable[bytes]:
    """The objects of a list; built-in ones without kind and apiVersion, which the list has said."""
    if info.custom is not None:
        return [record.bytes for record in records]
    prefix = b'{"kind":"%s","apiVersion":"%s",' % (info.kind.encode(), info.resource.api_version.encode())
    length = len(prefix)
    return [b"{" + record.bytes[length:] for record in records]


def frame(event: Event, how: Representation, table: Table | None) -> bytes:
    """One line of a watch; ``table`` where rows are asked for."""
    record = event.record
    if table is not None:
        body = encode(table.document([record], {"resourceVersion": str(record.version)}))
    elif how.shape in ("PartialObjectMetadata", "PartialObjectMetadataList"):
        body = encode(partial(record.view, how.version))
    else:
        body = record.bytes
    return b'{"type":"%s","object":%s}\n' % (event.type.encode(), body)


def error_frame(status: Mapping[str, Any]) -> bytes:
    return b'{"type":"ERROR","object":%s}\n' % orjson.dumps(status)


def partial(obj: Object, version: str) -> Object:
    """Kind and metadata only."""
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": obj["metadata"],
    }
