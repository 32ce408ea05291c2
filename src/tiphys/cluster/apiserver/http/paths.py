"""URL paths of the Kubernetes API, read as what they mean.

    /api/v1/…  /apis/GROUP/VERSION/…     then one of
    [watch/] PLURAL [/NAME [/SUBRESOURCE [/…]]]
    [watch/] namespaces/NS/PLURAL [/NAME [/SUBRESOURCE [/…]]]

Segments are decoded one by one; an empty segment, "." or ".." names nothing. What follows ``/proxy`` is a path of
somebody else's and is not looked at.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from tiphys.cluster.apiserver.queries import flag

PATH_CHARACTERS_MAX: Final = 8_192
_PROXY: Final = re.compile(r"/api/v1/(?:namespaces/[^/]+/(?:pods|services)|nodes)/[^/]+/proxy(?=/|\Z)")


@dataclass(frozen=True, slots=True)
class GroupVersion:
    """``/api``, ``/apis``, ``/apis/GROUP`` or ``/apis/GROUP/VERSION``; None for what the path leaves open."""

    group: str | None = None
    version: str | None = None
    is_core: bool = False


@dataclass(frozen=True, slots=True)
class ResourcePath:
    group: str
    version: str
    plural: str
    namespace: str | None = None
    name: str | None = None
    subresource: str | None = None
    tail: str = ""
    is_watch: bool = False


def asks_to_watch(where: ResourcePath, query: Mapping[str, str]) -> bool:
    """Whether a GET there is a watch."""
    return where.is_watch or (where.name is None and flag(query, "watch"))


def parse(raw: str) -> GroupVersion | ResourcePath | None:
    """What an (undecoded) path names; None for a path outside the API."""
    if len(raw) > PATH_CHARACTERS_MAX or (not raw.startswith(("/api/", "/apis/")) and raw not in ("/api", "/apis")):
        return None
    proxied = _PROXY.match(raw)
    if proxied is not None:
        raw = proxied[0]
    parts = [unquote(part) for part in raw.removesuffix("/").split("/")[1:]]
    if any(part in ("", ".", "..") or "/" in part or "\0" in part for part in parts):
        return None
    if parts[0] == "api":
        group, rest = "", parts[1:]
        if not rest:
            return GroupVersion(is_core=True)
    else:
        if len(parts) == 1:
            return GroupVersion()
        group, rest = parts[1], parts[2:]
        if not rest:
            return GroupVersion(group)
    version, rest = rest[0], rest[1:]
    if not rest:
        return GroupVersion(group, version, is_core=not group)
    return _resource(group, version, rest)


def _resource(group: str, version: str, rest: list[str]) -> ResourcePath | None:
    is_watch = rest[0] == "watch" and len(rest) > 1
    if is_watch:
        rest = rest[1:]
    namespace = None
    # "namespaces/x" is the object, "namespaces/x/status" its subresource; anything longer is in the namespace.
    if rest[0] == "namespaces" and len(rest) > 2 and not (len(rest) == 3 and rest[2] in ("status", "finalize")):
        namespace, rest = rest[1], rest[2:]
    name = rest[1] if len(rest) > 1 else None
    subresource = rest[2] if len(rest) > 2 else None
    return ResourcePath(group, version, rest[0], namespace, name, subresource, "/".join(rest[3:]), is_watch)
