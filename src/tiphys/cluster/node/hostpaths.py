"""``hostPath``: which of this machine's files pods may be shown, and what must be there.

As under a kubelet, that is all of them unless the node is told otherwise (setting ``host_paths``); who may create pods
at all, and with which volumes, is the API server's to decide (pod security). Where a node has a list, links are
followed before a path is compared with it, and what is mounted is compared with what was found then
(``volumes.container_mounts``), so that a pod cannot put a link in another one's way.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Object = Mapping[str, Any]

# Sockets and devices are only looked for, never made.
KINDS = {
    "Directory": (stat.S_ISDIR, "a directory"),
    "File": (stat.S_ISREG, "a file"),
    "Socket": (stat.S_ISSOCK, "a socket file"),
    "CharDevice": (stat.S_ISCHR, "a character device"),
    "BlockDevice": (stat.S_ISBLK, "a block device"),
}
EVERYWHERE = Path("/")


class HostPathRefused(ValueError):
    """This node does not show that path, or it is not what the volume says."""


@dataclass(frozen=True, slots=True)
class HostPaths:
    """``allowed`` are the directories below which everything may be shown; ``own`` those of the node's provisioner."""

    allowed: tuple[Path, ...] = (EVERYWHERE,)
    own: tuple[Path, ...] = ()

    @classmethod
    def of(cls, text: str, own: Iterable[Path] = ()) -> HostPaths:
        """From directories with commas between them. Raises ValueError for what is no absolute path."""
        wanted = [Path(word.strip()) for word in text.split(",") if word.strip()]
        for path in wanted:
            if not path.is_absolute():
                raise ValueError(f"must be absolute paths, got {str(path)!r}")
        return cls(tuple(wanted), tuple(own))

    @property
    def bounded(self) -> bool:
        return EVERYWHERE not in self.allowed

    def place_of(self, path: str) -> Path:
        """Where the path is once all links were followed. Raises ``HostPathRefused`` where pods may not see that."""
        place = Path(path).resolve()
        if self.bounded and not any(place.is_relative_to(top.resolve()) for top in (*self.allowed, *self.own)):
            listed = ", ".join(map(str, self.allowed)) or "none"
            behind = "" if place == Path(path) else f" (which is {place})"
            raise HostPathRefused(f"hostPath {path}{behind} is not in what this node shows to pods: {listed}")
        return place

    def prepare(self, body: Object) -> Path:
        """The place of a hostPath volume, made where its type says so. Raises ``HostPathRefused`` and ``OSError``."""
        path, kind = str(body["path"]), str(body.get("type") or "")
        place = self.place_of(path)
        missing, wanted = not place.exists(), kind.removesuffix("OrCreate")
        if missing and kind == "FileOrCreate":
            place.touch()
        elif missing and kind in ("DirectoryOrCreate", ""):  # without a type as container engines do
            place.mkdir(parents=True, exist_ok=True)
        elif wanted in KINDS:
            is_kind, words = KINDS[wanted]
            if missing or not is_kind(place.stat().st_mode):
                raise HostPathRefused(f"hostPath type check failed: {path} is not {words}")
        return place


ALL_HOST_PATHS = HostPaths()


def identity_of(place: Path) -> tuple[int, int]:
    """(device, inode) of what is there, reached through no link. Raises ``OSError``."""
    look = getattr(os, "O_PATH", os.O_RDONLY) | os.O_NOFOLLOW | os.O_CLOEXEC
    here = os.open(place.anchor, look)
    try:
        for part in place.parts[1:]:
            below = os.open(part, look, dir_fd=here)
            os.close(here)
            here = below
        found = os.fstat(here)
    finally:
        os.close(here)
    if stat.S_ISLNK(found.st_mode):
        raise NotADirectoryError(f"{place} is a link")
    return found.st_dev, found.st_ino
