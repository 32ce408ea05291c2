"""The types of Argo Workflows and of every Kubernetes type embedded in them, as Go's encoding/json sees them.

`fields("Workflow")` maps JSON names to `FieldType`, in Go's order; a field's ``type.fields`` goes on from there. Strict
decoding (``tiphys.api.decode``), strategic merges (merge keys) and validation messages are all driven by this one
table. It holds no defaults, no descriptions and no validation.

The data is a record of the originals' struct tags (docs/decisions/0020-type-table.md says why it is no generated
file; a test holds it against the published OpenAPI) and is read at the first question, not at import.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Literal

import orjson

from tiphys.api import kube_messages

Kind = Literal["struct", "slice", "map", "any", "string", "bool", "int", "uint", "float", "bytes", "own"]

_NUMBER = re.compile(r"(u?int|float)(\d*)$")
_UNDERLYING = re.compile(r"\w+=")
_NAMED = re.compile(r"[\w-]+(?:\.[\w-]+)*\.(\w+\.[A-Z]\w*)")


@dataclass(eq=False, repr=False)
class Type:
    """One Go type. Types refer to each other in circles, so ``fields`` and ``elem`` are looked up when first asked for.

    ``name`` is unique (``core.v1.Container``) and empty for unnamed types; ``go_name`` is what Go prints
    (``v1.Container``, ``[]string``). ``kind`` "own" means that the type reads its own JSON (Quantity, IntOrString, …).
    ``bits`` is the width of a number, 0 otherwise.
    """

    name: str
    kind: Kind
    go_name: str
    bits: int = 0
    _elem: str = ""
    _rows: tuple[tuple[str, ...], ...] = ()

    def __repr__(self) -> str:
        return f"Type({self.go_name})"

    @property
    def short_name(self) -> str:
        """The name without its package: what Go's messages call the struct."""
        return self.name.rpartition(".")[2]

    @cached_property
    def elem(self) -> Type:
        """The element of a slice or the value of a map; raises KeyError for other kinds."""
        if not self._elem:
            raise KeyError(f"{self.go_name} has no elements")
        return type_of(self._elem.lstrip("*"))

    @cached_property
    def elem_is_pointer(self) -> bool:
        return self._elem.startswith("*")

    @cached_property
    def fields(self) -> Mapping[str, FieldType]:
        """The fields of a struct by JSON name, in Go's order; empty for other kinds."""
        return MappingProxyType({row[0]: _field(row) for row in self._rows})


@dataclass(frozen=True, slots=True)
class FieldType:
    """One field of a struct.

    ``merge_key`` with ``merges`` is Kubernetes' strategic merge of lists: by key, or as a set where the key is empty.
    ``embedded`` names the Go structs between the struct and the field (``("Container",)``).
    """

    name: str
    type: Type
    pointer: bool
    omitempty: bool
    omitzero: bool
    merges: bool
    replaces: bool
    retains_keys: bool
    merge_key: str
    embedded: tuple[str, ...]


def fields(kind: str) -> Mapping[str, FieldType]:
    """The fields of a kind (``Workflow``, ``Pod``) or of a type (``core.v1.PodSpec``). Raises KeyError if unknown."""
    return root(kind).fields


@cache
def root(kind: str) -> Type:
    """The type of a kind such as ``Workflow``, or of a unique type name. Raises KeyError if there is none."""
    return type_of(_table()["roots"].get(kind, kind))


def is_known(kind: str) -> bool:
    """Whether ``kind`` is one of the kinds in the table."""
    return kind in _table()["roots"]


@cache
def type_of(expression: str) -> Type:
    """The type written as ``[]core.v1.Container``, ``map[string]string``, ``int32`` or a unique name; no pointer.

    ``string=v1.PullPolicy`` is a scalar with a name of its own.
    """
    if expression.startswith("[]"):
        kind: Kind = "bytes" if expression == "[]uint8" else "slice"
        return Type("", kind, go_name(expression), _elem=expression[2:])
    if expression.startswith("map["):
        return Type("", "map", go_name(expression), _elem=expression.partition("]")[2])
    if "=" in expression:
        return _basic("", *expression.split("="))
    if "." not in expression:
        return _basic("", expression, expression)
    body = _table()["types"].get(expression)
    return _named(expression, kube_messages.go_rows(expression) if body is None else body)


def go_name(expression: str) -> str:
    """A type expression as Go prints it: packages by their last name only, named scalars by their name."""
    return _NAMED.sub(r"\1", _UNDERLYING.sub("", expression))


def _named(name: str, body: Any) -> Type:
    if isinstance(body, list):
        return Type(name, "struct", go_name(name), _rows=tuple(tuple(row) for row in body))
    if body.startswith("!"):
        return Type(name, "own", go_name(name))
    under = type_of(body)
    return Type(name, under.kind, go_name(name), under.bits, under._elem)


def _basic(name: str, word: str, printed: str) -> Type:
    if word in ("string", "bool"):
        return Type(name, "string" if word == "string" else "bool", printed)
    if word == "interface":
        return Type(name, "any", "interface {}")
    number = _NUMBER.match(word)
    if number is None:
        raise KeyError(f"no such type: {word}")
    families: dict[str, Kind] = {"int": "int", "uint": "uint", "float": "float"}
    return Type(name, families[number[1]], printed, bits=int(number[2] or 64))


def _field(row: tuple[str, ...]) -> FieldType:
    name, expression, flags, merge_key, embedded = (*row, "", "", "")[:5]
    return FieldType(
        name=name,
        type=type_of(expression.lstrip("*")),
        pointer=expression.startswith("*"),
        omitempty="o" in flags,
        omitzero="z" in flags,
        merges="m" in flags,
        replaces="r" in flags,
        retains_keys="k" in flags,
        merge_key=merge_key,
        embedded=tuple(embedded.split(".")) if embedded else (),
    )


@cache
def _table() -> dict[str, Any]:
    data: dict[str, Any] = orjson.loads(files("tiphys.api.data").joinpath("types.json").read_bytes())
    return data


def recorded() -> tuple[str, ...]:
    """The unique names of all types in the table."""
    return tuple(_table()["types"])
