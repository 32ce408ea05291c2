"""Texts to manifests: what ``tiphys lint`` reads, with the strict check of fields and the lines of faults.

A text is one JSON object or YAML documents parted by lines beginning with ``---``. Pieces without a ``kind`` are
nobody's and are passed over, as upstream does; what is no YAML upstream passes over too, and here is a problem.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from tiphys.api import decode, types
from tiphys.lang import gojson, goyaml
from tiphys.workflows.plan.validate.problem import Problem

_SEPARATOR = re.compile(r"\n---")
_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


@dataclass(frozen=True)
class Manifest:
    """An object of a text. ``problems`` are those of its form: no YAML, wrong types, unknown fields (if strict).

    ``line`` is that of its first line in the text, from 1. ``value`` is None where there is no object at all.
    """

    kind: str
    value: dict[str, Any] | None
    line: int
    text: str
    problems: tuple[Problem, ...] = ()

    def line_of(self, path: str) -> int:
        """The line, in the whole text, of a field such as ``spec.templates[0].name`` or of its nearest parent."""
        steps = tuple(int(index) if index else name for name, index in _STEP.findall(path))
        try:
            documents = goyaml.load_all(self.text)
        except goyaml.YamlError:
            return self.line
        document = next((one for one in documents if one.value is not None), None)
        return self.line if document is None else self.line + document.line_of(steps) - 1


def parse(text: str, *, strict: bool = True) -> list[Manifest]:
    """The manifests of a text in order. ``strict`` lists unknown fields and keys that come twice."""
    found = _json_object(text)
    if found is not None:
        return [_manifest(found, 1, text, strict)] if isinstance(found.get("kind"), str) else []
    return [manifest for line, piece in _pieces(text) for manifest in _read(line, piece, strict)]


def _json_object(text: str) -> dict[str, Any] | None:
    """The object if the text is JSON; objects in it remember the keys that came twice."""
    try:
        orjson.loads(text)
        found = json.loads(text, object_pairs_hook=_object)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else {}


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = decode.Repeated(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        found.repeated = tuple(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
    return found


def _pieces(text: str) -> Iterator[tuple[int, str]]:
    """``(first line, text)`` of what stands between the separators; the rest of a separator's line goes with it."""
    start, line = 0, 1
    for match in _SEPARATOR.finditer(text):
        yield line, text[start : match.start()]
        line += text.count("\n", start, match.start()) + 1
        start = match.end()
    yield line, text[start:]


def _read(line: int, piece: str, strict: bool) -> Iterator[Manifest]:
    if not piece.strip():
        return
    try:
        value = goyaml.load(piece)
    except goyaml.YamlError as err:
        yield Manifest("", None, line, piece, (Problem(str(err)),))
        return
    if not isinstance(value, dict) or not isinstance(value.get("kind"), str) or not value["kind"]:
        return
    found = _manifest(orjson.loads(gojson.dumps(value)), line, piece, strict)  # keys in Go's order from here on
    yield _with_duplicates(found) if strict else found


def _with_duplicates(manifest: Manifest) -> Manifest:
    try:
        goyaml.load_strict(manifest.text)
    except goyaml.YamlError as err:
        problem = Problem(f"error converting YAML to JSON: {err}")
        return Manifest(manifest.kind, manifest.value, manifest.line, manifest.text, (problem, *manifest.problems))
    return manifest


def _manifest(value: dict[str, Any], line: int, text: str, strict: bool) -> Manifest:
    return Manifest(value["kind"], value, line, text, _problems_of_form(value, strict))


def _problems_of_form(value: dict[str, Any], strict: bool) -> tuple[Problem, ...]:
    """Kinds that are not Argo's are somebody else's to check."""
    if not types.is_known(value["kind"]) or not types.root(value["kind"]).name.startswith("workflow."):
        return ()
    try:
        decoded = decode.decode(value["kind"], value, strict=strict)
    except decode.DecodeError as err:
        return (Problem(str(err), err.path),)
    return tuple(Problem(str(unknown), unknown.path) for unknown in decoded.unknown)
