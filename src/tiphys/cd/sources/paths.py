"""Where a source's files may lie, and which changed files concern an application.

Nothing an application names may leave its repository: not by ``..``, not by an absolute path, not through a link.
Source of the behaviour: argo-cd util/app/path, util/io/path, util/io/files, util/security.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from tiphys.lang import gourl
from tiphys.lang.globs import GlobError, path_match

GENERATE_PATHS = "argocd.argoproj.io/manifest-generate-paths"
LINKS_FOLLOWED_MAX = 10


class PathError(ValueError):
    """A path that may not be used; the text is the original's and never names the machine's directories."""


def app_path(root: Path, path: str) -> Path:
    """The directory of an application inside a checkout. Raises `PathError`."""
    if posixpath.isabs(path):
        raise PathError(f"{path}: app path is absolute")
    found = Path(posixpath.normpath(root / path))
    if not found.is_relative_to(root):
        raise PathError(f"{path}: app path outside root")
    if not found.exists():
        raise PathError(f"{path}: app path does not exist")
    if not found.is_dir():
        raise PathError(f"{path}: app path is not a directory")
    return found


def is_inbound(candidate: str, base: str) -> bool:
    """Whether a path, taken from an absolute ``base``, lies below it; links are not followed."""
    if not posixpath.isabs(base):
        return False
    return _clean(posixpath.join(base, candidate)).startswith(_clean(base) + "/")


def check_links(root: Path, skip: Collection[str] = ()) -> None:
    """Refuses links that are absolute or leave ``root`` on the way. Raises `PathError` naming the first, in order."""
    skipped = {_clean(str(root / name)) for name in skip}
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if _clean(f"{folder}/{name}") not in skipped)
        for name in sorted([*folders, *files]):
            _check_link(root, Path(folder) / name)


def _check_link(root: Path, path: Path) -> None:
    if not path.is_symlink():
        return
    target = os.readlink(path)
    at = str(path.parent)
    for part in target.split("/"):
        at = _clean(posixpath.join(at, part)) if part else at
        if posixpath.isabs(target) or not Path(at).is_relative_to(root):
            raise PathError(f"out of bounds symlink found: {path.relative_to(root)}")


def resolve(app: Path, root: Path, name: str, *, may_be_root: bool = False) -> Path:
    """A file or directory that a source names: from the application's directory, or from the root if it starts with
    a slash. Links are followed. Raises `PathError` where it ends outside the repository."""
    path = str(root) + "/" + name if posixpath.isabs(name) else str(app / name)
    path = _delinked(_clean(path))
    if path == str(root) and not may_be_root:
        raise PathError("internal error: failed to resolve path. Check logs for more details")
    if not Path(path).is_relative_to(root):
        raise PathError(f"file '{name}' resolved to outside repository root")
    return Path(path)


def resolve_value_file(app: Path, root: Path, name: str, schemes: Iterable[str]) -> tuple[str, bool]:
    """A Helm values file: its absolute path, or its URL and True. Raises `PathError`."""
    try:
        scheme = gourl.parse(name).scheme
    except gourl.UrlError:
        scheme = ""
    if not scheme:
        return str(resolve(app, root, name)), False
    if scheme in {allowed.lower() for allowed in schemes}:
        return name, True
    raise PathError(f"the URL scheme '{scheme}' is not allowed")


def _delinked(path: str) -> str:
    for _ in range(LINKS_FOLLOWED_MAX + 1):
        try:
            target = os.readlink(path)
        except OSError:
            return path
        path = _clean(posixpath.join(posixpath.dirname(path), target))
    raise PathError("internal error: failed to resolve path. Check logs for more details")


def refresh_paths(app: Mapping[str, Any], source: Mapping[str, Any]) -> list[str]:
    """The paths in the repository on whose change a source is rendered again; empty means all of it.

    With a hydrator the synced directory is what counts, else the annotation, whose paths are taken from the source's
    path, or from the root where they start with a slash.
    """
    hydrator = app.get("spec", {}).get("sourceHydrator")
    if hydrator and dict(source) == sync_source(hydrator):
        return [source.get("path", "")]
    found = []
    for item in app.get("metadata", {}).get("annotations", {}).get(GENERATE_PATHS, "").split(";"):
        item = item.strip()
        if posixpath.isabs(item):
            found.append(item[1:])
        elif item:
            found.append(_clean(posixpath.join(source.get("path", ""), item)))
    return found


def sync_source(hydrator: Mapping[str, Any]) -> dict[str, Any]:
    """The source that a hydrated application is synced from."""
    return {
        "repoURL": hydrator.get("drySource", {}).get("repoURL", ""),
        "path": hydrator.get("syncSource", {}).get("path", ""),
        "targetRevision": hydrator.get("syncSource", {}).get("targetBranch", ""),
    }


def files_changed(paths: Collection[str], files: Collection[str]) -> bool:
    """Whether one of the changed files lies under one of the paths; no paths or no files known means yes."""
    if not files or not paths:
        return True
    return any(_concerns(_rooted(path), _rooted(file)) for file in files for path in paths)


def _concerns(path: str, file: str) -> bool:
    if file == path or _is_under(_clean(path), file):
        return True
    try:
        return path_match(path, file)
    except GlobError:
        return False


def _is_under(folder: str, file: str) -> bool:
    return folder == "/" or (posixpath.dirname(_clean(file)) + "/").startswith(folder + "/")


def _rooted(path: str) -> str:
    return path if posixpath.isabs(path) else "/" + path


def _clean(path: str) -> str:
    """filepath.Clean: normpath, but never with two slashes in front."""
    found = posixpath.normpath(path) if path else "."
    return found[1:] if found.startswith("//") else found
