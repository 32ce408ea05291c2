"""What the executor asks of a resolved template (plain JSON, the original's ``ARGO_TEMPLATE``). Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tiphys.workflows.executor.errors import ExecutorError

Object = Mapping[str, Any]

MAIN = "main"
STAGING = "/argo/staging"
SCRIPT = "/argo/staging/script"
MANIFEST = "/tmp/manifest.yaml"
INPUT_ARTIFACTS = "/argo/inputs/artifacts"
MIRROR = "/mainctrfs"
VAR_RUN_ARGO = "/var/run/argo"
PROGRESS_FILE = "/var/run/argo/progress"


@dataclass(frozen=True)
class Manifest:
    """A resource template's manifest: the text, and the path by which messages name it."""

    text: str
    path: str


def main_containers(template: Object) -> Sequence[str]:
    """The containers whose end is the step's end."""
    group = template.get("containerSet")
    if group is not None:
        return [container["name"] for container in group.get("containers") or ()]
    return [MAIN]


def has_result(template: Object) -> bool:
    """Whether standard output may become ``outputs.result`` (Template.HasOutput)."""
    if any(template.get(kind) is not None for kind in ("container", "script", "data", "http", "plugin")):
        return True
    return template.get("containerSet") is not None and MAIN in main_containers(template)


def volume_mounts(template: Object) -> Sequence[Object]:
    for kind in ("container", "script", "containerSet"):
        body = template.get(kind)
        if body is not None:
            return body.get("volumeMounts") or ()
    return ()


def overlapping_mount(template: Object, path: str) -> Object | None:
    """The user's volume in which ``path`` lies, the deepest first."""
    for mount in sorted(volume_mounts(template), key=lambda m: -len(m["mountPath"])):
        if is_within(mount["mountPath"], path):
            return mount
    return None


def is_within(base: str, path: str) -> bool:
    """Whether ``path`` is ``base`` or lies below it, by name (Go's filepath.Rel)."""
    if base.startswith("/") != path.startswith("/"):
        return False
    base, path = clean(base), clean(path)
    return path == base or base == "/" or path.startswith(base + "/")


def clean(path: str) -> str:
    """Go's filepath.Clean."""
    cleaned = posixpath.normpath(path) if path else "."
    return "/" + cleaned.lstrip("/") if cleaned.startswith("//") else cleaned


def clean_artifact_path(artifact: Object) -> str:
    """The artifact's path without ``..`` that leaves the directory before it. Raises ``ExecutorError``."""
    path, name = artifact.get("path") or "", artifact.get("name", "")
    if not path:
        raise ExecutorError(f"Artifact '{name}' did not specify a path")
    safe, found, _ = path.partition("/../")
    if not found:
        safe = path[:-3] if path.endswith("/..") else ""
    cleaned = clean(path)
    if safe and not (cleaned.startswith(safe + "/") and len(cleaned) > len(safe) + 1):
        raise ExecutorError(
            f"Artifact '{name}' attempted to use a path containing '..'. Directory traversal is not permitted"
        )
    return cleaned


def any_string(value: Any) -> str:
    """A parameter's value as text: the API takes numbers and booleans for strings (AnyString)."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    return "" if value is None else str(value)
