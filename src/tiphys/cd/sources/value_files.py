"""Which values files a Helm source means: names, globs, URLs and ``$ref/…`` into another source's repository.

A file that a glob finds and another entry names keeps the place of the entry that names it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tiphys.cd.sources import paths
from tiphys.cd.sources.request import RenderError, Request
from tiphys.lang import globs
from tiphys.lang.gofmt import quote


def resolved_value_files(request: Request, place: Path, helm: Mapping[str, Any]) -> list[str]:
    """Absolute paths and URLs in the order in which they override each other. Raises `RenderError`."""
    names = helm.get("valueFiles") or ()
    named = set(_explicit(request, place, names))
    found: dict[str, None] = {}
    for name in names:
        try:
            path, is_remote = _resolved(request, place, name)
        except paths.PathError as err:
            raise RenderError(f"error resolving helm value files: error resolving value file path: {err}") from None
        if not is_remote and _is_glob(path):
            matching = _expanded(request, name, path, bool(helm.get("ignoreMissingValueFiles")))
            found.update((match, None) for match in matching if match not in named)
        elif is_remote or not helm.get("ignoreMissingValueFiles") or os.path.exists(path):
            found[path] = None
    return list(found)


def resolved_parameter_file(request: Request, place: Path, name: str) -> str:
    """The file of a --set-file parameter. Raises `RenderError`."""
    try:
        return _resolved(request, place, name)[0]
    except paths.PathError as err:
        what = "set-file path" if _reference(request, name) else "helm value file path"
        raise RenderError(f"error resolving {what}: {err}") from None


def _explicit(request: Request, place: Path, names: Any) -> Iterator[str]:
    for name in names:
        try:
            path, _ = _resolved(request, place, name)
        except paths.PathError:
            continue
        if not _is_glob(path):
            yield path


def _resolved(request: Request, place: Path, name: str) -> tuple[str, bool]:
    root = _reference(request, name)
    if root is None:
        return paths.resolve_value_file(place, request.root, request.substituted(name), request.values_file_schemes)
    rest = request.substituted("/" + name.partition("/")[2])
    try:
        return paths.resolve_value_file(root, root, rest, request.values_file_schemes)
    except paths.PathError as err:
        raise paths.PathError(f"error resolving value file path: {err}") from None


def _reference(request: Request, name: str) -> Path | None:
    """The root of the checkout that ``$name/…`` refers to."""
    return request.references.get(name.partition("/")[0]) if name.startswith("$") else None


def _is_glob(path: str) -> bool:
    return any(character in path for character in "*?[")


def _expanded(request: Request, name: str, pattern: str, may_be_missing: bool) -> list[str]:
    root = _reference(request, name) or request.root
    try:
        found = sorted(path for path in _below(root) if globs.doublestar(pattern, path))
    except globs.GlobError as err:
        why = f"error expanding glob pattern {quote(name)}: {err}"
        raise RenderError(f"error resolving helm value files: {why}") from None
    if not found and not may_be_missing:
        raise RenderError(f"error resolving helm value files: values file glob {quote(name)} matched no files")
    for path in found:
        if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root)):
            why = f"glob pattern {quote(name)}: glob match {quote(path)} resolved to outside repository root"
            raise RenderError(f"error resolving helm value files: {why}")
    return found


def _below(root: Path) -> Iterator[str]:
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name != ".git"]
        yield from (f"{folder}/{name}" for name in (*folders, *files))
