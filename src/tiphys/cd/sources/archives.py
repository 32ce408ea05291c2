"""Unpacking archives that others made: regular files and directories only, nothing outside, bounded."""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from tiphys.cd.sources.request import RenderError

UNPACKED_BYTES_MAX = 1024 * 1024 * 1024
MEMBERS_MAX = 100_000
HEADER_BYTES_MAX = 1024 * 1024
"""Of a header that names a member; tarfile reads these, and nothing else, in one go."""


def unpack(archive: Path, target: Path, *, is_gzipped: bool = True) -> None:
    """Unpacks a tar into an empty directory. Raises `RenderError` for links out, devices, bombs."""
    size = 0
    try:
        with _opened(archive, is_gzipped) as packed, tarfile.open(fileobj=packed, mode="r:") as tar:
            for number, member in enumerate(tar):
                size += member.size
                if size > UNPACKED_BYTES_MAX or number >= MEMBERS_MAX:
                    raise RenderError(f"{archive.name} is larger than {UNPACKED_BYTES_MAX} bytes unpacked")
                _check(archive.name, member)
                tar.extract(member, target, filter="data")
    except (tarfile.TarError, EOFError, OSError, zlib.error) as err:
        raise RenderError(f"{archive.name} could not be unpacked: {err}") from None


def _opened(archive: Path, is_gzipped: bool) -> BinaryIO:
    plain = gzip.GzipFile(archive) if is_gzipped else archive.open("rb", buffering=0)
    return _Bounded(plain, HEADER_BYTES_MAX)


class _Bounded(io.BufferedReader):
    """A file of which nobody reads much at once."""

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= HEADER_BYTES_MAX:
            raise OSError(f"a header of {size} bytes is too long")
        return super().read(size)


def _check(name: str, member: tarfile.TarInfo) -> None:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or not (member.isfile() or member.isdir() or member.issym()):
        raise RenderError(f"{name} holds {member.name}, which may not be unpacked")
