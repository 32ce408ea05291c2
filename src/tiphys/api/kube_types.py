"""How the built-in Kubernetes types are merged: by server-side apply, and by strategic merge patches.

The table is generated (``tools/codegen_kube_types.py``) and read at the first question.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import orjson

from tiphys.machinery.ssa.schema import SchemaType, from_openapi


def merge_type(api_version: str, kind: str) -> SchemaType | None:
    """The merge type of a built-in kind (``("apps/v1", "Deployment")``), None where there is none."""
    name = _table()["openapiGvk"].get(f"{api_version}/{kind}")
    return _openapi_type(name) if name else None


def strategic_type(api_version: str, kind: str) -> str | None:
    """The Go type whose patch strategies a strategic merge patch of this kind follows, None where there is none."""
    name: str | None = _table()["goGvk"].get(f"{api_version}/{kind}")
    return name


def strategic_fields(go_type: str) -> Mapping[str, Mapping[str, Any]]:
    """JSON name → ``{patchStrategy, patchMergeKey, list, map, type}`` as far as there is something to say."""
    fields: Mapping[str, Mapping[str, Any]] = _table()["go"].get(go_type, {})
    return fields


@cache
def _openapi_type(name: str) -> SchemaType:
    return from_openapi(_as_schema(_table()["openapi"][name]), _openapi_type)


def _as_schema(body: Mapping[str, Any]) -> dict[str, Any]:
    """The table's short form written out as OpenAPI."""
    if "ref" in body:
        return {"$ref": "/" + body["ref"]}
    schema = {f"x-kubernetes-{key}": body[key] for key in ("list-type", "list-map-keys", "map-type") if key in body}
    schema |= {key: body[key] for key in ("type", "default") if key in body}
    if "items" in body:
        schema["items"] = _named(body["items"])
    if "values" in body:
        schema["additionalProperties"] = _named(body["values"])
    if "properties" in body:
        schema["properties"] = {name: _property(field) for name, field in body["properties"].items()}
    return schema


def _property(body: Mapping[str, Any]) -> dict[str, Any]:
    schema = _as_schema(body)
    return schema | {"default": body["default"]} if "default" in body else schema


def _named(name: str) -> dict[str, Any]:
    return {"$ref": "/" + name} if "." in name else {"type": name}


@cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = orjson.loads(files("tiphys.api").joinpath("data/kube_types.json").read_bytes())
    return table
