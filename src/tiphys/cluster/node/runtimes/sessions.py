"""Commands beside a container's own process: started, fed, read from, resized, ended (``runtime.Session``).

Output is read when somebody asks for it, so that a reader who is slow holds up the command and not our memory. A
command that has ended is over when the pipe is empty, even if a child of its own still holds the other end.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import struct
import termios
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tiphys.cluster.node.runtime import STDERR, STDOUT, Command, Container
from tiphys.cluster.node.runtimes.exits import ExitWatch
from tiphys.cluster.node.runtimes.spawn import Action, Order, Spawner
from tiphys.machinery.podlife import Exit

CHUNK_BYTES = 64 << 10
THIS_MACHINE = "/dev"
# include/uapi/asm-generic/ioctls.h; Python knows them from 3.13 on.
TIOCGPTN, TIOCSPTLCK = 0x80045430, 0x40045431


@dataclass(frozen=True, slots=True)
class Terminal:
    """A pseudo terminal: our end, and the place of the command's."""

    master: int
    slave: int
    path: str


def open_terminal(devices: str = THIS_MACHINE) -> Terminal:
    """A new pseudo terminal among the devices there, a container's own for instance. Raises OSError."""
    if devices == THIS_MACHINE:
        master, slave = os.openpty()
        return Terminal(master, slave, os.ttyname(slave))
    master = os.open(f"{devices}/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        number = struct.unpack("I", fcntl.ioctl(master, TIOCGPTN, b"\0" * 4))[0]
        fcntl.ioctl(master, TIOCSPTLCK, struct.pack("i", 0))
        path = f"{devices}/pts/{number}"
        return Terminal(master, os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC), path)
    except OSError:
        os.close(master)
        raise


class ProcessSession:
    """A ``runtime.Session`` around one process that we start."""

    def __init__(self, container: Container, watch: ExitWatch) -> None:
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._container = container
        self._watch = watch
        self._pid = 0
        self._closed = False
        self._terminal = -1
        self._input: Inlet | None = None
        self._outputs: dict[int, Outlet] = {}
        container.ended.add_done_callback(self._container_ended)

    def start(
        self,
        spawner: Spawner,
        argv: Sequence[str],
        env: Mapping[str, str],
        command: Command,
        *,
        devices: str = THIS_MACHINE,
        hand_over: Sequence[tuple[int, int]] = (),
    ) -> None:
        """Starts ``argv`` with the streams that ``command`` asks for; ``hand_over`` as for the shim.

        With a terminal the process leads a session that the terminal controls, if its devices are this machine's.
        """
        theirs: list[Action] = [*hand_over]
        lent = [here for _, here in hand_over]
        if command.tty:
            theirs += self._open_terminal(devices, lent)
        else:
            theirs += self._open_pipes(command, lent)

        def told(pid: int, failure: OSError | None) -> None:
            for descriptor in lent:
                os.close(descriptor)
            self._begun(pid, failure)

        spawner.start(Order(argv, env, theirs, told))

    def _open_terminal(self, devices: str, lent: list[int]) -> list[Action]:
        terminal = open_terminal(devices)
        lent.append(terminal.slave)
        os.set_blocking(terminal.master, False)
        self._terminal = terminal.master
        self._input = Inlet(terminal.master, owned=False)
        self._outputs = {STDOUT: Outlet(terminal.master)}
        if devices == THIS_MACHINE:  # a session's leader gets a terminal by opening it
            return [(0, terminal.path, os.O_RDWR), (1, 0), (2, 0)]
        return [(number, terminal.slave) for number in (0, 1, 2)]

    def _open_pipes(self, command: Command, lent: list[int]) -> list[Action]:
        actions: list[Action] = []
        ends = []
        for _ in (STDOUT, STDERR):
            ours, theirs = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(ours, False)
            lent.append(theirs)
            ends.append((ours, theirs))
        self._outputs = {number: Outlet(ours) for number, (ours, _) in zip((STDOUT, STDERR), ends, strict=True)}
        if command.stdin:
            theirs, ours = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(ours, False)
            self._input = Inlet(ours, owned=True)
            lent.append(theirs)
            actions.append((0, theirs))
        else:
            actions.append((0, os.devnull, os.O_RDONLY))
        return [*actions, (1, ends[0][1]), (2, ends[1][1])]

    # What the other end does

    async def read(self, stream: int) -> bytes:
        outlet = self._outputs.get(stream)
        return b"" if outlet is None else await outlet.read()

    async def write(self, data: bytes) -> None:
        if self._input is not None:
            await self._input.write(data)

    def close_input(self) -> None:
        if self._input is not None and self._terminal < 0:
            self._input.close()

    def resize(self, columns: int, rows: int) -> None:
        if self._terminal >= 0 and not self._closed:
            size = struct.pack("HHHH", min(rows, 0xFFFF), min(columns, 0xFFFF), 0, 0)
            fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, size)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._kill()
        if self._input is not None:
            self._input.close()
        for outlet in self._outputs.values():
            outlet.close()

    # What the process does

    def _begun(self, pid: int, failure: OSError | None) -> None:
        if failure is not None:
            self._over(126)
            return
        self._pid = pid
        self._watch.add(pid, self._gone, child=True)
        if self._closed or self._container.ended.done():
            self._kill()

    def _gone(self) -> None:
        try:
            _, status = os.waitpid(self._pid, 0)
        except ChildProcessError:
            self._over(137)
            return
        code = os.waitstatus_to_exitcode(status)
        self._over(code if code >= 0 else 128 - code)

    def _over(self, code: int) -> None:
        self._container.ended.remove_done_callback(self._container_ended)
        for outlet in self._outputs.values():
            outlet.over()
        if not self.ended.done():
            self.ended.set_result(code)

    def _container_ended(self, _: asyncio.Future[Exit]) -> None:
        self._kill()

    def _kill(self) -> None:
        if self._pid and not self.ended.done():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._pid, signal.SIGKILL)


class Outlet:
    """The reading end of a pipe or terminal, read by one task at a time."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self._is_over = False
        self._closed = False

    async def read(self) -> bytes:
        """The next bytes, b"" at the end."""
        while not self._closed:
            try:
                return os.read(self._descriptor, CHUNK_BYTES)
            except BlockingIOError:
                if self._is_over:
                    return b""
                await self._wait()
            except OSError:  # EIO: nobody has the terminal's other end any more
                return b""
        return b""

    def over(self) -> None:
        """Nobody who counts writes any more: what is in the pipe is the rest."""
        self._is_over = True
        self._wake()

    def close(self) -> None:
        """Once only: from then on the descriptor's number may be somebody else's."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._descriptor)
            self._wake()
            os.close(self._descriptor)

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        self._loop.add_reader(self._descriptor, self._wake)
        try:
            await self._waiter
        finally:
            self._waiter = None
            if not self._closed:
                self._loop.remove_reader(self._descriptor)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Inlet:
    """The writing end; ``owned``: closing it is ours. Nobody left to read is no error: the command had enough."""

    def __init__(self, descriptor: int, *, owned: bool) -> None:
        self._descriptor = descriptor
        self._owned = owned
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False

    async def write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest and not self._closed:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:
                await self._wait()
            except OSError:
                return

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._waiter is not None:
            self._loop.remove_writer(self._descriptor)
            self._wake()
        if self._owned:
            os.close(self._descriptor)

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        self._loop.add_writer(self._descriptor, self._wake)
        try:
            await self._waiter
        finally:
            self._waiter = None
            if not self._closed:
                self._loop.remove_writer(self._descriptor)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
