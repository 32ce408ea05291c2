"""A manifest's text as objects, each with its resource and the namespace that it goes to.

Lists are taken apart. ``source`` is the path by which messages name the manifest. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tiphys.lang import gojson, goyaml
from tiphys.lang.gofmt import quote
from tiphys.machinery.resources import ObjectKey, Resource
from tiphys.workflows.executor.kubectl.errors import KubectlError, yaml_text
from tiphys.workflows.executor.kubectl.names import ResourceNames

Object = Mapping[str, Any]


@dataclass(frozen=True)
class Target:
    """An object that a command is about. ``manifest`` is empty where flags alone name it."""

    resource: Resource
    namespace: str
    name: str
    manifest: Object
    source: str = ""

    @property
    def key(self) -> ObjectKey:
        return ObjectKey(self.namespace, self.name)


@dataclass(frozen=True)
class Place:
    """Where objects without a namespace go; ``forced`` was said with ``-n``, and objects must not say otherwise."""

    namespace: str
    forced: bool = False


def targets(text: str, source: str, names: ResourceNames, place: Place, *, validates: bool) -> list[Target]:
    """The objects of a manifest. Raises `KubectlError` in kubectl's words."""
    found = [_target(obj, source, names, place, validates=validates) for obj in _objects(text, source)]
    if not found:
        raise KubectlError("error: no objects passed to a command")
    return found


def _objects(text: str, source: str) -> Iterator[Any]:
    for value in _documents(text, source):
        if value is None:
            continue
        if isinstance(value, Mapping) and str(value.get("kind", "")).endswith("List") and "items" in value:
            yield from value["items"] or ()
        else:
            yield value


def _documents(text: str, source: str) -> list[Any]:
    try:
        return [document.value for document in goyaml.load_all(text)]
    except goyaml.YamlError as err:
        raise KubectlError(f"error: error parsing {source}: {yaml_text(err)}") from err


def _target(obj: Any, source: str, names: ResourceNames, place: Place, *, validates: bool) -> Target:
    if not isinstance(obj, Mapping):
        raise KubectlError(f"error: unable to decode {quote(source)}: json: cannot unmarshal into an object")
    missing = [f"{name} not set" for name in ("apiVersion", "kind") if not obj.get(name)]
    if missing and validates:
        what = missing[0] if len(missing) == 1 else f"[{', '.join(missing)}]"
        raise KubectlError(
            f"error: error validating {quote(source)}: error validating data: {what}; "
            "if you choose to ignore these errors, turn validation off with --validate=false"
        )
    if missing:
        field = "Kind" if not obj.get("kind") else "apiVersion"
        raise KubectlError(
            f"error: unable to decode {quote(source)}: Object '{field}' is missing in '{gojson.dumps(obj)}'"
        )
    group, _, version = str(obj["apiVersion"]).rpartition("/")
    meta = obj.get("metadata") or {}
    name, own = str(meta.get("name") or ""), str(meta.get("namespace") or "")
    resource = names.by_kind(group, version, str(obj["kind"]))
    if resource is None:
        raise KubectlError(
            f"error: resource mapping not found for name: {quote(name)} namespace: {quote(own)} from {quote(source)}: "
            f"no matches for kind {quote(str(obj['kind']))} in version {quote(str(obj['apiVersion']))}\n"
            "ensure CRDs are installed first"
        )
    return Target(resource, _namespace(resource, own, place), name, obj, source)


def _namespace(resource: Resource, own: str, place: Place) -> str:
    if not resource.namespaced:
        return ""
    if own and place.forced and own != place.namespace:
        raise KubectlError(
            f"error: the namespace from the provided object {quote(own)} does not match the namespace "
            f"{quote(place.namespace)}. You must pass '--namespace={own}' to perform this operation."
        )
    return own or place.namespace


def placed(target: Target) -> dict[str, Any]:
    """The manifest with the namespace that it goes to."""
    made = dict(target.manifest)
    if target.resource.namespaced:
        made["metadata"] = {**(made.get("metadata") or {}), "namespace": target.namespace}
    return made
