"""A container life as a few lines of POSIX shell: started at most once, outliving the agent, leaving its exit code.

    <place>.life   "<pid> <tag>\\n", created exclusively by the shell before anything else: its creator has the life;
                   when the command ended the shell adds "<code>\\n"
    <place>.log    standard output and error, as they come (or .stdout and .stderr apart)

The command writes into these files itself, or (``relayed``) into two pipes, as under any container runtime, so that a
program may open ``/dev/stdout`` anew without cutting the log off. The relay (``relay.py``) copies from the pipes into
the files; the shell writes the exit code when all is there. ``docs/decisions/0092-outputs-are-pipes.md`` has more.

An agent that was killed leaves the shell and its command running. The next agent finds the claim, watches the process
(it is nobody's child then) and reads the code. A life without a claim has never run: the new agent may start it, and
should the old shell still come, it finds the claim taken and goes away. There is no moment at which both run.

Two files and no directory per life: making a file is the dearest thing a short step does on a busy file system.

The shell is a session of its own; the command runs in its process group. It traps the polite signals, to be there
when the command has died of them; SIGKILL takes both, which reads as code 137.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from tiphys.cluster.node.cgroups import Group
from tiphys.cluster.node.outputs import writers_of
from tiphys.cluster.node.runtime import Container, Launch, Writers
from tiphys.cluster.node.runtimes import console
from tiphys.cluster.node.runtimes.exits import ExitWatch
from tiphys.cluster.node.runtimes.relaying import RELAYS
from tiphys.cluster.node.runtimes.spawn import Action, Order, Spawner
from tiphys.machinery.podlife import Exit
from tiphys.runtime.clock import SystemClock

SHELL = "/bin/sh"
# Real processes live in real time, whatever clock the agent has.
CLOCK = SystemClock()
# How the two outputs' open files of the log are opened: each remembers how far it has come, and one may be read as well
# so that they can be told from each other.
OUT_MODE, ERR_MODE = os.O_WRONLY | os.O_CREAT | os.O_APPEND, os.O_RDWR | os.O_CREAT | os.O_APPEND

# $1 the life file, $2 the working directory, $3 the starter's tag, $4 the umask, the rest the command. 126/127 never
# come from here: the agent has looked the program up before. A working directory that vanished meanwhile is 128, a
# kubelet's StartError. Descriptor 7 keeps the shell's own remarks ("Terminated") out of the log. At last the shell
# kills its group: what the command left behind dies with its container, also while no agent is there to see to it.
_BEGINNING = """\
f=$1 w=$2 t=$3 u=$4
shift 4
set -C
{ echo $$ $t >"$f"; } 2>/dev/null || exit 0
set +C
trap : HUP INT QUIT TERM USR1 USR2
exec 7>&2 2>/dev/null
umask "$u"
"""
SCRIPT = f"""{_BEGINNING}
if cd -- "$w" 2>&7; then unset PWD OLDPWD; "$@" 2>&7 7>&-; else (exit 128); fi
echo $? >>"$f"
kill -9 0
"""
# The same with pipes (``relaying.py``): 5 and 6 are the command's outputs, 1 and 7 the log. Once the shell has let go
# of 5 and 6, and the container is gone, nobody has them any more, and 3 ends when the relay has come to their ends.
RELAYED = f"""{_BEGINNING}
if cd -- "$w" 2>&7; then unset PWD OLDPWD; "$@" >&5 2>&6 3<&- 5>&- 6>&- 7>&-; else (exit 128); fi
c=$?
trap '' HUP INT QUIT TERM USR1 USR2
exec 5>&- 6>&-
read -r _ <&3
echo $c >>"$f"
kill -9 0
"""

# Creating and signing the claim are two system calls of the shell; a reader in between looks again.
_CLAIM_READS = 100


class ShimContainer:
    """A life under the shim. ``ended`` is completed by the kernel's notice that the shell is gone.

    ``pid`` is 0 until the shell has begun; signals that come before are sent then.
    """

    def __init__(self, name: str, attempt: int, place: Path, pid: int, watch: ExitWatch, started: datetime) -> None:
        self.name = name
        self.attempt = attempt
        self.place = place
        self.pid = pid
        self.started_at = started
        self.ended: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self._watch = watch
        self._early: list[int] = []

    def signal(self, number: int) -> None:
        if not self.pid:
            self._early.append(number)
        elif not self.ended.done():
            self.deliver(number)

    def deliver(self, number: int) -> None:
        """To the whole process group, as a terminal does: a shell's children die with it."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def begun(self, pid: int, failure: OSError | None) -> None:
        """The shell was started, or could not be (arguments too long, no more processes)."""
        if failure is not None:
            message = f"failed to start container process: {failure.strerror}"
            self.ended.set_result(Exit(128, self.started_at, CLOCK.now(), "StartError", message))
            return
        self.pid = pid
        self.follow(child=True)
        for number in self._early:
            self.signal(number)

    def follow(self, *, child: bool) -> None:
        """Completes ``ended`` when the process is gone. ``child``: it is ours to reap."""
        self._watch.add(self.pid, self._gone, child=child)

    def finish(self, record: LifeRecord | None) -> None:
        """Takes how the life ended from its file. A shell that left no code was killed with its command."""
        if self.ended.done():
            return
        if record is None or record.code is None:
            code, finished = 128 + signal.SIGKILL, CLOCK.now()
        else:
            code, finished = record.code, record.changed
        # A file's time is coarser than the clock: a short life must not end before it began.
        self.ended.set_result(self.conclude(Exit(code, min(self.started_at, finished), finished)))

    def group(self) -> Group | None:
        """The control groups that count what it uses; None where there are none."""
        return None

    def conclude(self, end: Exit) -> Exit:
        """What a runtime knows of the end beyond the exit code."""
        return end

    def _gone(self) -> None:
        record = read_life(self.place)
        if record is not None and record.pid != self.pid:
            self._follow_owner(record)
            return
        # Whatever of the group is left dies with its container, as in any pod. The shell is not reaped yet (or never
        # was our child), so that the group's number cannot have been given to somebody else.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self.finish(record)

    def _follow_owner(self, record: LifeRecord) -> None:
        """Our shell came second: an earlier one has the life, and is the one to watch."""
        self.pid = record.pid
        if record.code is None and is_shim(record.pid, self.place):
            self.follow(child=False)
        else:
            self.finish(record)


Kind = Callable[[str, int, Path, int, ExitWatch, datetime], ShimContainer]
"""What makes the object for a life."""


def spawn(
    launch: Launch,
    command: Sequence[str],
    env: Mapping[str, str],
    cwd: str,
    watch: ExitWatch,
    spawner: Spawner,
    *,
    tag: str = "-",
    open_files: Sequence[tuple[int, str]] = (),
    hand_over: Sequence[tuple[int, int]] = (),
    kind: Kind = ShimContainer,
    terminal: str = "",
    relayed: bool = False,
) -> ShimContainer:
    """Starts the shim. In the command, ``open_files`` (descriptor, path) are open for reading and ``hand_over``
    (descriptor there, descriptor here) are passed on; those here are closed then.

    ``relayed``: the command's outputs are pipes. Only for commands whose end is the end of all that they started:
    whoever is left with a pipe holds up the end. A console gives its command pipes by itself.

    ``terminal`` is where the command sends the container's own terminal to (``console.py``).

    ``tag`` (no spaces) ends up in the claim if this shell gets the life: it tells which starter's preparations count.
    """
    place = os.fspath(launch.place)
    out, err = (f"{place}.stdout", f"{place}.stderr") if launch.split_output else (f"{place}.log", "")
    relayed = relayed and not _has_console(launch)
    logs: list[Action] = [] if relayed else [(1, out, OUT_MODE), (2, err or out, ERR_MODE)]
    actions: list[Action] = [
        *hand_over,  # first of all, before another action can take its number
        (0, os.devnull, os.O_RDONLY),
        *logs,
        *((number, path, os.O_RDONLY) for number, path in open_files),
    ]
    life = kind(launch.container, launch.attempt, launch.place, 0, watch, CLOCK.now())

    def told(pid: int, failure: OSError | None) -> None:
        for _, here in hand_over:
            os.close(here)
        life.begun(pid, failure)

    words = ["tiphys", f"{place}.life", cwd, tag, f"{launch.umask:03o}", *_with_console(launch, command, terminal)]
    argv = [*entered(launch), SHELL, "-c", RELAYED if relayed else SCRIPT, *words]
    prepare = functools.partial(RELAYS.pipes, (out, OUT_MODE), (err or out, ERR_MODE)) if relayed else None
    spawner.start(Order(argv, env, actions, told, prepare))
    return life


def entered(launch: Launch) -> list[str]:
    """The words before a command that shall live in the pod's network."""
    return ["/usr/bin/nsenter", f"--net={launch.network}", "--"] if launch.network else []


def _has_console(launch: Launch) -> bool:
    return launch.stdin or launch.tty


def _with_console(launch: Launch, command: Sequence[str], terminal: str) -> Sequence[str]:
    """The command below a program that holds its streams, where people may attach to it."""
    if not _has_console(launch):
        return command
    order = {
        "place": os.fspath(launch.place),
        "stdin": launch.stdin,
        "once": launch.stdin_once,
        "tty": launch.tty,
        "terminal": terminal,
    }
    return [sys.executable, "-I", "-S", console.__file__, json.dumps(order), "--", *command]


def adopt(
    container: str, attempt: int, place: Path, watch: ExitWatch, kind: Kind = ShimContainer
) -> ShimContainer | None:
    """The life that an earlier agent started at ``place``; None if nobody has claimed it yet."""
    record = read_life(place)
    if record is None:
        return None
    life = kind(container, attempt, place, record.pid, watch, _start_time(place, record))
    if record.code is None and is_shim(record.pid, place):
        life.follow(child=False)
    else:
        life.finish(record)
    return life


def lives(directory: Path) -> Iterator[tuple[str, int, Path]]:
    """(container, attempt, place) of every life that was claimed under a pod's directory, oldest attempt first."""
    found = []
    with contextlib.suppress(FileNotFoundError), os.scandir(directory) as entries:
        for entry in entries:
            stem, life, rest = entry.name.rpartition(".life")
            name, dot, attempt = stem.rpartition(".")
            if life and not rest and dot and attempt.isdigit():
                found.append((name, int(attempt), directory / stem))
    yield from sorted(found)


def log_files(place: Path, apart: bool | None = None) -> list[Path]:
    """The life's output: one file, or standard output and standard error where they are kept apart (None: look)."""
    out = Path(f"{place}.stdout")
    return [out, Path(f"{place}.stderr")] if apart or (apart is None and out.exists()) else [Path(f"{place}.log")]


def writers(container: Container) -> Writers | None:
    """The log's open files, which the shell keeps while the command runs. A relay writes through the same ones."""
    if not isinstance(container, ShimContainer):
        return None
    log = log_files(container.place, apart=False)[0]
    found: dict[int, int] = {}
    with contextlib.suppress(OSError):
        for entry in Path(f"/proc/{container.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # a shell moves its files about
                if entry.samefile(log):
                    found[_access(container.pid, entry.name)] = int(entry.name)
    if len(found) < 2:
        return None
    return writers_of(container.pid, (found[OUT_MODE & os.O_ACCMODE], found[ERR_MODE & os.O_ACCMODE]))


def _access(pid: int, descriptor: str) -> int:
    """How a process may use its open file: O_WRONLY, O_RDWR … Raises FileNotFoundError."""
    text = Path(f"/proc/{pid}/fdinfo/{descriptor}").read_text(encoding="ascii")
    return int(text.partition("flags:")[2].split()[0], 8) & os.O_ACCMODE


class LifeRecord(NamedTuple):
    """What a life file says. ``pid`` is 0 if the claim's writer was cut before it could sign; ``code`` None: no end."""

    pid: int
    tag: str
    code: int | None
    changed: datetime


def read_life(place: Path) -> LifeRecord | None:
    """None if nobody has claimed the life."""
    for _ in range(_CLAIM_READS):
        try:
            with open(f"{place}.life", "rb") as file:
                text = file.read(200)
                changed = datetime.fromtimestamp(os.fstat(file.fileno()).st_mtime, UTC)
        except FileNotFoundError:
            return None
        claim, newline, rest = text.partition(b"\n")
        if newline:
            pid, _, tag = claim.decode().partition(" ")
            code = rest.strip()
            return LifeRecord(int(pid), tag, int(code) if code.isdigit() and rest.endswith(b"\n") else None, changed)
        os.sched_yield()
    return LifeRecord(0, "", None, CLOCK.now())


def bar(place: Path) -> bool:
    """Takes the life itself, so that no shell can have it any more. False if somebody has it already."""
    try:
        os.close(os.open(f"{place}.life", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
    except FileExistsError:
        return False
    return True


def is_shim(pid: int, place: Path) -> bool:
    """Whether ``pid`` is (still) the shell of this very life: numbers are used again."""
    if pid <= 0:
        return False
    try:
        return os.fsencode(f"{place}.life") in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except FileNotFoundError:
        if Path("/proc/self").exists():
            return False
    except (PermissionError, ProcessLookupError):
        return False
    return _leads_group(pid)


def _leads_group(pid: int) -> bool:
    """Where there is no /proc (macOS): whether the process leads a group, as every shim does."""
    try:
        return os.getpgid(pid) == pid
    except ProcessLookupError:
        return False


def _start_time(place: Path, record: LifeRecord) -> datetime:
    """The claim's time while it runs; of an ended life about the time at which its log was made."""
    if record.code is None:
        return record.changed
    try:
        seen = log_files(place)[0].stat()
    except FileNotFoundError:
        return record.changed
    return min(datetime.fromtimestamp(min(seen.st_atime, seen.st_mtime), UTC), record.changed)
