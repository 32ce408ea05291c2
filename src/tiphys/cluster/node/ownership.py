"""Whose the files of a pod's volumes are: ``fsGroup``, and the user that all of its containers run as.

Follows kubernetes pkg/volume/volume_linux.go (SetVolumeOwnership): every file gets the group and becomes readable (and
in writable volumes writable) for it, directories hand the group on. Without the right to do so files stay as they are.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

READABLE, WRITABLE, PASSABLE = 0o440, 0o660, 0o110


@dataclass(frozen=True, slots=True)
class Ownership:
    """``group`` is the pod's fsGroup, ``user`` the one that all its containers run as; None: nobody in particular."""

    group: int | None = None
    user: int | None = None
    only_on_mismatch: bool = False


NOBODYS = Ownership()


def ownership_of(pod: Mapping[str, Any]) -> Ownership:
    spec = pod["spec"]
    whole = spec.get("securityContext") or {}
    every = (*(spec.get("initContainers") or ()), *spec["containers"])
    users = {(c.get("securityContext") or {}).get("runAsUser", whole.get("runAsUser")) for c in every}
    user = users.pop() if len(users) == 1 else None
    if user is None and whole.get("fsGroup") is None:
        return NOBODYS
    return Ownership(whole.get("fsGroup"), user, whole.get("fsGroupChangePolicy") == "OnRootMismatch")


def give(root: Path, owners: Ownership, *, writable: bool) -> None:
    """Hands a volume to the pod's group."""
    if owners.group is None or (owners.only_on_mismatch and _fits(root, owners.group, writable)):
        return
    for place in _everything(root):
        with contextlib.suppress(OSError):
            _give_one(place, owners.group, writable)


def _give_one(place: Path, group: int, writable: bool) -> None:
    facts = place.lstat()
    os.chown(place, -1, group, follow_symlinks=False)
    if not stat.S_ISLNK(facts.st_mode):
        place.chmod(stat.S_IMODE(facts.st_mode) | _wanted(facts.st_mode, writable))


def _wanted(mode: int, writable: bool) -> int:
    bits = WRITABLE if writable else READABLE
    return bits | PASSABLE | stat.S_ISGID if stat.S_ISDIR(mode) else bits


def _fits(root: Path, group: int, writable: bool) -> bool:
    facts = root.stat()
    wanted = _wanted(facts.st_mode, writable)
    return facts.st_gid == group and facts.st_mode & wanted == wanted


def _everything(root: Path) -> Iterator[Path]:
    yield root
    for directory, folders, files in os.walk(root):
        for name in (*folders, *files):
            yield Path(directory, name)
