"""The ``process`` runtime: containers are processes on this machine, with no isolation at all.

The fastest way to run a step and the only one that works everywhere. What it means is said loudly when it is chosen:
commands see this machine's files with the user's rights. Absolute paths of the manifest are this machine's paths, so

- volumes and staged files appear as symbolic links at their paths, for as long as the pod lives; what exists already
  belongs to the user, and the pod is refused instead (``CreateContainerError``);
- paths under ``/argo``, ``/var/run/argo`` and the like, which only Argo's own arguments name, are replaced by the
  real places in arguments and environment values;
- programs of the image map come first in ``PATH``, by links.

Every link and directory made is noted in the pod's directory before it is made, so that a later life of the agent can
take it away. ``docs/decisions/0030-process-runtime-paths.md`` has the reasons.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import re
import shutil
import signal
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from tiphys.cluster.node.runtime import Command, Container, Launch, Mount, RuntimeUnusable, StartFailure, Writers
from tiphys.cluster.node.runtimes import shim
from tiphys.cluster.node.runtimes.exits import ExitWatch
from tiphys.cluster.node.runtimes.sessions import ProcessSession
from tiphys.cluster.node.runtimes.spawn import Starter

INTERNAL = (
    "/argo",
    "/var/run/argo",
    "/mainctrfs",
    "/tmp/artifact-plugins",
    "/var/run/secrets/kubernetes.io/serviceaccount",
)
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# How containerd words it; tools look for the end of the sentence.
CANNOT_START = (
    "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed:"
    " unable to start container process: "
)
CANNOT_EXEC = "OCI runtime exec failed: exec failed: unable to start container process: "
# posix_spawn cannot change the directory everywhere.
EXEC_SCRIPT = 'cd -- "$1" || exit 126; shift; exec "$@"'
PROBE_DEADLINE_SECONDS = 5.0
# Programs whose place is remembered; one that goes away meanwhile is the shell's to complain about.
FOUND_MAX = 4096
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


class ProcessRuntime(Starter):
    """Runs containers straight on the host. ``directory`` holds links to the image map's programs."""

    name = "process"
    isolated = False
    uses_files = True
    same_users = True

    def __init__(self, directory: Path) -> None:
        self._links = directory / "bin"
        self._farms: dict[tuple[tuple[str, Path], ...], str] = {}
        self._found: dict[tuple[str, str], str] = {}
        path = os.environ.get("PATH", "")
        self.base_env = {"PATH": f"{path}:{DEFAULT_PATH}" if path else DEFAULT_PATH, "HOME": str(Path.home())}

    async def probe(self, scratch: Path) -> None:
        launch = Launch("probe", "probe", 0, scratch / "probe.0", ("true",), {"PATH": DEFAULT_PATH})
        await probe_by_starting(self.start(launch))

    def start(self, launch: Launch) -> shim.ShimContainer:
        make_links(launch)
        argv, env, cwd = self._real(launch, launch.argv)
        argv = [*map(Rewriter(launch.mounts), launch.wrapper), *argv]
        return shim.spawn(launch, argv, env, cwd, self.watch, self.spawner)

    def exec(self, container: Container, launch: Launch, command: Command) -> ProcessSession:
        check_running(container)
        try:
            argv, env, cwd = self._real(launch, command.argv)
        except StartFailure as err:
            raise exec_failure(err) from err
        session = ProcessSession(container, self.watch)
        script = [*shim.entered(launch), shim.SHELL, "-c", EXEC_SCRIPT, "tiphys", cwd, *argv]
        session.start(self.spawner, script, env, command)
        return session

    def _real(self, launch: Launch, words: Sequence[str]) -> tuple[list[str], dict[str, str], str]:
        """A command, the environment and the directory as they are on this machine. Raises ``StartFailure``."""
        env = dict(launch.env)
        path = self._search_path(launch, env.get("PATH", DEFAULT_PATH))
        env["PATH"] = path
        rewrite = Rewriter(launch.mounts)
        env = {key: rewrite(value) for key, value in env.items()}
        argv = [rewrite(word) for word in words]
        argv[0] = self._program(launch, argv[0], path)
        awkward = {key: env.pop(key) for key in list(env) if not _IDENTIFIER.match(key)}
        if awkward:  # a shell drops variables that are no identifiers
            argv = ["/usr/bin/env", *(f"{key}={value}" for key, value in awkward.items()), *argv]
        return argv, env, rewrite(launch.cwd or "/")

    def adopt(self, pod_uid: str, directory: Path) -> Sequence[shim.ShimContainer]:
        return adopt_lives(directory, self.watch)

    def host_path(self, launch: Launch, path: str) -> Path | None:
        return Path(Rewriter(launch.mounts)(path))

    def log_files(self, place: Path, apart: bool | None = None) -> Sequence[Path]:
        return shim.log_files(place, apart)

    def resize(self, container: Container, launch: Launch) -> None:
        """Nothing is limited here."""

    def writers(self, container: Container) -> Writers | None:
        return shim.writers(container)

    def termination_message(self, launch: Launch) -> Path | None:
        return None

    def discard(self, pod_uid: str, directory: Path) -> None:
        end_lives(directory)
        remove_links(directory)

    def _search_path(self, launch: Launch, path: str) -> str:
        """``path`` with a directory of links to the image's programs before it."""
        if not launch.programs:
            return path
        key = tuple(sorted(launch.programs.items()))
        farm = self._farms.get(key)
        if farm is None:
            farm = self._farms[key] = self._make_farm(launch.programs)
        return f"{farm}:{path}"

    def _make_farm(self, programs: Mapping[str, Path]) -> str:
        digest = hashlib.sha256(repr(sorted(programs.items())).encode()).hexdigest()[:16]
        farm = self._links / digest
        farm.mkdir(parents=True, exist_ok=True)
        for target, source in programs.items():
            if source.is_file():
                with contextlib.suppress(FileExistsError):
                    (farm / PurePosixPath(target).name).symlink_to(source)
        return str(farm)

    def _program(self, launch: Launch, word: str, path: str) -> str:
        # by its link: some programs do what they are called
        asked = f"{path.partition(':')[0]}/{PurePosixPath(word).name}" if word in launch.programs else word, path
        found = self._found.get(asked)
        if found is None:
            found = find_program(*asked)
            if len(self._found) < FOUND_MAX:
                self._found[asked] = found
        return found


def find_program(word: str, path: str) -> str:
    """Where the command is. Raises ``StartFailure`` with the words of a container runtime."""
    if "/" in word:
        check_program(word, word)
        return word
    found = shutil.which(word, path=path)
    if found is None:
        raise StartFailure("StartError", f'{CANNOT_START}exec: "{word}": executable file not found in $PATH')
    return found


def check_program(word: str, place: str | os.PathLike[str]) -> None:
    """Raises ``StartFailure`` unless ``place`` can be executed; ``word`` is what the message names."""
    prefix = f'{CANNOT_START}exec: "{word}": '
    try:
        mode = os.stat(place).st_mode
    except OSError as err:
        what = (
            "no such file or directory" if err.errno in (errno.ENOENT, errno.ENOTDIR) else (err.strerror or "").lower()
        )
        raise StartFailure("StartError", f"{prefix}stat {word}: {what}") from err
    if stat.S_ISDIR(mode) or not mode & 0o111:
        raise StartFailure("StartError", f"{prefix}permission denied")


class Rewriter:
    """Replaces leading internal paths by the places that are mounted there."""

    def __init__(self, mounts: Sequence[Mount]) -> None:
        self._places = sorted(
            ((m.target.rstrip("/"), str(m.source)) for m in mounts if is_internal(m.target)),
            key=lambda place: -len(place[0]),
        )

    def __call__(self, word: str) -> str:
        for target, source in self._places:
            if word == target or word.startswith(target + "/"):
                return source + word[len(target) :]
        return word


def is_internal(path: str) -> bool:
    return any(path == root or path.startswith(root + "/") for root in INTERNAL)


def make_links(launch: Launch) -> None:
    """Makes the mounts visible at their paths. Raises ``StartFailure`` where the user's own files are in the way."""
    notes = launch.place.parent / "made"
    for mount in launch.mounts:
        if not is_internal(mount.target):
            _make_link(Path(mount.target), mount.source, notes)


def _make_link(target: Path, source: Path, notes: Path) -> None:
    if target.is_symlink() and os.readlink(target) == str(source):
        return
    if target.exists() or target.is_symlink():
        raise StartFailure(
            "CreateContainerError",
            f"{target} exists on this machine and is not ours to replace: the process runtime shares the machine's"
            " files; use --runtime sandbox",
        )
    try:
        missing = [p for p in target.parents if not p.exists()]
        with notes.open("a", encoding="utf-8") as note:
            note.write("".join(f"dir {p}\n" for p in reversed(missing)) + f"link {target} {source}\n")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(source)
    except OSError as err:
        raise StartFailure(
            "CreateContainerError", f"cannot make {target} on this machine ({err.strerror}); use --runtime sandbox"
        ) from err


def remove_links(directory: Path) -> None:
    """Takes away what was made for a pod, newest first; what has changed hands since is left alone."""
    notes = directory / "made"
    if not notes.exists():
        return
    for line in reversed(notes.read_text(encoding="utf-8").splitlines()):
        kind, _, rest = line.partition(" ")
        if kind == "dir":
            with contextlib.suppress(OSError):
                os.rmdir(rest)
            continue
        place, _, source = rest.partition(" ")
        if os.path.islink(place) and os.readlink(place) == source:
            os.unlink(place)
    notes.unlink()


def adopt_lives(directory: Path, watch: ExitWatch, kind: shim.Kind = shim.ShimContainer) -> list[shim.ShimContainer]:
    found = (shim.adopt(name, attempt, place, watch, kind) for name, attempt, place in shim.lives(directory))
    return [life for life in found if life is not None]


def end_lives(directory: Path) -> None:
    """Kills what still runs in a pod's directory."""
    for _, _, place in shim.lives(directory):
        record = shim.read_life(place)
        if record is not None and record.code is None and shim.is_shim(record.pid, place):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(record.pid, signal.SIGKILL)


def check_running(container: Container) -> None:
    """Raises ``StartFailure`` for a container in which nothing can be run any more."""
    if container.ended.done():
        raise StartFailure("ContainerGone", f'container not found ("{container.name}")')


def exec_failure(err: StartFailure) -> StartFailure:
    """The same failure, of a command beside the container's own."""
    return StartFailure(err.reason, CANNOT_EXEC + str(err).removeprefix(CANNOT_START), err.code)


async def probe_by_starting(container: shim.ShimContainer) -> None:
    """Waits for a container that was started to prove that starting works. Raises ``RuntimeUnusable``."""
    try:
        end = await asyncio.wait_for(asyncio.shield(container.ended), PROBE_DEADLINE_SECONDS)
    except TimeoutError:
        container.signal(9)
        raise RuntimeUnusable(f"a test container did not end within {PROBE_DEADLINE_SECONDS:g} s") from None
    if end.code != 0:
        said = _text(shim.log_files(container.place)[0])
        raise RuntimeUnusable(f"a test container ended with code {end.code}: {said or 'no output'}")


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace").strip() if path.exists() else ""
