"""Unpacking archives that others made: regular files and directories only, nothing outside, bounded."""

from __future__ import annotations

import gzip
import tarfile
import zlib
from pathlib import Path, PurePosixPath

from tiphys.cd.sources.request import RenderError

UNPACKED_BYTES_MAX = 1024 * 1024 * 1024
MEMBERS_MAX = 100_000
HEADER_BYTES_MAX = 1024 * 1024
"""Of a header that names a member; tarfile reads these, and nothing else, in one go."""


def unpack(archive: Path, target: Path) -> None:
    """Unpacks a gzipped tar into an empty directory. Raises `RenderError` for links out, devices, bombs."""
    size = 0
    try:
        with gzip.open(archive) as packed, tarfile.open(fileobj=_Bounded(packed)) as tar:
            for number, member in enumerate(tar):
                size += member.size
                if size > UNPACKED_BYTES_MAX or number >= MEMBERS_MAX:
                    raise RenderError(f"{archive.name} is larger than {UNPACKED_BYTES_MAX} bytes unpacked")
                _check(archive.name, member)
                tar.extract(member, target, filter="data")
    except (tarfile.TarError, EOFError, OSError, zlib.error) as err:
        raise RenderError(f"{archive.name} could not be unpacked: {err}") from None


class _Bounded:
    """A file of which nobody reads much at once."""

    def __init__(self, file: gzip.GzipFile) -> None:
        self._file = file
        self.tell, self.seek = file.tell, file.seek

    def read(self, size: int) -> bytes:
        if size > HEADER_BYTES_MAX:
            raise OSError(f"a header of {size} bytes is too long")
        return self._file.read(size)


def _check(name: str, member: tarfile.TarInfo) -> None:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or not (member.isfile() or member.isdir() or member.issym()):
        raise RenderError(f"{name} holds {member.name}, which may not be unpacked")
