"""Where an artifact is kept: the algebra of artifact locations. Pure; values in, values out.

An artifact names its own place in full, or only a key (the rest is the template's ``archiveLocation``), or nothing
(key and place are made from ``archiveLocation``). Source: pkg/apis/workflow/v1alpha1 ArtifactLocation.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from tiphys.workflows.executor.errors import ExecutorError
from tiphys.workflows.plan.artifacts import KEY_FIELDS, KINDS, NOT_CONFIGURED, has_location, location_kind

Object = Mapping[str, Any]

NO_LOCATION = "key unsupported: cannot get key for artifact location, because it is invalid"


def kind_of(location: Object | None) -> str:
    """The kind of store. Raises ``ExecutorError`` where there is none."""
    if location is None:
        raise ExecutorError(NO_LOCATION)
    if kind := location_kind(location):
        return kind
    raise ExecutorError(NOT_CONFIGURED)


def has_key(location: Object) -> bool:
    try:
        return get_key(location) != ""
    except ExecutorError:
        return False


def get_key(location: Object | None) -> str:
    """Raises ``ExecutorError`` where there is no place, or its kind has no keys."""
    kind = kind_of(location)
    assert location is not None
    body = location[kind]
    if kind in KEY_FIELDS:
        return str(body.get(KEY_FIELDS[kind]) or "")
    if kind in ("http", "artifactory"):
        return urlsplit(body.get("url") or "").path
    if kind == "git":
        raise ExecutorError("key unsupported: git artifact does not have a key")
    raise ExecutorError("key unsupported: raw artifat does not have key")


def with_key(location: Object, key: str) -> dict[str, Any]:
    """The same place with another key. Raises ``ExecutorError`` for kinds that have none."""
    kind = kind_of(location)
    body = dict(location[kind])
    if kind in KEY_FIELDS:
        body[KEY_FIELDS[kind]] = key
    elif kind in ("http", "artifactory"):
        parts = urlsplit(body.get("url") or "")
        path = quote(key, safe="/$&+,:;=@!'()*~")
        if parts.netloc and path and not path.startswith("/"):
            path = "/" + path
        body["url"] = urlunsplit(parts._replace(path=path))
    elif kind == "git":
        raise ExecutorError("key unsupported: cannot set key on git artifact")
    else:
        raise ExecutorError("key unsupported: cannot set key for raw artifact")
    return {**location, kind: body}


def relocate(artifact: Object, default: Object | None) -> dict[str, Any]:
    """The artifact with a complete place: its own, or the default's with the artifact's key."""
    if has_location(artifact):
        return dict(artifact)
    if default is None:
        raise ExecutorError("template artifact location not set")
    key = get_key(artifact)
    plain = {name: value for name, value in artifact.items() if name not in KINDS and name != "archiveLogs"}
    return {**plain, **with_key(default, key)}


def with_default_key(artifact: Object, default: Object | None, file_name: str) -> dict[str, Any]:
    """An output artifact that names no key gets one below the default's; of the place only the kind is kept."""
    key = get_key(default)
    kind = kind_of(default)
    if kind == "git":
        raise ExecutorError("set type not supported for type: *v1alpha1.GitArtifact")
    return with_key({**artifact, kind: {}}, posixpath.normpath(posixpath.join(key, file_name)))
