"""The ``sandbox`` runtime: containers in Linux namespaces, over a root derived from this machine, by bubblewrap.

Own root view (``rootfs.py``), own /tmp, /proc and /dev, own process, IPC and host-name space; the command is process 1,
as in any container. Capabilities are cut to the set that container engines give, system calls that only matter to
administrators are refused (``seccomp.py``). Works rootless wherever the kernel lets a user make namespaces.

The network is the machine's. Limits on memory, processor and processes are kept by control groups where there are any.

bubblewrap is a child of the shim's shell and dies with it, but the shell does not die with the agent. A signal goes to
process 1 of the container, which is bubblewrap's only child. What a container keeps on disk lies in ``<place>.<tag>``:
should two agents start the same life, each prepares its own, and the claim says whose is in use.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import itertools
import json
import os
import re
import shlex
import shutil
import signal
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from tiphys.cluster.node import cgroups
from tiphys.cluster.node.cgroups import limits_of_launch
from tiphys.cluster.node.identity import USUAL_CAPABILITIES
from tiphys.cluster.node.layered import (
    MERGED,
    ROOT,
    UPPER,
    LayeredRoot,
    make_directories,
    mount_command,
    own_namespace,
    pin_commands,
    pinned,
)
from tiphys.cluster.node.rootfs import HOST_ALIASES, HOSTS, HostRoot, resolve
from tiphys.cluster.node.runtime import Command, Container, Launch, Mount, RuntimeUnusable, StartFailure, Writers
from tiphys.cluster.node.runtimes import joining, seccomp, shim
from tiphys.cluster.node.runtimes.process import (
    CANNOT_START,
    DEFAULT_PATH,
    adopt_lives,
    check_program,
    check_running,
    end_lives,
    exec_failure,
    probe_by_starting,
)
from tiphys.cluster.node.runtimes.programs import ImagePrograms
from tiphys.cluster.node.runtimes.sessions import ProcessSession
from tiphys.cluster.node.runtimes.spawn import DESCRIPTOR_MIN, Spawner, Starter
from tiphys.machinery.podlife import Exit

# A device could not be made here, whatever the container may.
DEFAULT_CAPABILITIES = tuple(name for name in USUAL_CAPABILITIES if name != "MKNOD")
# Above those that the shim's script speaks of; the few that a shell keeps for itself it takes from what is free.
RESOLVER_FD, HOSTNAME_FD, HOSTS_FD, SECCOMP_FD = 20, 21, 22, 23
OWN_PLACE, TERMINATION_LOG = "/run/tiphys", "/dev/termination-log"
# In a life's own directory, beside the directories of its places on disk.
MESSAGE_FILE, ROOT_DIRECTORY = ".termination-log", ".root"
FOUND_MAX = 4096
# How long a signal that came before the container had a process waits between looks.
EARLY_SIGNAL_SECONDS = 0.01
REMOVAL_SECONDS = (0.05, 0.5, 5.0)
# The shell passes these on to bubblewrap and the command; a shell drops other names, and the loader obeys LD_*.
_PLAIN = re.compile(r"(?!LD_)[A-Za-z_][A-Za-z0-9_]*\Z")


class SandboxContainer(shim.ShimContainer):
    """Signals reach the command: process 1 of the container, or what is below bubblewrap's own process 1; not the
    shell and bubblewrap around them.

    ``groups`` are the control groups that some containers of this machine are in; None: none is.
    """

    def __init__(self, groups: cgroups.Cgroups | None, *what: Any) -> None:
        super().__init__(*what)
        self._groups = groups

    def counted_by(self, groups: cgroups.Cgroups) -> cgroups.Cgroups:
        """It may be in such groups from now on, though it was in none when it began."""
        self._groups = self._groups or groups
        return self._groups

    def group(self) -> cgroups.Group | None:
        return None if self._groups is None else self._groups.find(self.place)

    def conclude(self, end: Exit) -> Exit:
        """Whether the kernel ended it because its memory was used up."""
        if self._groups is None:
            return end
        group = self._groups.find(self.place)
        killed = group.out_of_memory()
        remove_soon(group)
        return replace(end, reason="OOMKilled") if killed else end

    def deliver(self, number: int) -> None:
        first = first_process(self.pid)
        hear = _commands(first) if number != signal.SIGKILL else [first] if first else []
        with contextlib.suppress(ProcessLookupError, PermissionError):
            for pid in hear:
                os.kill(pid, number)
            if not hear and number == signal.SIGKILL:  # not set up yet: end the attempt from outside
                os.killpg(self.pid, number)
        if not hear and number != signal.SIGKILL:
            signal_soon(self, number)


def signal_soon(container: shim.ShimContainer, number: int) -> None:
    """For one that is being set up: a moment later there is somebody to hear it."""
    asyncio.get_running_loop().call_later(EARLY_SIGNAL_SECONDS, container.signal, number)


def remove_soon(group: cgroups.Group, waits: Sequence[float] = REMOVAL_SECONDS) -> None:
    """A process that was killed needs a moment to be gone; whatever is left then, the next agent sweeps."""
    if not group.remove() and waits:
        asyncio.get_running_loop().call_later(waits[0], remove_soon, group, waits[1:])


def _commands(first: int) -> list[int]:
    """Process 1 of a container, or what bubblewrap runs in its place; none before bubblewrap does."""
    if not first:
        return []
    return _children(first) if _is_bubblewrap(first) else [first]


def _is_bubblewrap(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip() == "bwrap"
    except OSError:
        return False


def first_process(pid: int) -> int:
    """Process 1 of the container below the shim's shell, as this machine counts; 0 while there is none."""
    for child in _children(pid):
        found = child if is_first(child) else first_process(child)
        if found:
            return found
    return 0


def descendants(pid: int) -> list[int]:
    """All that a process has started and what those have, as far as it is still there."""
    found: list[int] = []
    for child in _children(pid):
        found += [child, *descendants(child)]
    return found


def is_first(pid: int) -> bool:
    """Whether it is number 1 in a process namespace of its own."""
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return False
    numbers = text.partition("NSpid:")[2].partition("\n")[0].split()
    return len(numbers) > 1 and numbers[-1] == "1"


def _children(pid: int) -> list[int]:
    """Of all its threads: a program in Go (runc) starts others from any of them."""
    found: list[int] = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                found += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
    return found


class SandboxRuntime(Starter):
    """Runs containers under bubblewrap. ``directory`` holds what all of them share."""

    name = "sandbox"
    isolated = True
    uses_files = True
    same_users = False

    def __init__(self, directory: Path, program: str | None = None) -> None:
        self._directory = directory
        self._program = program or shutil.which("bwrap") or "bwrap"
        self._root = HostRoot(directory / "host")
        self._programs = ImagePrograms(directory / "programs", self._root)
        self._filter = directory / "seccomp.bpf"
        self._tags = itertools.count()
        self._found: set[tuple[str, str]] = set()
        self._groups: cgroups.Cgroups | None = None
        self.base_env = {"PATH": DEFAULT_PATH, "HOME": "/root"}
        self._privileged = os.geteuid() == 0

    async def probe(self, scratch: Path) -> None:
        if shutil.which(self._program) is None:
            raise RuntimeUnusable("bubblewrap (bwrap) is not installed")
        script = 'test "$$" = 1 && : > /tmp/written'
        launch = Launch("probe", "probe", 0, scratch / "probe.0", ("sh", "-c", script), {"PATH": DEFAULT_PATH})
        try:
            await probe_by_starting(self.start(launch))
        except StartFailure as err:
            raise RuntimeUnusable(str(err)) from err

    def start(self, launch: Launch) -> shim.ShimContainer:
        tag = f"{os.getpid()}-{next(self._tags)}"
        programs = self._programs.of(launch)
        launch = replace(launch, argv=programs.command(launch.argv))
        view = self._view(launch, tag)
        prepare_view(view, launch.kept)
        self._check_program(launch, view, launch.argv[0])
        self._write_filter()
        env = {key: value for key, value in launch.env.items() if _PLAIN.match(key)}
        env["PATH"] = programs.search_path(launch.env)
        own = Path(f"{launch.place}.{tag}")
        pins = pinned(launch.mounts, own)
        command = [self._program, *self._arguments(launch, view, env, pins), "--", *launch.wrapper, *launch.argv]
        steps = [] if launch.root is None else [mount_command(launch.root, own, rootless=not self._privileged)]
        steps += pin_commands(pins)
        if steps:
            before = own_namespace(rootless=not self._privileged)
            command = [*before, shim.SHELL, "-c", f'{" && ".join(steps)} && exec "$@"', "tiphys", *command]
        return shim.spawn(
            launch,
            self._limited(launch, command),
            env,
            "/",
            self.watch,
            self.spawner,
            tag=tag,
            open_files=() if launch.identity.privileged else ((SECCOMP_FD, str(self._filter)),),
            hand_over=(
                (HOSTS_FD, _memory_file(hosts_file(launch))),
                (HOSTNAME_FD, _memory_file(f"{launch.hostname}\n")),
                (RESOLVER_FD, _memory_file(launch.resolv_conf or self._root.resolv_conf)),
            ),
            kind=self._kind,
            relayed=True,
        )

    def _limited(self, launch: Launch, command: list[str]) -> list[str]:
        """The command in control groups of its own, where the container has limits and groups can be made."""
        limits = limits_of_launch(launch)
        if not limits.any:
            return command
        groups = self._find_groups()
        entries = groups.make(launch.place, limits).limits
        if not entries:
            return command
        enter = " && ".join(f"echo 0 >{shlex.quote(str(entry))}" for entry in entries)
        return [shim.SHELL, "-c", f'{enter} && exec "$@"', "tiphys", *command]

    def _find_groups(self) -> cgroups.Cgroups:
        if self._groups is None:
            self._groups = cgroups.find()
        return self._groups

    def _kind(self, *what: Any) -> SandboxContainer:
        return SandboxContainer(self._groups, *what)

    def exec(self, container: Container, launch: Launch, command: Command) -> ProcessSession:
        check_running(container)
        record = shim.read_life(launch.place)
        pid = 0 if record is None else first_process(record.pid)
        if record is None or not pid:
            raise StartFailure("ContainerGone", f'container not found ("{launch.container}")')
        programs = self._programs.of(launch)
        argv = programs.command(command.argv)
        try:
            self._check_program(launch, self._view(launch, record.tag), argv[0])
        except StartFailure as err:
            raise exec_failure(err) from err
        order = {
            "pid": pid,
            "argv": argv,
            "env": dict(launch.env) | {"PATH": programs.search_path(launch.env)},
            "cwd": launch.cwd or "/",
            "filter": "" if launch.identity.privileged else str(self._filter),
            "tty": command.tty,
        }
        return join(ProcessSession(container, self.watch), self.spawner, command, order)

    def adopt(self, pod_uid: str, directory: Path) -> Sequence[shim.ShimContainer]:
        if self._groups is None and next(iter(shim.lives(directory)), None) is not None:
            self._find_groups()  # an earlier agent may have made some for them
        return adopt_lives(directory, self.watch, self._kind)

    def host_path(self, launch: Launch, path: str) -> Path | None:
        record = shim.read_life(launch.place)
        return None if record is None else self._view(launch, record.tag).resolve(path)

    def log_files(self, place: Path, apart: bool | None = None) -> Sequence[Path]:
        return shim.log_files(place, apart)

    def writers(self, container: Container) -> Writers | None:
        return shim.writers(container)

    def termination_message(self, launch: Launch) -> Path | None:
        record = shim.read_life(launch.place)
        return None if record is None else Path(f"{launch.place}.{record.tag}", MESSAGE_FILE)

    def resize(self, container: Container, launch: Launch) -> None:
        assert isinstance(container, SandboxContainer)
        groups = container.counted_by(self._find_groups())
        groups.change(launch.place, launch.container, limits_of_launch(launch), lambda: descendants(container.pid))

    def discard(self, pod_uid: str, directory: Path) -> None:
        end_lives(directory)
        if self._groups is not None:
            for _, _, place in shim.lives(directory):
                remove_soon(self._groups.find(place))

    def _view(self, launch: Launch, tag: str) -> View | LayeredRoot:
        """What the container sees: the image's root, or the shared one with the image map's programs and its own places
        on disk; and its mounts."""
        own = Path(f"{launch.place}.{tag}")
        if launch.root is not None:
            return LayeredRoot(launch.root, own / UPPER, own / MERGED, launch.mounts)
        tops = {"/tmp", *(_top(path) for path in self._root.without_links(launch.kept))}
        kept = [Mount(own / (top.strip("/") or ROOT_DIRECTORY), top) for top in sorted(tops)]
        programs = self._programs.of(launch)
        return View(self._root, own, kept, [*programs.mounts, *launch.mounts], programs.links)

    def _check_program(self, launch: Launch, view: View | LayeredRoot, word: str) -> None:
        if "/" in word:
            path = word if word.startswith("/") else str(PurePosixPath(launch.cwd or "/") / word)
            check_program(word, view.resolve(path) or Path("/nonexistent"))
            return
        path = self._programs.of(launch).search_path(launch.env)
        usual = (word, path) if not (launch.programs or launch.mounts or launch.root) else None
        if usual is not None and usual in self._found:
            return
        for place in path.split(":"):
            found = view.resolve(f"{place}/{word}") if place.startswith("/") else None
            if found is not None and found.is_file() and os.access(found, os.X_OK):
                if usual is not None and len(self._found) < FOUND_MAX:
                    self._found.add(usual)
                return
        raise StartFailure("StartError", f'{CANNOT_START}exec: "{word}": executable file not found in $PATH')

    def _arguments(
        self, launch: Launch, view: View | LayeredRoot, env: dict[str, str], pins: Mapping[Mount, Mount]
    ) -> list[str]:
        own = view.own if isinstance(view, View) else view.upper.parent
        words = [
            *self._root_arguments(view),
            "--proc",
            "/proc",
            "--dev",
            "/dev",
            "--unshare-pid",
            "--unshare-ipc",
            "--unshare-uts",
        ]
        words += ["--bind", str(own), OWN_PLACE, "--symlink", f"{OWN_PLACE}/{MESSAGE_FILE}", TERMINATION_LOG]
        files = ["--file", str(HOSTS_FD), "/etc/hosts", "--file", str(HOSTNAME_FD), "/etc/hostname"]
        files += ["--file", str(RESOLVER_FD), "/etc/resolv.conf"]
        kept: list[Mount] = []
        if isinstance(view, View):
            kept = [replace(mount, read_only=launch.read_only_root) for mount in view.kept if mount.target != "/"]
            for link, target in view.links:
                words += ["--symlink", target, link]
            words += [word for mount in view.root.beside(kept) for word in _bind(mount)]
        # an /etc of the container's own gets these files too, unless nothing may be written to it
        binds = [word for mount in kept for word in _bind(mount)]
        words += [*files, *binds] if launch.read_only_root else [*binds, *files]
        words += [word for mount in view.mounts for word in _bind(pins.get(mount, mount))]
        if launch.cwd not in ("", "/"):
            place = view.resolve(launch.cwd)
            if place is None or not place.exists():
                words += ["--dir", launch.cwd]
            elif not place.is_dir():
                said = f"{CANNOT_START}error during container init: mkdir {launch.cwd}: not a directory"
                raise StartFailure("StartError", said)
        words += ["--remount-ro", "/"] if launch.read_only_root else []
        words += ["--hostname", launch.hostname or "localhost", "--die-with-parent"]
        words += [] if launch.supervised else ["--as-pid-1"]
        words += ["--chdir", launch.cwd or "/"]
        for key, value in launch.env.items():
            if key not in env:
                words += ["--setenv", key, value]
        return words + self._identity(launch)

    def _root_arguments(self, view: View | LayeredRoot) -> Sequence[str]:
        if isinstance(view, LayeredRoot):
            return ["--bind", str(view.upper.with_name(ROOT)), "/"]
        first = [] if "/" not in (m.target for m in view.kept) else ["--bind", str(view.kept[0].source), "/"]
        return [*first, *self._root.arguments()]

    def _identity(self, launch: Launch) -> list[str]:
        who = launch.identity
        words: list[str] = []
        if who.uid or who.gid or not self._privileged:
            words += ["--unshare-user", "--uid", str(who.uid or 0), "--gid", str(who.gid or 0)]
        if who.privileged:
            return words
        words += ["--cap-drop", "ALL", "--seccomp", str(SECCOMP_FD)]
        if not who.uid:
            wanted = DEFAULT_CAPABILITIES if who.capabilities is None else who.capabilities
            for name in wanted:
                words += ["--cap-add", f"CAP_{name}"]
        return words

    def _write_filter(self) -> None:
        if not self._filter.exists():
            self._directory.mkdir(parents=True, exist_ok=True)
            draft = self._filter.with_suffix(f".{os.getpid()}")
            draft.write_bytes(seccomp.program())
            draft.replace(self._filter)


def _bind(mount: Mount) -> list[str]:
    return ["--ro-bind" if mount.read_only else "--bind", str(mount.source), mount.target]


def prepare_view(view: View | LayeredRoot, paths: Collection[str] = ()) -> None:
    """Makes what the container will have on disk; ``paths`` are those of its own that it declares."""
    if isinstance(view, LayeredRoot):
        make_directories(view.upper.parent)
        return
    for mount in view.kept:
        mount.source.mkdir(parents=True, exist_ok=True)
        mount.source.chmod(0o1777 if mount.target == "/tmp" else 0o755)
        view.root.fill(mount.source, mount.target, paths)


@dataclass(frozen=True)
class View:
    """What a container sees besides the shared root. ``own`` is the life's directory, ``kept`` lies in it."""

    root: HostRoot
    own: Path
    kept: list[Mount]
    mounts: list[Mount]
    links: Sequence[tuple[str, str]]

    def resolve(self, path: str) -> Path | None:
        links = [*self.root.links(), *self.links] if self.links else self.root.links()
        return resolve([*self.root.mounts(), *self.root.beside(self.kept), *self.kept, *self.mounts], links, path)


def join(session: ProcessSession, spawner: Spawner, command: Command, order: Mapping[str, Any]) -> ProcessSession:
    """Starts the session with a command in the namespaces of a process; ``joining.py`` has the order's words."""
    session.start(
        spawner,
        [sys.executable, "-I", "-S", joining.__file__],
        {},
        command,
        devices=f"/proc/{order['pid']}/root/dev",
        hand_over=((joining.ORDER_FD, _memory_file(json.dumps(order))),),
    )
    return session


def _top(path: str) -> str:
    """The directory below / in which ``path`` lies; / itself for what lies in no directory."""
    parts = PurePosixPath(path).parts
    return f"/{parts[1]}" if len(parts) > 2 else "/"


def hosts_file(launch: Launch) -> str:
    if launch.hosts:
        return launch.hosts
    own = f"127.0.0.1\t{launch.hostname}\n" if launch.hostname else ""
    aliases = HOST_ALIASES + "".join(f"{line}\n" for line in launch.host_aliases) if launch.host_aliases else ""
    return HOSTS + own + aliases


def _memory_file(text: str) -> int:
    """A file without a place: bubblewrap copies it from the descriptor, whose number is none of those passed on."""
    low = os.memfd_create("tiphys", os.MFD_CLOEXEC)
    os.write(low, text.encode())
    os.lseek(low, 0, os.SEEK_SET)
    high = fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, DESCRIPTOR_MIN)
    os.close(low)
    return high
