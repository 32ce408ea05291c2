"""Starts processes without holding up the event loop: posix_spawn in threads of its own.

posix_spawn returns when the new program has begun, which takes a process switch or two; Python's own holds the
interpreter all that time, and on a busy machine everything else with it. Called through ctypes it does not. Where the
C library is not as expected, Python's own is used.

The session flag and the sizes of the opaque structures are those of glibc, musl and macOS (spawn.h).
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from tiphys.cluster.node.runtimes.exits import ExitWatch

_SETSIGDEF, _SETSID = 0x04, (0x0400 if sys.platform == "darwin" else 0x80)
_STRUCTURE_BYTES = 1024  # the largest is glibc's attribute structure, 336 bytes
THREADS_MAX = 4
# Below, programs that are started have the files that are handed to them.
DESCRIPTOR_MIN = 32

# (descriptor there, descriptor here) or (descriptor there, path, flags)
Action = tuple[int, int] | tuple[int, str, int]
Told = Callable[[int, OSError | None], None]


@dataclass(frozen=True, slots=True)
class Order:
    """A program to start in a session of its own. ``told(pid, error)`` runs in the loop.

    ``prepare`` makes more actions right before, in the spawner's thread; it may raise OSError. What is on its stack is
    closed when the program has begun.
    """

    argv: Sequence[str]
    env: Mapping[str, str]
    actions: Sequence[Action]
    told: Told = lambda pid, failure: None
    prepare: Callable[[contextlib.ExitStack], Sequence[Action]] | None = None


class Spawner:
    """Belongs to the loop it is made in. Threads are made when they are needed and die with the process."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._orders: queue.SimpleQueue[Order] = queue.SimpleQueue()
        self._threads = 0
        self._busy = 0

    def start(self, order: Order) -> None:
        self._busy += 1
        if self._busy > self._threads and self._threads < THREADS_MAX:
            self._threads += 1
            threading.Thread(target=self._work, name="tiphys-spawn", daemon=True).start()
        self._orders.put(order)

    def _work(self) -> None:
        while True:
            order = self._orders.get()
            pid, failure = 0, None
            try:
                pid = spawn(order)
            except OSError as err:
                failure = err
            try:
                self._loop.call_soon_threadsafe(self._tell, order, pid, failure)
            except RuntimeError:  # the loop is closed: the next agent finds the life
                return

    def _tell(self, order: Order, pid: int, failure: OSError | None) -> None:
        self._busy -= 1
        order.told(pid, failure)


class Starter:
    """What every runtime has: a spawner and a watch, made in the loop that first needs them."""

    @cached_property
    def watch(self) -> ExitWatch:
        return ExitWatch()

    @cached_property
    def spawner(self) -> Spawner:
        return Spawner()


def spawn(order: Order) -> int:
    """Starts the program now, for its number. Raises OSError."""
    with contextlib.ExitStack() as stack:
        # Those that were prepared come last: nobody has the numbers that they have here.
        more = () if order.prepare is None else order.prepare(stack)
        return _spawn(order, [*order.actions, *more])


def _spawn(order: Order, all_actions: Sequence[Action]) -> int:
    if _LIBC is None:
        return _spawn_slowly(order, all_actions)
    actions, attributes = ctypes.create_string_buffer(_STRUCTURE_BYTES), ctypes.create_string_buffer(_STRUCTURE_BYTES)
    _LIBC.posix_spawn_file_actions_init(actions)
    _LIBC.posix_spawnattr_init(attributes)
    try:
        for action in all_actions:
            if len(action) == 2:
                _LIBC.posix_spawn_file_actions_adddup2(actions, action[1], action[0])
            else:
                _LIBC.posix_spawn_file_actions_addopen(actions, action[0], os.fsencode(action[1]), action[2], 0o644)
        _LIBC.posix_spawnattr_setsigdefault(attributes, _DEFAULTED)
        _LIBC.posix_spawnattr_setflags(attributes, ctypes.c_short(_SETSIGDEF | _SETSID))
        pid = ctypes.c_int()
        argv = _strings(order.argv)
        env = _strings([f"{name}={value}" for name, value in order.env.items()])
        code = _LIBC.posix_spawn(ctypes.byref(pid), os.fsencode(order.argv[0]), actions, attributes, argv, env)
        if code:
            raise OSError(code, os.strerror(code))
        return pid.value
    finally:
        _LIBC.posix_spawn_file_actions_destroy(actions)
        _LIBC.posix_spawnattr_destroy(attributes)


def _strings(words: Sequence[str]) -> ctypes.Array[ctypes.c_char_p]:
    return (ctypes.c_char_p * (len(words) + 1))(*map(os.fsencode, words), None)


def _spawn_slowly(order: Order, all_actions: Sequence[Action]) -> int:
    actions = [
        (os.POSIX_SPAWN_DUP2, action[1], action[0])
        if len(action) == 2
        else (os.POSIX_SPAWN_OPEN, action[0], action[1], action[2], 0o644)
        for action in all_actions
    ]
    signals = [signal.SIGPIPE, signal.SIGXFSZ]
    return os.posix_spawn(
        order.argv[0], list(order.argv), order.env, file_actions=actions, setsid=True, setsigdef=signals
    )


def _load() -> tuple[ctypes.CDLL | None, ctypes.Array[ctypes.c_char]]:
    """The C library, and the set of signals that Python ignores for itself and a command must not inherit."""
    chosen = ctypes.create_string_buffer(_STRUCTURE_BYTES)
    try:
        libc = ctypes.CDLL(None)
        libc.sigemptyset(chosen)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            libc.sigaddset(chosen, number)
        libc.posix_spawn.restype = ctypes.c_int
    except (OSError, AttributeError):
        return None, chosen
    return libc, chosen


_LIBC, _DEFAULTED = _load()
