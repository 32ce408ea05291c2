"""What CD calls an object: its group, version and kind, and the key that names it within a cluster.

A key leaves the version out, so that an object keeps its identity when it is served in another one. Objects are plain
dicts and never changed in place; ``with_metadata`` and its neighbours copy only the way to what they change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

Object = Mapping[str, Any]


class Gvk(NamedTuple):
    """Group, version and kind; the core group is ""."""

    group: str
    version: str
    kind: str

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def __str__(self) -> str:
        return f"{self.api_version}, Kind={self.kind}"


class ResourceKey(NamedTuple):
    """Names an object of a cluster, whatever version it is served in."""

    group: str
    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.group}/{self.kind}/{self.namespace}/{self.name}"


def gvk_of(obj: Object) -> Gvk:
    """An apiVersion of more than two parts is no group and version: like the original, nothing is known then."""
    api_version, kind = obj.get("apiVersion"), obj.get("kind")
    return _gvk(api_version if isinstance(api_version, str) else "", kind if isinstance(kind, str) else "")


@lru_cache(maxsize=4096)
def _gvk(api_version: str, kind: str) -> Gvk:
    match api_version.split("/"):
        case [version]:
            return Gvk("", version, kind)
        case [group, version]:
            return Gvk(group, version, kind)
    return Gvk("", "", "")


def key_of(obj: Object) -> ResourceKey:
    gvk = gvk_of(obj)
    return ResourceKey(gvk.group, gvk.kind, namespace_of(obj), name_of(obj))


def metadata_of(obj: Object) -> Mapping[str, Any]:
    metadata = obj.get("metadata")
    return metadata if metadata.__class__ is dict or isinstance(metadata, Mapping) else {}


def name_of(obj: Object) -> str:
    return _text(metadata_of(obj).get("name"))


def namespace_of(obj: Object) -> str:
    return _text(metadata_of(obj).get("namespace"))


def annotations_of(obj: Object) -> Mapping[str, str]:
    """The annotations; none where one of them is no string, as apimachinery reads them."""
    return _string_map(metadata_of(obj).get("annotations"))


def labels_of(obj: Object) -> Mapping[str, str]:
    return _string_map(metadata_of(obj).get("labels"))


def finalizers_of(obj: Object) -> list[str]:
    held = metadata_of(obj).get("finalizers")
    return [each for each in held if isinstance(each, str)] if isinstance(held, list) else []


def is_being_deleted(obj: Object) -> bool:
    return bool(metadata_of(obj).get("deletionTimestamp"))


def is_crd(obj: Object) -> bool:
    gvk = gvk_of(obj)
    return gvk.group == "apiextensions.k8s.io" and gvk.kind == "CustomResourceDefinition"


def defined_kind(crd: Object) -> tuple[str, str] | None:
    """The group and kind that a CustomResourceDefinition defines, None where it says neither."""
    group, kind = at(crd, "spec", "group"), at(crd, "spec", "names", "kind")
    return (group, kind) if is_crd(crd) and isinstance(group, str) and isinstance(kind, str) else None


def at(obj: Any, *path: str) -> Any:
    """The value at a path of fields, None where there is none."""
    for step in path:
        if not isinstance(obj, Mapping):
            return None
        obj = obj.get(step)
    return obj


def with_metadata(obj: Object, **fields: Any) -> dict[str, Any]:
    """A copy with these fields of its metadata; None removes one."""
    metadata = {name: value for name, value in {**metadata_of(obj), **fields}.items() if value is not None}
    return {**obj, "metadata": metadata}


def with_value(obj: Object, value: Any, *path: str) -> dict[str, Any]:
    """A copy with ``value`` at ``path``; what is missing or no object on the way is made one."""
    step, rest = path[0], path[1:]
    if rest:
        held = obj.get(step)
        value = with_value(held if isinstance(held, Mapping) else {}, value, *rest)
    return {**obj, step: value}


def without(obj: Object, *path: str) -> Object:
    """A copy without the field at ``path``; ``obj`` itself where there is none."""
    step, rest = path[0], path[1:]
    if step not in obj:
        return obj
    if not rest:
        return {name: value for name, value in obj.items() if name != step}
    held = obj[step]
    if not isinstance(held, Mapping):
        return obj
    left = without(held, *rest)
    return obj if left is held else {**obj, step: left}


def images_of(obj: Object) -> list[str] | None:
    """The images of the containers of known workload shapes; None where there are no containers."""
    for path in _CONTAINERS:
        containers = at(obj, *path)
        if isinstance(containers, list):
            images = [each.get("image") for each in containers if isinstance(each, Mapping)]
            return [image for image in images if isinstance(image, str)] or None
    return None


def changed(obj: Object, change: Callable[[Object], Object | None]) -> Object | None:
    """``change(obj)`` where it is another object, else None."""
    new = change(obj)
    return None if new is obj else new


_CONTAINERS = (
    ("spec", "containers"),
    ("spec", "template", "spec", "containers"),
    ("spec", "jobTemplate", "spec", "template", "spec", "containers"),
)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _string_map(value: Any) -> Mapping[str, str]:
    if not value or (value.__class__ is not dict and not isinstance(value, Mapping)):
        return {}
    for each in value.values():
        if each.__class__ is not str and not isinstance(each, str):
            return {}
    held: Mapping[str, str] = value
    return held
