"""The Argo objects in a file of manifests, read as ``argo submit`` and ``argo lint`` read them.

A text is JSON (then it is one object) or YAML documents, split where a line starts with ``---``. Documents that are no
Kubernetes object are passed over; kinds that are not Argo Workflows' are read as mere metadata. In strict mode a
document with repeated keys is passed over as well, as the original does: use `goyaml.load_strict` to hear about those.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from tiphys.api.decode import DecodeError, decode
from tiphys.lang import gojson, goyaml

KINDS = (
    "ClusterWorkflowTemplate",
    "CronWorkflow",
    "Workflow",
    "WorkflowEventBinding",
    "WorkflowTaskSet",
    "WorkflowTemplate",
)


@dataclass(frozen=True)
class Manifest:
    """One object. ``kind`` is "" for foreign ones; ``value`` its normal form, None when ``error`` forbids to use it.

    ``line`` is where its document starts (from 1).
    """

    kind: str
    name: str
    value: Any
    error: str
    line: int


def parse(text: str, *, strict: bool = False) -> list[Manifest]:
    """Every object of the text, in order. Nothing is raised: what is wrong stands in ``error``."""
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError:
        return [found for piece, line in _split(text) if (found := _from_yaml(piece, line, strict)) is not None]
    return [_decoded(document, 1, strict)]


def _split(text: str) -> Iterator[tuple[str, int]]:
    """The documents' texts and first lines; what follows ``---`` on its line still belongs to the document."""
    line = 1
    for index, piece in enumerate(re.split(r"\n---", text)):
        if piece.strip():
            yield piece, line + (index > 0)
        line += piece.count("\n") + (index > 0)


def _from_yaml(text: str, line: int, strict: bool) -> Manifest | None:
    try:
        document = goyaml.load(text)
        if not isinstance(document, dict) or not isinstance(document.get("kind"), str) or not document["kind"]:
            return None
        if strict:
            goyaml.load_strict(text)
    except goyaml.YamlError:
        return None
    # the original decodes JSON with sorted keys, which decides what it complains about first
    return _decoded(orjson.loads(gojson.dump_bytes(document)), line, strict)


def _decoded(document: Any, line: int, strict: bool) -> Manifest:
    kind = document.get("kind", "") if isinstance(document, dict) else ""
    is_ours = kind in KINDS
    metadata = document.get("metadata") if is_ours else document
    name = metadata.get("name") if isinstance(metadata, dict) else ""
    shown = (kind if is_ours else "", name if isinstance(name, str) else "")
    try:
        decoded = decode(kind if is_ours else "meta.v1.ObjectMeta", document, strict=strict)
    except DecodeError as err:
        return Manifest(*shown, None, str(err), line)
    problems = ", ".join(map(str, decoded.unknown))
    return Manifest(*shown, decoded.value, f"strict decoding error: {problems}" if problems else "", line)
