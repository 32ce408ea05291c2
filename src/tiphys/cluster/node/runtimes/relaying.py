"""The agent's side of the relay (``relay.py``): one process for all containers that this process starts.

A killed agent leaves its relay behind, which goes on until its containers have ended; the next agent has one of its
own. A relay that was killed takes its containers' outputs with it (they find their pipes closed, as under any engine);
the next container gets a new one.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import sys
import threading

from tiphys.cluster.node.runtimes import relay
from tiphys.cluster.node.runtimes.spawn import DESCRIPTOR_MIN, Action, Order, spawn

# A relay that takes nothing for so long is taken for dead.
SEND_SECONDS = 10.0
# What the shim's script has them as.
OVER_FD, OUT_FD, ERR_FD = 3, 5, 6

Log = tuple[str, int]
"""Where it is, and the flags to open it with."""


class Relays:
    """Starts the relay when it is first needed. For any thread.

    ``pid`` is that of the relay; 0: there was none yet.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._channel: socket.socket | None = None
        self.pid = 0

    def pipes(self, out: Log, err: Log, stack: contextlib.ExitStack) -> list[Action]:
        """New pipes, relayed into two logs, and what hands them to a program: OUT_FD and ERR_FD to write to, the logs
        as 1 and 2, OVER_FD, which ends when everything is in the logs.

        Our own descriptors are closed with ``stack``. Raises OSError.
        """
        logs = [_high(stack, os.open(path, mode | os.O_CLOEXEC, 0o644))[0] for path, mode in (out, err)]
        out_read, out_write = _high(stack, *os.pipe2(os.O_CLOEXEC))
        err_read, err_write = _high(stack, *os.pipe2(os.O_CLOEXEC))
        over_read, over_write = _high(stack, *os.pipe2(os.O_CLOEXEC))
        self._send([out_read, err_read, *logs, over_write])
        return [(1, logs[0]), (2, logs[1]), (OVER_FD, over_read), (OUT_FD, out_write), (ERR_FD, err_write)]

    def close(self) -> None:
        """The relay ends when the containers that it has have ended."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def _send(self, descriptors: list[int]) -> None:
        with self._lock:
            if self._channel is not None:
                with contextlib.suppress(OSError):
                    socket.send_fds(self._channel, [b"+"], descriptors)
                    return
            self._start()
            assert self._channel is not None
            socket.send_fds(self._channel, [b"+"], descriptors)

    def _start(self) -> None:
        if self._channel is not None:  # it takes nothing any more
            self._close()
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.pid, os.WNOHANG)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(SEND_SECONDS)
        with contextlib.ExitStack() as stack:
            end = _high(stack, theirs.detach())[0]
            words = [sys.executable, "-I", "-S", relay.__file__]
            nothing: list[Action] = [(0, os.devnull, os.O_RDONLY), (1, os.devnull, os.O_WRONLY), (2, 1)]
            self.pid = spawn(Order(words, {}, [(relay.CHANNEL_FD, end), *nothing]))
        self._channel = ours


def _high(stack: contextlib.ExitStack, *low: int) -> list[int]:
    """The same open files with numbers that no program has its own files as, closed with ``stack``; the given numbers
    are closed here, even if there are no others to be had. Raises OSError.
    """
    high = []
    with contextlib.ExitStack() as given:
        for descriptor in low:
            given.callback(os.close, descriptor)
        for descriptor in low:
            high.append(fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, DESCRIPTOR_MIN))
            stack.callback(os.close, high[-1])
    return high


# Of this process: whoever starts containers in it shares the relay.
RELAYS = Relays()
