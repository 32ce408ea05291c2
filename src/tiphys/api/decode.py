"""Reads JSON values into the types of `tiphys.api.types`, with the verdicts and messages of Go's decoders.

`decode` gives the *normal form*: a dict in Go's field order, keys spelled as the type spells them, absent and zero
fields as ``json.Marshal`` would write them, scalars converted where the type does so (``value: 5`` becomes ``"5"``).
Empty lists and maps stay, because validation tells them from absent ones; `pruned` drops those that marshalling drops.
Two modes exist, because
the originals use two decoders: the lenient one (encoding/json) ignores unknown fields and the case of keys; the strict
one (sigs.k8s.io/json) minds case and lists every unknown field. In both a value of a wrong type is an error, the first
in reading order is told, and a type that reads its own JSON (Quantity, Plugin, …) stops at once.

The input is a parsed document, not text; keys are visited in their order in it. Text belongs to the YAML reader.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any, TypeAlias

from tiphys.api import types
from tiphys.api.types import FieldType, Type
from tiphys.lang import gojson, moments
from tiphys.lang.gobase64 import first_illegal
from tiphys.machinery import quantities

STRICT_ERRORS_MAX = 100
"""So many unknown fields are listed, as in sigs.k8s.io/json."""

FieldPath: TypeAlias = tuple[Any, ...] | None
"""A chain from the innermost step outwards: ``(outer, key or index, FieldType or None, struct or None)``."""

Decoder: TypeAlias = Callable[[Any, FieldPath, "_Run"], Any]


class DecodeError(ValueError):
    """The document does not fit its type. ``path`` is the field's place (``spec.templates[0].steps``)."""

    def __init__(self, message: str, path: str) -> None:
        super().__init__(message)
        self.path = path


@dataclass(frozen=True, slots=True)
class Unknown:
    """A field that the strict decoder refuses: ``path`` is its whole place, ``reason`` "unknown" or "duplicate", or
    "as told" where ``path`` is all that is said."""

    path: str
    reason: str = "unknown"

    def __str__(self) -> str:
        return self.path if self.reason == "as told" else f"{self.reason} field {_quote(self.path)}"


@dataclass(frozen=True, slots=True)
class Decoded:
    """``value`` in normal form, and what a strict reading objects to (empty in lenient mode)."""

    value: Any
    unknown: tuple[Unknown, ...] = ()


def decode(kind: str, document: Any, *, strict: bool = False) -> Decoded:
    """Reads ``document`` as ``kind`` (a kind or a unique type name). Raises `DecodeError`, and KeyError if unknown."""
    run = _Run(strict)
    try:
        value = _decoder(types.root(kind))(document, None, run)
    except _Mismatch as err:
        raise DecodeError(str(err), err.where) from None
    except RecursionError:
        raise DecodeError("json: exceeded max depth", "") from None
    if run.saved is not None:
        raise DecodeError(str(run.saved), run.saved.where)
    return Decoded(value, tuple(dict.fromkeys(run.unknown)))


class Repeated(dict[str, Any]):
    """A JSON object in whose text keys came twice; ``repeated`` lists them. Text readers give it to the strict mode.
    ``told`` is what such a reader says itself."""

    repeated: tuple[str, ...] = ()
    told: tuple[str, ...] = ()


@dataclass(slots=True)
class _Run:
    strict: bool
    saved: _Mismatch | None = None
    unknown: list[Unknown] = field(default_factory=list)

    def mismatch(self, value: Any, go_type: str, path: FieldPath, *, word: str = "") -> None:
        """Remembers the first value of a wrong type; reading goes on, as the original's does."""
        if self.saved is None:
            self.saved = _Mismatch.at(path, word or _word(value), go_type)

    def refuse(self, path: FieldPath, key: str, reason: str = "unknown") -> None:
        if len(self.unknown) < STRICT_ERRORS_MAX:
            self.unknown.append(Unknown(f"{_place(path)}.{key}".lstrip("."), reason))


class _Mismatch(Exception):
    """A type error as Go words it, or (``message``) the words of a type that reads its own JSON."""

    def __init__(
        self, word: str, go_type: str, struct: str, names: tuple[str, ...], where: str, message: str = ""
    ) -> None:
        self.word, self.go_type, self.struct, self.names, self.where = word, go_type, struct, names, where
        self.message = message

    @classmethod
    def at(cls, path: FieldPath, word: str, go_type: str) -> _Mismatch:
        struct, names = _context(path)
        return cls(word, go_type, struct, names, _place(path))

    @classmethod
    def saying(cls, message: str, path: FieldPath) -> _Mismatch:
        return cls("", "", "", (), _place(path), message)

    def inside(self, path: FieldPath) -> _Mismatch:
        """The same error seen from a decoder around the one that met it."""
        struct, names = _context(path)
        where = _place(path) + (f".{self.where}" if self.where and self.where[0] != "[" else self.where)
        if not struct:
            struct = self.struct
        return _Mismatch(self.word, self.go_type, struct, (*names, *self.names), where.lstrip("."), self.message)

    def __str__(self) -> str:
        if self.message:
            return self.message
        target = f"struct field {self.struct}.{'.'.join(self.names)}" if self.struct else "value"
        return f"json: cannot unmarshal {self.word} into Go {target} of type {self.go_type}"


def _context(path: FieldPath) -> tuple[str, tuple[str, ...]]:
    """What Go's decoder remembers of a place: the innermost struct, and the fields without indexes and map keys."""
    struct, names = "", []
    while path is not None:
        path, _, entry, owner = path
        if entry is not None:
            struct = struct or owner.short_name
            names.append(".".join((*entry.embedded, entry.name)))
    return struct, tuple(reversed(names))


def _place(path: FieldPath) -> str:
    parts: list[str] = []
    while path is not None:
        path, key, _, _ = path
        parts.append(f"[{key}]" if isinstance(key, int) else f".{key}")
    return "".join(reversed(parts)).lstrip(".")


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    if isinstance(value, int | float):
        return "number"
    return "null" if value is None else "array" if isinstance(value, list) else "object"


@cache
def _decoder(kind: Type) -> Decoder:
    match kind.kind:
        case "struct":
            return _struct(kind)
        case "slice":
            return _slice(kind)
        case "map":
            return _map(kind)
        case "own":
            return _OWN[kind.go_name]
        case "int" | "uint":
            return _integer(kind)
        case "any":
            return lambda value, path, run: value
        case _:
            return _SIMPLE[kind.kind](kind)


def _struct(kind: Type) -> Decoder:
    exact = dict(kind.fields)
    folded = {name.casefold(): entry for name, entry in reversed(exact.items())}
    shape = _shape(kind)

    def read(value: Any, path: FieldPath, run: _Run) -> Any:
        if not isinstance(value, dict):
            if value is not None:
                run.mismatch(value, kind.go_name, path)
            return shape({})
        if run.strict and isinstance(value, Repeated):
            for key in value.repeated:
                run.refuse(path, key, "duplicate")
            run.unknown.extend(Unknown(text, "as told") for text in value.told)
        found: dict[str, Any] = {}
        for key, item in value.items():
            entry = exact.get(key) or (None if run.strict else folded.get(key.casefold()))
            if entry is None:
                if run.strict:
                    run.refuse(path, key)
                continue
            if entry.pointer and item is None:
                found[entry.name] = None
            elif item is None and entry.name in found and entry.type.kind not in _NILLABLE:
                continue  # the field came before in another spelling, and null changes no scalar
            else:
                found[entry.name] = _decoder(entry.type)(item, (path, entry.name, entry, kind), run)
        return shape(found)

    return read


_NILLABLE = frozenset(("slice", "map", "bytes", "any"))


@cache
def _shape(kind: Type) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Puts the fields that were read into Go's order, drops the empty ones and adds those that Go always writes."""
    entries = tuple(kind.fields.values())
    always = tuple(entry for entry in entries if not (entry.omitempty and _can_be_empty(entry)) and not entry.omitzero)
    kept = frozenset(entry.name for entry in always)

    def shape(found: dict[str, Any]) -> dict[str, Any]:
        for entry in always:
            if entry.name not in found:
                found[entry.name] = None if entry.pointer else zero(entry.type)
        return {
            entry.name: found[entry.name]
            for entry in entries
            if entry.name in found and (entry.name in kept or not _is_empty(entry, found[entry.name]))
        }

    return shape


def zero(kind: Type) -> Any:
    """Go's zero value of a type, in normal form."""
    match kind.kind:
        case "struct":
            return _shape(kind)({})
        case "string":
            return ""
        case "bool":
            return False
        case "int" | "uint" | "float":
            return 0
        case "own":
            return {"intstr.IntOrString": 0, "resource.Quantity": "0", "v1alpha1.AnyString": ""}.get(kind.go_name)
        case _:
            return None


def _can_be_empty(entry: FieldType) -> bool:
    """Whether omitempty means anything for the field: structs by value are always written."""
    if entry.pointer:
        return True
    return entry.type.kind != "struct" and (entry.type.kind != "own" or entry.type.go_name == "v1alpha1.AnyString")


def _is_empty(entry: FieldType, value: Any) -> bool:
    """Whether the field is as good as absent: an empty list or map is not (but see `pruned`)."""
    return value is None or (not entry.pointer and not value and not isinstance(value, list | dict))


def pruned(kind: str, value: Any) -> Any:
    """A normal form without the empty lists and maps that ``json.Marshal`` omits. Shares what it need not change."""
    return _pruner(types.root(kind))(value)


@cache
def _pruner(kind: Type) -> Callable[[Any], Any]:
    match kind.kind:
        case "struct":
            return _struct_pruner(kind)
        case "slice":
            return lambda value: [_pruner(kind.elem)(item) for item in value] if value else value
        case "map":
            return lambda value: {key: _pruner(kind.elem)(item) for key, item in value.items()} if value else value
        case "own" if kind.go_name == "v1alpha1.ParallelSteps":
            return _pruner(types.type_of("[]workflow.v1alpha1.WorkflowStep"))
        case _:
            return lambda value: value


def _struct_pruner(kind: Type) -> Callable[[Any], Any]:
    dropped = frozenset(
        entry.name
        for entry in kind.fields.values()
        if entry.omitempty and not entry.pointer and entry.type.kind in ("slice", "map", "bytes")
    )
    inner = {
        entry.name: entry.type
        for entry in kind.fields.values()
        if entry.type.kind in ("struct", "slice", "map") or entry.type.go_name == "v1alpha1.ParallelSteps"
    }

    def prune(value: Any) -> Any:
        if value is None:
            return None
        return {
            name: _pruner(inner[name])(item) if name in inner else item
            for name, item in value.items()
            if item or name not in dropped
        }

    return prune


def _slice(kind: Type) -> Decoder:
    element = kind.elem
    nullable = kind.elem_is_pointer

    def read(value: Any, path: FieldPath, run: _Run) -> Any:
        if not isinstance(value, list):
            if value is not None:
                run.mismatch(value, kind.go_name, path)
            return None
        inner = _decoder(element)
        return [
            None if nullable and item is None else inner(item, (path, index, None, None), run)
            for index, item in enumerate(value)
        ]

    return read


def _map(kind: Type) -> Decoder:
    element = kind.elem
    nullable = kind.elem_is_pointer

    def read(value: Any, path: FieldPath, run: _Run) -> Any:
        if not isinstance(value, dict):
            if value is not None:
                run.mismatch(value, kind.go_name, path)
            return None
        if run.strict and isinstance(value, Repeated):
            for key in value.repeated:
                run.refuse(path, key, "duplicate")
            run.unknown.extend(Unknown(text, "as told") for text in value.told)
        inner = _decoder(element)
        found = {
            key: None if nullable and item is None else inner(item, (path, key, None, None), run)
            for key, item in value.items()
        }
        return dict(sorted(found.items()))

    return read


def _string(kind: Type) -> Decoder:
    def read(value: Any, path: FieldPath, run: _Run) -> Any:
        if isinstance(value, str):
            return value
        if value is not None:
            run.mismatch(value, kind.go_name, path)
        return ""

    return read


def _boolean(kind: Type) -> Decoder:
    def read(value: Any, path: FieldPath, run: _Run) -> Any:
        if isinstance(value, bool):
            return value
        if value is not None:
            run.mismatch(value, kind.go_name, path)
        return False

    return read


def _float(kind: Type) -> Decoder:
    def read(value: Any, path: FieldPath, run: _Run) -> Any:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return value
        if value is not None:
            run.mismatch(value, kind.go_name, path)
        return 0

    return read


def _integer(kind: Type) -> Decoder:
    low = 0 if kind.kind == "uint" else -(1 << (kind.bits - 1))
    high = (1 << (kind.bits if kind.kind == "uint" else kind.bits - 1)) - 1

    def read(value: Any, path: FieldPath, run: _Run) -> Any:
        if value is None:
            return 0
        if isinstance(value, bool) or not isinstance(value, int | float):
            run.mismatch(value, kind.go_name, path)
            return 0
        text = _number_text(value)
        if not _INTEGER.fullmatch(text) or not low <= int(text) <= high:
            run.mismatch(value, kind.go_name, path, word=f"number {text}")
            return 0
        return int(text)

    return read


def _bytes(kind: Type) -> Decoder:
    def read(value: Any, path: FieldPath, run: _Run) -> Any:
        if value is None:
            return None
        if not isinstance(value, str):
            run.mismatch(value, kind.go_name, path)
            return None
        try:
            base64.b64decode(value, validate=True)
        except ValueError:
            at = first_illegal(value.encode())
            run.saved = run.saved or _Mismatch.saying(f"illegal base64 data at input byte {at}", path)
        return value

    return read


_INTEGER = re.compile(r"-?\d+")
_SIMPLE: dict[str, Callable[[Type], Decoder]] = {
    "string": _string,
    "bool": _boolean,
    "float": _float,
    "bytes": _bytes,
}


def _number_text(value: int | float) -> str:
    return str(value) if isinstance(value, int) else gojson.format_float(value)


# --- types that read their own JSON -------------------------------------------------------------------------------


def _raw(value: Any, path: FieldPath, run: _Run) -> Any:
    """Item, Object, Amount, FieldsV1: any JSON is kept as it is."""
    return value


def _any_string(value: Any, path: FieldPath, run: _Run) -> Any:
    """Scalars become text, numbers by way of float64; lists, maps and null become the empty string (as upstream)."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return _plain_float(float(value))
    return ""


def _plain_float(value: float) -> str:
    """strconv.FormatFloat(value, 'f', -1, 64): never an exponent."""
    text = repr(value)
    if "e" in text:
        mantissa, _, exponent = text.partition("e")
        whole, _, fraction = mantissa.lstrip("-").partition(".")
        digits, point = whole + fraction, len(whole) + int(exponent)
        digits = "0" * max(0, 1 - point) + digits + "0" * max(0, point - len(digits))
        point = max(point, 1)
        text = ("-" if value < 0 else "") + digits[:point] + "." + digits[point:]
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return text


def _int_or_string(value: Any, path: FieldPath, run: _Run) -> Any:
    if isinstance(value, str):
        return value
    inner = _Run(strict=False)
    number = _decoder(types.type_of("int32"))(value, None, inner)
    if inner.saved is not None:
        raise inner.saved.inside(path)
    return number


def _plugin(value: Any, path: FieldPath, run: _Run) -> Any:
    if value is not None and not isinstance(value, dict):
        raise _Mismatch.at(path, _word(value), "map[string]interface {}")
    count = len(value or {})
    if count != 1:
        raise _Mismatch.saying(f"expected exactly one key, got {count}", path)
    return value


def _parallel_steps(value: Any, path: FieldPath, run: _Run) -> Any:
    """A list of steps. Unknown fields are refused even in lenient mode, but only those of the step itself."""
    if value is None:
        return None
    if not isinstance(value, list):
        raise _Mismatch.at(path, _word(value), "[]map[string]interface {}")
    step = types.root("WorkflowStep")
    for index, candidate in enumerate(value):
        if candidate is None:
            continue
        if not isinstance(candidate, dict):
            raise _Mismatch.at((path, index, None, None), _word(candidate), "map[string]interface {}")
        for key in sorted(candidate):
            if key not in step.fields:
                raise _Mismatch.saying(f'json: unknown field "{key}"', (path, index, None, None))
    inner = _Run(strict=False)
    try:
        steps = _decoder(types.type_of("[]workflow.v1alpha1.WorkflowStep"))(value, None, inner)
    except _Mismatch as err:
        raise err.inside(path) from None
    if inner.saved is not None:
        raise inner.saved.inside(path)
    return steps


def _quantity(value: Any, path: FieldPath, run: _Run) -> Any:
    if value is None:
        return "0"
    text = value if isinstance(value, str) else gojson.dumps(value)
    try:
        return quantities.canonical(text.strip())
    except quantities.QuantityError as err:
        raise _Mismatch.saying(str(err), path) from None


_UTC_SECONDS = re.compile(r"\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\dZ")
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)")


def _time(value: Any, path: FieldPath, run: _Run) -> Any:
    if value is None:
        return None
    if not isinstance(value, str):
        raise _Mismatch.at(path, _word(value), "string")
    if not _RFC3339.fullmatch(value):
        raise _Mismatch.saying(_time_fault("2006-01-02T15:04:05Z07:00", value), path)
    return value if _UTC_SECONDS.fullmatch(value) else _in_utc(value, path).strftime("%Y-%m-%dT%H:%M:%SZ").zfill(20)


_MICROS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(?:Z|[+-]\d\d:\d\d)")


def _micro_time(value: Any, path: FieldPath, run: _Run) -> Any:
    """Unlike a Time it needs exactly six decimals."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise _Mismatch.at(path, _word(value), "string")
    if not _MICROS.fullmatch(value):
        raise _Mismatch.saying(_time_fault("2006-01-02T15:04:05.000000Z07:00", value), path)
    return _in_utc(value, path).strftime("%Y-%m-%dT%H:%M:%S.%fZ").zfill(27)


def _time_fault(layout: str, value: str) -> str:
    """Go's words for a text that is no time of that layout."""
    try:
        moments.parse(layout, value)
    except moments.TimeError as err:
        return str(err)
    return f"parsing time {_quote(value)} as {_quote(layout)}: cannot parse {_quote(value)} as a time"


def _in_utc(value: str, path: FieldPath) -> datetime:
    try:
        return datetime.fromisoformat(value).astimezone(UTC)
    except (ValueError, OverflowError):
        raise _Mismatch.saying(f"parsing time {_quote(value)}: day out of range", path) from None


_OWN: dict[str, Decoder] = {
    "intstr.IntOrString": _int_or_string,
    "resource.Quantity": _quantity,
    "v1.FieldsV1": _raw,
    "runtime.RawExtension": _raw,
    "v1.Duration": _raw,
    "v1.JSON": _raw,
    "v1.JSONSchemaPropsOrArray": _raw,
    "v1.JSONSchemaPropsOrBool": _raw,
    "v1.JSONSchemaPropsOrStringArray": _raw,
    "v1.MicroTime": _micro_time,
    "v1.Time": _time,
    "v1alpha1.Amount": _raw,
    "v1alpha1.AnyString": _any_string,
    "v1alpha1.Item": _raw,
    "v1alpha1.ParallelSteps": _parallel_steps,
    "v1alpha1.Plugin": _plugin,
}


def _quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
