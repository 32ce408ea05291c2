"""What crun and runc are told of a container: the ``config.json`` of an OCI bundle.

The words of a kubelet with containerd (pkg/oci/spec.go, internal/cri/opts): same namespaces but the network, which is
the machine's; same mounts, masked paths and capabilities; system calls filtered where the pod asks for
``RuntimeDefault`` (``seccomp.py``). A pure function of the launch and of places prepared by ``oci.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tiphys.cluster.node.runtime import Launch, Mount
from tiphys.cluster.node.runtimes import seccomp

# containerd's (pkg/cap, defaultUnixCaps).
DEFAULT_CAPABILITIES = (
    "CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID", "SETFCAP", "SETPCAP",
    "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE",
)  # fmt: skip
# All of include/uapi/linux/capability.h, in its order: the last one a kernel knows is in /proc/sys/kernel/cap_last_cap.
ALL_CAPABILITIES = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
    "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
    "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
    "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
    "CHECKPOINT_RESTORE",
)  # fmt: skip
MASKED = (
    "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
    "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap",
)  # fmt: skip
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
SHARED_MEMORY_BYTES = 64 << 20
NAMESPACES = ("pid", "ipc", "uts", "mount")


@dataclass(frozen=True, slots=True)
class Security:
    """What a container's and its pod's securityContext ask of the runtime, in a kubelet's defaults."""

    capabilities: tuple[str, ...] = DEFAULT_CAPABILITIES
    no_new_privileges: bool = False
    filtered: bool = False
    privileged: bool = False
    sysctls: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Places:
    """What was prepared for a life: its root, and more mounts before and after the standard ones."""

    root: Path
    shared: Sequence[Mount] = ()
    own: Sequence[Mount] = ()
    groups: Mapping[str, Path] = field(default_factory=dict)
    cgroups_path: str = ""


def security_of(pod: Mapping[str, Any], container: str) -> Security:
    """Read from the pod; a life without a pod (a probe) gets the defaults."""
    spec = pod.get("spec") or {}
    every = (*(spec.get("initContainers") or ()), *(spec.get("containers") or ()),
             *(spec.get("ephemeralContainers") or ()))  # fmt: skip
    own = next((c.get("securityContext") or {} for c in every if c["name"] == container), {})
    shared = spec.get("securityContext") or {}
    privileged = bool(own.get("privileged"))
    profile = (own.get("seccompProfile") or shared.get("seccompProfile") or {}).get("type", "Unconfined")
    return Security(
        capabilities=_capabilities(own.get("capabilities") or {}, privileged=privileged),
        no_new_privileges=own.get("allowPrivilegeEscalation") is False and not privileged,
        filtered=profile == "RuntimeDefault" and not privileged,
        privileged=privileged,
        sysctls={row["name"]: str(row["value"]) for row in shared.get("sysctls") or ()},
    )


def _capabilities(asked: Mapping[str, Sequence[str]], *, privileged: bool) -> tuple[str, ...]:
    """``ALL`` first, then what is named: as the CRI does, an added one wins over dropping all."""
    if privileged:
        return ALL_CAPABILITIES
    add = [name.upper().removeprefix("CAP_") for name in asked.get("add") or ()]
    drop = [name.upper().removeprefix("CAP_") for name in asked.get("drop") or ()]
    have = set(ALL_CAPABILITIES if "ALL" in add else () if "ALL" in drop else DEFAULT_CAPABILITIES)
    have |= {name for name in add if name != "ALL"}
    have -= {name for name in drop if name != "ALL"}
    return tuple(name for name in ALL_CAPABILITIES if name in have)


def config(launch: Launch, security: Security, places: Places, *, without: frozenset[str] = frozenset()) -> object:
    """``without`` are capabilities that must not be given here."""
    return {
        "ociVersion": "1.0.2",
        "hostname": launch.hostname or "localhost",
        "root": {"path": str(places.root), "readonly": launch.read_only_root},
        "process": _process(launch, security, without),
        "mounts": _mounts(launch, security, places),
        "linux": _linux(security, places),
    }


def _process(launch: Launch, security: Security, without: frozenset[str]) -> dict[str, object]:
    names = [f"CAP_{name}" for name in security.capabilities if name not in without]
    who = launch.identity
    return {
        "terminal": False,
        "user": {
            "uid": who.uid or 0,
            "gid": who.gid or 0,
            "umask": launch.umask,
            "additionalGids": sorted({who.gid or 0, *who.groups}),
        },
        "args": list(launch.argv),
        "env": [f"{name}={value}" for name, value in launch.env.items()],
        "cwd": launch.cwd or "/",
        "capabilities": {"bounding": names, "effective": names, "permitted": names},
        "noNewPrivileges": security.no_new_privileges,
    }


def _mounts(launch: Launch, security: Security, places: Places) -> list[dict[str, object]]:
    usual = ["nosuid", "noexec", "nodev"]
    system = [
        _mount("/proc", "proc", "proc", usual),
        _mount("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        _mount("/dev/pts", "devpts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
        _mount("/dev/shm", "tmpfs", "shm", [*usual, "mode=1777", f"size={SHARED_MEMORY_BYTES >> 10}k"]),
        _mount("/dev/mqueue", "mqueue", "mqueue", usual),
        _mount("/sys", "sysfs", "sysfs", [*usual, "rw" if security.privileged else "ro"]),
    ]
    groups = [_mount("/sys/fs/cgroup", "tmpfs", "cgroup", [*usual, "mode=755", "size=64k"])] if places.groups else []
    groups += [_bind(Mount(source, f"/sys/fs/cgroup/{name}", True), usual) for name, source in places.groups.items()]
    shared = [_bind(mount, ["nodev", "nosuid"]) for mount in places.shared]
    given = [_bind(mount, ["nodev"], recursive=True) for mount in launch.mounts]
    targets = {mount.target for mount in launch.mounts}
    own = [_bind(mount, ["nodev", "nosuid", "noexec"]) for mount in places.own if mount.target not in targets]
    return [*shared, *system, *groups, *own, *given]


def _mount(target: str, kind: str, source: str, options: Sequence[str]) -> dict[str, object]:
    return {"destination": target, "type": kind, "source": source, "options": list(options)}


def _bind(mount: Mount, options: Sequence[str], *, recursive: bool = False) -> dict[str, object]:
    access = "ro" if mount.read_only else "rw"
    words = ["rbind" if recursive else "bind", "rprivate", access, *options]
    return _mount(mount.target, "bind", str(mount.source), words)


def _linux(security: Security, places: Places) -> dict[str, object]:
    linux: dict[str, object] = {
        "namespaces": [{"type": name} for name in NAMESPACES],
        "maskedPaths": [] if security.privileged else list(MASKED),
        "readonlyPaths": [] if security.privileged else list(READ_ONLY),
    }
    if security.sysctls:
        linux["sysctl"] = dict(security.sysctls)
    if security.filtered:
        linux["seccomp"] = seccomp.profile()
    if places.cgroups_path:
        linux["cgroupsPath"] = places.cgroups_path
        linux["resources"] = {"devices": [{"allow": False, "access": "rwm"}]}
    return linux
