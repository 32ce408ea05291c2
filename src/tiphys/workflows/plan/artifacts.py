"""Where an artifact is: which field names its store, whether that is complete, and its key.

An artifact carries its location in one field (``s3``, ``git`` …). A location may be complete, or only a key that the
repository of the workflow completes. Reading and writing artifacts is the executor's business.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from tiphys.workflows.plan.problems import Problem

Place = Mapping[str, Any]

NOT_CONFIGURED = (
    "artifact storage is not configured; see the docs for setup instructions: "
    "https://argo-workflows.readthedocs.io/en/latest/configure-artifact-repository/"
)


def location_kind(artifact: Place) -> str:
    """The field that holds the location, "" for none."""
    return next((kind for kind in KINDS if artifact.get(kind) is not None), "")


def has_location(artifact: Place | None) -> bool:
    """Whether the artifact says completely where it is."""
    if artifact is None:
        return False
    kind = location_kind(artifact)
    return bool(kind) and KINDS[kind](artifact[kind])


def has_location_or_key(artifact: Place) -> bool:
    """Whether the artifact says where it is: completely, or by a key within the default repository."""
    return has_location(artifact) or bool(key_of(artifact))


def key_of(artifact: Place) -> str:
    """The key within its store, "" where there is none."""
    kind = location_kind(artifact)
    place = artifact.get(kind) or {}
    if kind in _URLS:
        return _path_of(str(place.get("url") or ""))
    return str(place.get(KEY_FIELDS.get(kind, ""), "") or "")


def _path_of(url: str) -> str:
    try:
        return urlsplit(url).path
    except ValueError:
        return ""


def with_key(artifact: Place, key: str) -> dict[str, Any]:
    """The artifact with another key. Raises `Problem` where its store knows no keys, or its URL is none."""
    kind = location_kind(artifact)
    if not kind:
        raise Problem(NOT_CONFIGURED)
    if kind == "git":
        raise Problem("key unsupported: cannot set key on git artifact")
    if kind == "raw":
        raise Problem("key unsupported: cannot set key for raw artifact")
    place = dict(artifact[kind])
    if kind in _URLS:
        try:
            place["url"] = urlunsplit(urlsplit(str(place.get("url") or ""))._replace(path=key))
        except ValueError as err:
            raise Problem(f"the url of an {kind} artifact is invalid: {err}") from err
    else:
        place[KEY_FIELDS[kind]] = key
    return {**artifact, kind: place}


def with_sub_path(artifact: Place, sub_path: str) -> dict[str, Any]:
    """The part of an artifact below a path: its key with the path appended. Raises `Problem`."""
    kind = location_kind(artifact)
    if kind == "git":
        raise Problem("key unsupported: git artifact does not have a key")
    if kind == "raw":
        raise Problem("key unsupported: raw artifat does not have key")
    return with_key(artifact, join(key_of(artifact), sub_path))


def join(*parts: str) -> str:
    """Go's path.Join: empty parts vanish, the result is cleaned lexically."""
    return clean("/".join(part for part in parts if part)) if any(parts) else ""


def clean(path: str) -> str:
    """Go's path.Clean."""
    rooted = path.startswith("/")
    out: list[str] = []
    for part in path.split("/"):
        if part in ("", "."):
            continue
        if part == ".." and out and out[-1] != "..":
            out.pop()
        elif part != ".." or not rooted:
            out.append(part)
    return ("/" if rooted else "") + "/".join(out) or ("/" if rooted else ".")


def location_of(repository: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A repository (its configuration) as the location of new artifacts; its key format becomes the key."""
    for kind, (key_field, format_field) in _REPOSITORY_KEYS.items():
        place = (repository or {}).get(kind)
        if place is None:
            continue
        made = {name: value for name, value in place.items() if name not in _REPOSITORY_ONLY}
        key = place.get(format_field) or join(place.get("keyPrefix", ""), DEFAULT_KEY_FORMAT)
        made[key_field] = f"{place.get('repoURL', '').rstrip('/')}/{key}" if kind == "artifactory" else key
        return {kind: made}
    return None


DEFAULT_KEY_FORMAT = "{{workflow.name}}/{{pod.name}}"
_REPOSITORY_ONLY = ("keyFormat", "keyPrefix", "repoURL", "blobNameFormat", "pathFormat")
_REPOSITORY_KEYS = {
    "artifactory": ("url", "keyFormat"),
    "azure": ("blob", "blobNameFormat"),
    "gcs": ("key", "keyFormat"),
    "hdfs": ("path", "pathFormat"),
    "oss": ("key", "keyFormat"),
    "s3": ("key", "keyFormat"),
    "plugin": ("key", "keyFormat"),
}


def _all(*fields: str) -> Callable[[Place], bool]:
    return lambda place: all(place.get(name) for name in fields)


KINDS: dict[str, Callable[[Place], bool]] = {
    "artifactory": _all("url", "usernameSecret"),
    "azure": _all("endpoint", "container", "blob"),
    "git": _all("repo"),
    "gcs": _all("bucket", "key"),
    "hdfs": _all("addresses"),
    "http": _all("url"),
    "oss": _all("bucket", "endpoint", "key"),
    "raw": lambda place: True,
    "s3": _all("endpoint", "bucket", "key"),
    "plugin": _all("name", "configuration", "key"),
}
KEY_FIELDS = {"s3": "key", "azure": "blob", "hdfs": "path", "oss": "key", "gcs": "key", "plugin": "key"}
_URLS = frozenset(("artifactory", "http"))
