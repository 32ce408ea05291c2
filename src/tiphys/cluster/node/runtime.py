"""What starts containers: the ``Runtime`` Protocol, and the choice among the runtimes that really work here.

A *life* is one start of one container (attempt 0, 1, … after restarts). It has files of its own, which outlive
the agent; a runtime starts a life at most once, whoever asks and however often (see ``runtimes/shim.py``), and can
find the lives that an earlier agent started. The Protocol says nothing about processes, so a runtime may also play a
container under a virtual clock (``testing/stage``): it completes ``Container.ended`` when it likes, with any exit
code, and hands over outputs without files.

    runtime.start(launch) ──► Container ── signal(n) ──► … ── ended: Future[Exit]
    runtime.adopt(pod_uid, directory) ──► the containers that earlier lives of the agent left, running or ended
    runtime.exec(container, launch, command) ──► Session ── read, write, resize ── … ── ended: Future[code]

Not here: pods. Phases, restarts, volumes and deadlines are the agent's business; a runtime only runs containers.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from tiphys.machinery.errors import DriverError, TiphysError
from tiphys.machinery.podlife import Exit

USUAL_UMASK = 0o022


@dataclass(frozen=True, slots=True)
class Mount:
    """``source`` on this machine appears at ``target`` (absolute) in the container.

    ``identity`` (device, inode) is what must be found at the source once it is mounted: containers of the pod can write
    where it lies, and could put a link in its place. None: nobody can.
    """

    source: Path
    target: str
    read_only: bool = False
    identity: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the container's process is. None: whoever the image, else the runtime, says.

    ``capabilities`` are names without ``CAP_``; None stands for the usual default set of container engines.
    """

    uid: int | None = None
    gid: int | None = None
    groups: tuple[int, ...] = ()
    capabilities: tuple[str, ...] | None = None
    privileged: bool = False
    no_new_privileges: bool = False


@dataclass(frozen=True, slots=True)
class Launch:
    """One life of one container: everything that a runtime needs to start it.

    ``place`` begins the names of all files of this life; its directory, the pod's, exists. ``programs`` are files and
    directories that the image map provides, container path → host path. ``pod`` is the pod object, for runtimes that
    decide by it. ``split_output`` keeps standard output apart from standard error. ``kept`` are container paths
    that will be asked for after the end. ``stdin`` and ``tty``: people may attach (``runtimes/console.py``).
    ``host_aliases`` are lines for /etc/hosts. ``hosts`` and ``resolv_conf`` are the text of those files in /etc
    ("": the runtime's own choice). ``root`` is the unpacked image, which is never written to; None: a root derived
    from this machine. ``image_volumes`` are its directories that are to be writable in any case. ``network`` is the
    file of the network namespace to live in, "" for the machine's. ``supervised``: the command is not to be process 1,
    where there are numbers of the container's own. ``wrapper`` are words before the command; the runtime looks for the
    program of ``argv`` all the same.
    """

    pod_uid: str
    container: str
    attempt: int
    place: Path
    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str = "/"
    hostname: str = ""
    host_aliases: tuple[str, ...] = ()
    hosts: str = ""
    resolv_conf: str = ""
    network: str = ""
    mounts: tuple[Mount, ...] = ()
    programs: Mapping[str, Path] = field(default_factory=dict)
    root: Path | None = None
    image_volumes: tuple[str, ...] = ()
    identity: Identity = field(default_factory=Identity)
    read_only_root: bool = False
    split_output: bool = False
    kept: frozenset[str] = frozenset()
    umask: int = USUAL_UMASK
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False
    supervised: bool = False
    wrapper: tuple[str, ...] = ()
    pod: Mapping[str, Any] = field(default_factory=dict)


class Container(Protocol):
    """A life that was started (by this agent or by an earlier one)."""

    @property
    def name(self) -> str: ...

    @property
    def attempt(self) -> int: ...

    @property
    def started_at(self) -> datetime: ...

    @property
    def ended(self) -> asyncio.Future[Exit]:
        """Completed once, when the container is gone. Never cancelled by whoever waits for it."""
        ...

    def signal(self, number: int) -> None:
        """Sends a signal the way the runtime's kind of container gets it; one that is gone already is left alone."""
        ...


STDOUT, STDERR = 1, 2
Writers = tuple[int, int]
"""Descriptors of the open files through which a container writes its standard output and its standard error."""
OUTPUT_BYTES_MAX = 64 << 10


@dataclass(frozen=True, slots=True)
class Command:
    """What to run beside a container's own process. Under a ``tty`` both outputs are one, ``STDOUT``."""

    argv: tuple[str, ...]
    stdin: bool = False
    tty: bool = False


class Session(Protocol):
    """A command's streams, as somebody at the other end has them."""

    @property
    def ended(self) -> asyncio.Future[int]:
        """Completed once with the exit code, 128 + n for signal n. Never cancelled by whoever waits for it."""
        ...

    async def read(self, stream: int) -> bytes:
        """The next bytes of ``STDOUT`` or ``STDERR`` (one reader each), b"" at the end. What is not read waits."""
        ...

    async def write(self, data: bytes) -> None:
        """To standard input; waits while the command does not read. Without a reader the bytes are dropped."""
        ...

    def close_input(self) -> None:
        """The end of standard input (a terminal has none)."""
        ...

    def resize(self, columns: int, rows: int) -> None:
        """The size of the terminal; without one, nothing."""
        ...

    def close(self) -> None:
        """Lets go of everything; a command that still runs is killed. Idempotent."""
        ...


async def finish(session: Session, limit_bytes: int = OUTPUT_BYTES_MAX) -> tuple[int, bytes]:
    """Waits for a session's end: exit code, and both outputs as they came, cut at ``limit_bytes``.

    Give it a deadline with ``asyncio.timeout``; the session is closed in any case.
    """
    kept = bytearray()

    async def drain(stream: int) -> None:
        while chunk := await session.read(stream):
            kept.extend(chunk[: max(0, limit_bytes - len(kept))])

    try:
        await asyncio.gather(drain(STDOUT), drain(STDERR))
        return await asyncio.shield(session.ended), bytes(kept)
    finally:
        session.close()


class ConfigError(TiphysError):
    """The container cannot be created as configured; ``CreateContainerConfigError`` in the pod's status."""


class StartFailure(DriverError):
    """The container could not be started; the pod's status says so with ``reason`` and ``code`` (as a kubelet does)."""

    def __init__(self, reason: str, message: str, code: int = 128) -> None:
        super().__init__(message)
        self.reason = reason
        self.code = code


class LimitRefused(DriverError):
    """A container that runs cannot be given this limit now; the pod's status says why."""


class RuntimeUnusable(DriverError):
    """This runtime does not work on this machine; the message says why."""


class Runtime(Protocol):
    """One way of running containers."""

    @property
    def name(self) -> str: ...

    @property
    def isolated(self) -> bool:
        """Whether a container has a root view of its own; otherwise its absolute paths are this machine's."""
        ...

    @property
    def uses_files(self) -> bool:
        """False for runtimes that only play containers: the agent then makes no directories and no volumes."""
        ...

    @property
    def same_users(self) -> bool:
        """Whether a user of a container has the same number on this machine; otherwise it is the agent's own user."""
        ...

    @property
    def base_env(self) -> Mapping[str, str]:
        """What every container finds in its environment unless its image or the pod says otherwise."""
        ...

    async def probe(self, scratch: Path) -> None:
        """Really starts something in ``scratch``. Raises ``RuntimeUnusable``."""
        ...

    def start(self, launch: Launch) -> Container:
        """Starts this life; one that was started before is not started again but returned. Raises ``StartFailure``."""
        ...

    def exec(self, container: Container, launch: Launch, command: Command) -> Session:
        """Runs a command in a container that runs, with its view, environment, directory and rights.

        It ends with the container (137). Raises ``StartFailure`` where the program cannot be executed or the container
        is gone, or does not have processes at all.
        """
        ...

    def adopt(self, pod_uid: str, directory: Path) -> Sequence[Container]:
        """The lives found under a pod's directory, oldest attempt first per container."""
        ...

    def host_path(self, launch: Launch, path: str) -> Path | None:
        """Where this machine sees the container's ``path``, after it ended too; None where it cannot be seen.

        Promised for mounts, for what lies in ``launch.kept``, and for /tmp.

        Never leads outside what belongs to the pod: symbolic links are resolved inside the container's view.
        """
        ...

    def log_files(self, place: Path, apart: bool | None = None) -> Sequence[Path]:
        """The files with a life's output: one, or standard output and standard error (``apart``; None: find out)."""
        ...

    def writers(self, container: Container) -> Writers | None:
        """What tells apart who wrote what into a log of both outputs, the caller's to close; None: nothing does."""
        ...

    def termination_message(self, launch: Launch) -> Path | None:
        """Where the container's ``/dev/termination-log`` is; None where there is none."""
        ...

    def resize(self, container: Container, launch: Launch) -> None:
        """Gives a container that runs the resources that it has in the launch's pod, as far as any are kept here.

        Raises ``LimitRefused``.
        """
        ...

    def discard(self, pod_uid: str, directory: Path) -> None:
        """Ends and forgets whatever is left of a pod, so that its directory can be removed."""
        ...


@dataclass(frozen=True, slots=True)
class Choice:
    """The runtime that was chosen and, for those that were tried before it, why not."""

    runtime: Runtime
    refused: Mapping[str, str] = field(default_factory=dict)


async def choose(candidates: Sequence[Runtime], scratch: Path) -> Choice:
    """The first candidate that really starts something. Raises ``RuntimeUnusable`` naming every reason."""
    refused: dict[str, str] = {}
    for runtime in candidates:
        place = _fresh_directory(scratch, runtime.name)
        try:
            await runtime.probe(place)
        except RuntimeUnusable as err:
            refused[runtime.name] = str(err)
        else:
            return Choice(runtime, refused)
        finally:
            shutil.rmtree(place, ignore_errors=True)
    reasons = "; ".join(f"{name}: {why}" for name, why in refused.items())
    raise RuntimeUnusable(f"no container runtime works on this machine ({reasons or 'none was offered'})")


def _fresh_directory(scratch: Path, name: str) -> Path:
    """Nobody has ever started anything in it: a life of an earlier probe would be taken for this one's."""
    scratch.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=scratch))
