"""Packing and unpacking artifacts: tar.gz and zip, streamed, with the original's layout and its refusals.

A packed directory has its own name as the first component; unpacking an archive with a single top entry strips that
entry, so that what went in as ``/src/dir`` comes out as ``/dst``. Nothing is ever written outside the destination:
``..``, absolute names, links that lead out and files below such links are refused; devices and pipes are dropped.
(``docs/decisions/0031-artifact-archives.md``; source: util/archive and workflow/executor/executor.go.)
"""

from __future__ import annotations

import contextlib
import functools
import grp
import gzip
import os
import pwd
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO

from tiphys.workflows.executor import trees
from tiphys.workflows.executor.errors import ExecutorError, go_error, reason
from tiphys.workflows.executor.template import clean
from tiphys.workflows.executor.trees import CHUNK, Entry, Place

HUFFMAN_ONLY = -2
GZIP_HEADER_BYTES = 10
# Whatever an archive says it holds, unpacking stops here: a bomb must not fill the machine.
UNPACKED_BYTES_MAX = 64 << 30
ENTRIES_MAX = 5_000_000


def create(place: Place) -> IO[bytes]:
    """A new, empty file that everybody may write, whoever the containers' users are."""
    file = place.real.open("wb")
    os.fchmod(file.fileno(), 0o666)
    return file


# Packing


def tar_gz(source: Place, target: IO[bytes], level: int | None) -> None:
    """Writes ``source`` (a file or directory) as tar.gz. ``level`` None: default. Raises ``ExecutorError``."""
    with _packable(source, source.real.name, Path(source.shown).name) as top:
        if level is not None and not HUFFMAN_ONLY <= level <= 9:
            raise ExecutorError(f"gzip: invalid compression level: {level}")
        with (
            _gzip_writer(target, level) as packed,
            contextlib.closing(tarfile.open(fileobj=packed, mode="w|", bufsize=CHUNK)) as archive,  # also if it fails
        ):
            for entry in trees.walk(top):
                _add_member(archive, entry)


def zip_up(source: Place, target: IO[bytes], name: str = "") -> None:
    """Writes ``source`` as zip, under ``name``; without one a file bears its whole path, as in the original."""
    with (
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, allowZip64=True) as archive,
        _packable(source, name or source.real.name, name or source.shown) as top,
    ):
        for entry in trees.walk(top):
            if not entry.is_directory:
                _add_to_zip(archive, entry)


@contextlib.contextmanager
def _packable(source: Place, directory_name: str, file_name: str) -> Iterator[Entry]:
    """The file or directory, under the name that suits it. Of a link to a directory it is the link."""
    try:
        mode = source.real.stat().st_mode
    except OSError as err:
        raise go_error("stat", source.shown, err, missing=isinstance(err, FileNotFoundError)) from err
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise ExecutorError(f"{source.shown} is not a regular file or directory")
    is_directory = stat.S_ISDIR(mode)
    place = source if is_directory or source.exact else replace(source, real=source.real.resolve())
    with trees.found(place, directory_name if is_directory else file_name) as entry:
        yield entry


def _add_member(archive: tarfile.TarFile, entry: Entry) -> None:
    member, state = tarfile.TarInfo(entry.name), entry.state
    kind = _KINDS.get(stat.S_IFMT(state.st_mode))
    if kind is None:
        raise ExecutorError("archive/tar: sockets not supported")
    member.type, member.mode, member.mtime = kind, stat.S_IMODE(state.st_mode), int(state.st_mtime)
    member.uid, member.uname, member.gid, member.gname = (
        state.st_uid,
        _user(state.st_uid),
        state.st_gid,
        _group(state.st_gid),
    )
    if entry.is_link:
        member.linkname = entry.target()
    elif kind in (tarfile.CHRTYPE, tarfile.BLKTYPE):
        member.devmajor, member.devminor = os.major(state.st_rdev), os.minor(state.st_rdev)
    if not entry.is_file:
        archive.addfile(member)
        return
    with _opened(entry) as file:
        member.size = os.fstat(file.fileno()).st_size
        archive.addfile(member, file)


_KINDS = {
    stat.S_IFREG: tarfile.REGTYPE, stat.S_IFDIR: tarfile.DIRTYPE, stat.S_IFLNK: tarfile.SYMTYPE,
    stat.S_IFIFO: tarfile.FIFOTYPE, stat.S_IFCHR: tarfile.CHRTYPE, stat.S_IFBLK: tarfile.BLKTYPE,
}  # fmt: skip


@functools.lru_cache(maxsize=1024)
def _user(uid: int) -> str:
    with contextlib.suppress(KeyError):
        return pwd.getpwuid(uid).pw_name
    return ""


@functools.lru_cache(maxsize=1024)
def _group(gid: int) -> str:
    with contextlib.suppress(KeyError):
        return grp.getgrgid(gid).gr_name
    return ""


def _add_to_zip(archive: zipfile.ZipFile, entry: Entry) -> None:
    """Of a link or pipe only the name."""
    info = zipfile.ZipInfo(entry.name, (1980, 1, 1, 0, 0, 0))
    info.compress_type = zipfile.ZIP_DEFLATED
    info.create_system, info.external_attr = 0, 0
    with archive.open(info, "w", force_zip64=False) as target:
        if entry.is_file:
            with _opened(entry) as file:
                shutil.copyfileobj(file, target, CHUNK)
    info.external_attr = 0  # the library puts in permissions of its own


def _opened(entry: Entry) -> IO[bytes]:
    try:
        return entry.open()
    except OSError as err:
        raise go_error("open", entry.shown, err) from err


def _gzip_writer(target: IO[bytes], level: int | None) -> gzip.GzipFile:
    """Header as Go's: no name, no time, unknown system."""
    if level == HUFFMAN_ONLY:
        writer = gzip.GzipFile("", "wb", 6, target, mtime=0)
        writer.compress = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, zlib.Z_HUFFMAN_ONLY)
        return writer
    return gzip.GzipFile("", "wb", 6 if level is None or level == -1 else level, target, mtime=0)


# Unpacking


def is_tarball(path: Path) -> bool:
    """Whether the file is a gzipped tar with at least one entry."""
    try:
        with tarfile.open(path, "r|gz") as archive:
            return archive.next() is not None
    except (tarfile.TarError, OSError, EOFError, zlib.error):
        return False


def untar(source: Place, target: Place) -> None:
    """Unpacks a tar.gz to ``target``, which must not exist. Raises ``ExecutorError``."""
    _unpack(source, target, _extract_tar)


def unzip(source: Place, target: Place) -> None:
    _unpack(source, target, _extract_zip)


def _unpack(source: Place, target: Place, extract: Callable[[Place, Place], None]) -> None:
    """Extracts beside the target, then moves into place what was on top."""
    scratch = target.with_suffix(".tmpdir")
    make_directories(scratch.real, 0o777)
    extract(source, scratch)
    names = sorted(os.listdir(scratch.real))
    if len(names) == 1:
        _rename(scratch / names[0], target)
        scratch.real.rmdir()
    else:
        _rename(scratch, target)


def _rename(source: Place, target: Place) -> None:
    try:
        if target.real.is_dir() and not target.real.is_symlink():  # Go refuses even an empty one
            raise FileExistsError(17, "file exists")
        os.rename(source.real, target.real)
    except OSError as err:
        raise ExecutorError(f"rename {source.shown} {target.shown}: {reason(err)}") from err


def _extract_tar(source: Place, scratch: Place) -> None:
    count = size = 0
    try:
        with tarfile.open(source.real, "r|gz") as archive:
            for member in archive:
                count, size = count + 1, size + member.size
                _check_bounds(count, size)
                _extract_member(archive, member, scratch)
    except tarfile.ReadError as err:
        raise ExecutorError(_tar_reason(source.real)) from err
    except (EOFError, zlib.error) as err:
        raise ExecutorError("unexpected EOF") from err


def _check_bounds(count: int, size: int) -> None:
    if count > ENTRIES_MAX or size > UNPACKED_BYTES_MAX:
        raise ExecutorError("archive is too large: it unpacks to more than this machine allows an artifact to hold")


def _tar_reason(path: Path) -> str:
    """Go's words for what cannot be read as tar.gz."""
    with path.open("rb") as file:
        head = file.read(GZIP_HEADER_BYTES)
    if len(head) < GZIP_HEADER_BYTES:
        return "unexpected EOF" if head else "EOF"
    if not head.startswith(b"\x1f\x8b"):
        return "gzip: invalid header"
    with gzip.open(path) as content:
        block = content.read(tarfile.BLOCKSIZE)
    return "unexpected EOF" if len(block) < tarfile.BLOCKSIZE else "archive/tar: invalid tar header"


def _extract_member(archive: tarfile.TarFile, member: tarfile.TarInfo, scratch: Place) -> None:
    name = clean(member.name)
    target = Place(Path(clean(f"{scratch.real}/{name}")), clean(f"{scratch.shown}/{name}"))
    root = f"{scratch.real}/"
    if not str(target.real).startswith(root):
        raise ExecutorError(f"illegal file path: {member.name}{'/' if member.isdir() else ''}")
    if member.issym():
        link = member.linkname
        lands = clean(link if link.startswith("/") else f"{target.real.parent}/{link}")
        shown = clean(link if link.startswith("/") else f"{Path(target.shown).parent}/{link}")
        if not (lands.startswith(root) or shown.startswith(f"{scratch.shown}/")):
            raise ExecutorError(f"illegal symlink target: {member.name} -> {link}")
        _make_parents(target)
        try:
            os.symlink(link, target.real)
        except OSError as err:
            raise ExecutorError(f"symlink {link} {target.shown}: {reason(err)}") from err
    elif member.isdir():
        _make_directories(target)
    elif member.type in (tarfile.REGTYPE, tarfile.AREGTYPE):
        _extract_file(archive, member, target, scratch)


def _extract_file(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Place, scratch: Place) -> None:
    parent = target.real.parent
    if os.path.lexists(parent):
        try:
            resolved = parent.resolve(strict=True)
        except OSError as err:
            raise go_error("lstat", target.shown.rpartition("/")[0], err) from err
        top = scratch.real.resolve()
        if resolved != top and top not in resolved.parents:
            raise ExecutorError(
                f"illegal file path after symlink resolution: {member.name} resolves outside destination"
            )
    else:
        _make_parents(target)
    if target.real.is_symlink() and not _stays_inside(target.real, scratch.real):
        raise ExecutorError(f"illegal file path after symlink resolution: {member.name} resolves outside destination")
    new = not target.real.exists()
    try:
        fd = os.open(target.real, os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as err:
        raise go_error("open", target.shown, err) from err
    with os.fdopen(fd, "r+b") as file:
        content = archive.extractfile(member)
        if content is not None:
            shutil.copyfileobj(content, file, CHUNK)
        if new:
            os.fchmod(file.fileno(), member.mode & 0o777)
    os.utime(target.real, (member.mtime, member.mtime))


def _stays_inside(link: Path, root: Path) -> bool:
    top = root.resolve()
    return top in link.resolve().parents


def make_directories(directory: Path, mode: int) -> None:
    """The directory and its missing parents, with exactly this mode whatever the umask; what exists is left alone."""
    for place in reversed([p for p in (directory, *directory.parents) if not p.exists()]):
        place.mkdir()
        place.chmod(mode)


def _make_parents(target: Place) -> None:
    _make_directories(Place(target.real.parent, target.shown.rpartition("/")[0]))


def _make_directories(target: Place) -> None:
    try:
        make_directories(target.real, 0o755)
        if not target.real.is_dir():
            raise NotADirectoryError
    except (FileExistsError, NotADirectoryError) as err:
        raise ExecutorError(f"mkdir {target.shown}: not a directory") from err


def _extract_zip(source: Place, scratch: Place) -> None:
    modes: dict[Path, int] = {}
    try:
        with zipfile.ZipFile(source.real) as archive:
            count = size = 0
            for info in archive.infolist():
                count, size = count + 1, size + info.file_size
                _check_bounds(count, size)
                _extract_zipped(archive, info, scratch, modes)
    except zipfile.BadZipFile as err:
        raise ExecutorError("zip: not a valid zip file") from err
    for directory in sorted(modes, reverse=True):  # at the end: they may lack what we need to work in them
        directory.chmod(modes[directory])


def _extract_zipped(archive: zipfile.ZipFile, info: zipfile.ZipInfo, scratch: Place, modes: dict[Path, int]) -> None:
    name = info.filename
    target = Place(Path(clean(f"{scratch.real}/{name}")), clean(f"{scratch.shown}/{name}"))
    if not str(target.real).startswith(f"{scratch.real}/"):
        raise ExecutorError(f"{target.shown}: Illegal file path")
    mode = _zip_mode(info)
    if name.endswith("/"):
        _make_zip_directories(target.real, mode, modes)
        return
    _make_zip_directories(target.real.parent, mode, modes)
    try:
        fd = os.open(target.real, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    except OSError as err:
        raise go_error("open", target.shown, err) from err
    with os.fdopen(fd, "wb") as file:
        os.fchmod(file.fileno(), mode & 0o777)
        with archive.open(info) as content:
            shutil.copyfileobj(content, file, CHUNK)


def _make_zip_directories(directory: Path, mode: int, modes: dict[Path, int]) -> None:
    """New directories get the mode of the entry that they are made for."""
    for place in reversed([p for p in (directory, *directory.parents) if not p.exists()]):
        place.mkdir()
        modes[place] = mode & 0o777


def _zip_mode(info: zipfile.ZipInfo) -> int:
    """An entry's permissions (archive/zip FileHeader.Mode)."""
    if info.create_system in (3, 19):
        return (info.external_attr >> 16) & 0o7777
    read_only = info.external_attr & 0x01
    if info.create_system in (0, 11, 14):
        directory = info.external_attr & 0x10 or info.filename.endswith("/")
        return (0o555 if read_only else 0o777) if directory else (0o444 if read_only else 0o666)
    return 0
