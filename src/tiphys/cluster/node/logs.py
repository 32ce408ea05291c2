"""Reading what containers wrote: ``/log`` with follow, tail, since, timestamps, limit and previous.

Containers write into files (one, or standard output and standard error apart), straight or through a relay that adds
nothing (``runtimes/relay.py``), so that a killed agent breaks nothing. The price: no line carries its time.
``LineClock`` notes how long the file was at which moment while somebody looks (and at its end); a line's time is that
of the first note behind it, at worst the container's end.

Following needs no polling where the kernel tells of writes (``changes.py``).

A log that grows for ever is rotated without its writer's knowing: whole segments at the front are given back to the
file system as holes (``rotate``). The file keeps its name, its writer and its offsets, so nothing is lost between two
files and those who follow just read on. Nobody reads a hole: a reader begins at the first whole line behind it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import os
from bisect import bisect_left
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from tiphys.cluster.apiserver.streams import LogOptions
from tiphys.cluster.node.changes import FileChanges

CHUNK = 65_536
# Holes are made of whole blocks; no file system of note has larger ones.
BLOCK = 65_536
# A line longer than this is handed on in pieces.
PIECE_BYTES = 1 << 20
NOTES_MAX = 4096
NEWLINE = 0x0A


@dataclass(frozen=True, slots=True)
class Rotation:
    """How much of a container's log is kept, as a kubelet's containerLogMaxSize and containerLogMaxFiles say."""

    max_bytes: int = 10 << 20
    max_files: int = 5


@dataclass(slots=True)
class LineClock:
    """When a file had which length: (offset, moment) pairs, both growing."""

    offsets: list[int] = field(default_factory=list)
    moments: list[datetime] = field(default_factory=list)

    def note(self, length: int, moment: datetime) -> None:
        if self.offsets and length <= self.offsets[-1]:
            return
        if len(self.offsets) >= NOTES_MAX:  # keep every other one: coarser, never wrong
            self.offsets[:], self.moments[:] = self.offsets[1::2], self.moments[1::2]
        self.offsets.append(length)
        self.moments.append(moment)

    def at(self, end: int, otherwise: datetime) -> datetime:
        """When the line that ends at offset ``end`` was there."""
        index = bisect_left(self.offsets, end)
        return self.moments[index] if index < len(self.moments) else otherwise


@dataclass(slots=True)
class LifeLog:
    """The log of one container life. ``ended`` is None or when it ended; ``finished`` completes at its end."""

    files: Sequence[Path]
    started: datetime
    now: Callable[[], datetime]
    finished: asyncio.Event = field(default_factory=asyncio.Event)
    ended: datetime | None = None
    clocks: dict[Path, LineClock] = field(default_factory=dict)

    def note(self) -> None:
        """Remembers how far the files are at this moment."""
        for path in self.files:
            with contextlib.suppress(OSError):  # usually: it is not there any more
                self.clocks.setdefault(path, LineClock()).note(path.stat().st_size, self.ended or self.now())

    def end(self, moment: datetime) -> None:
        self.ended = moment
        self.finished.set()


async def read(log: LifeLog, options: LogOptions, changes: FileChanges) -> AsyncIterator[bytes]:
    """The log in chunks of whole lines (the last may lack its end, and very long ones come in pieces).

    With ``follow`` until the container ends.
    """
    budget = options.limit_bytes
    async for chunk in _lines(log, options, changes):
        if budget is not None:
            chunk = chunk[:budget]
            budget -= len(chunk)
        if chunk:
            yield chunk
        if budget == 0:
            return


async def _lines(log: LifeLog, options: LogOptions, changes: FileChanges) -> AsyncIterator[bytes]:
    log.note()
    positions = {path: max(_start(path, options.tail_lines), first_line(path)) for path in log.files}
    held: dict[Path, bytes] = dict.fromkeys(log.files, b"")
    inside: dict[Path, bool] = dict.fromkeys(log.files, False)
    with contextlib.ExitStack() as stack:
        changed = stack.enter_context(changes.watch(log.files)) if options.follow else None
        while True:
            over = log.finished.is_set() or not options.follow
            for path in log.files:
                while True:
                    data = _read_at(path, positions[path])
                    if data.startswith(b"\0") and (kept := first_line(path)) > positions[path]:
                        positions[path], held[path], inside[path] = kept, b"", False  # rotated away meanwhile
                        continue
                    if not data:
                        break
                    log.note()
                    text = held[path] + data
                    cut = text.rfind(b"\n") + 1 or (len(text) if len(text) >= PIECE_BYTES else 0)
                    held[path] = text[cut:]
                    start = positions[path] + len(data) - len(text)
                    positions[path] += len(data)
                    if cut:
                        yield _dress(log, path, start, text[:cut], options, inside[path])
                        inside[path] = text[cut - 1] != NEWLINE
                if over and held[path]:
                    rest, held[path] = held[path], b""
                    yield _dress(log, path, positions[path] - len(rest), rest, options, inside[path])
            if over or changed is None:
                return
            await _either(changed, log.finished)
            changed.clear()


async def _either(first: asyncio.Event, second: asyncio.Event) -> None:
    waits = [asyncio.ensure_future(first.wait()), asyncio.ensure_future(second.wait())]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


def _dress(log: LifeLog, path: Path, start: int, text: bytes, options: LogOptions, inside: bool) -> bytes:
    """Adds times to lines, and drops those that are too old. ``inside``: the text begins within a line."""
    if not options.timestamps and options.since is None:
        return text
    clock = log.clocks.get(path) or LineClock()
    out: list[bytes] = []
    at = start
    for line in text.splitlines(keepends=True):
        at += len(line)
        moment = clock.at(at, log.ended or log.now())
        if options.since is not None and moment < options.since:
            continue
        stamped = options.timestamps and not (inside and at - len(line) == start)
        stamp = moment.strftime("%Y-%m-%dT%H:%M:%S.%f000Z ").encode() if stamped else b""
        out.append(stamp + line)
    return b"".join(out)


def rotate(path: Path, rotation: Rotation) -> None:
    """Gives the oldest segments of a log back once there are more than ``max_files``; as a kubelet, now and then.

    Without a kernel or a file system that makes holes, the log stays whole.
    """
    try:
        size = path.stat().st_size
        cut = (size // rotation.max_bytes + 1 - rotation.max_files) * rotation.max_bytes
        if cut > 0 and _first_data(path) < cut // BLOCK * BLOCK:
            _punch(path, cut // BLOCK * BLOCK)
    except OSError as err:
        if err.errno not in (errno.ENOENT, errno.EOPNOTSUPP, errno.ENOSYS):
            raise


def _punch(path: Path, length: int) -> None:
    """fallocate(2) with FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, which Python does not offer."""
    call = getattr(ctypes.CDLL(None, use_errno=True), "fallocate64", None)
    if call is None:
        raise OSError(errno.ENOSYS, "no holes in files here")
    with path.open("r+b") as file:
        if call(file.fileno(), 0x3, ctypes.c_int64(0), ctypes.c_int64(length)) != 0:
            raise OSError(ctypes.get_errno(), "fallocate")


def _first_data(path: Path) -> int:
    """Where the part that was rotated away ends; 0 where none was."""
    if not hasattr(os, "SEEK_DATA"):
        return 0
    with path.open("rb") as file:
        try:
            return os.lseek(file.fileno(), 0, os.SEEK_DATA)
        except OSError:  # nothing but a hole, or nothing at all
            return 0


def first_line(path: Path) -> int:
    """The offset of the first whole line that is still there."""
    try:
        at = _first_data(path)
        if not at:
            return 0
        with path.open("rb") as file:
            file.seek(at)
            return at + len(file.readline(PIECE_BYTES))
    except FileNotFoundError:
        return 0


def _read_at(path: Path, position: int) -> bytes:
    try:
        with path.open("rb") as file:
            return os.pread(file.fileno(), CHUNK, position)
    except FileNotFoundError:
        return b""


def _start(path: Path, lines: int | None) -> int:
    """The offset of the last ``lines`` lines (None: all), found from the end without reading the whole file."""
    if lines is None:
        return 0
    try:
        with path.open("rb") as file:
            size = at = os.fstat(file.fileno()).st_size
            if lines <= 0:
                return size
            wanted = lines + 1 if size and os.pread(file.fileno(), 1, size - 1) == b"\n" else lines
            first = _first_data(path)
            while at > first:
                step = min(CHUNK, at - first)
                at -= step
                block = os.pread(file.fileno(), step, at)
                found = block.count(b"\n")
                if found >= wanted:
                    for _ in range(found - wanted + 1):
                        cut = block.index(b"\n")
                        at += cut + 1
                        block = block[cut + 1 :]
                    return at
                wanted -= found
    except FileNotFoundError:
        pass
    return 0
