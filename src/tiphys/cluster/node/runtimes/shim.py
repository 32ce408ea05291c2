"""A container life as a few lines of POSIX shell: started at most once, outliving the agent, leaving its exit code.

    directory/claim   "<pid> <tag>\n"; created exclusively by the shell before anything else: its creator has the life
    directory/log     standard output and error, as they come (or stdout and stderr apart)
    directory/exit    "<code>\n"; written by the shell when the command ended

An agent that was killed leaves the shell and its command running. The next agent finds the claim, watches the process
(it is nobody's child then) and reads the exit file. A life without a claim has never run: the new agent may start it,
and should the old shell still come, it finds the claim taken and goes away. There is no moment at which both run.
Start and end times are those of the two files, so they need no bookkeeping either.

The shell is a session of its own; the command runs in its process group. It traps the polite signals, to be there
when the command has died of them; SIGKILL takes both, which reads as code 137.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from tiphys.cluster.node.runtime import StartFailure
from tiphys.cluster.node.runtimes.exits import ExitWatch
from tiphys.machinery.podlife import Exit

SHELL = "/bin/sh"

# $1 the life's directory, $2 the working directory, $3 the starter's tag, the rest the command. 126/127 never come
# from here: the agent has looked the program up before. A working directory that vanished meanwhile is 128, a kubelet's
# StartError. Descriptor 7 keeps the shell's own remarks ("Terminated") out of the log.
SCRIPT = """\
d=$1 w=$2 t=$3
shift 3
set -C
{ echo $$ $t >"$d/claim"; } 2>/dev/null || exit 0
set +C
trap : HUP INT QUIT TERM USR1 USR2
exec 7>&2 2>/dev/null
if cd -- "$w" 2>&7; then unset PWD OLDPWD; "$@" 2>&7 7>&-; else (exit 128); fi
echo $? >"$d/exit"
"""

# Python ignores these two for itself; a command must not inherit that.
_DEFAULT_SIGNALS = [signal.SIGPIPE, signal.SIGXFSZ]
# Creating and signing the claim are two system calls of the shell; a reader in between looks again.
_CLAIM_READS = 100


class ShimContainer:
    """A life under the shim. ``ended`` is completed by the kernel's notice that the shell is gone."""

    def __init__(self, name: str, attempt: int, directory: Path, pid: int, watch: ExitWatch) -> None:
        self.name = name
        self.attempt = attempt
        self.directory = directory
        self.pid = pid
        self.ended: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self._watch = watch
        self._started: datetime | None = None

    @property
    def started_at(self) -> datetime:
        if self._started is None:
            self._started = _stamp(self.directory / "claim") or _stamp(self.directory) or datetime.now(UTC)
        return self._started

    def signal(self, number: int) -> None:
        """To the whole process group, as a terminal does: a shell's children die with it."""
        if not self.ended.done():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    def follow(self, *, child: bool) -> None:
        """Completes ``ended`` when the process is gone. ``child``: it is ours to reap."""
        self._watch.add(self.pid, self._gone, child=child)

    def finish(self) -> None:
        """Reads how the life ended from its directory. A shell that left no code was killed with its command."""
        if self.ended.done():
            return
        code = read_exit(self.directory)
        finished = _stamp(self.directory / "exit") if code is not None else None
        self.ended.set_result(
            Exit(
                code=128 + signal.SIGKILL if code is None else code,
                started_at=self.started_at,
                finished_at=finished or datetime.now(UTC),
            )
        )

    def _gone(self) -> None:
        owner = read_claim(self.directory)
        if owner not in (None, self.pid):
            self._follow_owner(owner or 0)
            return
        # Whatever of the group is left dies with its container, as in any pod. The shell is not reaped yet (or never
        # was our child), so that the group's number cannot have been given to somebody else.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self.finish()

    def _follow_owner(self, owner: int) -> None:
        """Our shell came second: one that an earlier agent started has the life, and is the one to watch."""
        self.pid = owner
        if read_exit(self.directory) is None and is_shim(owner, self.directory):
            self.follow(child=False)
        else:
            self.finish()


def spawn(
    container: str,
    attempt: int,
    directory: Path,
    command: Sequence[str],
    env: Mapping[str, str],
    cwd: str,
    watch: ExitWatch,
    *,
    split: bool = False,
    tag: str = "-",
    extra_files: Sequence[tuple[int, str, int]] = (),
    kind: type[ShimContainer] = ShimContainer,
) -> ShimContainer:
    """Starts the shim. ``extra_files`` are (descriptor, path, flags) to be open in the command.

    ``tag`` (no spaces) ends up in the claim if this shell gets the life: it tells which starter's preparations count.

    Raises ``StartFailure`` where the kernel refuses (arguments too long, no more processes).
    """
    out, err = ("stdout", "stderr") if split else ("log", None)
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    place = os.fspath(directory)
    actions: list[tuple[int, int, str, int, int] | tuple[int, int, int]] = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, f"{place}/{out}", append, 0o644),
        (os.POSIX_SPAWN_OPEN, 2, f"{place}/{err}", append, 0o644) if err else (os.POSIX_SPAWN_DUP2, 1, 2),
        *((os.POSIX_SPAWN_OPEN, number, path, flags, 0o644) for number, path, flags in extra_files),
    ]
    argv = [SHELL, "-c", SCRIPT, "tiphys", place, cwd, tag, *command]
    try:
        pid = os.posix_spawn(SHELL, argv, env, file_actions=actions, setsid=True, setsigdef=_DEFAULT_SIGNALS)
    except OSError as err_:
        raise StartFailure("StartError", f"failed to start container process: {err_.strerror}") from err_
    life = kind(container, attempt, directory, pid, watch)
    life.follow(child=True)
    return life


def adopt(
    container: str, attempt: int, directory: Path, watch: ExitWatch, kind: type[ShimContainer] = ShimContainer
) -> ShimContainer | None:
    """The life that an earlier agent started in ``directory``; None if nobody has claimed it yet."""
    pid = read_claim(directory)
    if pid is None:
        return None
    life = kind(container, attempt, directory, pid, watch)
    if read_exit(directory) is None and is_shim(pid, directory):
        life.follow(child=False)
    else:
        life.finish()
    return life


def lives(directory: Path) -> Iterator[tuple[str, int, Path]]:
    """(container, attempt, directory) of every life under a pod's directory, oldest attempt first."""
    found = []
    with contextlib.suppress(FileNotFoundError), os.scandir(directory) as entries:
        for entry in entries:
            name, dot, attempt = entry.name.rpartition(".")
            if dot and attempt.isdigit() and entry.is_dir(follow_symlinks=False):
                found.append((name, int(attempt), directory / entry.name))
    yield from sorted(found)


def log_files(directory: Path) -> list[Path]:
    """The life's output: ``log``, or ``stdout`` and ``stderr`` where they were kept apart."""
    apart = directory / "stdout"
    return [apart, directory / "stderr"] if apart.exists() else [directory / "log"]


def read_claim(directory: Path) -> int | None:
    """The shell's process id; None if nobody claimed; 0 if the claim's writer was cut before it could sign."""
    claim = _claim(directory)
    return None if claim is None else int(claim[0])


def read_tag(directory: Path) -> str | None:
    """The tag of the starter whose shell has the life; None if nobody has."""
    claim = _claim(directory)
    return None if claim is None else claim[1]


def _claim(directory: Path) -> tuple[str, str] | None:
    for _ in range(_CLAIM_READS):
        try:
            text = (directory / "claim").read_text()
        except FileNotFoundError:
            return None
        if text.endswith("\n"):
            pid, _, tag = text.strip().partition(" ")
            return pid, tag
        os.sched_yield()
    return "0", ""


def read_exit(directory: Path) -> int | None:
    try:
        text = (directory / "exit").read_bytes()
    except FileNotFoundError:
        return None
    return int(text) if text.endswith(b"\n") and text.strip().isdigit() else None


def is_shim(pid: int, directory: Path) -> bool:
    """Whether ``pid`` is (still) the shell of this very directory: numbers are used again."""
    if pid <= 0:
        return False
    try:
        return os.fsencode(directory) in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except FileNotFoundError:
        if Path("/proc/self").exists():
            return False
    except PermissionError:
        return False
    return _group_lives(pid)


def _group_lives(pid: int) -> bool:
    """Where there is no /proc (macOS): whether the process leads a group, as every shim does."""
    try:
        return os.getpgid(pid) == pid
    except ProcessLookupError:
        return False


def _stamp(path: Path) -> datetime | None:
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except FileNotFoundError:
        return None
