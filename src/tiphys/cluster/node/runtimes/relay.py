"""Copies what containers write from pipes into their logs.

    python -I -S relay.py      on descriptor 3 a socket; a message is a container, its descriptors are

    the pipes of standard output and error, to read | the logs of both, to write | ``over``, closed at the end of both

A program of its own, standard library only, one for all containers that an agent starts: it costs a short step a
fraction of what two processes of its own would, and outlives the agent. It ends when nobody can send any more and the
last pipe has ended, deaf to signals that ask it to end before.

What was written while we were away is taken in the order in which the kernel began to tell of the pipes: what first
went to one output, then to the other, keeps that order. Only what went to and fro meanwhile does not.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import socket
import sys
from dataclasses import dataclass

CHANNEL_FD = 3
DESCRIPTORS = 5
# What a pipe holds.
CHUNK_BYTES = 64 << 10
DEAF_TO = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)
# As container engines do for what holds a container's streams: proc_pid_oom_score_adj(5).
SPARED = "-998"


@dataclass
class Life:
    """A container; ``over`` is for whoever waits for the end of its pipes."""

    over: int
    pipes: int = 2


class Relay:
    """The loop around all pipes."""

    def __init__(self, channel: socket.socket) -> None:
        self._poll = select.epoll()
        # Told once of each change: so the kernel keeps the order in which pipes that were empty got something.
        self._news = select.EPOLLIN | select.EPOLLET  # not above: shims are started where there is no epoll, too
        self._channel = channel
        self._hears = True
        self._logs: dict[int, tuple[int, Life]] = {}
        self._poll.register(channel.fileno(), select.EPOLLIN)

    def run(self) -> None:
        while self._hears or self._logs:
            for descriptor, _ in self._poll.poll():
                if descriptor == self._channel.fileno():
                    self._hear()
                else:
                    self._copy(descriptor)

    def _hear(self) -> None:
        said, descriptors, _, _ = socket.recv_fds(self._channel, 1, DESCRIPTORS)
        if not said:
            self._hears = False
            self._poll.unregister(self._channel.fileno())
            return
        if len(descriptors) < DESCRIPTORS:  # there are too many: the container finds its pipes closed
            for descriptor in descriptors:
                os.close(descriptor)
            return
        out, err, out_log, err_log, over = descriptors
        life = Life(over)
        for pipe, log in ((out, out_log), (err, err_log)):
            os.set_blocking(pipe, False)  # a container can read its own output, too: there may be nothing left
            self._logs[pipe] = log, life
            self._poll.register(pipe, self._news)

    def _copy(self, pipe: int) -> None:
        log, life = self._logs[pipe]
        try:
            data = os.read(pipe, CHUNK_BYTES)
        except BlockingIOError:
            return
        if data:
            write_all(log, data)
            self._poll.modify(pipe, self._news)  # there may be more
            return
        del self._logs[pipe]
        for descriptor in (pipe, log):  # a closed descriptor is not polled any more
            os.close(descriptor)
        life.pipes -= 1
        if not life.pipes:
            os.close(life.over)


def write_all(log: int, data: bytes) -> None:
    """What a full disk does not take is lost: a container must not stand still for its log, nor end."""
    rest = memoryview(data)
    with contextlib.suppress(OSError):
        while rest:
            rest = rest[os.write(log, rest) :]


def main() -> int:
    for number in DEAF_TO:
        signal.signal(number, signal.SIG_IGN)
    os.chdir("/")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write(SPARED)
    Relay(socket.socket(fileno=CHANNEL_FD)).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
