"""What a container writes from now on, as somebody who attaches to it sees it: standard output and error apart.

A container, or the relay before its log (``runtimes/relay.py``), writes both into one log. Whose a part is, the kernel
knows: the two outputs are two open files (``shim.spawn``), and each remembers where its last write ended. Between two
looks at both, everything behind the place where the one ended is the other's; a look follows every change of the file,
so that what alternates slower than we look is told apart exactly. What was written in between to and fro goes to the
one that ended first.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from tiphys.cluster.node.changes import FileChanges
from tiphys.cluster.node.runtime import STDERR, STDOUT, Container, Writers

CHUNK_BYTES = 64 << 10
# Parts that nobody has read yet; looking again only when there are fewer keeps a slow reader's list short.
PARTS_MAX = 4096
SAME_LOOKS_MAX = 4
UNSURE_SECONDS = 0.2
# The same number on every architecture: asm-generic/unistd.h.
PIDFD_GETFD = 438


class OutputSession:
    """A ``Session`` that shows what a container writes, until it ends; whatever its exit code.

    ``files`` are one log or two. ``writers`` tell apart who wrote what into one, and are ours to close; None: nobody
    knows, and all of it is standard output.
    """

    def __init__(
        self, container: Container, files: Sequence[Path], writers: Writers | None, changes: FileChanges
    ) -> None:
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._container = container
        self._changes = changes
        self._over = asyncio.Event()
        self._sources = _sources(files, writers)
        container.ended.add_done_callback(self._container_ended)
        if container.ended.done():
            self._finish()

    async def read(self, stream: int) -> bytes:
        source = self._sources.get(stream)
        if source is None:
            return b""
        with self._changes.watch([source.path]) as changed:
            while True:
                over = self._over.is_set()
                data = source.take(stream, over=over)
                if data or over:
                    return data
                await _either(changed, self._over, UNSURE_SECONDS if source.unsure else None)
                changed.clear()

    async def write(self, data: bytes) -> None:
        return

    def close_input(self) -> None:
        return

    def resize(self, columns: int, rows: int) -> None:
        return

    def close(self) -> None:
        self._container.ended.remove_done_callback(self._container_ended)
        self._finish()
        for source in set(self._sources.values()):
            source.close()

    def _container_ended(self, _: object) -> None:
        self._finish()

    def _finish(self) -> None:
        self._over.set()
        if not self.ended.done():
            self.ended.set_result(0)


class Source:
    """A log from its end on; its parts by stream. Without ``writers`` all of it is ``stream``'s."""

    def __init__(self, path: Path, writers: Writers | None, stream: int = STDOUT) -> None:
        self.path = path
        self._stream = stream
        self._writers = writers
        self._seen = self._size = _size(path)
        self._parts: dict[int, deque[tuple[int, int]]] = {STDOUT: deque(), STDERR: deque()}

    @property
    def unsure(self) -> bool:
        """Whether there is something that neither is known to have written."""
        return self._size > self._seen

    def take(self, stream: int, *, over: bool) -> bytes:
        """The next bytes of a stream; b"" where there are none now. ``over``: nobody writes any more."""
        self._look(over=over)
        parts = self._parts[stream]
        if not parts:
            return b""
        start, end = parts[0]
        data = _read_at(self.path, start, min(end - start, CHUNK_BYTES))
        if not data or start + len(data) >= end:  # to its end, or the log is gone
            parts.popleft()
        else:
            parts[0] = (start + len(data), end)
        return data

    def close(self) -> None:
        if self._writers is not None:
            for descriptor in self._writers:
                os.close(descriptor)
            self._writers = None

    def _look(self, *, over: bool) -> None:
        """Notes whose is what was written since the last look.

        The kernel may be just about to write down where a write ended: what neither has written counts from the
        second look on. It came by another way then, as a program's that opened ``/dev/stdout``.
        """
        if sum(map(len, self._parts.values())) >= PARTS_MAX:
            return
        before, self._size = self._size, _size(self.path)
        if self._writers is not None:
            for end, stream in sorted(zip(_positions(self._writers), (STDOUT, STDERR), strict=True)):
                self._note(stream, end)
        self._note(self._stream, self._size if over or self._writers is None else min(before, self._size))

    def _note(self, stream: int, end: int) -> None:
        if end <= self._seen:
            return
        parts = self._parts[stream]
        if parts and parts[-1][1] == self._seen:
            parts[-1] = (parts[-1][0], end)
        else:
            parts.append((self._seen, end))
        self._seen = end
        self._size = max(self._size, end)


def _sources(files: Sequence[Path], writers: Writers | None) -> dict[int, Source]:
    if len(files) > 1:
        return {stream: Source(path, None, stream) for stream, path in zip((STDOUT, STDERR), files, strict=False)}
    one = Source(files[0], writers)
    return {STDOUT: one} if writers is None else {STDOUT: one, STDERR: one}


def _positions(writers: Writers) -> Writers:
    """Where both last writes ended, at one moment: looked at until twice the same."""
    before = -1, -1
    for _ in range(SAME_LOOKS_MAX):
        now = os.lseek(writers[0], 0, os.SEEK_CUR), os.lseek(writers[1], 0, os.SEEK_CUR)
        if now == before:
            break
        before = now
    return before


def writers_of(pid: int, descriptors: tuple[int, int]) -> Writers | None:
    """Another process's open files as descriptors of ours (pidfd_getfd(2)); None where the kernel lends none."""
    if not hasattr(os, "pidfd_open") or pid <= 0:
        return None
    found: list[int] = []
    try:
        process = os.pidfd_open(pid)
    except OSError:
        return None
    try:
        call = ctypes.CDLL(None, use_errno=True).syscall
        for number in descriptors:
            lent = call(PIDFD_GETFD, process, number, 0)
            if lent < 0:
                for descriptor in found:
                    os.close(descriptor)
                return None
            found.append(lent)
    finally:
        os.close(process)
    return found[0], found[1]


def _read_at(path: Path, position: int, length: int) -> bytes:
    try:
        with path.open("rb") as file:
            return os.pread(file.fileno(), length, position)
    except FileNotFoundError:
        return b""


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


async def _either(first: asyncio.Event, second: asyncio.Event, seconds: float | None) -> None:
    waits = [asyncio.ensure_future(first.wait()), asyncio.ensure_future(second.wait())]
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
