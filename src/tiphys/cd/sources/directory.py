"""A directory of plain manifests: which files count, and the objects in them (findManifests of the repo server)."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tiphys.cd.sources import jsonnet
from tiphys.cd.sources.detection import is_enabled
from tiphys.cd.sources.manifests import ManifestError, read, why_no_object
from tiphys.cd.sources.paths import is_inbound
from tiphys.cd.sources.request import Manifest, RenderError, Request
from tiphys.lang import globs
from tiphys.lang.gofmt import quote
from tiphys.lang.gojson_read import syntax_error

SKIP_MARKER = b"+argocd:skip-file-rendering"
_EXTENSIONS = re.compile(r".*\.(yaml|yml|json|jsonnet)", re.DOTALL)
_LOOKS_LIKE_A_MANIFEST = ("apiVersion:", "kind:", "metadata:")
PRECONDITION = "rpc error: code = FailedPrecondition desc = "
"""How a user's mistake reads in an application's conditions since the original's repo server speaks gRPC."""


def objects(request: Request, place: Path) -> list[Manifest]:
    """All objects of the directory, file by file in lexical order. Raises `RenderError`."""
    found: list[Manifest] = []
    for path in _chosen(request, place):
        if not path.name.endswith(".jsonnet"):
            found.extend(_file_objects(path))
        elif is_enabled(request, "Directory"):
            found.extend(jsonnet.objects(request, place, path))
    return found


def _chosen(request: Request, place: Path) -> list[Path]:
    options = request.source.get("directory") or {}
    found: list[Path] = []
    size = 0
    for path in _files(place, bool(options.get("recurse"))):
        try:
            real = _real_file(path, place, request.root)
        except RenderError as err:
            why = f'invalid manifest file "{path}": {err}'
            raise RenderError(f"failed to get potentially valid manifests: {why}") from None
        if real is None or not _is_wanted(path, place, options) or SKIP_MARKER in real.read_bytes():
            continue
        size += 0 if path.name.endswith(".jsonnet") else real.stat().st_size
        if request.combined_size_max and size > request.combined_size_max:
            why = "exceeded max combined manifest file size"
            raise RenderError(f"failed to get potentially valid manifests: {why}")
        found.append(path)
    return found


def _files(folder: Path, recurse: bool) -> Iterator[Path]:
    """Every entry that is no directory, in lexical order; links are not descended into."""
    for path in sorted(folder.iterdir()):
        if path.is_symlink() or not path.is_dir():
            yield path
        elif recurse:
            yield from _files(path, recurse)


def _is_wanted(path: Path, place: Path, options: Mapping[str, Any]) -> bool:
    if not options.get("disableExtensionFilter") and not _EXTENSIONS.fullmatch(path.name):
        return False
    name = str(path.relative_to(place))
    include, exclude = options.get("include"), options.get("exclude")
    if exclude and globs.fits(exclude, name):
        return False
    return not include or globs.fits(include, name)


def _real_file(path: Path, place: Path, root: Path) -> Path | None:
    """The regular file that a name stands for, None where it is none. Raises `RenderError` for a link out of here."""
    if not path.is_symlink():
        return path if stat.S_ISREG(path.lstat().st_mode) else None
    if not _EXTENSIONS.fullmatch(path.name):
        return None
    try:
        real = path.resolve(strict=True)
    except FileNotFoundError:
        return None
    except (OSError, RuntimeError) as err:
        raise RenderError(f"failed to evaluate symlink at {quote(str(path.relative_to(place)))}: {err}") from None
    if not is_inbound(str(real), os.path.realpath(root)):
        raise RenderError(f"illegal filepath in symlink at {quote(str(path.relative_to(place)))}")
    return real if real.is_file() else None


def _file_objects(path: Path) -> list[Manifest]:
    text = _decoded(path.read_bytes())
    if path.name.endswith(".json"):
        return [_json_object(path.name, text)]
    try:
        return read(text)
    except ManifestError as err:
        if err.read or all(mark in text for mark in _LOOKS_LIKE_A_MANIFEST):
            raise RenderError(f"{PRECONDITION}Failed to unmarshal {quote(path.name)}: {err}") from None
        return []


def _decoded(data: bytes) -> str:
    """UTF-8, or UTF-16 where a byte order mark says so; what is neither is replaced, as Go does."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    return data.decode("utf-8-sig", "replace")


def _json_object(name: str, text: str) -> Manifest:
    """A .json file holds one object. What could be the manifest of an OCI image is let through without a kind."""
    stripped = text.lstrip()
    try:
        value, end = json.JSONDecoder().raw_decode(stripped)
    except ValueError:
        why = syntax_error(stripped) if stripped else "EOF"
        raise RenderError(f"{PRECONDITION}Failed to unmarshal {quote(name)}: {why}") from None
    why_not = why_no_object(value)
    if why_not is not None and not _is_image_manifest(value):
        raise RenderError(f"{PRECONDITION}Failed to unmarshal {quote(name)}: {why_not}")
    if stripped[end:].strip():
        raise RenderError(
            f"{PRECONDITION}Found multiple objects in {quote(name)}. Only single objects are allowed in JSON files."
        )
    assert isinstance(value, dict)
    return value


_IMAGE_FIELDS = {
    "schemaVersion": int,
    "mediaType": str,
    "artifactType": str,
    "config": dict,
    "layers": list,
    "subject": dict,
    "annotations": dict,
}


def _is_image_manifest(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(k, t()), t) for k, t in _IMAGE_FIELDS.items())
