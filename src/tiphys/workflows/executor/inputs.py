"""Before the containers start: the script's source and the input artifacts, where the container expects them.

    load artifact to <place>.tmp ─► unpack (tar found out, or as ``archive`` says) ─► <place> ─► mode

For a volume that others may write to now, all of that happens in a place of our own, and the result is moved there.
Source: argoexec init (workflow/executor/executor.go StageFiles, loadArtifact).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tiphys.workflows.executor import archives, locations, trees
from tiphys.workflows.executor.artifacts import ArtifactDrivers
from tiphys.workflows.executor.errors import ExecutorError, go_error, reason
from tiphys.workflows.executor.template import (
    INPUT_ARTIFACTS,
    MANIFEST,
    MIRROR,
    SCRIPT,
    clean,
    clean_artifact_path,
    overlapping_mount,
)
from tiphys.workflows.executor.trees import Place
from tiphys.workflows.plan.artifacts import has_location

Object = Mapping[str, Any]
# From a path in a container (or of the executor's own) to the place on this machine.
Placing = Callable[[str], Place]


def staged_file(template: Object) -> tuple[str, bytes, int] | None:
    """(path, content, mode) of the file that the template's kind needs: a script's source, a resource's manifest."""
    if template.get("script") is not None:
        return SCRIPT, str(template["script"].get("source") or "").encode(), 0o755
    resource = template.get("resource")
    if resource is not None and not (resource.get("manifestFrom") or {}).get("artifact"):
        return MANIFEST, str(resource.get("manifest") or "").encode(), 0o644
    return None


def write_staged_file(template: Object, place: Placing) -> None:
    wanted = staged_file(template)
    if wanted is None:
        return
    path, content, mode = wanted
    real = place(path).real
    new = not real.exists()
    real.parent.mkdir(parents=True, exist_ok=True)
    real.write_bytes(content)
    if new:
        real.chmod(mode)


def load_artifacts(
    template: Object, place: Placing, drivers: ArtifactDrivers, *, of_plugins: bool | None = None
) -> dict[str, str]:
    """Loads every input artifact; returns where each is: cleaned container path → staged path (or the volume's).

    ``of_plugins`` True: only those that artifact plugins keep, False: only the others. Raises ``ExecutorError`` at the
    first that cannot be had.
    """
    found: dict[str, str] = {}
    for artifact in (template.get("inputs") or {}).get("artifacts") or ():
        where = _load(artifact, template, place, drivers, of_plugins)
        if where is not None:
            found[clean(artifact["path"])] = where
    return found


def staged_path(artifact: Object, template: Object) -> str:
    """Where the artifact is put: in the user's volume if its path lies in one, else in the executor's own place."""
    path = clean_artifact_path(artifact)
    if overlapping_mount(template, path) is not None:
        return clean(MIRROR + "/" + path)
    return clean(f"{INPUT_ARTIFACTS}/{artifact['name']}")


def _load(
    artifact: Object, template: Object, place: Placing, drivers: ArtifactDrivers, of_plugins: bool | None
) -> str | None:
    name = artifact.get("name", "")
    if not (has_location(artifact) or locations.has_key(artifact)):
        if artifact.get("optional"):
            return None
        raise ExecutorError(f"required artifact '{name}' not supplied")
    where = staged_path(artifact, template)
    try:
        located = locations.relocate(artifact, template.get("archiveLocation"))
    except ExecutorError as err:
        raise ExecutorError(f"failed to load artifact '{name}': {err}") from err
    is_plugins = "plugin" in located
    if of_plugins is not None and of_plugins != is_plugins:
        return None
    driver = drivers.driver_for(located)
    wanted = place(where)
    # Where others write too, only what is complete is put, through no link that they may have there.
    target = place(clean(f"{INPUT_ARTIFACTS}/{name}")) if wanted.exact else wanted
    draft = target.with_suffix(".tmp")
    archives.make_directories(draft.real.parent, 0o700)
    try:
        driver.load(located, draft.real)
    except ExecutorError as err:
        if artifact.get("optional") and err.missing:
            return None
        raise ExecutorError(f"artifact {name} failed to load: {err}") from err
    _unarchive(artifact, draft, target)
    if artifact.get("mode") is not None:
        _chmod(target, int(artifact["mode"]), recurse=bool(artifact.get("recurseMode")))
    elif is_plugins and target.real.is_file():  # whichever user the plugin was
        _chmod(target, 0o666, recurse=False)
    if wanted.exact:
        try:
            trees.move(target.real, wanted)
        except OSError as err:
            raise ExecutorError(f"rename {target.shown} {wanted.shown}: {reason(err)}") from err
    return where


def _unarchive(artifact: Object, draft: Place, target: Place) -> None:
    archive = artifact.get("archive") or {}
    if archive.get("none") is not None:
        kind = "none"
    elif archive.get("tar") is not None:
        kind = "tar"
    elif archive.get("zip") is not None:
        kind = "zip"
    else:  # zip files are never found out, for compatibility
        kind = "tar" if draft.real.is_file() and archives.is_tarball(draft.real) else "none"
    if kind == "none":
        try:
            os.rename(draft.real, target.real)
        except OSError as err:
            raise ExecutorError(f"rename {draft.shown} {target.shown}: {_go_rename_reason(err)}") from err
        return
    try:
        (archives.untar if kind == "tar" else archives.unzip)(draft, target)
    finally:
        draft.real.unlink(missing_ok=True)


def _go_rename_reason(err: OSError) -> str:
    return "file exists" if isinstance(err, IsADirectoryError) else os.strerror(err.errno or 0).lower()


def _chmod(target: Place, mode: int, *, recurse: bool) -> None:
    """The mode's numbers count as the kernel's permission bits only up to 0777, as Go's FileMode has it."""
    for real in _all_below(target.real) if recurse else [target.real]:
        if real.is_symlink() and real.exists() and not real.resolve().is_relative_to(target.real.resolve()):
            continue  # to what is this machine's; one that leads nowhere fails below, as with the original
        try:
            real.chmod(mode & 0o777)
        except OSError as err:
            inner = real.relative_to(target.real).as_posix()
            raise go_error("chmod", target.shown if inner == "." else f"{target.shown}/{inner}", err) from err


def _all_below(top: Path) -> list[Path]:
    found = [top]
    if top.is_dir() and not top.is_symlink():
        for entry in sorted(os.scandir(top), key=lambda e: e.name):
            found += _all_below(Path(entry.path))
    return found
