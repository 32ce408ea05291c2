"""Objects on standard output: ``-o json``, ``-o yaml``, ``-o name``; nothing else is ever printed there with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Object = Mapping[str, Any]


def text(objects: Sequence[Object], form: str) -> str:
    """One object as itself, several (or none) as a List. ``form`` is json, yaml or name."""
    if form == "name":
        return "".join(f"{obj['metadata']['name']}\n" for obj in objects)
    shown = objects[0] if len(objects) == 1 else {"apiVersion": "v1", "kind": "List", "items": list(objects)}
    return as_json(shown) if form == "json" else as_yaml(shown)


def as_json(value: Any) -> str:
    """Indented, keys in the order they have; a final newline."""
    import orjson

    # objects of the in-process server are read-only mappings that share structure: dict() them one level at a time
    return orjson.dumps(value, default=_plain, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


def as_yaml(value: Any) -> str:
    """As Kubernetes' tools print it: keys sorted, strings quoted where they could be read as something else."""
    import orjson

    from tiphys.lang import goyaml

    return goyaml.dump(orjson.loads(orjson.dumps(value, default=_plain)))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence):
        return list(value)
    raise TypeError(type(value).__name__)
