"""A root filesystem for a container, derived from this machine: its programs, none of its owner's files.

The container's ``/`` is a directory of its own, kept with the pod, so that what a command writes anywhere outside the
programs can be collected after it ended. Into it come, read-only, the machine's ``/usr`` (with ``/bin``, ``/lib`` … as
this machine has them) and an ``/etc`` of which only listed, harmless entries are taken; accounts are made up. Nothing
of ``/home``, ``/root``, ``/var``, ``/run``, ``/srv`` or ``/opt`` is there: no keys, no tokens, no docker socket.

``resolve`` finds a container's path from outside without being led astray by the links that the container made.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from tiphys.cluster.node.runtime import Mount

# Directories of programs. On a merged-/usr machine all but the first are symbolic links, and stay so.
PROGRAM_DIRECTORIES = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32")

# What programs look for in /etc and that tells nothing about the machine's owner.
ETC_ENTRIES = (
    "ImageMagick-6", "alternatives", "bash.bashrc", "ca-certificates", "ca-certificates.conf", "debian_version",
    "ethertypes", "fonts", "gai.conf", "inputrc", "java-17-openjdk", "ld.so.cache", "ld.so.conf", "ld.so.conf.d",
    "locale.alias", "localtime", "magic", "magic.mime", "mime.types", "networks", "nsswitch.conf", "os-release", "perl",
    "pki", "profile", "protocols", "python3", "resolv.conf", "rpc", "services", "shells", "ssl", "terminfo", "timezone",
    "alpine-release", "redhat-release", "crypto-policies",
)  # fmt: skip
# Below /etc/ssl lie the machine's private keys.
SECRET_ETC = ("ssl/private",)

PASSWD = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n"
GROUP = "root:x:0:\nnobody:x:65534:\nnogroup:x:65533:\n"
# The kubelet's (pkg/kubelet/kubelet_pods.go managedHostsFileContent), without the multicast addresses of no use here.
HOSTS = "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
EMPTY = ("dev", "home", "media", "mnt", "opt", "proc", "root", "run", "srv", "sys", "var", "var/cache", "var/lib",
         "var/log", "var/run", "var/tmp", "etc", "tmp")  # fmt: skip
STICKY = ("tmp", "var/tmp")
ETC_PLACE = ".host-etc"
LINKS_MAX = 40


class HostRoot:
    """The shared part of every container's root: made once in ``directory``, then only linked to."""

    def __init__(self, directory: Path, host: Path = Path("/")) -> None:
        self._host = host
        self._etc = directory / "etc"
        self._links: list[tuple[str, str]] = []
        self._binds: list[Mount] = []
        self._ready = False

    def prepare(self) -> None:
        """Idempotent, and cheap after the first time."""
        if self._ready:
            return
        self._etc.mkdir(parents=True, exist_ok=True)
        for name in PROGRAM_DIRECTORIES:
            place = self._host / name
            if place.is_symlink():
                self._links.append((name, os.readlink(place)))
            elif place.is_dir():
                self._binds.append(Mount(place, f"/{name}", read_only=True))
        for name in ETC_ENTRIES:
            self._take_etc(name)
        self._links.append(("etc/mtab", "/proc/self/mounts"))
        self._binds.append(Mount(self._etc, f"/{ETC_PLACE}", read_only=True))
        self._ready = True

    def make(self, root: Path, hostname: str) -> Sequence[Mount]:
        """Fills the new directory ``root`` and returns what is to be mounted over it."""
        self.prepare()
        base = os.fspath(root)
        for name in EMPTY:
            os.mkdir(f"{base}/{name}")
        for name in STICKY:
            os.chmod(f"{base}/{name}", 0o1777)
        for name in ("", "root"):
            os.chmod(f"{base}/{name}", 0o755)
        os.mkdir(f"{base}/{ETC_PLACE}")
        for mount in self._binds[:-1]:
            os.mkdir(base + mount.target)
        for name, target in self._links:
            os.symlink(target, f"{base}/{name}")
        hosts = f"{HOSTS}127.0.0.1\t{hostname}\n" if hostname else HOSTS
        for name, text in (("passwd", PASSWD), ("group", GROUP), ("hostname", f"{hostname}\n"), ("hosts", hosts)):
            _write(f"{base}/etc/{name}", text)
        return self._binds

    def mounts(self) -> Sequence[Mount]:
        self.prepare()
        return self._binds

    def _take_etc(self, name: str) -> None:
        source = self._host / "etc" / name
        if not source.exists():
            return
        copy = self._etc / name
        if not copy.exists():
            if source.is_dir():
                ignored = [PurePosixPath(s).name for s in SECRET_ETC if PurePosixPath(s).parts[0] == name]
                _copy_tree(source, copy, ignored)
            else:
                shutil.copyfile(source, copy)
        self._links.append((f"etc/{name}", f"/{ETC_PLACE}/{name}"))


def _copy_tree(source: Path, copy: Path, ignored: Sequence[str]) -> None:
    """Copies readable entries; links stay links (they point into /usr or stay within)."""
    copy.mkdir(exist_ok=True)
    for entry in os.scandir(source):
        target = copy / entry.name
        if entry.name in ignored:
            continue
        with contextlib.suppress(PermissionError, FileExistsError):
            if entry.is_symlink():
                target.symlink_to(os.readlink(entry.path))
            elif entry.is_dir():
                _copy_tree(Path(entry.path), target, ())
            elif entry.is_file():
                shutil.copyfile(entry.path, target)


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def make_mount_point(root: Path, mounts: Sequence[Mount], target: str, *, directory: bool) -> None:
    """An empty file or directory for a mount at ``target``, made within the view, never through a link out of it."""
    parent = resolve(root, mounts, str(PurePosixPath(target).parent), make=True)
    if parent is None:
        return
    place = parent / PurePosixPath(target).name
    if place.is_symlink() or place.exists():
        return
    if directory:
        place.mkdir()
    else:
        place.touch()


def resolve(root: Path, mounts: Sequence[Mount], path: str, *, make: bool = False) -> Path | None:
    """Where ``path`` of a container with this root and these mounts is on this machine.

    Symbolic links are followed as the container would follow them. The last component need not exist; with ``make``
    missing directories are created. None for what is nowhere (``/proc``, ``/dev``, too many links).
    """
    places = {m.target.rstrip("/"): m.source for m in mounts}
    todo = list(reversed([part for part in PurePosixPath(path).parts if part != "/"]))
    inside, outside, links = "", root, 0
    trail: list[tuple[str, Path]] = []
    while todo:
        part = todo.pop()
        if part == "..":
            inside, outside = trail.pop() if trail else ("", root)
            continue
        here = f"{inside}/{part}"
        if here in ("/proc", "/dev", "/sys"):
            return None
        mounted = places.get(here)
        place = mounted if mounted is not None else outside / part
        if mounted is None and place.is_symlink():
            links += 1
            if links > LINKS_MAX:
                return None
            target = PurePosixPath(os.readlink(place))
            if target.is_absolute():
                inside, outside, trail = "", root, []
            todo.extend(reversed([p for p in target.parts if p != "/"]))
            continue
        if make and not place.exists():
            place.mkdir()
        trail.append((inside, outside))
        inside, outside = here, place
    return outside
