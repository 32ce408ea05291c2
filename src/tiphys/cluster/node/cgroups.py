"""Control groups for containers: limits on memory, processor and processes, and whether memory was the end of one.

Ours, not the runtime's: a group that a runtime makes is gone with its container, and what it counted with it. The
shell in front of a container enters the groups (``Group.entries``); the agent reads and removes them afterwards.

Both kinds of hierarchy: version 1, one directory per controller, below our own group; version 2, beside our own group
(a group with processes may have no children with controllers) or, as root, at the top. Where none is writable there
are no limits, and ``Cgroups.missing`` says which: the agent tells the user.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tiphys.cluster.node.amounts import amount
from tiphys.cluster.node.runtime import Launch, LimitRefused, StartFailure

CONTROLLERS = ("memory", "cpu", "pids")
FOLDER = "tiphys"
KILL_ROUNDS_MAX = 100
MOVE_ROUNDS_MAX = 20
# A group without processes that is younger may be about to be entered.
LEFT_AFTER_SECONDS = 300.0
PERIOD_MICROSECONDS = 100_000
QUOTA_MICROSECONDS_MIN = 1000
# A kubelet's (pkg/kubelet/cm/helpers_linux.go): shares of a request, and the least there are.
SHARES_PER_CPU, SHARES_MIN, SHARES_MAX = 1024, 2, 262_144
# No pod of ordinary size comes near it, and a fork bomb stays a nuisance to its own container.
PIDS_MAX = 8192
# What any container may open (runc's list, libcontainer/specconv AllowedDevices); devices may be made, not opened.
DEVICES_ALLOWED = (
    "c *:* m", "b *:* m", "c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 1:8 rwm", "c 1:9 rwm", "c 5:0 rwm", "c 5:1 rwm",
    "c 5:2 rwm", "c 136:* rwm",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Limits:
    """What a container may use; None: as much as there is. ``cpu_request`` and ``cpu`` are in processors."""

    memory_bytes: int | None = None
    cpu: float | None = None
    cpu_request: float | None = None
    pids: int = PIDS_MAX

    @property
    def any(self) -> bool:
        """Whether anything was asked for."""
        return (self.memory_bytes, self.cpu, self.cpu_request) != (None, None, None)


def limits_of(container: Mapping[str, Any]) -> Limits:
    """From a container's ``resources``. Raises ValueError for what is no quantity."""
    resources = container.get("resources") or {}
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    memory, cpu = limits.get("memory"), limits.get("cpu")
    asked = requests.get("cpu", cpu)
    return Limits(
        memory_bytes=None if memory is None else int(amount(str(memory))) or None,
        cpu=None if cpu is None else float(amount(str(cpu))) or None,
        cpu_request=None if asked is None else float(amount(str(asked))),
    )


def limits_of_launch(launch: Launch) -> Limits:
    """From the pod's container of this launch. Raises ``StartFailure`` for what is no quantity."""
    spec: Mapping[str, Any] = launch.pod.get("spec") or {}
    every = (*(spec.get("initContainers") or ()), *(spec.get("containers") or ()))
    own: Mapping[str, Any] = next((c for c in every if c["name"] == launch.container), {})
    try:
        return limits_of(own)
    except ValueError as err:
        raise StartFailure("CreateContainerError", str(err)) from err


@dataclass(frozen=True, slots=True)
class Group:
    """The directories of one container's groups, controller → place."""

    places: Mapping[str, Path] = field(default_factory=dict)
    shared: tuple[Path, ...] = ()
    unified: bool = False

    @property
    def entries(self) -> list[Path]:
        """A process that writes ``0`` into each of these is in the groups, with all that it starts."""
        return [*self.limits, *(place / "cgroup.procs" for place in self.shared)]

    @property
    def limits(self) -> list[Path]:
        """The entries of the groups that are this container's alone."""
        return [place / "cgroup.procs" for place in dict.fromkeys(self.places.values())]

    @property
    def memory_bytes(self) -> int | None:
        """How much memory is in use, where that is counted."""
        place = self.places.get("memory")
        if place is None:
            return None
        with contextlib.suppress(OSError, ValueError):
            return int((place / ("memory.current" if self.unified else "memory.usage_in_bytes")).read_text())
        return None

    def out_of_memory(self) -> bool:
        """Whether the kernel ended a process of the group because its memory was used up."""
        place = self.places.get("memory")
        if place is None:
            return False
        with contextlib.suppress(OSError):
            for line in (place / ("memory.events" if self.unified else "memory.oom_control")).read_text().splitlines():
                name, _, count = line.partition(" ")
                if name == "oom_kill":
                    return int(count) > 0
        return False

    def processes(self) -> list[int]:
        """Those that are in the groups now."""
        found: set[int] = set()
        for entry in self.limits:
            with contextlib.suppress(OSError, ValueError):
                found.update(int(word) for word in entry.read_text().split())
        return sorted(found)

    def kill(self) -> None:
        """Ends every process in the groups, also those that start while this goes on."""
        if self.unified:  # all at once, where the kernel can (5.14)
            for place in dict.fromkeys(self.places.values()):
                if (place / "cgroup.kill").exists():
                    _write(place / "cgroup.kill", "1")
        for entry in self.limits:
            for _ in range(KILL_ROUNDS_MAX):
                with contextlib.suppress(OSError, ValueError):
                    pids = [int(word) for word in entry.read_text().split()]
                    if not pids:
                        break
                    for pid in pids:
                        with contextlib.suppress(ProcessLookupError, PermissionError):
                            os.kill(pid, signal.SIGKILL)

    def remove(self) -> bool:
        """Once its processes are gone; False while some are still on their way out."""
        for place in dict.fromkeys(self.places.values()):
            with contextlib.suppress(FileNotFoundError):
                try:
                    place.rmdir()
                except OSError:
                    return False
        return True


class Cgroups:
    """Makes groups below ``homes`` (controller → our folder in its hierarchy)."""

    def __init__(self, homes: Mapping[str, Path], *, unified: bool = False, devices: Path | None = None) -> None:
        self._homes = homes
        self._unified = unified
        self._devices = devices

    @property
    def missing(self) -> tuple[str, ...]:
        """Controllers that cannot be used here."""
        return tuple(name for name in CONTROLLERS if name not in self._homes)

    @property
    def unified(self) -> bool:
        """Whether these are of version 2."""
        return self._unified

    @property
    def guards_devices(self) -> bool:
        return self._devices is not None

    @property
    def homes(self) -> Mapping[str, Path]:
        return self._homes

    def make(self, life: Path, limits: Limits) -> Group:
        """The groups of a life (the same ones if they exist already), with its limits."""
        name = hashlib.sha256(os.fsencode(life)).hexdigest()[:24]
        wanted = {controller for controller, _, _ in _settings(limits, unified=self._unified)} & set(self._homes)
        places = {controller: self._homes[controller] / name for controller in sorted(wanted)}
        for place in dict.fromkeys(places.values()):
            place.mkdir(exist_ok=True)
        for controller, file, value in _settings(limits, unified=self._unified):
            if controller in places:
                _write(places[controller] / file, value)
        return Group(places, (self._devices,) if self._devices else (), self._unified)

    def change(self, life: Path, name: str, limits: Limits, processes: Callable[[], Iterable[int]]) -> None:
        """Gives a container that runs other limits. ``processes`` are its processes now, asked for where a limit of a
        new kind needs a group that they have to enter first.

        Raises ``LimitRefused`` where it uses more memory than it may have.
        """
        before = self.find(life)
        used = before.memory_bytes
        if used is not None and limits.memory_bytes is not None and used > limits.memory_bytes:
            said = f'attempting to set container "{name}" memory limit ({limits.memory_bytes})'
            raise LimitRefused(f"cannot decrease memory limits: {said} below current usage ({used})")
        try:
            after = self.make(life, limits)
        except OSError as err:
            raise LimitRefused(f"cannot change control groups: {err}") from err
        for controller in after.places.keys() - before.places.keys():
            _move(processes, after.places[controller] / "cgroup.procs")

    def find(self, life: Path) -> Group:
        """The groups that ``make`` made, by this agent or an earlier one."""
        name = hashlib.sha256(os.fsencode(life)).hexdigest()[:24]
        places = {controller: home / name for controller, home in self._homes.items()}
        found = {controller: place for controller, place in places.items() if place.is_dir()}
        return Group(found, unified=self._unified)


def _settings(limits: Limits, *, unified: bool) -> list[tuple[str, str, str]]:
    """(controller, file, value) for what is limited."""
    rows = [("pids", "pids.max", str(limits.pids))]
    if limits.memory_bytes is not None:
        rows.append(("memory", "memory.max" if unified else "memory.limit_in_bytes", str(limits.memory_bytes)))
        # Without swap, or the limit is none: best effort, since not every kernel counts it.
        swap = "0" if unified else str(limits.memory_bytes)
        rows.append(("memory", "memory.swap.max" if unified else "memory.memsw.limit_in_bytes", swap))
        if unified:  # as a kubelet asks since 1.28: the container ends as a whole
            rows.append(("memory", "memory.oom.group", "1"))
        else:  # a limit above the one with swap is only taken once that has grown
            rows.append(rows[-2])
    if limits.cpu is not None:
        quota = max(QUOTA_MICROSECONDS_MIN, int(limits.cpu * PERIOD_MICROSECONDS))
        if unified:
            rows.append(("cpu", "cpu.max", f"{quota} {PERIOD_MICROSECONDS}"))
        else:
            rows.append(("cpu", "cpu.cfs_period_us", str(PERIOD_MICROSECONDS)))
            rows.append(("cpu", "cpu.cfs_quota_us", str(quota)))
    if limits.cpu_request is not None:
        shares = min(SHARES_MAX, max(SHARES_MIN, int(limits.cpu_request * SHARES_PER_CPU)))
        # The kubelet's conversion to version 2 (pkg/kubelet/cm/cgroup_v2_manager_linux.go CpuSharesToCpuWeight).
        weight = 1 + ((shares - 2) * 9999) // 262_142
        rows.append(("cpu", "cpu.weight", str(weight)) if unified else ("cpu", "cpu.shares", str(shares)))
    return rows


def _move(processes: Callable[[], Iterable[int]], entry: Path) -> None:
    """Puts processes into a group, and those that they start meanwhile."""
    moved: set[int] = set()
    for _ in range(MOVE_ROUNDS_MAX):
        found = set(processes()) - moved
        if not found:
            return
        moved |= found
        for pid in found:
            _write(entry, str(pid))  # it may be gone by now


def _write(file: Path, value: str) -> None:
    with contextlib.suppress(OSError):  # a controller without this knob
        file.write_text(value)


@dataclass(frozen=True, slots=True)
class Hierarchies:
    """Where this machine has its control groups: controller → mount point, and version 2's where it has one."""

    controllers: Mapping[str, Path]
    unified: Path | None = None

    @property
    def hybrid(self) -> bool:
        """Both at once, which crun before 1.9 refuses to start under."""
        return self.unified is not None and bool(self.controllers)


def hierarchies(mounts: str) -> Hierarchies:
    """From the text of ``/proc/self/mounts``."""
    controllers: dict[str, Path] = {}
    unified = None
    for line in mounts.splitlines():
        _, place, kind, options, *_ = line.split(" ")
        if kind == "cgroup2":
            unified = Path(place)
        elif kind == "cgroup":
            for option in options.split(","):
                controllers.setdefault(option, Path(place))
    found = {name: controllers[name] for name in (*CONTROLLERS, "devices") if name in controllers}
    return Hierarchies(found, unified)


def sweep(homes: Mapping[str, Path], now: float) -> None:
    """Takes away what earlier agents had no time to: groups without processes that are not new."""
    for home in dict.fromkeys(homes.values()):
        for place in home.iterdir():
            with contextlib.suppress(OSError):
                if place.is_dir() and now - place.stat().st_mtime > LEFT_AFTER_SECONDS:
                    place.rmdir()


def find() -> Cgroups:
    """What can be used here; made and tried, not guessed."""
    try:
        layout = hierarchies(Path("/proc/self/mounts").read_text())
        own = _own_groups(Path("/proc/self/cgroup").read_text())
    except OSError:
        return Cgroups({})
    return find_in(layout, own)


def find_in(layout: Hierarchies, own: Mapping[str, str]) -> Cgroups:
    """The same for one layout; ``own`` are our own groups there, controller → path, "" for version 2's."""
    if not layout.controllers and layout.unified is not None:
        return _find_unified(layout.unified, own.get("", "/"))
    homes = {}
    for controller in CONTROLLERS:
        if controller in layout.controllers:
            home = _usable(layout.controllers[controller] / own.get(controller, "/").lstrip("/") / FOLDER)
            if home is not None:
                homes[controller] = home
    return Cgroups(homes, devices=_device_guard(layout, own))


def _find_unified(root: Path, own: str) -> Cgroups:
    beside = root if own == "/" else (root / own.lstrip("/")).parent
    for parent in dict.fromkeys((beside, root)):
        home = _usable(parent / FOLDER) if _hands_down(parent) else None
        granted = [] if home is None else _grant(parent, home)
        if home is not None and granted:
            return Cgroups(dict.fromkeys(granted, home), unified=True)
    return Cgroups({}, unified=True)


def _hands_down(group: Path) -> bool:
    """Whether controllers can be had in groups below: at the top, or where there are no processes in the group itself.

    Of one with processes the kernel gives the memory controller to nobody below, but cpu and pids it does, and makes it
    a threaded domain: no group below can be entered then (admin-guide/cgroup-v2.rst, "Threads", "No Internal Process
    Constraint"). Such is the group at the top of a container's view, when all of this runs in one.
    """
    try:
        return not (group / "cgroup.type").exists() or not (group / "cgroup.procs").read_text().strip()
    except OSError:  # also EOPNOTSUPP, in a threaded group
        return False


def _grant(parent: Path, home: Path) -> list[str]:
    """Hands the controllers down to the groups in ``home``, one by one since not all may be had; those that arrived."""
    for place in (parent, home):
        for controller in CONTROLLERS:
            if controller not in _handed_down(place):
                _write(place / "cgroup.subtree_control", f"+{controller}")
    try:
        if (home / "cgroup.type").read_text().strip() != "domain":
            return []
    except OSError:
        return []
    arrived = _handed_down(home)
    return [controller for controller in CONTROLLERS if controller in arrived]


def _handed_down(place: Path) -> list[str]:
    try:
        return (place / "cgroup.subtree_control").read_text().split()
    except OSError:
        return []


def _device_guard(layout: Hierarchies, own: Mapping[str, str]) -> Path | None:
    """One group for all containers: devices other than the harmless ones cannot be opened in it."""
    root = layout.controllers.get("devices")
    home = None if root is None else _usable(root / own.get("devices", "/").lstrip("/") / FOLDER)
    if home is None:
        return None
    try:
        (home / "devices.deny").write_text("a")
        for rule in DEVICES_ALLOWED:
            (home / "devices.allow").write_text(rule)
    except OSError:
        return None
    return home


def _usable(home: Path) -> Path | None:
    try:
        home.mkdir(exist_ok=True)
    except OSError:
        return None
    return home if os.access(home / "cgroup.procs", os.W_OK) else None


def _own_groups(text: str) -> dict[str, str]:
    """Controller → our own group's path; "" is version 2's."""
    own: dict[str, str] = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            own[controller] = path
    return own
