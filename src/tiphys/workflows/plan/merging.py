"""Strategic merges of our own kinds: defaults under templates and specs, patches over pods.

The later document wins; lists with a merge key are merged by it. Facts come from ``tiphys.api.types``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tiphys.api.types import FieldType, Type, root


def merge(base: Mapping[str, Any], patch: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """``patch`` over ``base``, both of a struct type (``core.v1.PodSpec``)."""
    return _object(base, patch, root(kind))


def _object(base: Mapping[str, Any], patch: Mapping[str, Any], kind: Type | None) -> dict[str, Any]:
    if patch.get("$patch") == "replace":
        return {key: value for key, value in patch.items() if key != "$patch"}
    if patch.get("$patch") == "delete":
        return {}
    made = dict(base)
    for key, value in patch.items():
        if key.startswith("$"):
            continue
        if value is None:
            made.pop(key, None)
            continue
        field = kind.fields.get(key) if kind is not None and kind.kind == "struct" else None
        inner = field.type if field is not None else _map_elem(kind)
        made[key] = _value(made.get(key), value, field, inner)
    return made


def _map_elem(kind: Type | None) -> Type | None:
    return kind.elem if kind is not None and kind.kind == "map" else None


def _value(base: Any, value: Any, field: FieldType | None, kind: Type | None) -> Any:
    if isinstance(value, Mapping):
        if field is not None and field.retains_keys and isinstance(base, Mapping):
            base = {k: v for k, v in base.items() if k in value}
        return _object(base if isinstance(base, Mapping) else {}, value, kind)
    if isinstance(value, list) and isinstance(base, list) and field is not None and field.merges:
        return _list(base, value, field.merge_key, kind.elem if kind is not None and kind.kind == "slice" else None)
    return [item for item in value if not _is_delete(item)] if isinstance(value, list) else value


def _list(base: list[Any], patch: list[Any], key: str, elem: Type | None) -> list[Any]:
    if any(isinstance(item, Mapping) and item.get("$patch") == "replace" for item in patch):
        return [item for item in patch if not (isinstance(item, Mapping) and "$patch" in item)]
    if not key:
        return _in_order([*base, *(item for item in patch if item not in base)], patch, base, lambda item: item)
    made = list(base)
    fresh: list[Any] = []
    for item in patch:
        at = next((i for i, known in enumerate(made) if known.get(key) == item.get(key)), None)
        if _is_delete(item):
            made = [known for known in made if known.get(key) != item.get(key)]
        elif at is None:
            fresh.append(item)
        else:
            made[at] = _object(made[at], item, elem)
    return _in_order([*made, *fresh], patch, base, lambda item: item.get(key))


def _in_order(items: list[Any], patch: list[Any], base: list[Any], key: Callable[[Any], Any]) -> list[Any]:
    """The patch's items in its order among those of the base in theirs, as far as the base says who is first."""
    position = {key(item): index for index, item in reversed(list(enumerate(base)))}
    order = {key(item): index for index, item in reversed(list(enumerate(patch)))}
    ours = sorted((item for item in items if key(item) in order), key=lambda item: order[key(item)])
    theirs = [item for item in items if key(item) not in order]
    made: list[Any] = []
    while ours and theirs:
        left, right = position.get(key(theirs[0])), position.get(key(ours[0]))
        is_before = left is not None and right is not None and left < right
        made.append((theirs if is_before else ours).pop(0))
    return [*made, *ours, *theirs]


def _is_delete(item: Any) -> bool:
    return isinstance(item, Mapping) and item.get("$patch") == "delete"


def read_yaml(text: str) -> Any:
    """A YAML or JSON text as sigs.k8s.io/yaml reads it. Raises ValueError."""
    from tiphys.lang import goyaml

    return goyaml.load(text)
