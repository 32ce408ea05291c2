"""Tells when a process is gone, without polling, whether it is a child of ours or was started by an earlier agent.

Linux: a pidfd, readable once the process has ended. macOS and BSD: one kqueue with ``EVFILT_PROC``. Both are file
descriptors that the event loop watches, so that ten thousand running containers cost nothing while they run. Where the
agent may open no more files, it looks from time to time.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import select
import sys
from collections.abc import Callable

NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)
LOOK_SECONDS = 0.25


class ExitWatch:
    """Calls back once per process that ended. Belongs to the loop it was made in."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._open: set[int] = set()
        self._later: dict[int, asyncio.TimerHandle] = {}
        self._queue: _Kqueue | None = None if hasattr(os, "pidfd_open") else _Kqueue(self._loop)

    def add(self, pid: int, gone: Callable[[], None], *, child: bool) -> None:
        """``gone`` runs in the loop, never from within this call; a child is reaped right after it."""

        def ended() -> None:
            gone()
            if child:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)

        if self._queue is not None:
            self._queue.add(pid, ended)
            return
        self._follow(pid, ended)

    def _follow(self, pid: int, ended: Callable[[], None]) -> None:
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            self._loop.call_soon(ended)
        except OSError as err:
            if err.errno not in NO_DESCRIPTORS:
                raise
            self._later[pid] = self._loop.call_later(LOOK_SECONDS, self._look, pid, ended)
        else:
            self._open.add(fd)
            self._loop.add_reader(fd, self._ready, fd, ended)

    def _look(self, pid: int, ended: Callable[[], None]) -> None:
        """There was no descriptor to be had: looks at the process itself, and tries again."""
        del self._later[pid]
        if _is_gone(pid):
            ended()
        else:
            self._follow(pid, ended)

    def close(self) -> None:
        """Stops watching; the processes live on."""
        for look in self._later.values():
            look.cancel()
        self._later.clear()
        for fd in self._open:
            self._loop.remove_reader(fd)
            os.close(fd)
        self._open.clear()
        if self._queue is not None:
            self._queue.close()

    def _ready(self, fd: int, ended: Callable[[], None]) -> None:
        self._open.remove(fd)
        self._loop.remove_reader(fd)
        os.close(fd)
        ended()


def _is_gone(pid: int) -> bool:
    with contextlib.suppress(ChildProcessError):  # not, or no longer, ours
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # another user's
        return False
    return False


if sys.platform != "linux":

    class _Kqueue:
        """Process ends through kqueue."""

        def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
            self._loop = loop
            self._kqueue = select.kqueue()
            self._calls: dict[int, Callable[[], None]] = {}
            loop.add_reader(self._kqueue.fileno(), self._ready)

        def add(self, pid: int, ended: Callable[[], None]) -> None:
            self._calls[pid] = ended
            event = select.kevent(
                pid, select.KQ_FILTER_PROC, select.KQ_EV_ADD | select.KQ_EV_ONESHOT, select.KQ_NOTE_EXIT
            )
            try:
                self._kqueue.control([event], 0)
            except ProcessLookupError:
                del self._calls[pid]
                self._loop.call_soon(ended)

        def close(self) -> None:
            self._loop.remove_reader(self._kqueue.fileno())
            self._kqueue.close()

        def _ready(self) -> None:
            for event in self._kqueue.control(None, 64, 0):
                ended = self._calls.pop(event.ident, None)
                if ended is not None:
                    ended()

else:

    class _Kqueue:
        """Not on Linux: kernels of 5.3 and later have pidfds, and older ones are not supported."""

        def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
            raise OSError("this Linux kernel has no pidfd_open (5.3 or later is needed)")

        def add(self, pid: int, ended: Callable[[], None]) -> None:
            raise NotImplementedError

        def close(self) -> None:
            raise NotImplementedError
