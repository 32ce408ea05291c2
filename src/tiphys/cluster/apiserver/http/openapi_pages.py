"""OpenAPI documents of the pages that are about no resource: groups and versions, the server's own, its tokens' keys.

Each has one path with one GET. They are in the index of ``/openapi/v3`` like those of group versions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

_META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1"
_JSON: Final = "application/json"


@dataclass(frozen=True)
class _Page:
    path: str
    operation: str
    tag: str
    description: str
    kind: str


_PAGES: Final = (
    _Page(
        "/.well-known/openid-configuration",
        "getServiceAccountIssuerOpenIDConfiguration",
        "WellKnown",
        "where others find the keys that verify service account tokens (OpenID Connect Discovery)",
        "",
    ),
    _Page("/api", "getCoreAPIVersions", "core", "get available API versions", "APIVersions"),
    _Page("/apis", "getAPIVersions", "apis", "get available API versions", "APIGroupList"),
    _Page("/openid/v1/jwks", "getServiceAccountIssuerOpenIDKeyset", "openid", "the keys of service account tokens", ""),
    _Page("/version", "getCodeVersion", "version", "get the version information for this server", ""),
)


def names(groups: Iterable[str]) -> Iterator[str]:
    """The documents' names. ``groups`` are those of built-in kinds, without the core one."""
    yield from (page.path[1:] for page in _PAGES)
    yield from (f"apis/{group}" for group in groups)


def document(name: str, title: dict[str, str], groups: Iterable[str]) -> dict[str, Any] | None:
    """The document of this name; None where there is no such page."""
    page = next((page for page in _PAGES if page.path[1:] == name), None)
    group = name.removeprefix("apis/")
    if page is None and name == f"apis/{group}" and group in groups:
        word = "".join(part.capitalize() for part in group.removesuffix(".k8s.io").split("."))
        page = _Page(f"/apis/{group}", f"get{word}APIGroup", group, "get information of a group", "APIGroup")
    return _document(page, title) if page is not None else None


def _document(page: _Page, title: dict[str, str]) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{_META}.{page.kind}"} if page.kind else {"type": "object"}
    answers = {
        "200": {"description": "OK", "content": {_JSON: {"schema": schema}}},
        "401": {"description": "Unauthorized"},
    }
    get = {"tags": [page.tag], "description": page.description, "operationId": page.operation, "responses": answers}
    # Version and keys have their slash in the originals' documents as well, though they are asked without.
    paths = {f"{page.path}/": {"get": get}}
    found = {"openapi": "3.0.0", "info": title, "paths": paths}
    return found | ({"components": {"schemas": _schemas(page.kind)}} if page.kind else {})


def _schemas(kind: str) -> dict[str, Any]:
    text, texts = {"type": "string"}, {"type": "array", "items": {"type": "string"}}
    version = {"type": "object", "properties": {"groupVersion": text, "version": text}}
    address = {"type": "object", "properties": {"clientCIDR": text, "serverAddress": text}}
    addresses = {"type": "array", "items": address}
    head = {"kind": text, "apiVersion": text}
    group = head | {
        "name": text,
        "versions": {"type": "array", "items": version},
        "preferredVersion": version,
        "serverAddressByClientCIDRs": addresses,
    }
    members: dict[str, dict[str, Any]] = {
        "APIGroup": group,
        "APIGroupList": head | {"groups": {"type": "array", "items": {"type": "object", "properties": group}}},
        "APIVersions": head | {"versions": texts, "serverAddressByClientCIDRs": addresses},
    }
    return {f"{_META}.{kind}": {"type": "object", "properties": members[kind]}}
