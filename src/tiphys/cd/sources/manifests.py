"""Streams of YAML and JSON documents as Kubernetes' decoders take them apart (apimachinery pkg/util/yaml).

A stream that begins with a brace is read as JSON; when that fails before a second object was read, the rest is tried
as YAML, and the error that stands is the first. YAML documents end at a line that starts with ``---``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from tiphys.cd.sources.request import Manifest
from tiphys.lang import gojson, goyaml
from tiphys.lang.gojson_read import syntax_error

_SPACE = " \t\r\n"
_DECODER = json.JSONDecoder()
_GO_KINDS = {str: "string", bool: "bool", list: "array", int: "number", float: "number"}


class ManifestError(ValueError):
    """A document that is none; ``read`` are the objects before it."""

    def __init__(self, message: str, read: list[Manifest]) -> None:
        super().__init__(message)
        self.read = read


def split(text: str) -> list[Manifest]:
    """The output of a tool: everything must parse before anything is judged. Raises `ManifestError`."""
    found: list[Manifest] = []
    for value, _ in list(_documents(text)):
        if value is None:
            continue
        why = why_no_object(value)
        if why is not None:
            raise ManifestError(
                f"failed to unmarshal manifest: error unmarshaling JSON: while decoding JSON: {why}", found
            )
        found.append(value)
    return found


def read(text: str) -> list[Manifest]:
    """A file, object by object. Raises `ManifestError`, which knows what came before the error."""
    found: list[Manifest] = []
    try:
        for value, is_json in _documents(text):
            why = None if value is None else why_no_object(value)
            if why is not None:
                prefix = "" if is_json else "error unmarshaling JSON: while decoding JSON: "
                raise ManifestError(f"failed to unmarshal manifest: {prefix}{why}", found)
            if value is not None:
                found.append(value)
    except ManifestError as err:
        raise ManifestError(str(err), found) from None
    return found


def why_no_object(value: Any) -> str | None:
    """What Go says when a value is read as a Kubernetes object, None when it is one."""
    if not isinstance(value, dict):
        return f"json: cannot unmarshal {_GO_KINDS[type(value)]} into Go value of type map[string]interface {{}}"
    if not isinstance(value.get("kind"), str) or not value["kind"]:
        return f"Object 'Kind' is missing in '{gojson.dumps(value)}'"
    return None


def _documents(text: str) -> Iterator[tuple[Any, bool]]:
    """Every document and whether it was read as JSON. Raises `ManifestError`."""
    if not text.lstrip(_SPACE).startswith("{"):
        yield from ((value, False) for value in _yaml(text))
        return
    at = count = 0
    while True:
        start = _skipped(text, at)
        if start == len(text):
            return
        try:
            value, at = _DECODER.raw_decode(text, start)
        except ValueError:
            break
        count += 1
        yield value, True
    why = f"failed to unmarshal manifest: {_json_error(text[start:], start - (at if count else 0))}"
    if count > 1:
        raise ManifestError(why, [])
    try:
        yield from [(value, False) for value in _yaml(text[at:])]
    except ManifestError:
        raise ManifestError(why, []) from None


def _json_error(text: str, before: int) -> str:
    """Go's words for text that is no JSON and the offset of the offending character."""
    why = syntax_error(text) or "unexpected end of JSON input"
    try:
        _DECODER.raw_decode(text)
    except json.JSONDecodeError as err:
        return f"json: offset {before + err.pos + 1}: {why}"
    return why


def _skipped(text: str, at: int) -> int:
    while at < len(text) and text[at] in _SPACE:
        at += 1
    return at


def _yaml(text: str) -> Iterator[Any]:
    for document in _yaml_texts(text):
        try:
            yield goyaml.load(document)
        except goyaml.YamlError as err:
            raise ManifestError(f"failed to unmarshal manifest: error converting YAML to JSON: {err}", []) from None


def _yaml_texts(text: str) -> Iterator[str]:
    lines: list[str] = []
    for line in re.split(r"\r?\n", text):
        if not line.startswith("---"):
            lines.append(line)
            continue
        rest = line[3:].strip()
        if rest and not rest.startswith("#"):
            raise ManifestError(f"failed to unmarshal manifest: invalid Yaml document separator: {rest}", [])
        if lines:
            yield "\n".join(lines)
        lines = []
    if any(lines):
        yield "\n".join(lines)
