"""Unpacks an image's layer over what is there already: a tar archive, plain or compressed, from a stranger.

Everything is checked against the directory that it is meant for. Links in the way are followed as a container would
follow them, inside the directory; names that climb out of it are refused, as are device nodes, and attributes that
would mean something to overlayfs. Whiteouts (``.wh.name``, ``.wh..wh..opq``) take away what earlier layers put there.
What it may become is bounded: entries, bytes, and bytes in proportion to what was read.

The directory belongs to nobody else while this runs (``store.py``), so that nothing changes between check and use.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import importlib
import os
import shutil
import stat
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from tiphys.oci.manifests import ImageError

ENTRIES_MAX = 5_000_000
BYTES_MAX = 64 << 30
# gzip cannot do better than 1:1032; a layer that comes near it all along is made to fill the disk.
RATIO_MAX, RATIO_COUNTS_FROM_BYTES = 500, 1 << 30
PATH_BYTES_MAX, DEPTH_MAX, LINKS_MAX = 4096, 256, 40
WHITEOUT, OPAQUE = ".wh.", ".wh..wh..opq"
_GZIP, _ZSTD, _BZIP2, _XZ = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ\x00"
_ATTRIBUTE = "SCHILY.xattr."
_CHUNK_BYTES = 1 << 20


def unpack(file: BinaryIO, root: Path, *, diff_id: str = "") -> None:
    """Lays the layer over ``root``. ``diff_id``: what the uncompressed archive's digest must be. Raises ``ImageError``.

    After an error the directory holds a part of the layer.
    """
    counted = _Counted(file)
    plain = decompressed(cast(BinaryIO, counted))
    hashed = _Hashed(plain, counted)
    try:
        with tarfile.open(fileobj=cast(IO[bytes], hashed), mode="r|", errorlevel=1) as archive:
            _Unpacker(root, archive).run()
        while hashed.read(_CHUNK_BYTES):  # padding after the archive's end counts for the digest
            pass
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, UnicodeDecodeError, RecursionError) as err:
        raise ImageError(f"a layer that cannot be read: {err}") from err
    except OSError as err:
        raise ImageError(f"a layer that cannot be unpacked: {err}") from err
    found = f"sha256:{hashed.total.hexdigest()}"
    if diff_id and found != diff_id:
        raise ImageError(f"a layer is not what the image says: expected {diff_id}, got {found}")


def decompressed(file: BinaryIO) -> BinaryIO:
    """The file as it was before gzip, zstd, bzip2 or xz, whichever its first bytes tell of. Raises ``ImageError``."""
    head = file.read(6)
    whole = cast(BinaryIO, _Rewound(head, file))
    if head.startswith(_GZIP):
        return cast(BinaryIO, gzip.GzipFile(fileobj=whole, mode="rb"))
    if head.startswith(_ZSTD):
        return cast(BinaryIO, _zstd().ZstdFile(whole, "rb"))
    if head.startswith((_BZIP2, _XZ)):
        raise ImageError("a layer compressed in a way that images may not use (gzip and zstd are allowed)")
    return whole


def _zstd() -> Any:
    """The standard library's module from Python 3.14 on, before that its backport."""
    for name in ("compression.zstd", "backports.zstd"):
        with contextlib.suppress(ImportError):
            return importlib.import_module(name)
    raise ImageError("a layer compressed with zstd: install backports.zstd")


class _Rewound:
    """A stream of which the beginning was read already."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self._head = head
        self._rest = rest

    def read(self, size: int = -1) -> bytes:
        if self._head:
            given = self._head if size < 0 else self._head[:size]
            self._head = self._head[len(given) :]
            return given if size >= 0 else given + self._rest.read()
        return self._rest.read(size)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    @property
    def closed(self) -> bool:
        return False


class _Counted:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.bytes = 0

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.bytes += len(data)
        return data


class _Hashed:
    """Counts and digests what is read, and stops where it is out of proportion."""

    def __init__(self, file: BinaryIO, source: _Counted) -> None:
        self._file = file
        self._source = source
        self.bytes = 0
        self.total = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.bytes += len(data)
        self.total.update(data)
        if self.bytes > BYTES_MAX:
            raise ImageError(f"a layer of more than {BYTES_MAX >> 30} GiB")
        if self.bytes > RATIO_COUNTS_FROM_BYTES and self.bytes > RATIO_MAX * self._source.bytes:
            raise ImageError(f"a layer that unpacks to more than {RATIO_MAX} times its size")
        return data


class _Unpacker:
    def __init__(self, root: Path, archive: tarfile.TarFile) -> None:
        self._root = root
        self._archive = archive
        self._own: set[str] = set()
        self._directories: dict[str, str] = {}
        self._times: list[tuple[str, tarfile.TarInfo]] = []
        self._privileged = os.geteuid() == 0
        self._written = 0

    def run(self) -> None:
        for number, entry in enumerate(self._archive):
            if number >= ENTRIES_MAX:
                raise ImageError(f"a layer of more than {ENTRIES_MAX} entries")
            self._one(entry)
        for place, entry in reversed(self._times):  # last, since making files in it changes a directory's time
            _set_time(place, entry)

    def _one(self, entry: tarfile.TarInfo) -> None:
        parts = _parts(entry.name)
        if not parts:
            if entry.isdir():
                self._finish(str(self._root), entry)
            return
        parent, name = self._directory(parts[:-1]), parts[-1]
        if name.startswith(WHITEOUT):
            self._whiteout(parent, name)
            return
        place = os.path.join(parent, name)
        self._own.add(place)
        make = self._maker(entry)
        if make is not None:
            make(entry, place)

    def _maker(self, entry: tarfile.TarInfo) -> Callable[[tarfile.TarInfo, str], None] | None:
        if entry.isreg():
            return self._file
        if entry.isdir():
            return self._make_directory
        if entry.issym():
            return self._symbolic
        if entry.islnk():
            return self._hard
        if entry.isfifo():
            return self._fifo
        if entry.ischr() or entry.isblk():
            if _parts(entry.name)[0] == "dev":  # a container's /dev is made by its runtime
                return None
            raise ImageError(f"a layer with a device node: {entry.name}")
        raise ImageError(f"a layer with an entry of unknown type: {entry.name}")

    def _directory(self, parts: list[str]) -> str:
        """The real directory for these components: made where missing, links followed inside the root."""
        key = "/".join(parts)
        known = self._directories.get(key)
        if known is not None:
            return known
        here, todo, links = str(self._root), list(reversed(parts)), 0
        while todo:
            part = todo.pop()
            if part == "..":
                here = here if here == str(self._root) else os.path.dirname(here)
                continue
            place = os.path.join(here, part)
            try:
                mode = os.lstat(place).st_mode
            except FileNotFoundError:
                os.mkdir(place, 0o755)
                here = place
                continue
            if stat.S_ISLNK(mode):
                links += 1
                if links > LINKS_MAX:
                    raise ImageError(f"a layer with links in a circle: {key}")
                target = os.readlink(place)
                here = str(self._root) if target.startswith("/") else here
                todo.extend(reversed([p for p in target.split("/") if p not in ("", ".")]))
            elif stat.S_ISDIR(mode):
                here = place
            else:
                raise ImageError(f"a layer with a file where a directory must be: {key}")
        self._directories[key] = here
        return here

    def _whiteout(self, parent: str, name: str) -> None:
        if name == OPAQUE:
            for entry in os.listdir(parent):
                if os.path.join(parent, entry) not in self._own:
                    self._remove(os.path.join(parent, entry))
            return
        if name.startswith(".wh..wh."):  # aufs's own housekeeping
            return
        hidden = name.removeprefix(WHITEOUT)
        if hidden in ("", ".", ".."):
            raise ImageError(f"a layer with a strange whiteout: {name}")
        self._remove(os.path.join(parent, hidden))

    def _remove(self, place: str) -> None:
        try:
            mode = os.lstat(place).st_mode
        except FileNotFoundError:
            return
        if stat.S_ISDIR(mode):
            shutil.rmtree(place)
        else:
            os.unlink(place)
        if not stat.S_ISREG(mode):  # what led through it leads elsewhere now
            self._directories.clear()

    def _file(self, entry: tarfile.TarInfo, place: str) -> None:
        self._remove(place)
        source = self._archive.extractfile(entry)
        if source is None:
            raise ImageError(f"a layer with a file without contents: {entry.name}")
        self._written += entry.size
        if self._written > BYTES_MAX:
            raise ImageError(f"a layer of more than {BYTES_MAX >> 30} GiB")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with source, os.fdopen(os.open(place, flags, 0o600), "wb") as file:
            shutil.copyfileobj(source, file, _CHUNK_BYTES)
        self._finish(place, entry)
        _set_time(place, entry)

    def _make_directory(self, entry: tarfile.TarInfo, place: str) -> None:
        if not (os.path.isdir(place) and not os.path.islink(place)):
            self._remove(place)
            os.mkdir(place, 0o700)
        self._finish(place, entry)
        self._times.append((place, entry))

    def _symbolic(self, entry: tarfile.TarInfo, place: str) -> None:
        self._remove(place)
        if len(os.fsencode(entry.linkname)) > PATH_BYTES_MAX:
            raise ImageError(f"a layer with a link of more than {PATH_BYTES_MAX} bytes: {entry.name[:80]}")
        os.symlink(entry.linkname, place)
        if self._privileged:
            os.chown(place, entry.uid, entry.gid, follow_symlinks=False)

    def _hard(self, entry: tarfile.TarInfo, place: str) -> None:
        parts = _parts(entry.linkname)
        if not parts:
            raise ImageError(f"a layer with a hard link to nothing: {entry.name}")
        source = os.path.join(self._directory(parts[:-1]), parts[-1])
        try:
            mode = os.lstat(source).st_mode
        except FileNotFoundError:
            raise ImageError(
                f"a layer with a hard link to what is not there: {entry.name} → {entry.linkname}"
            ) from None
        if stat.S_ISDIR(mode):
            raise ImageError(f"a layer with a hard link to a directory: {entry.name}")
        if source == place:
            return
        self._remove(place)
        os.link(source, place, follow_symlinks=False)

    def _fifo(self, entry: tarfile.TarInfo, place: str) -> None:
        self._remove(place)
        os.mkfifo(place, 0o600)
        self._finish(place, entry)

    def _finish(self, place: str, entry: tarfile.TarInfo) -> None:
        """Owner first: changing it takes set-id bits and capabilities away."""
        if self._privileged:
            os.chown(place, entry.uid, entry.gid, follow_symlinks=False)
        mode = entry.mode & 0o7777
        os.chmod(place, mode if self._privileged else mode | (0o700 if entry.isdir() else 0o600))
        for key, value in entry.pax_headers.items():
            if key.startswith(_ATTRIBUTE):
                self._set_attribute(place, key.removeprefix(_ATTRIBUTE), value)

    def _set_attribute(self, place: str, name: str, value: str) -> None:
        if name.startswith(("trusted.", "user.overlay.")):
            raise ImageError(f"a layer with an attribute that it may not have: {name}")
        if name == "security.capability" and not self._privileged:
            return
        with contextlib.suppress(OSError):  # file systems without attributes
            os.setxattr(place, name, value.encode("utf-8", "surrogateescape"), follow_symlinks=False)


def _parts(name: str) -> list[str]:
    """The components below the root. Raises ``ImageError`` for names that lead out of it."""
    if len(os.fsencode(name)) > PATH_BYTES_MAX:
        raise ImageError(f"a layer with a name of more than {PATH_BYTES_MAX} bytes: {name[:80]}")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts or "\0" in name:
        raise ImageError(f"a layer with a name that leads out of it: {name}")
    if len(parts) > DEPTH_MAX:
        raise ImageError(f"a layer with a name of more than {DEPTH_MAX} directories: {name[:80]}")
    return parts


def _set_time(place: str, entry: tarfile.TarInfo) -> None:
    with contextlib.suppress(OSError, OverflowError):
        os.utime(place, (entry.mtime, entry.mtime), follow_symlinks=False)
