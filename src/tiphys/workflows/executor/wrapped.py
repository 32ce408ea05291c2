"""The user's command inside the in-pod wrapper: started in a process group of its own, signalled, waited for.

The wrapper is process 1 of its container: it reaps whatever ends, passes on every signal but those that are its own
business, and looks every ``LOOK_SECONDS`` at the files by which other containers of the pod talk to it. Its exit code
is the command's, 128 + n for signal n, known as soon as the command is gone, whatever it has left running.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import threading
import tty
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import IO

from tiphys.workflows.executor.errors import ExecutorError, reason

LOOK_SECONDS = 0.05
# The output of processes that outlive the command is waited for so long.
DRAIN_SECONDS = 0.1
CHUNK = 64 << 10
# More than a pipe or a terminal may hold when its writer ends, together with what its reader has in hand.
IN_FLIGHT = 2 << 20
_ENDING = {signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2}
_OWN_BUSINESS = {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGURG}
_FIRST_REAL_TIME = 32


class Signals:
    """Takes every signal that can be taken; ``pending`` gives those that came since it was asked last."""

    def __init__(self) -> None:
        self._came: list[int] = []
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in sorted(signal.valid_signals() - _OWN_BUSINESS):
            if number < _FIRST_REAL_TIME:
                with contextlib.suppress(OSError, ValueError):
                    signal.signal(number, self._note)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def _note(self, number: int, _: object) -> None:
        self._came.append(number)

    def pending(self) -> list[int]:
        came, self._came = self._came, []
        return came

    def wait(self, seconds: float) -> None:
        """Until a signal comes, or so long."""
        select.select([self._reader], [], [], seconds)
        with contextlib.suppress(BlockingIOError):
            while os.read(self._reader, 512):
                pass


def look_up(name: str) -> str:
    """The program's file, as Go's exec.LookPath finds it. Raises ``ExecutorError``."""
    prefix = f'failed to find name in PATH: exec: "{name}": '
    if "/" in name:
        fault = _fault(name)
        if fault:
            raise ExecutorError(prefix + fault)
        return name
    for directory in os.environ.get("PATH", "").split(":") if os.environ.get("PATH") else ():
        place = os.path.join(directory or ".", name)
        if name and not _fault(place):
            if not place.startswith("/"):
                raise ExecutorError(prefix + "cannot run executable found relative to current directory")
            return place
    raise ExecutorError(prefix + "executable file not found in $PATH")


def _fault(place: str) -> str:
    """Why the file cannot be executed; "" if it can."""
    try:
        state = os.stat(place)
    except OSError as err:
        return f"stat {place}: {reason(err)}"
    if os.path.isdir(place):
        return "is a directory"
    return "" if os.access(place, os.X_OK) and state.st_mode & 0o111 else "permission denied"


class Command:
    """A command that runs. ``copies`` get what it writes: standard output, and both together.

    ``waiting`` is a signal that was there before it. One that ends a program does so before the command's first
    instruction, however busy the machine is.
    """

    def __init__(
        self, program: str, arguments: Sequence[str], copies: tuple[Path, Path] | None, waiting: int = 0
    ) -> None:
        self._first = partial(_end_myself, waiting) if waiting in _ENDING else None
        self._pumps: list[_Pump] = []
        self._files: list[IO[bytes]] = []
        self._restore: Callable[[], None] | None = None
        try:
            self._process = self._start([program, *arguments], program, copies)
        except OSError as err:
            said = reason(err) if err.errno != errno.ENOEXEC else "exec format error"
            raise ExecutorError(f"failed to start command: fork/exec {program}: {said}") from err
        self.pid = self._process.pid
        if waiting and self._first is None:
            self.kill(waiting)

    def _start(self, argv: list[str], program: str, copies: tuple[Path, Path] | None) -> subprocess.Popen[bytes]:
        if os.isatty(0):
            return self._start_in_terminal(argv, program, copies)
        if copies is None:
            return subprocess.Popen(argv, executable=program, process_group=0, preexec_fn=self._first)
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            argv, executable=program, process_group=0, stdout=pipe, stderr=pipe, preexec_fn=self._first
        )
        out, both = self._open(copies)
        assert process.stdout is not None and process.stderr is not None
        self._pump(process.stdout.fileno(), 1, (out, both))
        self._pump(process.stderr.fileno(), 2, (both,))
        return process

    def _start_in_terminal(
        self, argv: list[str], program: str, copies: tuple[Path, Path] | None
    ) -> subprocess.Popen[bytes]:
        master, slave = pty.openpty()
        _take_size(0, master)
        signal.signal(signal.SIGWINCH, lambda *_: _take_size(0, master))
        process = subprocess.Popen(
            argv,
            executable=program,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=self._first,
        )
        os.close(slave)
        before = termios.tcgetattr(0)
        tty.setraw(0)
        self._restore = lambda: termios.tcsetattr(0, termios.TCSADRAIN, before)
        self._pump(master, 1, self._open(copies) if copies else ())
        self._pump(0, master, ())
        return process

    def _open(self, copies: tuple[Path, Path]) -> tuple[IO[bytes], IO[bytes]]:
        out, both = (os.fdopen(os.open(p, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o666), "wb", 0) for p in copies)
        self._files += [out, both]
        return out, both

    def _pump(self, source: int, target: int, files: Sequence[IO[bytes]]) -> None:
        pump = _Pump(source, target, files)
        pump.start()
        if source != 0:
            self._pumps.append(pump)

    def kill(self, number: int) -> None:
        """To the command's process group, as long as it has one."""
        with contextlib.suppress(OSError):
            os.killpg(os.getpgid(self.pid), number)

    def ended(self) -> int | None:
        """Its exit code once it is gone. Every process that has ended meanwhile is reaped."""
        for pid, code in _reaped():
            if pid == self.pid:
                self._process.returncode = code
                return code
        return None

    def close(self) -> None:
        """Lets the command's last output through, and forgets what others write later."""
        for pump in self._pumps:
            pump.finish()
        if self._restore is not None:
            self._restore()


def _end_myself(number: int) -> None:
    """In the child, right before it becomes the command."""
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _reaped() -> Iterator[tuple[int, int]]:
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            code = os.waitstatus_to_exitcode(status)
            yield pid, code if code >= 0 else 128 - code


class _Pump(threading.Thread):
    """Copies what comes from ``source`` to ``target`` and to ``files``, as it comes."""

    def __init__(self, source: int, target: int, files: Sequence[IO[bytes]]) -> None:
        super().__init__(daemon=True)
        self._source = source
        self._target = target
        self._files = files
        self._copied = 0
        self._has_nothing = False

    def run(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            while data := self._next():
                _write(self._target, data)
                for file in self._files:
                    file.write(data)
                self._copied += len(data)

    def _next(self) -> bytes:
        self._has_nothing = True
        select.select([self._source], [], [])
        self._has_nothing = False
        return os.read(self._source, CHUNK)

    def finish(self) -> None:
        """Until all is copied that was written before this call, however slow the machine or the reader is.

        That is so at the end of the stream, when nothing is left, or when more came than could be on its way.
        """
        limit = self._copied + IN_FLIGHT
        self.join(DRAIN_SECONDS)
        while self.is_alive() and self._copied < limit and not self._is_done():
            self.join(DRAIN_SECONDS)

    def _is_done(self) -> bool:
        """In this order: what was read from a source that is empty now is copied once ``_has_nothing`` holds."""
        try:
            return not select.select([self._source], [], [], 0)[0] and self._has_nothing
        except (OSError, ValueError):
            return True


def _write(target: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(target, view) :]


def _take_size(source: int, target: int) -> None:
    with contextlib.suppress(OSError):
        fcntl.ioctl(target, termios.TIOCSWINSZ, fcntl.ioctl(source, termios.TIOCGWINSZ, b"\0" * 8))


def say(message: str) -> None:
    sys.stderr.write(f"Error: {message}\n")
    sys.stderr.flush()
