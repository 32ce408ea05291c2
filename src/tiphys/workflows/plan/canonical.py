"""Objects as Go would hold them after decoding and write them again.

Argo substitutes variables in the JSON text of its own structs, shows templates to the executor as that text and stores
them in the status, so what a struct does to a document is visible: unknown fields vanish, empty ones are left out or
filled in, keys come in the order of the struct (of the alphabet in maps), and "any string" fields turn numbers into
text. `canonical` does this to plain dicts, once for each template or spec; everything later keeps the order.

The types come from ``tiphys.api.types``; nothing is validated here.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import orjson

from tiphys.api.types import FieldType, Type, root
from tiphys.lang import gojson
from tiphys.machinery import quantities

DEPTH_MAX = 200


class NotCanonical(ValueError):
    """The document does not have the shape of the type: ``path`` says where."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.path = path


def canonical(value: Any, kind: str) -> Any:
    """``value`` as a ``kind`` (``Workflow``, ``workflow.v1alpha1.Template``). Raises `NotCanonical`."""
    return _encode(value, root(kind), "", 0)


TEMPLATE = "workflow.v1alpha1.Template"
SPEC = "workflow.v1alpha1.WorkflowSpec"
STEP = "workflow.v1alpha1.WorkflowStep"
TASK = "workflow.v1alpha1.DAGTask"
OUTPUTS = "workflow.v1alpha1.Outputs"
INPUTS = "workflow.v1alpha1.Inputs"
ARGUMENTS = "workflow.v1alpha1.Arguments"
ARTIFACT = "workflow.v1alpha1.Artifact"
CONTAINER = "core.v1.Container"
POD_SPEC = "core.v1.PodSpec"


def dumps(value: Any) -> str:
    """The JSON text of a canonical value: keys keep their order, ``<``, ``>`` and ``&`` are escaped as Go does."""
    try:
        text = orjson.dumps(value).decode()
    except TypeError:  # integers beyond 64 bits
        text = gojson.dumps(value)
    for plain, escaped in _ESCAPES:
        if plain in text:
            text = text.replace(plain, escaped)
    return text


def has_tags(value: Any) -> bool:
    """Whether there is a ``{{`` anywhere in a value: cheaper to find out than its JSON text is to make."""
    try:
        return b"{{" in orjson.dumps(value)
    except TypeError:
        return "{{" in gojson.dumps(value)


_ESCAPES = (
    ("<", "\\u003c"),
    (">", "\\u003e"),
    ("&", "\\u0026"),
    ("\u2028", "\\u2028"),
    ("\u2029", "\\u2029"),
)


def _encode(value: Any, kind: Type, path: str, depth: int) -> Any:
    if depth > DEPTH_MAX:
        raise NotCanonical(path, "nested too deeply")
    match kind.kind:
        case "string":
            return "" if value is None else value
        case "struct":
            return _struct(value, kind, path, depth)
        case "slice":
            if value is None:
                return None
            if not isinstance(value, list):
                raise NotCanonical(path, f"expected a list, got {type(value).__name__}")
            return [_encode(item, kind.elem, f"{path}[{i}]", depth + 1) for i, item in enumerate(value)]
        case "map":
            return _map(value, kind, path, depth)
        case "own":
            return _own(value, kind, path, depth)
        case "float":
            return float(value) if value is not None else 0
        case _:
            return value


def _struct(value: Any, kind: Type, path: str, depth: int) -> dict[str, Any]:
    if value is None:
        value = {}
    if not isinstance(value, Mapping):
        raise NotCanonical(path, f"expected an object, got {type(value).__name__}")
    fields = _fields(kind)
    if not fields.keys() >= value.keys():
        value = _folded(value, kind)
    out: dict[str, Any] = {}
    for name, (spec, is_always_written, may_vanish) in fields.items():
        given = value.get(name)
        if given is None:
            if is_always_written:
                out[name] = _zero(spec, depth)
            continue
        made = _encode(given, spec.type, f"{path}.{name}" if path else name, depth + 1)
        if not may_vanish or not _is_empty(made):
            out[name] = made
    return out


@cache
def _fields(kind: Type) -> dict[str, tuple[FieldType, bool, bool]]:
    """By name: the field, whether it is written though not given, and whether it is left out when empty."""
    return {
        name: (spec, _always_written(spec), spec.omitempty and not spec.pointer and spec.type.kind != "struct")
        for name, spec in kind.fields.items()
    }


def _folded(value: Mapping[str, Any], kind: Type) -> Mapping[str, Any]:
    """The object with the fields that Go's decoder takes in spite of their case (``subpath``); the last one wins."""
    names = {name.casefold(): name for name in kind.fields}
    return {key if key in kind.fields else names.get(str(key).casefold(), key): value[key] for key in value}


def _always_written(spec: FieldType) -> bool:
    """Whether Go writes the field when it was not given: structs cannot be empty, other kinds may be left out."""
    if spec.omitzero:
        return False
    if not spec.omitempty:
        return True
    return not spec.pointer and (spec.type.kind == "struct" or spec.type.name == "meta.v1.Time")


def _zero(spec: FieldType, depth: int) -> Any:
    if spec.pointer:
        return None
    if spec.type.kind == "struct":
        return _struct({}, spec.type, "", depth + 1)
    return _ZEROS.get(spec.type.name if spec.type.kind == "own" else spec.type.kind)


_ZEROS: dict[str, Any] = {
    "string": "",
    "bool": False,
    "int": 0,
    "uint": 0,
    "float": 0,
    "api.resource.Quantity": "0",
    "workflow.v1alpha1.AnyString": "",
    "util.intstr.IntOrString": 0,
}


def _is_empty(made: Any) -> bool:
    return made is None or made is False or made == "" or made == 0 or made in ([], {})


def _map(value: Any, kind: Type, path: str, depth: int) -> dict[str, Any] | None:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise NotCanonical(path, f"expected an object, got {type(value).__name__}")
    return {str(key): _encode(value[key], kind.elem, f"{path}.{key}", depth + 1) for key in sorted(value)}


def _own(value: Any, kind: Type, path: str, depth: int) -> Any:
    if kind.name == "workflow.v1alpha1.AnyString":
        return any_string(value)
    if kind.name == "workflow.v1alpha1.ParallelSteps":
        return [_encode(step, root(STEP), f"{path}[{i}]", depth + 1) for i, step in enumerate(_as_list(value, path))]
    if kind.name == "api.resource.Quantity":
        text = value if isinstance(value, str) else gojson.dumps(value)
        return quantities.canonical(text) if quantities.is_quantity(text) else text
    return value


def _as_list(value: Any, path: str) -> list[Any]:
    if isinstance(value, dict) and isinstance(value.get("steps"), list):
        return list(value["steps"])
    if not isinstance(value, list):
        raise NotCanonical(path, f"expected a list, got {type(value).__name__}")
    return value


def any_string(value: Any) -> str:
    """A scalar as Argo's parameter values hold it: numbers and booleans are the text that JSON has for them."""
    if isinstance(value, str):
        return value
    return gojson.dumps(value)
