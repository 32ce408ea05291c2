"""Reads files and directories that somebody else may change meanwhile, and never anything else; and puts some there.

While outputs are collected, a sidecar or another pod with the same volume may put a link in the place of a directory
that was looked at a moment ago, and have the executor read this machine's files with the agent's rights. So each thing
is opened in the open directory that it was found in, never by a path, and never through a link; where a ``Place`` is
``exact``, that begins at the root (what openat2 with RESOLVE_NO_SYMLINKS does, on every kernel). Pipes and devices are
not opened.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tiphys.workflows.executor.errors import ExecutorError

CHUNK = 1 << 20
# Each level keeps a descriptor open while what is below it is read.
LEVELS_MAX = 200
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW
_DIRECTORY = os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY | os.O_NOFOLLOW
# A directory on the way need not be readable.
_ON_THE_WAY = _DIRECTORY | getattr(os, "O_PATH", 0)


@dataclass(frozen=True, slots=True)
class Place:
    """A path of this machine and the path by which the user knows it (they differ where roots differ).

    ``exact``: all links on the way to ``real`` were followed when it was found, as its container would follow them;
    one that is there now was put there since.
    """

    real: Path
    shown: str
    exact: bool = False

    def __truediv__(self, name: str) -> Place:
        return Place(self.real / name, f"{self.shown.rstrip('/')}/{name}", self.exact)

    def with_suffix(self, suffix: str) -> Place:
        return Place(self.real.with_name(self.real.name + suffix), self.shown + suffix, self.exact)


@dataclass(frozen=True, slots=True)
class Entry:
    """Something in an open directory (None: named by its whole path). ``name`` is its name for who looks at it, as
    ``shown`` the user knows it.
    """

    name: str
    shown: str
    state: os.stat_result
    leaf: str
    directory: int | None = None

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.state.st_mode)

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.state.st_mode)

    @property
    def is_link(self) -> bool:
        return stat.S_ISLNK(self.state.st_mode)

    def target(self) -> str:
        """Where the link leads."""
        return os.readlink(self.leaf, dir_fd=self.directory)

    def open(self) -> IO[bytes]:
        """The regular file. Raises ``OSError``, and ``ExecutorError`` where it is none any more."""
        descriptor = _opened(self.leaf, self.directory, _FILE, self.shown)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return os.fdopen(descriptor, "rb")
        os.close(descriptor)
        raise exchanged(self.shown)


@contextlib.contextmanager
def found(place: Place, name: str = "") -> Iterator[Entry]:
    """What is at the place now; a link itself, where the place is not exact. Raises ``OSError``."""
    with _parent(place) as (directory, leaf):
        state = os.lstat(leaf, dir_fd=directory)
        if place.exact and stat.S_ISLNK(state.st_mode):
            raise exchanged(place.shown)
        yield Entry(name, place.shown, state, leaf, directory)


def open_file(place: Place) -> IO[bytes]:
    """Whatever can be read there, without waiting for it. Raises ``OSError``."""
    with _parent(place) as (directory, leaf):
        flags = _FILE if place.exact else _FILE & ~os.O_NOFOLLOW
        descriptor = _opened(leaf, directory, flags, place.shown)
    try:
        return os.fdopen(descriptor, "rb")
    except OSError:  # a directory
        os.close(descriptor)
        raise


def walk(entry: Entry, levels: int = LEVELS_MAX) -> Iterator[Entry]:
    """The entry and, where it is a directory, all below it, each directory's entries in byte order."""
    yield entry
    if not entry.is_directory:
        return
    if not levels:
        raise ExecutorError(f"{entry.shown}: directories are nested too deeply")
    directory = _opened(entry.leaf, entry.directory, _DIRECTORY, entry.shown)
    try:
        for leaf in sorted(os.listdir(directory), key=os.fsencode):
            with contextlib.suppress(FileNotFoundError):  # gone meanwhile
                state = os.lstat(leaf, dir_fd=directory)
                inner = Entry(f"{entry.name}/{leaf}", f"{entry.shown}/{leaf}", state, leaf, directory)
                yield from walk(inner, levels - 1)
    finally:
        os.close(directory)


def copy(source: Place, target: Path) -> None:
    """Makes ``target`` a copy that nobody else changes: directories, links and files, these as further names of the
    same ones where that can be. Raises ``OSError`` and ``ExecutorError``.
    """
    made: list[tuple[Path, os.stat_result]] = []
    with found(source) as top:
        for entry in walk(top):
            place = Path(f"{target}{entry.name}")
            if entry.is_directory:
                place.mkdir(mode=0o700)
                made.append((place, entry.state))
            elif entry.is_link:
                place.symlink_to(entry.target())
            elif entry.is_file:
                _take(entry, place)
    for place, state in reversed(made):  # at last: filling them changes their times, and they may be read-only
        _dress(place, state)


def move(source: Path, target: Place) -> None:
    """Puts a file or directory of ours where somebody else may write too; missing directories are made on the way.

    A link or file that is there gives way. Raises ``OSError`` (FileExistsError for a directory) and ``ExecutorError``.
    """
    with _parent(target, make=True) as (directory, leaf):
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISDIR(os.lstat(leaf, dir_fd=directory).st_mode):
                raise FileExistsError(errno.EEXIST, "file exists")
        try:
            os.rename(source, leaf, dst_dir_fd=directory)
        except OSError as err:
            if err.errno != errno.EXDEV:
                raise
            draft = f".{leaf}.{os.urandom(8).hex()}"
            _put(source, draft, directory)
            os.rename(draft, leaf, src_dir_fd=directory, dst_dir_fd=directory)
            _remove(source)


def _put(source: Path, leaf: str, directory: int | None) -> None:
    """A copy in an open directory, made of nothing that was there."""
    state = source.lstat()
    if stat.S_ISLNK(state.st_mode):
        os.symlink(os.readlink(source), leaf, dir_fd=directory)
    elif stat.S_ISDIR(state.st_mode):
        os.mkdir(leaf, 0o700, dir_fd=directory)
        made = _opened(leaf, directory, _DIRECTORY, leaf)
        try:
            for inner in source.iterdir():
                _put(inner, inner.name, made)
            _dress(made, state)
        finally:
            os.close(made)
    elif stat.S_ISREG(state.st_mode):
        made = os.open(leaf, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=directory)
        with source.open("rb") as file, os.fdopen(made, "wb") as copied:
            shutil.copyfileobj(file, copied, CHUNK)
            copied.flush()
            _dress(made, state)


def _remove(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink()


def _take(entry: Entry, target: Path) -> None:
    with contextlib.suppress(OSError):  # another file system, or another user's file
        os.link(entry.leaf, target, src_dir_fd=entry.directory, follow_symlinks=False)
        if stat.S_ISREG(target.lstat().st_mode):
            return
        target.unlink()
    with entry.open() as source, target.open("xb") as copied:
        shutil.copyfileobj(source, copied, CHUNK)
    _dress(target, entry.state)


def _dress(place: Path | int, state: os.stat_result) -> None:
    os.utime(place, ns=(state.st_atime_ns, state.st_mtime_ns))
    os.chmod(place, stat.S_IMODE(state.st_mode))


@contextlib.contextmanager
def _parent(place: Place, *, make: bool = False) -> Iterator[tuple[int | None, str]]:
    """The open directory that an exact place is in, and its name there."""
    if not place.exact:
        yield None, os.fspath(place.real)
        return
    top, *rest = place.real.parts
    directory = os.open(top, _ON_THE_WAY)
    try:
        for part in rest[:-1]:
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, 0o700, dir_fd=directory)
            inner = _opened(part, directory, _ON_THE_WAY, place.shown)
            os.close(directory)
            directory = inner
        yield directory, rest[-1] if rest else "."
    finally:
        os.close(directory)


def _opened(leaf: str, directory: int | None, flags: int, shown: str) -> int:
    try:
        return os.open(leaf, flags, dir_fd=directory)
    except OSError:
        with contextlib.suppress(FileNotFoundError):
            if flags & os.O_NOFOLLOW and stat.S_ISLNK(os.lstat(leaf, dir_fd=directory).st_mode):
                raise exchanged(shown) from None
        raise


def exchanged(shown: str) -> ExecutorError:
    return ExecutorError(f"{shown}: a link was put there meanwhile")
