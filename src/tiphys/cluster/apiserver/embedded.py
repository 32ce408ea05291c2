"""Resources inside of custom resources (``x-kubernetes-embedded-resource``): their metadata is read and judged.

``coerced`` reads metadata as the type of all objects' metadata does; ``faults`` says what is wrong with apiVersion,
kind and metadata. Both walk a value along its schema; the resource around is the callers' business, unless
``is_resource`` says that the value itself is one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from tiphys.api import decode
from tiphys.cluster.apiserver import metadata
from tiphys.cluster.apiserver.problems import Complaint, invalid_value, required
from tiphys.lang import name_rules
from tiphys.lang.gofmt import quote
from tiphys.machinery.structural.shape import EMBEDDED

Schema = Mapping[str, Any]
_META: Final = "k8s.io.apimachinery.pkg.apis.meta.v1.ObjectMeta"


class BadMetadata(ValueError):
    """Metadata of a wrong type."""

    def __init__(self, complaint: Complaint, why: str = "") -> None:
        super().__init__(f"{complaint.field}: {complaint.message}")
        self.complaint = complaint
        self.told = why if complaint.field == "metadata" else str(self)
        """As the object around is refused: of its own metadata only the reason is said."""


def coerced(
    value: Any, schema: Schema | None, path: str, unknown: list[str], *, is_resource: bool = False, drops: bool = False
) -> Any:
    """The value with all embedded metadata in normal form; names of unknown fields go to ``unknown``.

    ``drops``: what cannot be read is left out. Raises BadMetadata otherwise. Unchanged parts keep their identity.
    """
    if schema is None:
        return value
    if isinstance(value, list):
        items = schema.get("items")
        if not isinstance(items, Mapping):
            return value
        return _same([coerced(v, items, f"{path}[{n}]", unknown, drops=drops) for n, v in enumerate(value)], value)
    if not isinstance(value, Mapping):
        return value
    found = {}
    for key, member in value.items():
        where = f"{path}.{key}" if path else key
        if (is_resource or schema.get(EMBEDDED)) and key in ("apiVersion", "kind") and not isinstance(member, str):
            if drops:
                continue
            raise BadMetadata(invalid_value(where, member, "must be a string"))
        if (is_resource or schema.get(EMBEDDED)) and key == "metadata":
            member = _read_metadata(member, where, unknown, drops)
        found[key] = coerced(member, _inner(schema, key), where, unknown, drops=drops)
    return value if found.keys() == value.keys() and all(found[k] is value[k] for k in found) else found


def _inner(schema: Schema, key: str) -> Schema | None:
    others = schema.get("additionalProperties")
    inner = (schema.get("properties") or {}).get(key, others if isinstance(others, Mapping) else None)
    return inner if isinstance(inner, Mapping) else None


def _same(found: list[Any], value: list[Any]) -> list[Any]:
    return value if all(a is b for a, b in zip(found, value, strict=True)) else found


def _read_metadata(value: Any, path: str, unknown: list[str], drops: bool) -> Any:
    try:
        read = decode.decode(_META, value, strict=True)
    except decode.DecodeError as err:
        if not drops:
            raise BadMetadata(invalid_value(path, value, str(err)), str(err)) from None
        if not isinstance(value, Mapping):
            return value
        return _field_by_field(value, path, unknown)
    unknown.extend(f"{path}.{field.path}" for field in read.unknown)
    return _pruned(read.value)


def _field_by_field(value: Mapping[str, Any], path: str, unknown: list[str]) -> Any:
    found: dict[str, Any] = {}
    for key, member in value.items():
        try:
            read = decode.decode(_META, {key: member}, strict=True)
        except decode.DecodeError:
            continue
        unknown.extend(f"{path}.{field.path}" for field in read.unknown)
        found |= _pruned(read.value)
    return metadata.ordered(found)


def _pruned(read: Any) -> dict[str, Any]:
    pruned: dict[str, Any] = decode.pruned(_META, read)
    if not pruned.get("creationTimestamp"):
        pruned.pop("creationTimestamp", None)
    return pruned


def faults(value: Any, schema: Schema | None, path: str, *, is_resource: bool = False) -> Iterator[Complaint]:
    """What is wrong with the embedded resources."""
    if schema is None:
        return
    if isinstance(value, list):
        items = schema.get("items")
        for at, item in enumerate(value):
            yield from faults(item, items if isinstance(items, Mapping) else None, f"{path}[{at}]")
    elif isinstance(value, Mapping):
        if is_resource or schema.get(EMBEDDED):
            yield from _resource_faults(value, path)
        properties = schema.get("properties") or {}
        for key, member in value.items():
            step = f".{key}" if key in properties else f"[{key}]"
            yield from faults(member, _inner(schema, key), (path + step).removeprefix("."))


def _resource_faults(value: Mapping[str, Any], path: str) -> Iterator[Complaint]:
    prefix = f"{path}." if path else ""
    for field in ("apiVersion", "kind"):
        if field not in value:
            yield required(prefix + field)
    if "apiVersion" in value:
        yield from _text_faults(value["apiVersion"], f"{prefix}apiVersion", _group_version_problem)
    if "kind" in value:
        yield from _text_faults(value["kind"], f"{prefix}kind", _kind_problem)
    if isinstance(value.get("metadata"), Mapping):
        yield from _metadata_faults(value["metadata"], f"{prefix}metadata")


def _text_faults(value: Any, path: str, problem: Any) -> Iterator[Complaint]:
    if not isinstance(value, str):
        yield invalid_value(path, value, "must be a string")
    elif not value:
        yield invalid_value(path, value, "must not be empty")
    elif problem(value):
        yield invalid_value(path, value, problem(value))


def _group_version_problem(text: str) -> str:
    return f"unexpected GroupVersion string: {text}" if text.count("/") > 1 else ""


def _kind_problem(kind: str) -> str:
    problems = name_rules.dns1035_label(kind.lower())
    return f"may have mixed case, but should otherwise match: {','.join(problems)}" if problems else ""


def _metadata_faults(meta: Mapping[str, Any], path: str) -> Iterator[Complaint]:
    from tiphys.cluster.apiserver.strategies import path_segment

    judged = {"metadata": {**meta, "name": meta.get("name") or "fakename"}}
    for complaint in metadata.complaints(judged, path_segment):
        yield complaint._replace(field=path + complaint.field.removeprefix("metadata"))


def told(complaints: list[Complaint]) -> str:
    """Several complaints as one text (``ErrorList.ToAggregate``)."""
    lines = list(dict.fromkeys(f"{c.field}: {c.message}" for c in complaints))
    return lines[0] if len(lines) == 1 else f"[{', '.join(lines)}]"


__all__ = ["BadMetadata", "coerced", "faults", "quote", "told"]
