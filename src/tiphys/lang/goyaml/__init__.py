"""YAML as Go's sigs.k8s.io/yaml v1.6 (go-yaml v2 inside) reads and prints it.

libyaml finds the structure; what scalars mean, merges, duplicate keys, limits and the printed form are Go's and done
here. It is not a general YAML library: values are what JSON can hold, keys are strings, tags other than the standard
scalar ones are ignored, and comments are lost.

    reading    the hot path: events to plain values
    scalars    implicit types and tags
    positions  lines of fields, duplicate keys: a second pass, only for error messages
    printing   the emitter, with Go's quoting, folding and order of keys
    fields     how values become Go's string fields

Where libyaml and Go's port of it differ on texts that nobody writes (``{a:}``, a byte order mark in the middle, flow
indicators inside tags), libyaml's answer stands.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tiphys.lang.goyaml import positions
from tiphys.lang.goyaml.errors import DuplicateKey, DuplicateKeysError, YamlError
from tiphys.lang.goyaml.printing import dump
from tiphys.lang.goyaml.reading import Reader

__all__ = ["Document", "DuplicateKey", "DuplicateKeysError", "YamlError", "dump", "load", "load_all", "load_strict"]


def load(text: str | bytes) -> Any:
    """The first document as plain values, None where there is none; what follows it is not looked at.

    Raises `YamlError` with the line.
    """
    return Reader(text).document()[1]


def load_strict(text: str | bytes) -> Any:
    """Same as `load`, but keys that come twice are refused, all at once, as `DuplicateKeysError`."""
    reader = Reader(text)
    value = reader.document()[1]
    if reader.has_repeated_keys:
        _refuse_duplicates(text, 0)
    return value


def load_all(text: str | bytes, *, strict: bool = False) -> list[Document]:
    """Every document of the text, empty ones included (their value is None)."""
    return list(iterate(text, strict=strict))


def iterate(text: str | bytes, *, strict: bool = False) -> Iterator[Document]:
    """One document after the other; an error comes when its document is reached."""
    reader = Reader(text)
    index = 0
    while True:
        there_is, value, line = reader.document()
        if not there_is:
            return
        if strict and reader.has_repeated_keys:
            _refuse_duplicates(text, index)
        yield Document(value, line, text, index)
        index += 1


@dataclass(frozen=True, repr=False)
class Document:
    """A document: its value and the line it starts on, counted from 1."""

    value: Any
    line: int
    _text: str | bytes
    _index: int

    def line_of(self, path: positions.Path) -> int:
        """The line of a field such as ``("spec", "templates", 0, "name")``, or of its nearest parent that exists."""
        return positions.line_of(self._text, self._index, path)


def _refuse_duplicates(text: str | bytes, index: int) -> None:
    if found := positions.duplicates(text, index):
        raise DuplicateKeysError(found)
