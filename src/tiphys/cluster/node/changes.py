"""Tells when files grow: inotify on Linux, a timer elsewhere and where the user may have no more watches.

One descriptor for all files, watched by the event loop; a file nobody follows costs nothing. The watch is on the
directory, so that a file that does not exist yet is noticed too.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import ctypes.util
import os
import struct
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

_MODIFY, _CREATE, _CLOSE_WRITE, _MOVED_TO = 0x2, 0x100, 0x8, 0x80
_EVENT = struct.Struct("iIII")
_POLL_SECONDS = 0.2
# What inotify_add_watch answers when it fails.
NOT_WATCHED = -1


class FileChanges:
    """Hands out events that are set when one of some files may have grown. Belongs to the loop it is used in."""

    def __init__(self) -> None:
        self._fd = -1
        self._waiting: dict[int, set[asyncio.Event]] = {}
        self._libc: ctypes.CDLL | None = None

    @contextlib.contextmanager
    def watch(self, files: Sequence[Path]) -> Iterator[asyncio.Event]:
        event = asyncio.Event()
        if not self._open():
            with self._ticking(event):
                yield event
            return
        watches = {self._add(path.parent) for path in files}
        for watch in watches - {NOT_WATCHED}:
            self._waiting.setdefault(watch, set()).add(event)
        try:
            with self._ticking(event) if NOT_WATCHED in watches else contextlib.nullcontext():
                yield event
        finally:
            for watch in watches - {NOT_WATCHED}:
                self._drop(watch, event)

    def close(self) -> None:
        if self._fd >= 0:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> bool:
        if self._fd >= 0:
            return True
        if sys.platform != "linux":
            return False
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:  # the user's limit of instances is reached
            return False
        asyncio.get_running_loop().add_reader(self._fd, self._ready)
        return True

    def _add(self, directory: Path) -> int:
        """``NOT_WATCHED`` where the user's limit of watches is reached, or there is no directory yet."""
        assert self._libc is not None
        mask = _MODIFY | _CREATE | _CLOSE_WRITE | _MOVED_TO
        return int(self._libc.inotify_add_watch(self._fd, os.fsencode(directory), mask))

    def _drop(self, watch: int, event: asyncio.Event) -> None:
        waiting = self._waiting.get(watch, set())
        waiting.discard(event)
        if not waiting and self._fd >= 0:
            self._waiting.pop(watch, None)
            if self._libc is not None:
                self._libc.inotify_rm_watch(self._fd, watch)

    def _ready(self) -> None:
        try:
            data = os.read(self._fd, 65_536)
        except BlockingIOError:
            return
        at = 0
        while at < len(data):
            watch, _, _, length = _EVENT.unpack_from(data, at)
            at += _EVENT.size + length
            for event in self._waiting.get(watch, ()):
                event.set()

    @contextlib.contextmanager
    def _ticking(self, event: asyncio.Event) -> Iterator[None]:
        """Where the kernel tells nothing: look again from time to time."""
        ticker = asyncio.ensure_future(_tick(event))
        try:
            yield
        finally:
            ticker.cancel()


async def _tick(event: asyncio.Event) -> None:
    while True:
        await asyncio.sleep(_POLL_SECONDS)
        event.set()
