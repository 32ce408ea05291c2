"""Holds the standard streams of a container that people attach to (``stdin: true`` or ``tty: true``).

    python -I -S console.py ORDER -- COMMAND…      ORDER: JSON with place, stdin, once, tty, terminal

A program of its own, standard library only, between the shim's shell and the command: it outlives the agent as the
container does, so that input and terminal are still there for the next one. It copies output to its own standard
output and error (the log) and to whoever is connected to ``<place>.console``, and input from there to the command.

    frames, both ways: kind 1 | length 4 | data
    to us: 0 input, 4 size ("columns rows"), 5 "I have input", 6 end of input       from us: 1 output, 2 error output

``terminal`` names a socket, in a directory, over which the command (crun) sends the container's own terminal; it stands
for TERMINAL_SOCKET in the command. Otherwise a terminal is one of this machine's.

With ``once`` the input ends when the first one who had input leaves. A client that does not read is dropped.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
import selectors
import signal
import socket
import struct
import sys
import termios
from collections.abc import Callable
from typing import Any

TERMINAL_SOCKET = "%TERMINAL%"
INPUT, OUTPUT, ERROR, SIZE, HAS_INPUT, END = 0, 1, 2, 4, 5, 6
CHUNK_BYTES = 32 << 10
CLIENT_BYTES_MAX = 1 << 20
INPUT_BYTES_MAX = 256 << 10
FRAME_BYTES_MAX = 1 << 20
FLUSH_SECONDS = 1.0
CANNOT_EXECUTE, NOT_FOUND = 126, 127
FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


class Client:
    """Somebody who is attached."""

    def __init__(self, link: socket.socket) -> None:
        link.setblocking(False)
        self.link = link
        self.received = bytearray()
        self.unsent = bytearray()
        self.has_input = False


class Console:
    """The loop around one command."""

    def __init__(self, order: dict[str, Any], command: list[str]) -> None:
        self._once, self._tty = bool(order["once"]), bool(order["tty"])
        self._selector = selectors.DefaultSelector()
        self._clients: list[Client] = []
        self._unfed = bytearray()
        self._input_over = not order["stdin"]
        self._listener = listen(order["place"])
        self._watch(self._listener.fileno(), selectors.EVENT_READ, self._accept)
        self._wake, wake = os.pipe()
        for end in (self._wake, wake):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wake)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._watch(self._wake, selectors.EVENT_READ, self._woken)
        self._code: int | None = None
        self._terminal = -1
        self._size = b""
        self._input = -1
        self._outputs: dict[int, int] = {}
        if not self._tty:
            self._child = self._start(command, has_input=bool(order["stdin"]))
        elif order["terminal"]:
            self._child = self._start_with_terminal(command, order["terminal"])
        else:
            self._child = self._start_at_terminal(command)
        for number in FORWARDED:
            # Without a terminal the command is in our group and has got the signal itself.
            signal.signal(number, self._forward if self._tty else lambda *_: None)

    def run(self) -> int:
        while self._code is None:
            for key, events in self._selector.select():
                key.data(events)
        for descriptor in list(self._outputs):
            self._drain(descriptor)
        self._flush()
        return self._code

    # The command

    def _start_at_terminal(self, command: list[str]) -> int:
        master, slave = os.openpty()
        child = os.fork()
        if child == 0:
            os.setsid()
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
            execute(command, (slave, slave, slave))
        os.close(slave)
        self._take_terminal(master)
        return child

    def _take_terminal(self, master: int) -> None:
        os.set_blocking(master, False)
        self._terminal = self._input = master
        self._outputs[master] = OUTPUT
        if self._size:
            fcntl.ioctl(master, termios.TIOCSWINSZ, self._size)
        self._watch(master, selectors.EVENT_READ, functools.partial(self._ready, master))
        self._feed()

    def _start_with_terminal(self, command: list[str], place: str) -> int:
        """The command sends the terminal when it has one; what it says itself goes to the log."""
        folder, name = os.path.split(place)
        listener = bound(folder, name)
        directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        os.set_inheritable(directory, True)  # by which the command finds the socket: names of sockets are short
        self._watch(listener.fileno(), selectors.EVENT_READ, lambda _: self._receive_terminal(listener))
        path = f"/proc/self/fd/{directory}/{name}"
        child = self._start([word.replace(TERMINAL_SOCKET, path) for word in command], has_input=False)
        os.close(directory)
        return child

    def _receive_terminal(self, listener: socket.socket) -> None:
        link, _address = listener.accept()
        _, descriptors, _, _ = socket.recv_fds(link, CHUNK_BYTES, 1)
        self._selector.unregister(listener.fileno())
        link.close()
        listener.close()
        for descriptor in descriptors:
            self._take_terminal(descriptor)

    def _start(self, command: list[str], *, has_input: bool) -> int:
        out, theirs_out = os.pipe()
        err, theirs_err = os.pipe()
        source = os.open(os.devnull, os.O_RDONLY)
        if has_input:
            source, self._input = os.pipe()
            os.set_blocking(self._input, False)
        child = os.fork()
        if child == 0:
            execute(command, (source, theirs_out, theirs_err))
        for descriptor in (source, theirs_out, theirs_err):
            os.close(descriptor)
        for descriptor, kind in ((out, OUTPUT), (err, ERROR)):
            os.set_blocking(descriptor, False)
            self._outputs[descriptor] = kind
            self._watch(descriptor, selectors.EVENT_READ, functools.partial(self._ready, descriptor))
        return child

    def _forward(self, number: int, _: Any) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child, number)

    def _woken(self, _: int) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake, 512)
        pid, ended = os.waitpid(self._child, os.WNOHANG)
        if pid:
            code = os.waitstatus_to_exitcode(ended)
            self._code = code if code >= 0 else 128 - code

    # Output

    def _copy(self, descriptor: int) -> bool:
        """One read's worth to the log and to everybody; False where there is none now."""
        try:
            data = os.read(descriptor, CHUNK_BYTES)
        except BlockingIOError:
            return False
        except OSError:  # EIO: the terminal's other end is closed
            data = b""
        if not data:
            self._forget(descriptor)
            return False
        kind = self._outputs[descriptor]
        write_all(1 if kind == OUTPUT else 2, data.replace(b"\r\n", b"\n") if self._tty else data)
        frame = struct.pack(">BI", kind, len(data)) + data
        for client in list(self._clients):
            client.unsent += frame
            self._send(client)
        return True

    def _ready(self, descriptor: int, events: int) -> None:
        if events & selectors.EVENT_WRITE:  # a terminal's, which is one descriptor for both
            self._feed()
        if events & selectors.EVENT_READ:
            self._copy(descriptor)

    def _drain(self, descriptor: int) -> None:
        while descriptor in self._outputs and self._copy(descriptor):
            pass

    def _forget(self, descriptor: int) -> None:
        self._outputs.pop(descriptor, None)
        with contextlib.suppress(KeyError):
            self._selector.unregister(descriptor)

    # Clients

    def _accept(self, _: int) -> None:
        link, _address = self._listener.accept()
        client = Client(link)
        self._clients.append(client)
        self._tune(client)

    def _serve(self, client: Client, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self._send(client)
        if events & selectors.EVENT_READ and client in self._clients:
            self._receive(client)

    def _receive(self, client: Client) -> None:
        try:
            data = client.link.recv(CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(client)
            return
        client.received += data
        while len(client.received) >= 5:
            kind, length = struct.unpack_from(">BI", client.received)
            if length > FRAME_BYTES_MAX:
                self._drop(client)
                return
            if len(client.received) < 5 + length:
                return
            payload = bytes(client.received[5 : 5 + length])
            del client.received[: 5 + length]
            self._obey(client, kind, payload)

    def _obey(self, client: Client, kind: int, payload: bytes) -> None:
        if kind == HAS_INPUT:
            client.has_input = True
        elif kind == INPUT and not self._input_over:
            self._unfed += payload
            self._feed()
        elif kind == END and self._once and client.has_input:
            self._end_input()
        elif kind == SIZE and self._tty:
            columns, rows = (min(int(word), 0xFFFF) for word in payload.split()[:2])
            self._size = struct.pack("HHHH", rows, columns, 0, 0)
            if self._terminal >= 0:
                fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, self._size)

    def _feed(self) -> None:
        """What the command takes now; the rest when it can. Whoever has more waits."""
        while self._unfed and self._input >= 0:
            try:
                del self._unfed[: os.write(self._input, self._unfed)]
            except BlockingIOError:
                break
            except OSError:
                self._unfed.clear()
                self._input_over = True
        self._watch_input()
        for client in self._clients:
            self._tune(client)

    def _watch_input(self) -> None:
        if self._input < 0:
            return
        if self._tty:
            if self._input in self._outputs:
                wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._unfed else 0)
                self._selector.modify(self._input, wanted, self._selector.get_key(self._input).data)
            return
        registered = self._input in self._selector.get_map()
        if self._unfed and not registered:
            self._watch(self._input, selectors.EVENT_WRITE, lambda _: self._feed())
        elif not self._unfed:
            if registered:
                self._selector.unregister(self._input)
            if self._input_over:
                os.close(self._input)
                self._input = -1

    def _end_input(self) -> None:
        self._input_over = True
        if self._tty:
            self._unfed += b"\x04"
        self._feed()

    def _send(self, client: Client) -> None:
        try:
            while client.unsent:
                del client.unsent[: client.link.send(client.unsent)]
        except BlockingIOError:
            pass
        except OSError:
            self._drop(client)
            return
        if len(client.unsent) > CLIENT_BYTES_MAX:
            self._drop(client)
            return
        self._tune(client)

    def _tune(self, client: Client) -> None:
        """Waits for what comes next between us and the client: nothing from it while the command has enough to take."""
        number = client.link.fileno()
        held = self._selector.get_map().get(number)
        wanted = selectors.EVENT_READ if len(self._unfed) < INPUT_BYTES_MAX else 0
        wanted |= selectors.EVENT_WRITE if client.unsent else 0
        if held is None and wanted:
            self._watch(number, wanted, functools.partial(self._serve, client))
        elif held is not None and not wanted:
            self._selector.unregister(number)
        elif held is not None and held.events != wanted:
            self._selector.modify(number, wanted, held.data)

    def _drop(self, client: Client) -> None:
        if client not in self._clients:
            return
        self._clients.remove(client)
        with contextlib.suppress(KeyError):
            self._selector.unregister(client.link.fileno())
        client.link.close()
        if self._once and client.has_input and not self._input_over:
            self._end_input()

    def _flush(self) -> None:
        for client in self._clients:
            client.link.settimeout(FLUSH_SECONDS)
            with contextlib.suppress(OSError):
                client.link.sendall(client.unsent)
            client.link.close()

    def _watch(self, descriptor: int, events: int, call: Callable[[int], Any]) -> None:
        self._selector.register(descriptor, events, call)


def listen(place: str) -> socket.socket:
    """The socket ``<place>.console``. Bound from within its directory: such names may only have 107 bytes."""
    listener = bound(*os.path.split(f"{place}.console"))
    os.chmod(f"{place}.console", 0o600)
    return listener


def bound(folder: str, name: str) -> socket.socket:
    listener, here = socket.socket(socket.AF_UNIX), os.open(".", os.O_RDONLY)
    os.chdir(folder)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name)
    listener.bind(name)
    os.fchdir(here)
    os.close(here)
    listener.listen()
    return listener


def execute(command: list[str], streams: tuple[int, int, int]) -> None:
    """Becomes the command, which ends with us. Never returns."""
    die_with_parent()
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
    signal.set_wakeup_fd(-1)
    for each in (*FORWARDED, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD):
        signal.signal(each, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)
    except OSError as err:
        os.write(2, f"{command[0]}: {err.strerror}\n".encode())
        os._exit(NOT_FOUND if isinstance(err, FileNotFoundError) else CANNOT_EXECUTE)


def die_with_parent() -> None:
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG


def write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    with contextlib.suppress(OSError):
        while rest:
            rest = rest[os.write(descriptor, rest) :]


if __name__ == "__main__":
    sys.exit(Console(json.loads(sys.argv[1]), sys.argv[3:]).run())
