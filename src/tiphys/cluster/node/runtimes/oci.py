"""The ``oci`` runtime: containers by crun or runc, over an image's root filesystem or one derived from this machine.

    shim shell ── unshare -m sh (enters control groups, mounts the root) ── crun|runc run ── the container's process 1

Everything that the container needs of the kernel hangs on these processes: the overlay of its root is mounted in a
mount namespace of their own and disappears with it, so that no mount outlives a container, whoever is killed. Control
groups are made by the agent (``cgroups.py``), which removes them when the container has ended.

crun before 1.9 refuses machines with both versions of control groups mounted, and runc insists on managing some: the
mounts that are in the way are taken out of that same namespace. What works is found by running it (``probe``). crun
hands our pipes on to the container; runc has pipes of its own between, so that the order of what goes to two outputs at
nearly the same time may be lost.

A life keeps ``<place>.<tag>/``: the bundle (config.json), ``pid`` (process 1, once it exists), ``runtime.log`` (what
crun or runc had to complain of), ``upper`` (what the container changed in its root) and the files mounted into /etc.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import re
import resource
import shlex
import shutil
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from tiphys.cluster.node import cgroups
from tiphys.cluster.node.layered import (
    MERGED,
    ROOT,
    UPPER,
    LayeredRoot,
    copy_tree,
    make_directories,
    mount_command,
    own_namespace,
    pin_commands,
    pinned,
    search,
)
from tiphys.cluster.node.rootfs import EMPTY, HostRoot
from tiphys.cluster.node.runtime import Command, Container, Launch, Mount, RuntimeUnusable, StartFailure, Writers
from tiphys.cluster.node.runtimes import bundle, seccomp, shim
from tiphys.cluster.node.runtimes.console import TERMINAL_SOCKET
from tiphys.cluster.node.runtimes.process import (
    CANNOT_START,
    DEFAULT_PATH,
    adopt_lives,
    check_program,
    check_running,
    exec_failure,
    probe_by_starting,
)
from tiphys.cluster.node.runtimes.programs import PROGRAMS_PLACE, ImagePrograms
from tiphys.cluster.node.runtimes.sandbox import first_process as first_below
from tiphys.cluster.node.runtimes.sandbox import (
    hosts_file,
    is_first,
    join,
    remove_soon,
    signal_soon,
)
from tiphys.cluster.node.runtimes.sessions import ProcessSession
from tiphys.cluster.node.runtimes.spawn import Starter
from tiphys.machinery.podlife import Exit

PROGRAMS = ("crun", "runc")
TERMINATION_LOG = "/dev/termination-log"
COMPLAINT_MAX = 4096
# Of one word, and of all with the environment: linux/binfmts.h MAX_ARG_STRLEN, and three quarters of its usual stack.
ARGUMENT_MAX, ARGUMENTS_MAX = 128 << 10, 6 << 20
# Where runc makes the group that it must have, beside ours.
RUNC_FOLDER = "tiphys-runc"
NO_DEVICES = frozenset({"MKNOD"})
_UNSAFE = re.compile(r"[^A-Za-z0-9_.+-]")


@dataclass(frozen=True, slots=True)
class Variant:
    """A program, and what must not be mounted where it runs; ``groups``: it insists on a control group of its own."""

    program: str
    path: str
    hidden: tuple[str, ...] = ()
    groups: bool = False


class OciContainer(shim.ShimContainer):
    """Signals reach process 1 of the container, which crun or runc wrote down."""

    def __init__(self, groups: cgroups.Cgroups, *what: Any) -> None:
        super().__init__(*what)
        self._groups = groups

    def deliver(self, number: int) -> None:
        if self._kill_first(number):
            return
        if number != signal.SIGKILL:
            signal_soon(self, number)
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)
        self._kill_first(number)  # it may have come to life just before

    def _kill_first(self, number: int) -> bool:
        first = first_process(self.place)
        if first is None:
            return False
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(first, number)
        return True

    def finish(self, record: shim.LifeRecord | None) -> None:
        if self.ended.done():
            return
        if record is None or record.code is None:  # the shell was killed; what it ran must not outlive it
            self._kill_first(signal.SIGKILL)
            self._groups.find(self.place).kill()  # runc may not have written down yet whom it started
        super().finish(record)

    def group(self) -> cgroups.Group | None:
        return self._groups.find(self.place)

    def conclude(self, end: Exit) -> Exit:
        """What the shell cannot know: the kernel's hand, or that the container never began."""
        group = self._groups.find(self.place)
        killed = group.out_of_memory()
        remove_soon(group)
        if killed:
            return replace(end, reason="OOMKilled")
        complaint = "" if end.code == 0 else _complaint(own_directory(self.place))
        if complaint:
            return replace(end, code=128, reason="StartError", message=f"{CANNOT_START}{complaint}")
        return end


class OciRuntime(Starter):
    """``directory`` holds what all containers share: crun's state, the derived root."""

    name = "oci"
    isolated = True
    uses_files = True

    def __init__(self, directory: Path, programs: Sequence[str] = PROGRAMS) -> None:
        self._state = directory / "oci"
        self._skeleton = directory / "oci-root"
        self._root = HostRoot(directory / "host")
        self._image_programs = ImagePrograms(directory / "programs", self._root)
        self._programs = programs
        self._variant: Variant | None = None
        self._groups = cgroups.Cgroups({})
        self._overlay = True
        self._rootless = os.geteuid() != 0
        self.same_users = not self._rootless  # a plain user can give a container no more than their own one
        self._tags = itertools.count()
        self.base_env = {"PATH": DEFAULT_PATH}

    @property
    def program(self) -> str:
        """Which of crun and runc was found to work, after ``probe``."""
        return self._chosen().program

    @property
    def unlimited(self) -> tuple[str, ...]:
        """The kinds of limits that cannot be kept here."""
        return self._groups.missing

    async def probe(self, scratch: Path) -> None:
        """Tries each program, with and without overlayfs, by really running a container."""
        found = cgroups.find()
        cgroups.sweep(found.homes, shim.CLOCK.now().timestamp())
        variants = self._variants()
        if not variants:
            raise RuntimeUnusable("neither crun nor runc is installed")
        refused = []
        for number, (variant, overlay) in enumerate(itertools.product(variants, (True, False))):
            self._variant, self._overlay = variant, overlay
            # In the one hierarchy of version 2, what runc starts is in runc's group and so in none of ours.
            self._groups = cgroups.Cgroups({}) if variant.groups and found.unified else found
            try:
                await self._try(scratch / f"try.{number}")
            except (RuntimeUnusable, StartFailure) as err:
                refused.append(f"{variant.program}{'' if overlay else ' without overlayfs'}: {err}")
            else:
                return
        self._variant = None
        raise RuntimeUnusable("; ".join(refused))

    async def _try(self, place: Path) -> None:
        os.makedirs(place)
        script = 'test "$$" = 1 && : > /tmp/written'
        container = self.start(
            Launch("probe", "probe", 0, place / "probe.0", ("sh", "-c", script), {"PATH": DEFAULT_PATH})
        )
        try:
            await probe_by_starting(container)
        except RuntimeUnusable as err:
            end = container.ended.result() if container.ended.done() else None
            raise RuntimeUnusable(end.message if end is not None and end.message else str(err)) from None
        finally:
            self.discard("probe", place)

    def _variants(self) -> list[Variant]:
        try:
            layout = cgroups.hierarchies(Path("/proc/self/mounts").read_text())
        except OSError:
            return []
        found = []
        for program in self._programs:
            path = shutil.which(program)
            if path is None:
                continue
            if program == "runc":  # it must have a group; our own counters are kept out of its reach
                ours = [place for name, place in layout.controllers.items() if name in cgroups.CONTROLLERS]
                found.append(Variant(program, path, tuple(map(str, ours)), groups=True))
            else:
                hidden = (str(layout.unified),) if layout.hybrid and layout.unified else ()
                found.append(Variant(program, path, hidden))
        return found

    def _chosen(self) -> Variant:
        if self._variant is None:
            raise StartFailure("StartError", "no OCI runtime was found to work")
        return self._variant

    def start(self, launch: Launch) -> shim.ShimContainer:
        variant = self._chosen()
        tag = f"{os.getpid()}-{next(self._tags)}"
        own = Path(f"{launch.place}.{tag}")
        view = self._view(launch, own)
        launch = self._complete(launch, view)
        check_command(launch, view)
        check_size(launch)
        try:
            groups = self._groups.make(launch.place, cgroups.limits_of_launch(launch))
            pins = self._prepare(launch, own, groups)
        except OSError as err:
            raise StartFailure("CreateContainerError", f"cannot prepare the container: {err}") from err
        strange = _strange_program(launch, view)
        return shim.spawn(
            launch,
            strange or self._command(launch, own, groups, variant, pins),
            {"PATH": DEFAULT_PATH},
            "/",
            self.watch,
            self.spawner,
            tag=tag,
            kind=partial(OciContainer, self._groups),
            terminal=str(own / "terminal") if _sends_terminal(launch, variant) and not strange else "",
            relayed=True,
        )

    def exec(self, container: Container, launch: Launch, command: Command) -> ProcessSession:
        check_running(container)
        record, first = shim.read_life(launch.place), first_process(launch.place)
        if record is None or first is None:
            raise StartFailure("ContainerGone", f'container not found ("{launch.container}")')
        view = self._view(launch, Path(f"{launch.place}.{record.tag}"))
        launch = self._complete(replace(launch, argv=command.argv), view)
        try:
            check_command(launch, view)
        except StartFailure as err:
            raise exec_failure(err) from err
        filtered = bundle.security_of(launch).filtered
        group = self._groups.find(launch.place)
        order = {
            "pid": first,
            "argv": launch.argv,
            "env": dict(launch.env),
            "cwd": launch.cwd or "/",
            "filter": str(self._write_filter()) if filtered else "",
            "tty": command.tty,
            "groups": [str(entry) for entry in group.limits],
        }
        return join(ProcessSession(container, self.watch), self.spawner, command, order)

    def _write_filter(self) -> Path:
        place = self._state.with_name("oci-seccomp.bpf")
        if not place.exists():
            draft = place.with_suffix(f".{os.getpid()}")
            draft.write_bytes(seccomp.program())
            draft.replace(place)
        return place

    def adopt(self, pod_uid: str, directory: Path) -> Sequence[shim.ShimContainer]:
        return adopt_lives(directory, self.watch, partial(OciContainer, self._groups))

    def host_path(self, launch: Launch, path: str) -> Path | None:
        record = shim.read_life(launch.place)
        return None if record is None else self._view(launch, Path(f"{launch.place}.{record.tag}")).resolve(path)

    def log_files(self, place: Path, apart: bool | None = None) -> Sequence[Path]:
        return shim.log_files(place, apart)

    def writers(self, container: Container) -> Writers | None:
        return shim.writers(container)

    def termination_message(self, launch: Launch) -> Path | None:
        record = shim.read_life(launch.place)
        return None if record is None else Path(f"{launch.place}.{record.tag}", "termination-log")

    def resize(self, container: Container, launch: Launch) -> None:
        def processes() -> list[int]:
            return self._groups.find(launch.place).processes()

        self._groups.change(launch.place, launch.container, cgroups.limits_of_launch(launch), processes)

    def discard(self, pod_uid: str, directory: Path) -> None:
        for container, attempt, place in shim.lives(directory):
            record = shim.read_life(place)
            if record is not None and record.code is None:
                first = first_process(place)
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    if first is not None:
                        os.kill(first, signal.SIGKILL)
                    if shim.is_shim(record.pid, place):
                        os.killpg(record.pid, signal.SIGKILL)
                self._groups.find(place).kill()
            remove_soon(self._groups.find(place))
            name = container_id(pod_uid, container, attempt)
            shutil.rmtree(self._state / name, ignore_errors=True)
            for left in Path("/sys/fs/cgroup").glob(f"*/{RUNC_FOLDER}/{group_name(place)}"):
                with contextlib.suppress(OSError):
                    left.rmdir()

    # Preparations.

    def _view(self, launch: Launch, own: Path) -> LayeredRoot:
        lower = launch.root or self._skeleton
        programs = self._image_programs.of(launch).mounts
        shared = [] if launch.root else self._root.mounts()
        files = [Mount(own / name, target) for target, name in OWN_FILES.items()]
        mounts = [*shared, *programs, *files, *launch.mounts]
        mounts += [Mount(own / name, target) for target, name in image_volumes(launch).items()]
        return LayeredRoot(lower if self._overlay else None, own / UPPER, own / MERGED, mounts)

    def _complete(self, launch: Launch, view: LayeredRoot) -> Launch:
        """The environment as an engine completes it: PATH with the image map's programs, HOME from the accounts; and
        the command with the place that such a program has."""
        env = dict(launch.env)
        programs = self._image_programs.of(launch)
        env["PATH"] = programs.search_path(env)
        if "HOME" not in env:
            env["HOME"] = _home(view, launch.identity.uid or 0)
        return replace(launch, argv=programs.command(launch.argv), env=env)

    def _prepare(self, launch: Launch, own: Path, groups: cgroups.Group) -> dict[Mount, Mount]:
        """The files of the life; which of its mounts are to be made by way of which other ones."""
        make_directories(own)
        self._prepare_root(launch, own / UPPER)
        make_image_volumes(launch, own)
        texts = {
            "hosts": hosts_file(launch),
            "hostname": f"{launch.hostname}\n",
            "resolv.conf": launch.resolv_conf or _resolver(),
        }
        for name in OWN_FILES.values():
            (own / name).write_text(texts.get(name, ""), encoding="utf-8")
        (own / "termination-log").chmod(0o666)
        security = bundle.security_of(launch)
        places = bundle.Places(
            root=own / ROOT,
            shared=() if launch.root else (*self._root.mounts(), *self._image_programs.of(launch).mounts),
            own=[Mount(own / name, target) for target, name in OWN_FILES.items()],
            volumes=[Mount(own / name, target) for target, name in image_volumes(launch).items()],
            groups={} if self._chosen().groups else groups.places,
            cgroups_path=f"/{RUNC_FOLDER}/{group_name(launch.place)}" if self._chosen().groups else "",
        )
        guarded = self._groups.guards_devices or self._chosen().groups
        pins = pinned(launch.mounts, own)
        held = replace(launch, mounts=tuple(pins.get(mount, mount) for mount in launch.mounts))
        config = bundle.config(held, security, places, without=frozenset() if guarded else NO_DEVICES)
        (own / "config.json").write_text(json.dumps(config), encoding="utf-8")
        return pins

    def _prepare_root(self, launch: Launch, upper: Path) -> None:
        if launch.root is None:
            self._make_skeleton()
        if not self._overlay:
            copy_tree(launch.root or self._skeleton, upper)
        if launch.root is None:
            for link, target in self._image_programs.of(launch).links:
                place = upper / link.lstrip("/")
                place.parent.mkdir(parents=True, exist_ok=True)
                with contextlib.suppress(FileExistsError):
                    place.symlink_to(target)

    def _make_skeleton(self) -> None:
        """The derived root's directories and links, once; what is mounted on them comes per container."""
        if self._skeleton.exists():
            return
        draft = self._skeleton.with_name(f"{self._skeleton.name}.{os.getpid()}")
        for directory in (*EMPTY, "/tmp", "/var/tmp", "/proc", "/dev", "/sys"):
            (draft / directory.lstrip("/")).mkdir(parents=True, exist_ok=True)
        for open_to_all in ("tmp", "var/tmp"):
            (draft / open_to_all).chmod(0o1777)
        (draft / "root").chmod(0o700)
        for link, target in self._root.links():
            place = draft / link.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(target)
        try:
            draft.rename(self._skeleton)
        except OSError:  # another agent was first
            shutil.rmtree(draft, ignore_errors=True)

    def _command(
        self, launch: Launch, own: Path, groups: cgroups.Group, variant: Variant, pins: Mapping[Mount, Mount]
    ) -> list[str]:
        """Enters the groups, hides what is in the way, mounts the root, becomes crun or runc."""
        entries = groups.limits if variant.groups else groups.entries
        steps = [f"echo 0 >{shlex.quote(str(entry))}" for entry in entries]
        # A user may not take away what root has mounted, but may cover it in a namespace of their own.
        hide = "mount -i -t tmpfs none" if self._rootless else "umount -l"
        steps += [f"{hide} {shlex.quote(place)}" for place in variant.hidden]
        lower = launch.root or self._skeleton
        steps.append(mount_command(lower, own, rootless=self._rootless, overlay=self._overlay))
        steps += pin_commands(pins)
        complaints = shlex.quote(str(own / "runtime.log"))
        words = [variant.path, "--root", str(self._state), "--log", str(own / "runtime.log"), "--log-format", "json"]
        words += ["--cgroup-manager=disabled"] if variant.program == "crun" else []
        words += ["run"] + (["--console-socket", TERMINAL_SOCKET] if _sends_terminal(launch, variant) else [])
        words += ["--bundle", str(own), "--pid-file", str(own / "pid"), container_name(launch)]
        script = f"{{ {' && '.join(steps)}; }} 2>>{complaints} && exec {shlex.join(words)}"
        return [*own_namespace(rootless=self._rootless), shim.SHELL, "-c", script]


def _sends_terminal(launch: Launch, variant: Variant) -> bool:
    """crun hands a container's terminal over; runc in the foreground copies between it and the one that it is at."""
    return launch.tty and variant.program == "crun"


# Container path → its file in a life's own directory.
OWN_FILES = {
    "/etc/hosts": "hosts",
    "/etc/hostname": "hostname",
    "/etc/resolv.conf": "resolv.conf",
    TERMINATION_LOG: "termination-log",
}


def container_id(pod_uid: str, container: str, attempt: int) -> str:
    """What crun and runc call a life; letters that they do not allow become underscores."""
    return _UNSAFE.sub("_", f"{pod_uid}-{container}-{attempt}")


def container_name(launch: Launch) -> str:
    return container_id(launch.pod_uid, launch.container, launch.attempt)


def group_name(place: Path) -> str:
    """What runc's own control group of a life is called: unlike any other's on this machine."""
    return hashlib.sha256(os.fsencode(place)).hexdigest()[:24]


def own_directory(place: Path) -> Path | None:
    record = shim.read_life(place)
    return None if record is None else Path(f"{place}.{record.tag}")


def first_process(place: Path) -> int | None:
    """Process 1 of the life's container by its number here; None before it exists and when it is gone.

    crun writes its number down before it starts, runc a little later: until then it is looked for below the shell.
    """
    own = own_directory(place)
    if own is None:
        return None
    try:
        pid = int((own / "pid").read_text())
        found = pid if is_first(pid) else 0
    except (OSError, ValueError):
        record = shim.read_life(place)
        found = 0 if record is None else first_below(record.pid)
    return found if found and not _is_being_made(found) else None


def _is_being_made(pid: int) -> bool:
    """Whether it is still runc that prepares to become the container's process; a signal would end that."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().startswith("runc:[")
    except OSError:
        return True


def check_command(launch: Launch, view: LayeredRoot) -> None:
    """Raises ``StartFailure`` where the working directory is none or the program is not there, in runc's words."""
    inside = view.resolve(launch.cwd or "/")
    if inside is not None and inside.exists() and not inside.is_dir():
        raise StartFailure(
            "StartError", f"{CANNOT_START}error during container init: mkdir {launch.cwd}: not a directory"
        )
    word = launch.argv[0]
    place = _program_place(launch, view)
    if "/" in word:
        check_program(word, place or Path("/nonexistent"))
    elif place is None:
        raise StartFailure("StartError", f'{CANNOT_START}exec: "{word}": executable file not found in $PATH')


def _program_place(launch: Launch, view: LayeredRoot) -> Path | None:
    word = launch.argv[0]
    if "/" not in word:
        return search(view, word, launch.env["PATH"].split(":"))
    if word.startswith(f"{PROGRAMS_PLACE}/"):  # a link to it is made later
        return next((source for target, source in launch.programs.items() if word.endswith(f"/{_name(target)}")), None)
    return view.resolve(word if word.startswith("/") else str(PurePosixPath(launch.cwd or "/") / word))


def _name(path: str) -> str:
    return PurePosixPath(path).name


def check_size(launch: Launch) -> None:
    """Raises ``StartFailure`` for arguments that the kernel would refuse when it is too late to tell whom."""
    words = [*launch.argv, *(f"{name}={value}" for name, value in launch.env.items())]
    sizes = [len(os.fsencode(word)) + 1 for word in words]
    stack, _ = resource.getrlimit(resource.RLIMIT_STACK)
    most = ARGUMENTS_MAX if stack < 0 else min(ARGUMENTS_MAX, stack // 4)
    if max(sizes) > ARGUMENT_MAX or sum(sizes) > most:
        raise StartFailure("StartError", f"{CANNOT_START}exec {launch.argv[0]}: argument list too long")


def _strange_program(launch: Launch, view: LayeredRoot) -> list[str]:
    """What to run in place of a file that no kernel executes: it says and does what a container with it would.

    Programs for machines that binfmt_misc emulates begin as every program does.
    """
    word = launch.argv[0]
    place = _program_place(launch, view)
    try:
        with (place or Path("/nonexistent")).open("rb") as file:
            head = file.read(4)
    except OSError:
        return []
    if head == b"\x7fELF" or head.startswith(b"#!"):
        return []
    return [shim.SHELL, "-c", 'echo "exec $1: exec format error" >&2; exit 1', "tiphys", word]


def image_volumes(launch: Launch) -> dict[str, str]:
    """The image's own volumes that no volume of the pod takes the place of: path → directory of the life."""
    targets = {mount.target.rstrip("/") for mount in launch.mounts}
    return {
        path: f"volume.{number}"
        for number, path in enumerate(launch.image_volumes)
        if path.startswith("/") and path.rstrip("/") not in targets
    }


def make_image_volumes(launch: Launch, own: Path) -> None:
    """They begin with what the image has in their places."""
    for path, name in image_volumes(launch).items():
        source = LayeredRoot(None, launch.root or own, own / MERGED).resolve(path)
        if source is not None and source.is_dir():
            copy_tree(source, own / name)
        else:
            (own / name).mkdir()


def _resolver() -> str:
    try:
        return Path("/etc/resolv.conf").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _home(view: LayeredRoot, uid: int) -> str:
    """The account's, as the root's /etc/passwd has it; / without one."""
    place = view.resolve("/etc/passwd")
    with contextlib.suppress(OSError, ValueError):
        for line in (place or Path("/nonexistent")).read_text(encoding="utf-8", errors="replace").splitlines():
            fields = line.split(":")
            if len(fields) > 5 and fields[2] == str(uid):
                return fields[5] or "/"
    return "/"


def _complaint(own: Path | None) -> str:
    """What crun, runc or the preparations said had gone wrong; "" where the container had begun."""
    if own is None:
        return ""
    try:
        with (own / "runtime.log").open("rb") as log:
            lines = log.read(COMPLAINT_MAX).decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    began = (own / "pid").exists()
    said = [said for line in lines if (said := _said(line, began=began))]
    if began and any(RUNC_FOLDER in each for each in said):  # it could not tidy up; the container was none the worse
        return ""
    return "; ".join(said)


def _said(line: str, *, began: bool) -> str:
    """crun and runc write JSON, and mere warnings too; whatever else is there is the shell's."""
    try:
        row = json.loads(line)
    except ValueError:
        return "" if began else line
    wrong = isinstance(row, dict) and row.get("level") in ("error", "fatal")
    return str(row.get("msg", line)) if wrong else ""
