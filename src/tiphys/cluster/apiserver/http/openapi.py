"""OpenAPI v3 (v2: ``openapi_v2.py``): an index with a digest for each group version, a document each when first asked.

kubectl reads them to learn whether the server validates fields (it does: ``fieldValidation`` is declared) and for
``explain``.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha512
from typing import Any, Final

import orjson
from aiohttp import web

from tiphys.cluster.apiserver.http import openapi_pages, openapi_v2, schemas
from tiphys.cluster.apiserver.registry import Registry, ResourceInfo

_FOR_EVER: Final = {"Cache-Control": "public, immutable"}
_WRITE_QUERY: Final = ("dryRun", "fieldManager", "fieldValidation")
_LIST_QUERY: Final = (
    "allowWatchBookmarks",
    "continue",
    "fieldSelector",
    "labelSelector",
    "limit",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "timeoutSeconds",
    "watch",
)
_TITLE: Final = {"title": "Kubernetes", "version": "1.35"}
_DELETE_QUERY: Final = ("dryRun", "gracePeriodSeconds", "orphanDependents", "propagationPolicy")
_PATCHES: Final = (
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
)


class OpenApi:
    """Answers ``/openapi/v3`` and what is below it."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._revision = -1
        self._documents: dict[str, bytes] = {}
        self._index = b""

    def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.path.rstrip("/")
        if self._revision != self._registry.revision:
            self._revision = self._registry.revision
            self._documents.clear()
            self._index = b""
        if path == "/openapi/v2":
            return self._older(request)
        if path == "/openapi/v3":
            # The original names no type, so that it is guessed from the content.
            headers = {"Content-Type": "text/plain; charset=utf-8"}
            return web.Response(body=self._index_document(), headers=headers)
        body = self._document(path.removeprefix("/openapi/v3/")) if path.startswith("/openapi/v3/") else None
        if body is None:
            return web.Response(status=404, text="404 page not found\n")
        tag = f'"{_digest(body)}"'
        if request.headers.get("If-None-Match") == tag:
            return web.Response(status=304, headers={"ETag": tag})
        headers = {"ETag": tag, "Vary": "Accept"} | (_FOR_EVER if "hash" in request.query else {})
        return web.Response(body=body, content_type="application/json", headers=headers)

    def _older(self, request: web.BaseRequest) -> web.StreamResponse:
        """All kinds in one document; kept in both forms until a kind comes or goes."""
        as_protobuf = openapi_v2.PROTOBUF in request.headers.get("Accept", "")
        if openapi_v2.PROTOBUF not in self._documents:
            newer = (orjson.loads(self._document(name) or b"") for name in list(self._names()))
            made = openapi_v2.document(openapi_v2.all_schemas(newer))
            self._documents["v2"] = orjson.dumps(made)
            self._documents[openapi_v2.PROTOBUF] = openapi_v2.encode(made)
        body = self._documents[openapi_v2.PROTOBUF if as_protobuf else "v2"]
        tag = f'"{_digest(body)}"'
        headers = {"ETag": tag, "Vary": "Accept"}
        if request.headers.get("If-None-Match") == tag:
            return web.Response(status=304, headers=headers)
        headers["Content-Type"] = openapi_v2.PROTOBUF.replace("@", ".") if as_protobuf else "application/json"
        return web.Response(body=body, headers=headers)

    def _index_document(self) -> bytes:
        if not self._index:
            paths = {
                name: {"serverRelativeURL": f"/openapi/v3/{name}?hash={_digest(self._document(name) or b'')}"}
                for name in sorted((*self._names(), *openapi_pages.names(self._own_groups())))
            }
            self._index = orjson.dumps({"paths": paths})
        return self._index

    def _names(self) -> Iterator[str]:
        for group, versions in self._registry.groups().items():
            for version in versions:
                yield f"apis/{group}/{version}" if group else f"api/{version}"

    def _own_groups(self) -> list[str]:
        """The groups of built-in kinds, which have pages of their own."""
        return sorted({info.resource.group for info in self._registry if info.custom is None} - {""})

    def _document(self, name: str) -> bytes | None:
        if name not in self._documents:
            page = openapi_pages.document(name, _TITLE, self._own_groups())
            if page is not None:
                self._documents[name] = orjson.dumps(page)
                return self._documents[name]
            parts = name.split("/")
            if parts[0] == "api" and len(parts) == 2:
                group, version = "", parts[1]
            elif parts[0] == "apis" and len(parts) == 3:
                _, group, version = parts
            else:
                return None
            infos = self._registry.in_version(group, version)
            if not infos:
                return None
            self._documents[name] = orjson.dumps(document(infos))
        return self._documents[name]


def document(infos: list[ResourceInfo]) -> dict[str, Any]:
    """The OpenAPI document of one group version."""
    custom = infos[0].custom is not None
    title = {"title": "Kubernetes CRD Swagger", "version": "v0.1.0"} if custom else _TITLE
    source = schemas.Source()
    paths: dict[str, Any] = {}
    for info in infos:
        source.add(info)
        paths.update(_paths(info, source))
    components = {"schemas": dict(sorted(source.schemas.items()))}
    return {"openapi": "3.0.0", "info": title, "paths": paths, "components": components}


def _paths(info: ResourceInfo, source: schemas.Source) -> Iterator[tuple[str, dict[str, Any]]]:
    resource = info.resource
    place = resource.path("{namespace}" if resource.namespaced else None)
    verbs = set(info.verbs)
    collection = {
        method: _operation(info, verb, query, source)
        for method, verb, query in (
            ("get", "list", _LIST_QUERY),
            ("post", "create", _WRITE_QUERY),
            ("delete", "deletecollection", (*_LIST_QUERY, *_DELETE_QUERY)),
        )
        if verb in verbs
    }
    around = [_path_parameter("namespace", "The namespace of the object.")] if resource.namespaced else []
    yield place, {**collection, "parameters": around}
    if "get" in verbs:
        inside = {"parameters": [_path_parameter("name", f"The name of the {resource.kind}."), *around]}
        yield f"{place}/{{name}}", {**_object_item(info, verbs, source), **inside}
        for sub in info.subresources:
            yield f"{place}/{{name}}/{sub.name}", {**_object_item(info, set(sub.verbs), source), **inside}


def _path_parameter(name: str, description: str) -> dict[str, Any]:
    schema = {"type": "string", "uniqueItems": True}
    return {"name": name, "in": "path", "description": description, "required": True, "schema": schema}


def _object_item(info: ResourceInfo, verbs: set[str], source: schemas.Source) -> dict[str, Any]:
    return {
        method: _operation(info, verb, query, source)
        for method, verb, query in (
            ("get", "get", ()),
            ("put", "update", _WRITE_QUERY),
            ("patch", "patch", (*_WRITE_QUERY, "force")),
            ("delete", "delete", _DELETE_QUERY),
            ("post", "create", _WRITE_QUERY),
        )
        if verb in verbs
    }


def _operation(info: ResourceInfo, verb: str, query: tuple[str, ...], source: schemas.Source) -> dict[str, Any]:
    resource = info.resource
    action = {"get": "get", "list": "list", "create": "post", "update": "put"}.get(verb, verb)
    reference = {"$ref": f"#/components/schemas/{schemas.name_of(info)}"}
    content = {"application/json": {"schema": reference}}
    found: dict[str, Any] = {
        "operationId": f"{verb}{resource.kind}",
        "parameters": [source.parameter(name) for name in query],
        "responses": {"200": {"description": "OK", "content": content}},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": {
            "group": resource.group,
            "version": resource.version,
            "kind": resource.kind,
        },
    }
    if verb in ("create", "update"):
        found["requestBody"] = {"content": {"*/*": {"schema": reference}}, "required": True}
    elif verb == "patch":
        found["requestBody"] = {"content": {kind: {"schema": {"type": "object"}} for kind in _PATCHES}}
    return found


def _digest(body: bytes) -> str:
    return sha512(body).hexdigest().upper()
