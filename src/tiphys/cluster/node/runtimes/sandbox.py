"""The ``sandbox`` runtime: containers in Linux namespaces, over a root derived from this machine, by bubblewrap.

Own root view (``rootfs.py``), own /tmp, /proc and /dev, own process, IPC and host-name space; the command is process 1,
as in any container. Capabilities are cut to the set that container engines give, system calls that only matter to
administrators are refused (``seccomp.py``). Works rootless wherever the kernel lets a user make namespaces.

The network is the machine's. Memory and CPU limits are not enforced here: the agent says so in the pod's conditions.

bubblewrap is a child of the shim's shell and dies with it, but the shell does not die with the agent. A signal goes to
process 1 of the container, whose number on the host bubblewrap writes to ``info-<tag>``. Root and info bear the tag of
their starter: should two agents start the same life, each prepares its own, and the claim says whose is in use.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from tiphys.cluster.node.rootfs import HostRoot, make_mount_point, resolve
from tiphys.cluster.node.runtime import Launch, Mount, RuntimeUnusable, StartFailure
from tiphys.cluster.node.runtimes import seccomp, shim
from tiphys.cluster.node.runtimes.exits import ExitWatch
from tiphys.cluster.node.runtimes.process import (
    CANNOT_START,
    DEFAULT_PATH,
    adopt_lives,
    check_program,
    end_lives,
    probe_by_starting,
)

# The set that Docker and containerd give a container (moby oci/caps/defaults.go), less MKNOD: there is no device here.
DEFAULT_CAPABILITIES = (
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE", "NET_RAW", "SETFCAP",
    "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
)  # fmt: skip
INFO_FD, SECCOMP_FD = 8, 9
# The shell passes these on to bubblewrap and the command; a shell drops other names, and the loader obeys LD_*.
_PLAIN = re.compile(r"(?!LD_)[A-Za-z_][A-Za-z0-9_]*\Z")


class SandboxContainer(shim.ShimContainer):
    """Signals reach process 1 of the container, not the shell and bubblewrap around it."""

    def signal(self, number: int) -> None:
        if self.ended.done():
            return
        pid = self._first_process()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if pid:
                os.kill(pid, number)
            else:  # not set up yet: end the attempt from outside
                os.killpg(self.pid, number)

    def _first_process(self) -> int:
        try:
            info = self.directory / f"info-{shim.read_tag(self.directory)}"
            return int(json.loads(info.read_bytes())["child-pid"])
        except (FileNotFoundError, ValueError, KeyError):
            return 0


class SandboxRuntime:
    """Runs containers under bubblewrap. ``directory`` holds what all of them share."""

    name = "sandbox"
    isolated = True
    uses_files = True

    def __init__(self, directory: Path, program: str | None = None) -> None:
        self._directory = directory
        self._program = program or shutil.which("bwrap") or "bwrap"
        self._root = HostRoot(directory / "host")
        self._filter = directory / "seccomp.bpf"
        self._watch: ExitWatch | None = None
        self._tags = itertools.count()
        self.base_env = {"PATH": DEFAULT_PATH, "HOME": "/root"}
        self._privileged = os.geteuid() == 0

    @property
    def watch(self) -> ExitWatch:
        if self._watch is None:
            self._watch = ExitWatch()
        return self._watch

    async def probe(self, scratch: Path) -> None:
        if shutil.which(self._program) is None:
            raise RuntimeUnusable("bubblewrap (bwrap) is not installed")
        life = scratch / "probe.0"
        life.mkdir()
        script = 'test "$$" = 1 && test ! -e /proc/1/root/.dockerenv && : > /tmp/written'
        launch = Launch("probe", "probe", 0, life, ("sh", "-c", script), {"PATH": DEFAULT_PATH})
        try:
            await probe_by_starting(self.start(launch))
        except StartFailure as err:
            raise RuntimeUnusable(str(err)) from err

    def start(self, launch: Launch) -> shim.ShimContainer:
        known = _known(launch, self.watch)
        if known is not None:
            return known
        tag = f"{os.getpid()}-{next(self._tags)}"
        root = launch.directory / f"root-{tag}"
        mounts = self._make_root(launch, root)
        self._check_program(launch, root, mounts)
        self._write_filter()
        env = {key: value for key, value in launch.env.items() if _PLAIN.match(key)}
        command = [self._program, *self._arguments(launch, root, mounts, env), "--", *launch.argv]
        files = [(INFO_FD, f"{launch.directory}/info-{tag}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)]
        if not launch.identity.privileged:
            files.append((SECCOMP_FD, str(self._filter), os.O_RDONLY))
        life = shim.spawn(
            launch.container,
            launch.attempt,
            launch.directory,
            command,
            env,
            "/",
            self.watch,
            split=launch.split_output,
            tag=tag,
            extra_files=files,
            kind=SandboxContainer,
        )
        return life

    def adopt(self, pod_uid: str, directory: Path) -> Sequence[shim.ShimContainer]:
        return adopt_lives(directory, self.watch, SandboxContainer)

    def host_path(self, launch: Launch, path: str) -> Path | None:
        tag = shim.read_tag(launch.directory)
        return None if tag is None else resolve(launch.directory / f"root-{tag}", self._view(launch), path)

    def log_files(self, directory: Path) -> Sequence[Path]:
        return shim.log_files(directory)

    def discard(self, pod_uid: str, directory: Path) -> None:
        end_lives(directory)

    def _view(self, launch: Launch) -> list[Mount]:
        programs = [Mount(source, target, read_only=True) for target, source in launch.programs.items()]
        return [*self._root.mounts(), *programs, *launch.mounts]

    def _make_root(self, launch: Launch, root: Path) -> list[Mount]:
        """Fills the life's root directory, with a place for every mount."""
        root.mkdir()
        self._root.make(root, launch.hostname)
        mounts = self._view(launch)
        shared = len(self._root.mounts())
        for mount in mounts[shared:]:
            make_mount_point(root, mounts, mount.target, directory=mount.source.is_dir())
        if launch.cwd:
            resolve(root, mounts, launch.cwd, make=True)
        return mounts

    def _check_program(self, launch: Launch, root: Path, mounts: Sequence[Mount]) -> None:
        word = launch.argv[0]
        if "/" in word:
            path = word if word.startswith("/") else str(PurePosixPath(launch.cwd or "/") / word)
            check_program(word, resolve(root, mounts, path) or Path("/nonexistent"))
            return
        for place in launch.env.get("PATH", DEFAULT_PATH).split(":"):
            found = resolve(root, mounts, f"{place}/{word}") if place.startswith("/") else None
            if found is not None and found.is_file() and os.access(found, os.X_OK):
                return
        raise StartFailure("StartError", f'{CANNOT_START}exec: "{word}": executable file not found in $PATH')

    def _arguments(self, launch: Launch, root: Path, mounts: Sequence[Mount], env: dict[str, str]) -> list[str]:
        words = ["--ro-bind" if launch.read_only_root else "--bind", str(root), "/"]
        words += ["--proc", "/proc", "--dev", "/dev", "--unshare-pid", "--unshare-ipc", "--unshare-uts"]
        for mount in mounts:
            words += ["--ro-bind" if mount.read_only else "--bind", str(mount.source), mount.target]
        words += ["--hostname", launch.hostname or "localhost", "--die-with-parent", "--as-pid-1"]
        words += ["--info-fd", str(INFO_FD), "--chdir", launch.cwd or "/"]
        for key, value in launch.env.items():
            if key not in env:
                words += ["--setenv", key, value]
        return words + self._identity(launch)

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


def _known(launch: Launch, watch: ExitWatch) -> shim.ShimContainer | None:
    return shim.adopt(launch.container, launch.attempt, launch.directory, watch, SandboxContainer)
