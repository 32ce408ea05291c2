"""What the server has, in the two forms that clients ask for: aggregated (v2) and plain documents.

All are made from the registry and kept until it changes.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import orjson

from tiphys.cluster.apiserver.http.paths import GroupVersion
from tiphys.cluster.apiserver.http.representation import negotiate
from tiphys.cluster.apiserver.registry import Registry, ResourceInfo, Subresource

_AGGREGATED: Final = "application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"


@dataclass(frozen=True)
class Document:
    body: bytes
    content_type: str


class Discovery:
    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._revision = -1
        self._kept: dict[tuple[GroupVersion, str, str], Document | None] = {}

    def answer(self, where: GroupVersion, accept: str, host: str) -> Document | None:
        """The document at a discovery path; None for a group or version that is not there."""
        if self._revision != self._registry.revision:
            self._revision = self._registry.revision
            self._kept.clear()
        key = (where, accept, host)
        if key not in self._kept:
            if len(self._kept) > 512:
                self._kept.clear()
            self._kept[key] = self._make(where, accept, host)
        return self._kept[key]

    def paths(self) -> list[str]:
        """What ``/`` lists, health apart."""
        found = ["/.well-known/openid-configuration", "/api", "/api/v1", "/apis", "/apis/"]
        for group, versions in self._registry.groups().items():
            if group:
                found += [f"/apis/{group}", *(f"/apis/{group}/{version}" for version in versions)]
        found += ["/metrics", "/metrics/slis", "/openapi/v2", "/openapi/v3", "/openapi/v3/", "/openid/v1/jwks"]
        return [*found, "/version"]

    def _make(self, where: GroupVersion, accept: str, host: str) -> Document | None:
        at_root = where.group is None
        version = _aggregated_version(accept) if at_root else None
        if version is not None:
            content = self._aggregate(where.is_core, version)
            return Document(orjson.dumps(content), _AGGREGATED.format(version=version))
        document = self._plain(where, host)
        if document is None:
            return None
        how = negotiate(accept)
        return Document(how.encode(document), how.media_type)

    # Plain documents

    def _plain(self, where: GroupVersion, host: str) -> dict[str, Any] | None:
        if where.version is not None:
            return self._resource_list(where.group or "", where.version)
        if where.is_core:
            addresses = [{"clientCIDR": "0.0.0.0/0", "serverAddress": host}]
            return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": addresses}
        groups = self._registry.groups()
        if where.group is not None:
            if where.group not in groups:
                return None
            return {"kind": "APIGroup", "apiVersion": "v1", **_group(where.group, groups[where.group])}
        listed = [_group(name, versions) for name, versions in groups.items() if name]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": listed}

    def _resource_list(self, group: str, version: str) -> dict[str, Any] | None:
        infos = self._registry.in_version(group, version)
        if not infos:
            return None
        resources = [entry for info in infos for entry in _entries(info)]
        group_version = f"{group}/{version}" if group else version
        head: dict[str, Any] = {"kind": "APIResourceList"}
        if group:
            head["apiVersion"] = "v1"
        return head | {"groupVersion": group_version, "resources": resources}

    # Aggregated documents

    def _aggregate(self, core: bool, version: str) -> dict[str, Any]:
        items = [
            self._aggregated_group(name, versions)
            for name, versions in self._registry.groups().items()
            if (name == "") == core
        ]
        return {
            "kind": "APIGroupDiscoveryList",
            "apiVersion": f"apidiscovery.k8s.io/{version}",
            "metadata": {},
            "items": items,
        }

    def _aggregated_group(self, group: str, versions: list[str]) -> dict[str, Any]:
        listed = [
            {
                "version": version,
                "resources": [_aggregated(info) for info in self._registry.in_version(group, version)],
                "freshness": "Current",
            }
            for version in versions
        ]
        return {"metadata": {"name": group} if group else {}, "versions": listed}


def _aggregated_version(accept: str) -> str | None:
    """v2 where a client prefers an aggregated document to a plain one; v2beta1 is no longer served in 1.35."""
    for clause in accept.split(","):
        media, *parameters = (part.strip() for part in clause.split(";"))
        values = dict(part.partition("=")[::2] for part in parameters)
        if media != "application/json":
            continue
        if values.get("as") == "APIGroupDiscoveryList" and values.get("g") == "apidiscovery.k8s.io":
            if values.get("v") == "v2":
                return "v2"
        elif not values.get("as"):
            return None
    return None


def _group(name: str, versions: list[str]) -> dict[str, Any]:
    listed = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def _entries(info: ResourceInfo) -> Iterator[dict[str, Any]]:
    """A resource and its subresources, as a resource list has them."""
    resource = info.resource
    entry: dict[str, Any] = {
        "name": resource.plural,
        "singularName": info.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(info.verbs),
    }
    if info.short_names:
        entry["shortNames"] = list(info.short_names)
    if info.categories:
        entry["categories"] = list(info.categories)
    if not info.is_virtual and resource.plural != "componentstatuses":
        entry["storageVersionHash"] = _storage_hash(info)
    yield entry
    for sub in info.subresources:
        found: dict[str, Any] = {
            "name": f"{resource.plural}/{sub.name}",
            "singularName": "",
            "namespaced": resource.namespaced,
        }
        if sub.group:
            found |= {"group": sub.group, "version": sub.version}
        yield found | {"kind": sub.kind, "verbs": list(sub.verbs)}


# Where the original stores another version than it serves first.
_STORED_AS: Final = {
    "customresourcedefinitions.apiextensions.k8s.io": "apiextensions.k8s.io/v1beta1/CustomResourceDefinition",
    "events.events.k8s.io": "/v1/Event",
    "volumeattributesclasses.storage.k8s.io": "storage.k8s.io/v1beta1/VolumeAttributesClass",
}


def _storage_hash(info: ResourceInfo) -> str:
    """The first bytes of the digest of group/version/kind, as ``StorageVersionHash`` does it."""
    resource = info.resource
    stored = _STORED_AS.get(resource.key, f"{resource.group}/{(info.storage or info).resource.version}/{resource.kind}")
    digest = sha256(stored.encode()).digest()
    return b64encode(digest[:8]).decode()


def _aggregated(info: ResourceInfo) -> dict[str, Any]:
    resource = info.resource
    entry: dict[str, Any] = {
        "resource": resource.plural,
        "responseKind": _kind(info, resource.kind, "", ""),
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": info.singular,
        "verbs": list(info.verbs),
    }
    if info.short_names:
        entry["shortNames"] = list(info.short_names)
    if info.categories:
        entry["categories"] = list(info.categories)
    if info.subresources:
        entry["subresources"] = [_aggregated_sub(info, sub) for sub in info.subresources]
    return entry


def _aggregated_sub(info: ResourceInfo, sub: Subresource) -> dict[str, Any]:
    kind = _kind(info, sub.kind, sub.group, sub.version)
    return {"subresource": sub.name, "responseKind": kind, "verbs": list(sub.verbs)}


def _kind(info: ResourceInfo, kind: str, group: str, version: str) -> dict[str, str]:
    """Built-in kinds of the resource's own group come without group and version, custom ones with them."""
    if info.custom is not None and not group:
        group, version = info.resource.group, info.resource.version
    return {"group": group, "version": version, "kind": kind}
