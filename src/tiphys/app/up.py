"""``tiphys up``, ``status`` and ``down``: the embedded cluster as a process of its own.

    serve   in this process, until SIGTERM or SIGINT; until SIGUSR1, which ends the pods as well
    detach  starts a process that serves, and returns when it is Ready
    down    asks that process to end, and sees to it that it does

Everything lives in the data directory (``datadir.py``); a server that was killed is started again with it and goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from tiphys.app.compose import NodeFactory, compose
from tiphys.app.datadir import DataDir, ServerInfo
from tiphys.app.settings import Settings, default_data_dir
from tiphys.client import kubeconfig
from tiphys.machinery.errors import DriverError

_READY_SECONDS = 60.0
_END_SECONDS = 20.0
_END_WITH_PODS = signal.SIGUSR1


@dataclass(frozen=True, slots=True)
class Status:
    """``starting``: the directory is held, and its holder is not Ready yet. ``server`` is there when ``ready``."""

    state: Literal["ready", "starting", "stopped"]
    data_dir: Path
    server: ServerInfo | None = None


def data_dir_of(settings: Settings) -> DataDir:
    return DataDir(settings.data_dir or default_data_dir())


async def serve(settings: Settings, on_ready: Callable[[ServerInfo], None], node: NodeFactory | None = None) -> None:
    """Serves until SIGTERM or SIGINT. Raises DriverError when the data directory or the address is taken."""
    home = data_dir_of(settings)
    with home.held():
        settings = replace(settings, data_dir=home.path)
        async with compose(settings, node=node, daemon=True) as parts:
            assert parts.served is not None
            file = settings.kubeconfig or home.kubeconfig
            kubeconfig.write(file, parts.served.kubeconfig)
            info = ServerInfo(os.getpid(), parts.served.url, str(file.absolute()), parts.node.runtime_name, parts.s3)
            home.announce(info)
            on_ready(info)
            parts.farewell.pods_stay = await _asked_to_end() is not _END_WITH_PODS


async def _asked_to_end() -> signal.Signals:
    """The first signal that asks for the end."""
    loop = asyncio.get_running_loop()
    asked: asyncio.Queue[signal.Signals] = asyncio.Queue()
    for number in (signal.SIGTERM, signal.SIGINT, _END_WITH_PODS):
        loop.add_signal_handler(number, asked.put_nowait, number)
    return await asked.get()


def detach(settings: Settings, command: Sequence[str]) -> ServerInfo:
    """Starts ``command`` (``tiphys up …`` without ``--detach``) on its own and returns when it is Ready.

    Raises DriverError with the end of its log when it ends before, or is not Ready within a minute.
    """
    home = data_dir_of(settings)
    home.path.mkdir(parents=True, exist_ok=True, mode=0o700)
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    with os.fdopen(reading, "rb") as told:
        pid = _spawn(command, home.log, {_READY_FD: str(writing)})
        os.close(writing)
        # The pipe ends when the server closes it: Ready, or dead. No looking again and again.
        ready = _read_within(told.fileno(), _READY_SECONDS)
    server = home.server()
    if ready and server is not None and server.pid == pid:
        return server
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    raise DriverError(f"tiphys up did not become Ready:\n{_tail(home.log)}")


def _spawn(command: Sequence[str], log: Path, env: Mapping[str, str]) -> int:
    """A process in a session of its own, whose output goes to the end of ``log``; the pid."""
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    actions: list[tuple[int, int, str, int, int] | tuple[int, int, int]] = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.fspath(log), append, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    return os.posix_spawn(command[0], list(command), os.environ | env, file_actions=actions, setsid=True)


_READY_FD = "TIPHYS_READY_FD"


def tell_parent() -> None:
    """Called by the served process when it is Ready: lets ``detach`` return."""
    number = os.environ.pop(_READY_FD, None)
    if number is not None:
        with contextlib.suppress(OSError):
            os.write(int(number), b"ready")
            os.close(int(number))


def tiphys_command(*arguments: str) -> list[str]:
    """How to start another tiphys like this one."""
    return [sys.executable, "-m", "tiphys.cli.main", *arguments]


def status(settings: Settings) -> Status:
    home = data_dir_of(settings)
    server = home.server()
    if server is not None:
        return Status("ready", home.path, server)
    return Status("starting" if home.is_held() else "stopped", home.path)


async def down(settings: Settings, *, with_pods: bool = False) -> bool:
    """Ends the server of the data directory; False when there was none. Kills it when it does not end in 20 s.

    Its pods go on running until its next life takes them over; ``with_pods`` ends them.
    """
    home = data_dir_of(settings)
    server = home.server()
    if server is None:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(server.pid, _END_WITH_PODS if with_pods else signal.SIGTERM)
        try:
            await asyncio.wait_for(asyncio.shield(asyncio.to_thread(home.wait_until_free)), _END_SECONDS)
        except TimeoutError:
            os.kill(server.pid, signal.SIGKILL)
    return True


def _read_within(fd: int, seconds: float) -> bytes:
    import select

    readable, _, _ = select.select([fd], [], [], seconds)
    return os.read(fd, 64) if readable else b""


def _tail(log: Path, lines: int = 20) -> str:
    with contextlib.suppress(FileNotFoundError):
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    return ""
