"""A pod's volumes as directories and files of this machine, and where each container sees them.

    <pod>/volumes/<name>/                     emptyDir, and the files of configMap, secret, downwardAPI, projected
    <pod>/volumes/<name>/..data -> ..<stamp>  those files change together, by moving one link (live update)
    <data>/claims/<namespace>/<claim>/        a PersistentVolumeClaim, kept after the pod

Everything here can be done again: a volume that exists is left as it is. Errors are a kubelet's: a missing
ConfigMap keeps the pod waiting (``VolumeError``, tried again), a sub-path that leads out of its volume is refused.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Any

from tiphys.cluster.node import memoryfs
from tiphys.cluster.node.amounts import amount
from tiphys.cluster.node.environment import (
    Fetch,
    NodeFacts,
    data_of,
    expand,
    pod_field,
    resource_field,
)
from tiphys.cluster.node.hostpaths import ALL_HOST_PATHS, HostPathRefused, HostPaths, identity_of
from tiphys.cluster.node.ownership import NOBODYS, Ownership, give, ownership_of
from tiphys.cluster.node.runtime import ConfigError, Mount
from tiphys.machinery.errors import NotFound, TiphysError
from tiphys.machinery.resources import PERSISTENT_VOLUME_CLAIMS, ObjectKey, Resource

Object = Mapping[str, Any]
PERSISTENT_VOLUMES = Resource("", "v1", "persistentvolumes", "PersistentVolume", namespaced=False)

DEFAULT_FILE_MODE = 0o644


class VolumeError(TiphysError):
    """The volume cannot be set up now; the pod waits with ``FailedMount``."""


@dataclass(frozen=True, slots=True)
class VolumePlaces:
    """Where the volumes of one pod are (``pod``) and the ones that outlive it (``claims``), and which of this machine's
    own files may be shown.
    """

    pod: Path
    claims: Path
    host_paths: HostPaths = ALL_HOST_PATHS


@dataclass(frozen=True, slots=True)
class Means:
    """What volumes are made with. ``token`` gives the token for a serviceAccountToken source, ``image`` the root of an
    image volume; ``now`` names the generation of files that change together. ``same_users``: a user of the container
    is the one of the same number here.
    """

    facts: NodeFacts
    fetch: Fetch
    token: Callable[[Object], Awaitable[str]]
    image: Callable[[Object], Awaitable[Path]]
    now: datetime
    same_users: bool = True


async def prepare(pod: Object, places: VolumePlaces, means: Means) -> dict[str, Path]:
    """The pod's volumes by name. Raises ``VolumeError``, ``ApiError``."""
    found: dict[str, Path] = {}
    owners = ownership_of(pod)
    for volume in pod["spec"].get("volumes") or ():
        found[volume["name"]] = await _prepare_one(volume, pod, places, means, owners)
    return found


async def _prepare_one(volume: Object, pod: Object, places: VolumePlaces, means: Means, owners: Ownership) -> Path:
    place = places.pod / str(volume["name"])
    namespace = pod["metadata"].get("namespace", "")
    fetch = means.fetch
    if "image" in volume:
        return await means.image(volume["image"])
    if "hostPath" in volume:
        return _host_path(volume["name"], volume["hostPath"], places.host_paths)
    if "persistentVolumeClaim" in volume:
        return await _claim(volume["persistentVolumeClaim"]["claimName"], namespace, places, fetch)
    if "ephemeral" in volume:
        return await _claim(f"{pod['metadata']['name']}-{volume['name']}", namespace, places, fetch)
    if "emptyDir" in volume or not (volume.keys() & _FILE_SOURCES.keys()):
        given = owners if means.same_users else NOBODYS
        _empty_directory(place, volume.get("emptyDir") or {}, pod, means.facts, given)
        return place
    files = await files_of(volume, pod, means, owners)
    fresh = not place.is_dir()
    _make_directory(place, 0o777)
    if fresh and not volume.keys().isdisjoint(_SECRET_SOURCES):
        memoryfs.mount(place, int(amount(means.facts.memory)))
    write_files(place, files, means.now, owners if means.same_users else NOBODYS)
    return place


def _empty_directory(place: Path, body: Object, pod: Object, facts: NodeFacts, owners: Ownership) -> None:
    if place.is_dir():
        return
    _make_directory(place, 0o777)
    if body.get("medium") == "Memory":
        memoryfs.mount(place, _memory_size(body, pod, facts))
    give(place, owners, writable=True)


def _memory_size(body: Object, pod: Object, facts: NodeFacts) -> int:
    """The volume's limit, at most what the pod's containers may use together, at most the node's memory."""
    limits = [((c.get("resources") or {}).get("limits") or {}).get("memory") for c in pod["spec"]["containers"]]
    sizes = [amount(facts.memory)]
    if all(limits):
        sizes.append(sum((amount(str(limit)) for limit in limits), start=Fraction(0)))
    if body.get("sizeLimit") not in (None, "", "0", 0):
        sizes.append(amount(str(body["sizeLimit"])))
    return int(min(sizes))


_FILE_SOURCES = {"configMap": "items", "secret": "items", "downwardAPI": "items", "projected": "sources"}
# Kept in memory where that is possible.
_SECRET_SOURCES = ("secret", "projected")
TOKEN_MODE = 0o600
_NO_SUCH_KEY = {
    "configMap": "configmap references non-existent config",
    "secret": "references non-existent secret",
}


@dataclass(frozen=True, slots=True)
class File:
    """One file of a generated volume; ``user`` is whose it is (None: ours)."""

    content: bytes
    mode: int
    user: int | None = None


Files = dict[str, File]


async def files_of(volume: Object, pod: Object, means: Means, owners: Ownership) -> Files:
    """The files of a configMap, secret, downwardAPI or projected volume, by relative path."""
    if "projected" in volume:
        files: Files = {}
        mode = _mode(volume["projected"].get("defaultMode"))
        for source in volume["projected"].get("sources") or ():
            for kind, body in source.items():
                files.update(await _source_files(volume["name"], kind, body, mode, pod, means, owners))
        return files
    kind = next(k for k in _FILE_SOURCES if k in volume)
    body = volume[kind]
    return await _source_files(volume["name"], kind, body, _mode(body.get("defaultMode")), pod, means, owners)


async def _source_files(
    name: str, kind: str, body: Object, mode: int, pod: Object, means: Means, owners: Ownership
) -> Files:
    if kind == "downwardAPI":
        return _downward_files(body, mode, pod, means.facts)
    if kind in ("configMap", "secret"):
        return await _object_files(name, kind, body, mode, pod, means.fetch)
    if kind == "serviceAccountToken":
        token = (await means.token(body)).encode()
        if owners is NOBODYS:
            return {_inside(body["path"]): File(token, mode)}
        return {_inside(body["path"]): File(token, TOKEN_MODE, owners.user if means.same_users else None)}
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
        return {key: File(value, mode) for key, value in data.items()}
    files: Files = {}
    for item in items:
        if item["key"] in data:
            files[_inside(item["path"])] = File(data[item["key"]], _mode(item.get("mode"), mode))
        elif not body.get("optional"):
            what = (
                "configmap references non-existent config" if kind == "configMap" else "references non-existent secret"
            )
            raise VolumeError(f'MountVolume.SetUp failed for volume "{name}" : {what} key: {item["key"]}')
    return files


def _downward_files(body: Object, mode: int, pod: Object, facts: NodeFacts) -> Files:
    files: Files = {}
    for item in body.get("items") or ():
        if "fieldRef" in item:
            text = pod_field(pod, item["fieldRef"].get("fieldPath", ""), facts)
        else:
            text = resource_field(item.get("resourceFieldRef") or {}, {}, pod, facts)
        files[_inside(item["path"])] = File(text.encode(), _mode(item.get("mode"), mode))
    return files


def write_files(place: Path, files: Files, now: datetime, owners: Ownership = NOBODYS) -> None:
    """Shows exactly ``files`` under ``place``, changing from the state before in one step."""
    data = place / "..data"
    current = os.readlink(data) if data.is_symlink() else ""
    if current and _same(place / current, files):
        return
    fresh = place / _generation(now, current)
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    for name, file in files.items():
        target = fresh / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.content)
        target.chmod(file.mode)
        if file.user is not None:
            with contextlib.suppress(OSError):
                os.chown(target, file.user, -1)
    give(fresh, owners, writable=False)
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
    else:
        give(place, replace(owners, only_on_mismatch=False), writable=False)


def _generation(now: datetime, current: str) -> str:
    """The directory of a state of the files, named by its time as the original names it; never the one before."""
    name = f"..{now:%Y_%m_%d_%H_%M_%S}.{now.microsecond:06}000"
    return f"{name}1" if name == current else name


def _same(directory: Path, files: Files) -> bool:
    if not directory.is_dir():
        return False
    there = {str(p.relative_to(directory)): p for p in directory.rglob("*") if p.is_file()}
    return there.keys() == files.keys() and all(
        path.read_bytes() == files[name].content for name, path in there.items()
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
            try:
                place = places.host_paths.place_of(host_path)
            except HostPathRefused as err:
                raise VolumeError(f'MountVolume.SetUp failed for volume "{volume_name}" : {err}') from err
            _make_directory(place, 0o777)
            return place
    place = places.claims / namespace / name
    _make_directory(place, 0o777)
    return place


def _host_path(name: str, body: Object, allowed: HostPaths) -> Path:
    try:
        return allowed.prepare(body)
    except (HostPathRefused, OSError) as err:
        raise VolumeError(f'MountVolume.SetUp failed for volume "{name}" : {err}') from err


def guarded(pod: Object, allowed: HostPaths) -> frozenset[str]:
    """The volumes that another pod could exchange for what this node does not show."""
    volumes = pod["spec"].get("volumes") or ()
    return frozenset(v["name"] for v in volumes if "hostPath" in v) if allowed.bounded else frozenset()


def generated(pod: Object) -> frozenset[str]:
    """The volumes whose files we write: containers may only read them, as under a kubelet."""
    kinds = {*_FILE_SOURCES, "image"}
    return frozenset(v["name"] for v in pod["spec"].get("volumes") or () if not kinds.isdisjoint(v))


def is_refreshed(pod: Object) -> bool:
    """Whether any of the pod's volumes follows what the API says."""
    return any(not _FILE_SOURCES.keys().isdisjoint(volume) for volume in pod["spec"].get("volumes") or ())


def container_mounts(
    container: Object,
    volumes: Mapping[str, Path],
    env: Mapping[str, str],
    fixed: frozenset[str] = frozenset(),
    watched: frozenset[str] = frozenset(),
) -> list[Mount]:
    """What the container's ``volumeMounts`` show, in order; those in ``fixed`` read-only, those in ``watched`` only if
    they still are where they were found. Raises ``ConfigError``.
    """
    mounts = []
    for mount in container.get("volumeMounts") or ():
        source = volumes.get(mount["name"])
        if source is None:
            raise ConfigError(f'volume "{mount["name"]}" of container "{container["name"]}" does not exist')
        sub_path = mount.get("subPath") or ""
        if mount.get("subPathExpr"):
            sub_path = _expand_sub_path(mount["subPathExpr"], env)
        identity = None
        if sub_path:
            source, identity = _sub_path(source, sub_path)
        if mount["name"] in watched:
            identity = _identity(source, volumes[mount["name"]])
        read_only = bool(mount.get("readOnly")) or mount["name"] in fixed
        mounts.append(Mount(source, mount["mountPath"], read_only, identity))
    return mounts


def _identity(place: Path, volume: Path) -> tuple[int, int]:
    try:
        if place.is_relative_to(volume):
            return identity_of(place)
    except OSError:
        pass
    raise ConfigError(f"hostPath {volume} was exchanged for something else meanwhile")


def _expand_sub_path(expression: str, env: Mapping[str, str]) -> str:
    path = expand(expression, env)
    if "$(" in path:
        missing = path.partition("$(")[2].partition(")")[0]
        raise ConfigError(f"missing value for {missing}")
    return path


def _sub_path(volume: Path, path: str) -> tuple[Path, tuple[int, int]]:
    """A place inside the volume, made if missing, and its identity; never outside, whatever links lie there.

    Links are followed first; then it is gone there again without following any, so that none that was put there
    meanwhile leads out. Whoever mounts the place compares what was mounted with the identity.
    """
    relative = PurePosixPath(path)
    if relative.is_absolute() or ".." in relative.parts:
        why = "must not contain '..'" if ".." in relative.parts else "must not be an absolute path"
        raise ConfigError(f"unable to provision SubPath `{path}`: {why}")
    root = volume.resolve()
    place = Path(os.path.realpath(volume / relative))  # also through links that lead nowhere yet
    if not place.is_relative_to(root):
        raise ConfigError(f"subPath {path!r} leads out of its volume")
    here = os.open(root, _LOOK)
    try:
        like = os.fstat(here)
        for part in place.relative_to(root).parts:
            below = _enter(here, part, like)
            os.close(here)
            here = below
        found = os.fstat(here)
    except OSError as err:
        raise ConfigError(f"unable to provision SubPath `{path}`: {err.strerror}") from err
    finally:
        os.close(here)
    if stat.S_ISLNK(found.st_mode):
        raise ConfigError(f"subPath {path!r} leads out of its volume")
    return place, (found.st_dev, found.st_ino)


# Where there is no O_PATH (macOS), a file is opened for reading.
_LOOK = getattr(os, "O_PATH", os.O_RDONLY) | os.O_NOFOLLOW | os.O_CLOEXEC


def _enter(here: int, name: str, like: os.stat_result) -> int:
    """Opens what is called ``name`` there, a link itself; a directory as open as the volume where there is nothing."""
    with contextlib.suppress(FileNotFoundError):
        return os.open(name, _LOOK, dir_fd=here)
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, dir_fd=here)
    made = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
    os.fchmod(made, stat.S_IMODE(like.st_mode) & 0o777)
    with contextlib.suppress(OSError):
        os.fchown(made, like.st_uid, like.st_gid)
    return made


def path_in_volume(path: str, mounts: Sequence[Object], volumes: Mapping[str, Path]) -> Path | None:
    """Where a container's path lies in its volumes, the links on the way to it followed; None for other paths and where
    links lead out of the volume.
    """
    wanted = PurePosixPath(path)
    for mount in sorted(mounts, key=lambda m: -len(m["mountPath"])):
        target = PurePosixPath(mount["mountPath"])
        volume = volumes.get(mount["name"])
        if volume is None or not wanted.is_relative_to(target) or mount.get("subPathExpr"):
            continue
        root = volume / (mount.get("subPath") or "")
        place = root / wanted.relative_to(target)
        existing = place if place == root else place.parent
        while not existing.exists() and existing != root:
            existing = existing.parent
        found = existing.resolve()
        return found / place.relative_to(existing) if found.is_relative_to(volume.resolve()) else None
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
