"""A container's root made of two directories: an image's, never written, and what the container changed, over it.

The kernel's overlayfs shows them as one while the container runs; its mount is in the container's own mount namespace
and gone with it, so that nothing is left behind, however the agent ends. Afterwards ``LayeredRoot.resolve`` finds a
path in the two directories by overlayfs's own rules (whiteouts, opaque directories), following links as the container
would, never out of its view. Where the kernel has no overlayfs, the upper directory is a whole copy and there is no
lower one.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from tiphys.cluster.node.runtime import Mount

LINKS_MAX = 40
OPAQUE = ("trusted.overlay.opaque", "user.overlay.opaque")
# linux/fs.h FICLONE: the copy shares the original's blocks.
_CLONE_REQUEST = 0x40049409


UPPER, WORK, ROOT, MERGED, PINNED = "upper", "work", "root", "merged", "pinned"


def make_directories(own: Path) -> None:
    """The places of a layered root in a life's own directory."""
    for name in (UPPER, WORK, ROOT):
        (own / name).mkdir(parents=True)
    (own / UPPER).chmod(0o755)


def mount_command(lower: Path, own: Path, *, rootless: bool, overlay: bool = True) -> str:
    """The shell command that mounts the root at ``own/root``, for a mount namespace of its own."""
    root = shlex.quote(str(own / ROOT))
    if not overlay:
        return f"mount -i --bind {shlex.quote(str(own / UPPER))} {root}"
    layers = f"lowerdir={_escape(lower)},upperdir={_escape(own / UPPER)},workdir={_escape(own / WORK)}"
    options = f"userxattr,{layers}" if rootless else f"{layers},index=off,metacopy=off,redirect_dir=off"
    return f"mount -i -t overlay -o {shlex.quote(options)} overlay {root}"


def pinned(mounts: Sequence[Mount], own: Path) -> dict[Mount, Mount]:
    """For the mounts that must be what they were found to be: the same from places beside ``own``, which are made here.

    Not in it: a sandbox shows its container that directory.
    """
    found: dict[Mount, Mount] = {}
    for number, mount in enumerate(mounts):
        if mount.identity is not None:
            place = own.with_name(f"{own.name}.{PINNED}.{number}")
            if mount.source.is_dir():
                place.mkdir()
            else:
                place.touch()
            found[mount] = replace(mount, source=place, identity=None)
    return found


def pin_commands(pins: Mapping[Mount, Mount]) -> list[str]:
    """Shell commands, for a mount namespace of its own, that mount each at its new place and look what it became.

    Looking afterwards leaves no moment for whoever can write where the source lies: a mount cannot be exchanged.
    """
    commands = []
    for mount, held in pins.items():
        source, place = shlex.quote(str(mount.source)), shlex.quote(str(held.source))
        device, inode = mount.identity or (0, 0)
        said = shlex.quote(f"what is mounted at {mount.target} was exchanged for something else meanwhile")
        commands += [
            f"mount -i --rbind {source} {place}",
            f'{{ [ "$(stat -c %d:%i {place})" = {device}:{inode} ] || {{ echo {said} >&2; false; }}; }}',
        ]
    return commands


def own_namespace(*, rootless: bool) -> list[str]:
    """The words before a command that is to have a mount namespace of its own, and the right to mount in it."""
    return ["/usr/bin/env", "unshare", *(["-U", "-r", "-m"] if rootless else ["-m"]), "--"]


def _escape(place: Path) -> str:
    """For overlayfs's options, where commas and colons separate."""
    return re.sub(r"([\\,:])", r"\\\1", str(place))


@dataclass(frozen=True)
class LayeredRoot:
    """``lower`` is None where the upper directory is all there is. ``merged`` is room for directories of both."""

    lower: Path | None
    upper: Path
    merged: Path
    mounts: Sequence[Mount] = ()

    def resolve(self, path: str) -> Path | None:
        """Where ``path`` is on this machine; the last component need not exist. None: nowhere outside the container.

        A directory that both layers have a part of is put together in ``merged``.
        """
        walk = _Walk(self)
        if not walk.go(path):
            return None
        here = walk.here
        if here.upper is not None and here.lower is not None and here.lower.is_dir() and here.upper.is_dir():
            return self._merge(here)
        return here.upper or here.lower

    def find_program(self, path: str) -> Path | None:
        """The executable file at ``path``, or None."""
        walk = _Walk(self)
        if not walk.go(path):
            return None
        place = walk.here.upper or walk.here.lower
        return place if place is not None and place.is_file() and os.stat(place).st_mode & 0o111 else None

    def _merge(self, spot: _Spot) -> Path:
        assert spot.lower is not None and spot.upper is not None
        target = self.merged / (spot.inside.strip("/").replace("/", "%") or "%root")
        if not target.exists():
            draft = target.with_name(f"{target.name}.{os.getpid()}")
            shutil.rmtree(draft, ignore_errors=True)
            draft.parent.mkdir(parents=True, exist_ok=True)
            copy_tree(spot.lower, draft, link=True)
            _lay_over(spot.upper, draft)
            draft.replace(target)
        return target


@dataclass(frozen=True)
class _Spot:
    """A place of the container: its name there, and where each layer has it (None: not there, or hidden)."""

    inside: str
    upper: Path | None
    lower: Path | None


class _Walk:
    """Goes through the container's view component by component."""

    def __init__(self, root: LayeredRoot) -> None:
        self._mounts = {mount.target.rstrip("/") or "/": mount.source for mount in root.mounts}
        self._top = _Spot("", root.upper, root.lower)
        self._trail: list[_Spot] = []
        self.here = self._top

    def go(self, path: str) -> bool:
        """False where links lead round in circles."""
        todo, followed = _parts(path), 0
        while todo:
            part = todo.pop()
            if part == "..":
                self.here = self._trail.pop() if self._trail else self._top
                continue
            spot = self._step(part)
            target = _link(spot)
            if target is None or spot.inside in self._mounts:
                self._trail.append(self.here)
                self.here = spot
                continue
            followed += 1
            if followed > LINKS_MAX:
                return False
            if target.startswith("/"):
                self.here, self._trail = self._top, []
            todo.extend(_parts(target))
        return True

    def _step(self, part: str) -> _Spot:
        inside = f"{self.here.inside}/{part}"
        mounted = self._mounts.get(inside)
        if mounted is not None:
            return _Spot(inside, mounted, None)
        upper = None if self.here.upper is None else self.here.upper / part
        lower = None if self.here.lower is None else self.here.lower / part
        if upper is None and lower is None:  # above a mount there may be nothing but its name
            return _Spot(inside, None, None)
        mode = None if upper is None else _mode(upper)
        if mode is None:  # the upper layer says nothing
            there = lower is not None and _mode(lower) is not None
            return _Spot(inside, None if there else upper, lower if there else None)
        if stat.S_ISCHR(mode) and os.lstat(upper or "").st_rdev == 0:
            return _Spot(inside, None, None)
        hides = lower is None or not stat.S_ISDIR(mode) or _mode(lower) is None or is_opaque(upper or Path())
        return _Spot(inside, upper, None if hides else lower)


def _link(spot: _Spot) -> str | None:
    place = spot.upper or spot.lower
    return os.readlink(place) if place is not None and place.is_symlink() else None


def _mode(place: Path) -> int | None:
    try:
        return os.lstat(place).st_mode
    except OSError:
        return None


def is_opaque(directory: Path) -> bool:
    """Whether overlayfs shows nothing of the lower layer below this directory of the upper one."""
    for name in OPAQUE:
        with contextlib.suppress(OSError, AttributeError):
            if os.getxattr(directory, name, follow_symlinks=False) == b"y":
                return True
    return False


def copy_tree(source: Path, target: Path, *, link: bool = False) -> None:
    """A tree with its modes, owners (where allowed), times, links and extended attributes; devices are left out.

    ``link``: files become other names of the same ones, for copies that nobody writes to.
    """
    target.mkdir(parents=True, exist_ok=True)
    with os.scandir(source) as entries:
        for entry in entries:
            place = target / entry.name
            if entry.is_symlink():
                os.symlink(os.readlink(entry.path), place)
                _take_owner(entry.stat(follow_symlinks=False), place)
            elif entry.is_dir(follow_symlinks=False):
                copy_tree(Path(entry.path), place, link=link)
            elif entry.is_file(follow_symlinks=False):
                _copy_file(entry.path, place, link=link)
    shutil.copystat(source, target, follow_symlinks=False)
    _take_owner(os.lstat(source), target)


def _copy_file(source: str, target: Path, *, link: bool) -> None:
    if link:
        with contextlib.suppress(OSError):
            os.link(source, target, follow_symlinks=False)
            return
    if not _clone(source, target):
        shutil.copyfile(source, target, follow_symlinks=False)
    _take_owner(os.lstat(source), target)
    shutil.copystat(source, target, follow_symlinks=False)


def _clone(source: str, target: Path) -> bool:
    """By reference, where the file system can."""
    import fcntl

    with open(source, "rb") as here, target.open("wb") as there:
        try:
            fcntl.ioctl(there.fileno(), _CLONE_REQUEST, here.fileno())
        except OSError:
            return False
    return True


def _take_owner(what: os.stat_result, place: Path) -> None:
    with contextlib.suppress(PermissionError):
        os.chown(place, what.st_uid, what.st_gid, follow_symlinks=False)


def _lay_over(upper: Path, target: Path) -> None:
    """What overlayfs shows of ``upper`` over ``target``, made real in ``target``."""
    with os.scandir(upper) as entries:
        for entry in entries:
            place = target / entry.name
            what = entry.stat(follow_symlinks=False)
            directory = stat.S_ISDIR(what.st_mode)
            if not directory or is_opaque(Path(entry.path)) or not place.is_dir() or place.is_symlink():
                _remove(place)
            if directory:
                place.mkdir(exist_ok=True)
                _lay_over(Path(entry.path), place)
                shutil.copystat(entry.path, place)
            elif entry.is_symlink():
                os.symlink(os.readlink(entry.path), place)
            elif stat.S_ISREG(what.st_mode):
                _copy_file(entry.path, place, link=True)


def _remove(place: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        else:
            place.unlink()


def _parts(path: str) -> list[str]:
    return [part for part in reversed(PurePosixPath(path).parts) if part != "/"]


def search(root: LayeredRoot, word: str, directories: Iterable[str]) -> Path | None:
    """The first executable file of this name in the (absolute) directories."""
    for directory in directories:
        found = root.find_program(f"{directory}/{word}") if directory.startswith("/") else None
        if found is not None:
            return found
    return None
