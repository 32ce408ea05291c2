"""What crun and runc are told of a container: the ``config.json`` of an OCI bundle.

The words of a kubelet with containerd (pkg/oci/spec.go, internal/cri/opts): same namespaces but the network, which is
the machine's; same mounts, masked paths and capabilities; system calls filtered where the pod asks for
``RuntimeDefault`` (``seccomp.py``). A pure function of the launch and of places prepared by ``oci.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tiphys.cluster.node.identity import CAPABILITIES, USUAL_CAPABILITIES
from tiphys.cluster.node.runtime import Launch, Mount
from tiphys.cluster.node.runtimes import seccomp

MASKED = (
    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
    "/sys/devices/virtual/powercap",
)  # fmt: skip
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
SHARED_MEMORY_BYTES = 64 << 20
NAMESPACES = ("pid", "ipc", "uts", "mount")


@dataclass(frozen=True, slots=True)
class Security:
    """What a pod asks of the kernel beside its containers' identities; without asking, calls are not filtered."""

    filtered: bool = False
    sysctls: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Places:
    """What was prepared for a life: its root, and more mounts before and after the standard ones."""

    root: Path
    shared: Sequence[Mount] = ()
    own: Sequence[Mount] = ()
    volumes: Sequence[Mount] = ()
    groups: Mapping[str, Path] = field(default_factory=dict)
    cgroups_path: str = ""


def security_of(launch: Launch) -> Security:
    """Read from the pod; a life without a pod (a probe) asks for nothing."""
    spec = launch.pod.get("spec") or {}
    keys = ("initContainers", "containers", "ephemeralContainers")
    every = [container for key in keys for container in spec.get(key) or ()]
    own = next((c.get("securityContext") or {} for c in every if c["name"] == launch.container), {})
    shared = spec.get("securityContext") or {}
    profile = (own.get("seccompProfile") or shared.get("seccompProfile") or {}).get("type", "Unconfined")
    return Security(
        filtered=profile == "RuntimeDefault" and not launch.identity.privileged,
        sysctls={row["name"]: str(row["value"]) for row in shared.get("sysctls") or ()},
    )


def config(launch: Launch, security: Security, places: Places, *, without: frozenset[str] = frozenset()) -> object:
    """``without`` are capabilities that must not be given here."""
    return {
        "ociVersion": "1.0.2",
        "hostname": launch.hostname or "localhost",
        "root": {"path": str(places.root), "readonly": launch.read_only_root},
        "process": _process(launch, without),
        "mounts": _mounts(launch, places),
        "linux": _linux(launch, security, places),
    }


def _process(launch: Launch, without: frozenset[str]) -> dict[str, object]:
    who = launch.identity
    given = CAPABILITIES if who.privileged else USUAL_CAPABILITIES if who.capabilities is None else who.capabilities
    names = [f"CAP_{name}" for name in given if name not in without]
    return {
        "terminal": launch.tty,
        "user": {
            "uid": who.uid or 0,
            "gid": who.gid or 0,
            "umask": launch.umask,
            "additionalGids": sorted({who.gid or 0, *who.groups}),
        },
        "args": [*launch.wrapper, *launch.argv],
        "env": [f"{name}={value}" for name, value in launch.env.items()],
        "cwd": launch.cwd or "/",
        "capabilities": {"bounding": names, "effective": names, "permitted": names},
        "noNewPrivileges": who.no_new_privileges and not who.privileged,
    }


def _mounts(launch: Launch, places: Places) -> list[dict[str, object]]:
    usual = ["nosuid", "noexec", "nodev"]
    system = [
        _mount("/proc", "proc", "proc", usual),
        _mount("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        _mount("/dev/pts", "devpts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
        _mount("/dev/shm", "tmpfs", "shm", [*usual, "mode=1777", f"size={SHARED_MEMORY_BYTES >> 10}k"]),
        _mount("/dev/mqueue", "mqueue", "mqueue", usual),
        _mount("/sys", "sysfs", "sysfs", [*usual, "rw" if launch.identity.privileged else "ro"]),
    ]
    groups = [_mount("/sys/fs/cgroup", "tmpfs", "cgroup", [*usual, "mode=755", "size=64k"])] if places.groups else []
    groups += [_bind(Mount(source, f"/sys/fs/cgroup/{name}", True), usual) for name, source in places.groups.items()]
    shared = [_bind(mount, ["nodev", "nosuid"]) for mount in places.shared]
    given = [_bind(mount, ["nodev"], recursive=True) for mount in launch.mounts]
    targets = {mount.target for mount in launch.mounts}
    own = [_bind(mount, ["nodev", "nosuid", "noexec"]) for mount in places.own if mount.target not in targets]
    volumes = [_bind(mount, ["nodev", "nosuid"]) for mount in places.volumes]
    return [*shared, *system, *groups, *own, *volumes, *given]


def _mount(target: str, kind: str, source: str, options: Sequence[str]) -> dict[str, object]:
    return {"destination": target, "type": kind, "source": source, "options": list(options)}


def _bind(mount: Mount, options: Sequence[str], *, recursive: bool = False) -> dict[str, object]:
    access = "ro" if mount.read_only else "rw"
    words = ["rbind" if recursive else "bind", "rprivate", access, *options]
    return _mount(mount.target, "bind", str(mount.source), words)


def _linux(launch: Launch, security: Security, places: Places) -> dict[str, object]:
    privileged = launch.identity.privileged
    linux: dict[str, object] = {
        "namespaces": [
            *({"type": name} for name in NAMESPACES),
            *([{"type": "network", "path": launch.network}] if launch.network else []),
        ],
        "maskedPaths": [] if privileged else list(MASKED),
        "readonlyPaths": [] if privileged else list(READ_ONLY),
    }
    if security.sysctls:
        linux["sysctl"] = dict(security.sysctls)
    if security.filtered:
        linux["seccomp"] = seccomp.profile()
    if places.cgroups_path:
        linux["cgroupsPath"] = places.cgroups_path
        linux["resources"] = {"devices": [{"allow": False, "access": "rwm"}]}
    return linux
