"""A pod's volumes as directories and files of this machine, and where each container sees them.

    <pod>/volumes/<name>/                     emptyDir, and the files of configMap, secret, downwardAPI, projected
    <pod>/volumes/<name>/..data -> ..<stamp>  those files change together, by moving one link (live update)
    <data>/claims/<namespace>/<claim>/        a PersistentVolumeClaim, kept after the pod

Everything here can be done again: a volume that exists is left as it is. Errors are a kubelet's: a missing
ConfigMap keeps the pod waiting (``VolumeError``, tried again), a sub-path that leads out of its volume is refused.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from tiphys.cluster.node.environment import (
    Fetch,
    NodeFacts,
    data_of,
    expand,
    pod_field,
    resource_field,
)
from tiphys.cluster.node.runtime import ConfigError, Mount
from tiphys.machinery.errors import NotFound, TiphysError
from tiphys.machinery.resources import PERSISTENT_VOLUME_CLAIMS, ObjectKey, Resource

Object = Mapping[str, Any]
PERSISTENT_VOLUMES = Resource("", "v1", "persistentvolumes", "PersistentVolume", namespaced=False)

DEFAULT_FILE_MODE = 0o644
# Sockets and devices are only looked for, never made.
_HOST_PATH_KINDS = {
    "Directory": (stat.S_ISDIR, "a directory"),
    "File": (stat.S_ISREG, "a file"),
    "Socket": (stat.S_ISSOCK, "a socket"),
    "CharDevice": (stat.S_ISCHR, "a character device"),
    "BlockDevice": (stat.S_ISBLK, "a block device"),
}


class VolumeError(TiphysError):
    """The volume cannot be set up now; the pod waits with ``FailedMount``."""


@dataclass(frozen=True, slots=True)
class VolumePlaces:
    """Where the volumes of one pod are (``pod``) and the ones that outlive it (``claims``)."""

    pod: Path
    claims: Path


async def prepare(pod: Object, places: VolumePlaces, facts: NodeFacts, fetch: Fetch) -> dict[str, Path]:
    """The pod's volumes by name. Raises ``VolumeError``, ``ApiError``."""
    found: dict[str, Path] = {}
    for volume in pod["spec"].get("volumes") or ():
        found[volume["name"]] = await _prepare_one(volume, pod, places, facts, fetch)
    return found


async def _prepare_one(volume: Object, pod: Object, places: VolumePlaces, facts: NodeFacts, fetch: Fetch) -> Path:
    place = places.pod / str(volume["name"])
    namespace = pod["metadata"].get("namespace", "")
    if "hostPath" in volume:
        return _host_path(volume["name"], volume["hostPath"])
    if "persistentVolumeClaim" in volume:
        return await _claim(volume["persistentVolumeClaim"]["claimName"], namespace, places, fetch)
    if "ephemeral" in volume:
        return await _claim(f"{pod['metadata']['name']}-{volume['name']}", namespace, places, fetch)
    if "emptyDir" in volume or not (volume.keys() & _FILE_SOURCES.keys()):
        _make_directory(place, 0o777)
        return place
    files = await files_of(volume, pod, facts, fetch)
    write_files(place, files)
    return place


_FILE_SOURCES = {"configMap": "items", "secret": "items", "downwardAPI": "items", "projected": "sources"}
Files = dict[str, tuple[bytes, int]]


async def files_of(volume: Object, pod: Object, facts: NodeFacts, fetch: Fetch) -> Files:
    """The files of a configMap, secret, downwardAPI or projected volume: relative path → (content, mode)."""
    if "projected" in volume:
        files: Files = {}
        mode = _mode(volume["projected"].get("defaultMode"))
        for source in volume["projected"].get("sources") or ():
            for kind, body in source.items():
                files.update(await _source_files(volume["name"], kind, body, mode, pod, facts, fetch))
        return files
    kind = next(k for k in _FILE_SOURCES if k in volume)
    body = volume[kind]
    return await _source_files(volume["name"], kind, body, _mode(body.get("defaultMode")), pod, facts, fetch)


async def _source_files(
    name: str, kind: str, body: Object, mode: int, pod: Object, facts: NodeFacts, fetch: Fetch
) -> Files:
    if kind == "downwardAPI":
        return _downward_files(body, mode, pod, facts)
    if kind in ("configMap", "secret"):
        return await _object_files(name, kind, body, mode, pod, fetch)
    return {}


async def _object_files(name: str, kind: str, body: Object, mode: int, pod: Object, fetch: Fetch) -> Files:
    which = body.get("secretName") or body.get("name") or ""
    namespace = pod["metadata"].get("namespace", "")
    try:
        data = await data_of(kind.lower(), ObjectKey(namespace, which), fetch)
    except NotFound as err:
        if body.get("optional"):
            return {}
        raise VolumeError(f'MountVolume.SetUp failed for volume "{name}" : {kind.lower()} "{which}" not found') from err
    items = body.get("items")
    if not items:
        return {key: (value, mode) for key, value in data.items()}
    files: Files = {}
    for item in items:
        if item["key"] in data:
            files[_inside(item["path"])] = (data[item["key"]], _mode(item.get("mode"), mode))
        elif not body.get("optional"):
            raise VolumeError(
                f'MountVolume.SetUp failed for volume "{name}" : references non-existent {kind.lower()} key:'
                f" {item['key']}"
            )
    return files


def _downward_files(body: Object, mode: int, pod: Object, facts: NodeFacts) -> Files:
    files: Files = {}
    for item in body.get("items") or ():
        if "fieldRef" in item:
            text = pod_field(pod, item["fieldRef"].get("fieldPath", ""), facts)
        else:
            text = resource_field(item.get("resourceFieldRef") or {}, {}, pod, facts)
        files[_inside(item["path"])] = (text.encode(), _mode(item.get("mode"), mode))
    return files


def write_files(place: Path, files: Files) -> None:
    """Shows exactly ``files`` under ``place``, changing from the state before in one step."""
    _make_directory(place, 0o777)
    data = place / "..data"
    current = os.readlink(data) if data.is_symlink() else ""
    generation = int(current.rpartition("_")[2] or 0) + 1 if current else 1
    if current and _same(place / current, files):
        return
    fresh = place / f"..v_{generation}"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    for name, (content, mode) in files.items():
        target = fresh / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        target.chmod(mode)
    link = place / "..data_tmp"
    link.unlink(missing_ok=True)
    link.symlink_to(fresh.name)
    link.replace(data)
    tops = {PurePosixPath(name).parts[0] for name in files}
    for top in tops:
        if not (place / top).is_symlink():
            (place / top).symlink_to(f"..data/{top}")
    for entry in place.iterdir():
        if not entry.name.startswith("..") and entry.name not in tops:
            entry.unlink()
    if current:
        shutil.rmtree(place / current, ignore_errors=True)


def _same(directory: Path, files: Files) -> bool:
    if not directory.is_dir():
        return False
    there = {str(p.relative_to(directory)): p for p in directory.rglob("*") if p.is_file()}
    return there.keys() == files.keys() and all(
        path.read_bytes() == files[name][0] and stat.S_IMODE(path.stat().st_mode) == files[name][1]
        for name, path in there.items()
    )


async def _claim(name: str, namespace: str, places: VolumePlaces, fetch: Fetch) -> Path:
    """A claim's directory: the host path of its volume where it is bound to one, else one of our own."""
    try:
        claim = await fetch(PERSISTENT_VOLUME_CLAIMS, ObjectKey(namespace, name))
    except NotFound as err:
        raise VolumeError(f'persistentvolumeclaim "{name}" not found') from err
    volume_name = (claim.get("spec") or {}).get("volumeName")
    if volume_name:
        try:
            volume = await fetch(PERSISTENT_VOLUMES, ObjectKey("", volume_name))
        except NotFound as err:
            raise VolumeError(f'persistentvolume "{volume_name}" not found') from err
        host_path = ((volume.get("spec") or {}).get("hostPath") or {}).get("path")
        if host_path:
            place = Path(host_path)
            _make_directory(place, 0o777)
            return place
    place = places.claims / namespace / name
    _make_directory(place, 0o777)
    return place


def _host_path(name: str, body: Object) -> Path:
    place, kind = Path(body["path"]), body.get("type") or ""
    if kind == "DirectoryOrCreate":
        place.mkdir(parents=True, exist_ok=True)
    elif kind == "FileOrCreate":
        try:
            place.touch()
        except OSError as err:
            raise VolumeError(f'MountVolume.SetUp failed for volume "{name}" : {err}') from err
    elif kind in _HOST_PATH_KINDS:
        is_kind, words = _HOST_PATH_KINDS[kind]
        if not place.exists() or not is_kind(place.stat().st_mode):
            raise VolumeError(
                f'MountVolume.SetUp failed for volume "{name}" : hostPath type check failed: {place} is not {words}'
            )
    elif not place.exists():
        place.mkdir(parents=True, exist_ok=True)  # as container engines do for a bind mount without a type
    return place


def generated(pod: Object) -> frozenset[str]:
    """The volumes whose files we write: containers may only read them, as under a kubelet."""
    return frozenset(v["name"] for v in pod["spec"].get("volumes") or () if v.keys() & _FILE_SOURCES.keys())


def container_mounts(
    container: Object, volumes: Mapping[str, Path], env: Mapping[str, str], fixed: frozenset[str] = frozenset()
) -> list[Mount]:
    """What the container's ``volumeMounts`` show, in order; those in ``fixed`` read-only. Raises ``ConfigError``."""
    mounts = []
    for mount in container.get("volumeMounts") or ():
        source = volumes.get(mount["name"])
        if source is None:
            raise ConfigError(f'volume "{mount["name"]}" of container "{container["name"]}" does not exist')
        sub_path = mount.get("subPath") or ""
        if mount.get("subPathExpr"):
            sub_path = _expand_sub_path(mount["subPathExpr"], env)
        if sub_path:
            source = _sub_path(source, sub_path)
        read_only = bool(mount.get("readOnly")) or mount["name"] in fixed
        mounts.append(Mount(source, mount["mountPath"], read_only))
    return mounts


def _expand_sub_path(expression: str, env: Mapping[str, str]) -> str:
    path = expand(expression, env)
    if "$(" in path:
        missing = path.partition("$(")[2].partition(")")[0]
        raise ConfigError(f"missing value for {missing!r}".replace("'", '"'))
    return path


def _sub_path(volume: Path, path: str) -> Path:
    """A place inside the volume, made if missing; never outside of it, whatever links lie there."""
    relative = PurePosixPath(path)
    if relative.is_absolute() or ".." in relative.parts:
        raise ConfigError(f"subPath {path!r} must stay inside its volume")
    place = volume / relative
    root = volume.resolve()
    existing = place
    while not existing.exists() and existing != volume:
        existing = existing.parent
    if not existing.resolve().is_relative_to(root):
        raise ConfigError(f"subPath {path!r} leads out of its volume")
    if not place.exists():
        place.mkdir(parents=True)
    return place.resolve()


def path_in_volume(path: str, mounts: Sequence[Object], volumes: Mapping[str, Path]) -> Path | None:
    """Where a container's path lies in its volumes; None for other paths and for links that lead out of the volume."""
    wanted = PurePosixPath(path)
    for mount in sorted(mounts, key=lambda m: -len(m["mountPath"])):
        target = PurePosixPath(mount["mountPath"])
        root = volumes.get(mount["name"])
        if root is None or not wanted.is_relative_to(target) or mount.get("subPathExpr"):
            continue
        root = root / (mount.get("subPath") or "")
        place = root / wanted.relative_to(target)
        existing = place
        while not existing.exists() and existing != root:
            existing = existing.parent
        return place if existing.resolve().is_relative_to(root.resolve()) else None
    return None


def _inside(path: str) -> str:
    relative = PurePosixPath(path)
    if relative.is_absolute() or ".." in relative.parts or str(relative).startswith(".."):
        raise VolumeError(f"path {path!r} must be relative and stay inside its volume")
    return str(relative)


def _mode(value: Any, otherwise: int = DEFAULT_FILE_MODE) -> int:
    return otherwise if value is None else int(value)


def _make_directory(place: Path, mode: int) -> None:
    try:
        place.mkdir(parents=True)
    except FileExistsError:
        return
    place.chmod(mode)
