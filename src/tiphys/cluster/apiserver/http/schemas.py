"""The schemas of an OpenAPI document: those of built-in kinds from data, those of custom ones from their definitions.

``data/openapi.json.xz`` (generated) has the kinds that people explain and apply, with descriptions; the few others come
from the type table without. A document holds what its kinds refer to, no more.
"""

from __future__ import annotations

import lzma
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any, Final

import orjson

from tiphys.api import kube_types
from tiphys.cluster.apiserver.registry import ResourceInfo

META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1"
_PREFIX: Final = "#/components/schemas/"
_GVK: Final = "x-kubernetes-group-version-kind"


class Source:
    """Collects the schemas of one document. The data is read for it and let go with it: 3 MB that few ask for."""

    def __init__(self) -> None:
        packed = resources.files("tiphys.cluster.apiserver").joinpath("data/openapi.json.xz").read_bytes()
        data = orjson.loads(lzma.decompress(packed))
        self._known: dict[str, Any] = data["schemas"]
        self._parameters: dict[str, Any] = data["parameters"]
        self.schemas: dict[str, Any] = {}

    def parameter(self, name: str) -> dict[str, Any]:
        """A query parameter with its description."""
        found: dict[str, Any] = self._parameters[name]
        return found

    def add(self, info: ResourceInfo) -> None:
        """The schema of a resource's kind and of its list, and all that they refer to."""
        name = name_of(info)
        if info.custom is not None:
            self.schemas[name] = self._custom(info)
            self._complete(self.schemas[name])
        else:
            self._include(name)
            # Clients find kinds by it; only what was taken from a real server's pages has it from there.
            self.schemas[name] = {_GVK: [_gvk(info, info.kind)], **self.schemas[name]}
        if info.list_kind and not info.is_virtual:
            self.schemas[f"{name}List"] = self._known.get(f"{name}List") or self._list(info, name)
            self._complete(self.schemas[f"{name}List"])
        if not info.is_virtual:
            self._include(f"{META}.DeleteOptions")

    def _include(self, name: str) -> None:
        if name in self.schemas:
            return
        schema = self._known.get(name)
        if schema is None:
            try:
                schema = kube_types.openapi_schema(name)
            except KeyError:
                schema = {"type": "object"}
        self.schemas[name] = schema
        self._complete(schema)

    def _complete(self, schema: Any) -> None:
        for name in list(_references(schema)):
            self._include(name)

    def _custom(self, info: ResourceInfo) -> dict[str, Any]:
        declared: Mapping[str, Any] = ((info.custom or {}).get("schema") or {}).get("openAPIV3Schema") or {}
        version = self._known["io.k8s.api.core.v1.ConfigMap"]["properties"]
        metadata = {"description": version["metadata"]["description"], "$ref": f"{_PREFIX}{META}.ObjectMeta"}
        own = {"apiVersion": version["apiVersion"], "kind": version["kind"], "metadata": metadata}
        return {
            "type": "object",
            **declared,
            "properties": {**(declared.get("properties") or {}), **own},
            _GVK: [_gvk(info, info.kind)],
        }

    def _list(self, info: ResourceInfo, name: str) -> dict[str, Any]:
        version = self._known["io.k8s.api.core.v1.ConfigMap"]["properties"]
        items = {"type": "array", "items": {"$ref": f"{_PREFIX}{name}"}}
        metadata = {"$ref": f"{_PREFIX}{META}.ListMeta"}
        return {
            "description": f"{info.list_kind} is a list of {info.kind}",
            "type": "object",
            "required": ["items"],
            "properties": {
                "apiVersion": version["apiVersion"],
                "items": items,
                "kind": version["kind"],
                "metadata": metadata,
            },
            _GVK: [_gvk(info, info.list_kind)],
        }


def name_of(info: ResourceInfo) -> str:
    """``io.argoproj.v1alpha1.Workflow``: a custom group's domain backwards; built-in kinds have names of their own."""
    resource = info.resource
    if info.custom is None:
        known = kube_types.openapi_name(resource.api_version, resource.kind)
        return known or f"io.k8s.api.{resource.group.split('.')[0] or 'core'}.{resource.version}.{resource.kind}"
    return ".".join([*reversed(resource.group.split(".")), resource.version, resource.kind])


def _gvk(info: ResourceInfo, kind: str) -> dict[str, str]:
    return {"group": info.resource.group, "version": info.resource.version, "kind": kind}


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, Mapping):
        reference = schema.get("$ref")
        if isinstance(reference, str):
            yield reference.removeprefix(_PREFIX)
        for member in schema.values():
            yield from _references(member)
    elif isinstance(schema, list):
        for item in schema:
            yield from _references(item)
