"""Unpacking archives that others made: regular files and directories only, nothing outside, bounded."""

from __future__ import annotations

import tarfile
from pathlib import Path, PurePosixPath

from tiphys.cd.sources.request import RenderError

UNPACKED_BYTES_MAX = 1024 * 1024 * 1024
MEMBERS_MAX = 100_000


def unpack(archive: Path, target: Path) -> None:
    """Unpacks a gzipped tar into an empty directory. Raises `RenderError` for links out, devices, bombs."""
    size = 0
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for number, member in enumerate(tar):
                size += member.size
                if size > UNPACKED_BYTES_MAX or number >= MEMBERS_MAX:
                    raise RenderError(f"{archive.name} is larger than {UNPACKED_BYTES_MAX} bytes unpacked")
                _check(archive.name, member)
                tar.extract(member, target, filter="data")
    except (tarfile.TarError, EOFError, OSError) as err:
        raise RenderError(f"{archive.name} could not be unpacked: {err}") from None


def _check(name: str, member: tarfile.TarInfo) -> None:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or not (member.isfile() or member.isdir() or member.issym()):
        raise RenderError(f"{name} holds {member.name}, which may not be unpacked")
