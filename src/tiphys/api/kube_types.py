"""How the built-in Kubernetes types are merged: by server-side apply, and by strategic merge patches.

The table is generated (``tools/codegen_kube_types.py``) and read at the first question.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import orjson

from tiphys.machinery.patches.strategic import MapSchema, Rule, StrategicMergeError
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
    body = merge_facts()[name]
    if name == _RAW:
        body = {**body, "map-type": "atomic"}  # an object within an object: nobody looks into it
    return from_openapi(_as_schema(body), _openapi_type)


_RAW = "io.k8s.apimachinery.pkg.runtime.RawExtension"


def _as_schema(body: Mapping[str, Any]) -> dict[str, Any]:
    """The table's short form written out as OpenAPI."""
    if "ref" in body and "map-type" in body:  # one struct merges differently in different places
        return _as_schema({**merge_facts()[body["ref"]], "map-type": body["map-type"]})
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


def merge_facts() -> Mapping[str, Mapping[str, Any]]:
    """Schema → how it merges, in the short form of the table (``list-type``, ``map-type``, defaults …)."""
    facts: Mapping[str, Mapping[str, Any]] = _table()["openapi"]
    return facts


def strategic_schema(api_version: str, kind: str) -> GoType | None:
    """The type whose strategies a strategic merge patch of this kind follows, None for a kind that is not built in."""
    name = strategic_type(api_version, kind)
    return GoType(name) if name else None


@dataclass(frozen=True, slots=True)
class GoType:
    """A ``strategic.Schema``: the fields of a Go struct, read from the table."""

    name: str

    def rule(self, field: str) -> Rule:
        """Raises StrategicMergeError for a field that is not there, or that is a scalar."""
        entry = strategic_fields(self.name).get(field)
        if entry is None:
            struct = self.name.rpartition(".")[2]
            raise StrategicMergeError(f'unable to find api field in struct {struct} for the json field "{field}"')
        inner: GoType | MapSchema | None = GoType(entry["type"]) if "type" in entry else None
        if entry.get("map"):
            inner = MapSchema()
        strategies = frozenset(str(entry.get("patchStrategy", "")).split(",")) - {""}
        return Rule(strategies, entry.get("patchMergeKey", ""), inner)


def openapi_name(api_version: str, kind: str) -> str | None:
    """The name of a built-in kind's schema (``io.k8s.api.apps.v1.Deployment``), None where there is none."""
    name: str | None = _table()["openapiGvk"].get(f"{api_version}/{kind}")
    return name


def openapi_schema(name: str) -> dict[str, Any]:
    """The structure of a schema of the table, references as in a document's components; KeyError if unknown."""
    schema: dict[str, Any] = _referring(_as_schema(merge_facts()[name]))
    return schema


def _referring(value: Any) -> Any:
    if isinstance(value, dict):
        if "$ref" in value:
            return {"$ref": "#/components/schemas/" + value["$ref"].lstrip("/")}
        return {key: _referring(member) for key, member in value.items()}
    return [_referring(item) for item in value] if isinstance(value, list) else value
