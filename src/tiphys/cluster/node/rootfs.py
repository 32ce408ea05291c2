"""A root filesystem for a container, derived from this machine: its programs, none of its owner's files.

Into an empty root come, read-only, the machine's ``/usr`` (with ``/bin``, ``/lib`` … as this machine has them) and an
``/etc`` of which only listed, harmless entries are taken; accounts are made up. Nothing of ``/home``, ``/root``,
``/var``, ``/run``, ``/srv`` or ``/opt`` is there: no keys, no tokens, no docker socket.

The root itself is memory, made by bubblewrap in microseconds and gone with the container. What must be there
afterwards (``/tmp``, and the places of declared outputs) is on disk, under the life's own directory.

``resolve`` finds a container's path from outside without being led astray by the links that the container made.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path, PurePosixPath

from tiphys.cluster.node.runtime import Mount

# Directories of programs. On a merged-/usr machine all but the first are symbolic links, and stay so.
PROGRAM_DIRECTORIES = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32")

# What programs look for in /etc and that tells nothing about the machine's owner: files are copied, the directories in
# which a machine keeps many links are shown as they are (each costs a mount per container). Of /etc/ssl only the
# certificates: beside them lie private keys.
ETC_FILES = (
    "alpine-release", "bash.bashrc", "debian_version", "ethertypes", "fonts/fonts.conf", "gai.conf", "inputrc",
    "ld.so.cache", "locale.alias", "localtime", "magic", "magic.mime", "mime.types", "networks", "nsswitch.conf",
    "os-release", "profile", "protocols", "redhat-release", "rpc", "services", "shells",
    "ssl/openssl.cnf", "timezone",
)  # fmt: skip
ETC_TREES = ("ImageMagick-[67]", "java-*-openjdk/security")
ETC_DIRECTORIES = ("alternatives", "pki/ca-trust", "pki/tls/certs", "ssl/certs")

PASSWD = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n"
GROUP = "root:x:0:\nnobody:x:65534:\nnogroup:x:65533:\n"
# The kubelet's file (pkg/kubelet/kubelet_pods.go managedHostsFileContent).
HOSTS = (
    "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
    "fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n"
)
HOST_ALIASES = "\n# Entries added by HostAliases.\n"
EMPTY = ("/etc", "/home", "/media", "/mnt", "/opt", "/root", "/run", "/srv", "/sys", "/var/cache", "/var/lib",
         "/var/log", "/var/run")  # fmt: skip
HOST_PLACE = "/run/host"
ETC_PLACE = f"{HOST_PLACE}/etc"
LINKS_MAX = 40


class HostRoot:
    """The part that all containers share: prepared once in ``directory``, then only pointed to."""

    def __init__(self, directory: Path, host: Path = Path("/")) -> None:
        self._host = host
        self._etc = directory / "etc"
        self._links: list[tuple[str, str]] = []
        self._mounts: list[Mount] = []
        self._arguments: tuple[str, ...] = ()

    def mounts(self) -> Sequence[Mount]:
        self._prepare()
        return self._mounts

    def links(self) -> Sequence[tuple[str, str]]:
        """(place, target) of the symbolic links in the root."""
        self._prepare()
        return self._links

    def arguments(self) -> Sequence[str]:
        """bubblewrap's words for all of it."""
        self._prepare()
        return self._arguments

    def without_links(self, paths: Collection[str]) -> set[str]:
        """Absolute paths, of which some may lead through links of the root, as they are behind these."""
        tops = {link: target for link, target in self.links() if link.count("/") == 1}
        found = set()
        for path in paths:
            first, _, rest = path.lstrip("/").partition("/")
            target = tops.get(f"/{first}")
            found.add(path if target is None else str(PurePosixPath("/", target, rest)))
        return found

    def fill(self, own: Path, top: str, paths: Collection[str]) -> None:
        """Makes a container's own directory, where the shared root has one, show what that holds: by links.

        Along ``paths`` (declared by the container) directories are its own too, so that it can write there.
        """
        name = top.strip("/")
        if top == "/etc":
            for link, target in self.links():
                if PurePosixPath(link).parent == PurePosixPath("/etc") and link not in paths:
                    _link(own / PurePosixPath(link).name, target)
        elif name in PROGRAM_DIRECTORIES and (self._host / name).is_dir():
            paths = self.without_links(paths)
            below = [
                PurePosixPath(path).relative_to(top).parts for path in paths if PurePosixPath(path).is_relative_to(top)
            ]
            _fill(own, self._host / name, f"{HOST_PLACE}/{name}", below)

    def beside(self, own: Sequence[Mount]) -> list[Mount]:
        """What the links of `fill` lead to."""
        names = [mount.target.strip("/") for mount in own if mount.target.strip("/") in PROGRAM_DIRECTORIES]
        shared = [Mount(self._host / name, f"{HOST_PLACE}/{name}", read_only=True) for name in names]
        return [mount for mount in shared if mount.source.is_dir()]

    @property
    def resolv_conf(self) -> str:
        """The machine's own, for containers that ask for nothing else."""
        try:
            return (self._host / "etc/resolv.conf").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""

    def _prepare(self) -> None:
        if self._arguments:
            return
        self._etc.mkdir(parents=True, exist_ok=True)
        for name in PROGRAM_DIRECTORIES:
            place = self._host / name
            if place.is_symlink():
                self._links.append((f"/{name}", os.readlink(place)))
            elif place.is_dir():
                self._mounts.append(Mount(place, f"/{name}", read_only=True))
        self._mounts.append(Mount(self._etc, ETC_PLACE, read_only=True))
        for name in ETC_FILES:
            self._take_file(name)
        for pattern in ETC_TREES:
            for tree in (self._host / "etc").glob(pattern):
                for file in (f for f in tree.rglob("*") if f.is_file()):
                    self._take_file(file.relative_to(self._host / "etc").as_posix())
        for name in ETC_DIRECTORIES:
            if (self._host / "etc" / name).is_dir():
                self._mounts.append(Mount(self._host / "etc" / name, f"/etc/{name}", read_only=True))
        for name, text in (("passwd", PASSWD), ("group", GROUP)):
            (self._etc / name).write_text(text, encoding="utf-8")
            self._links.append((f"/etc/{name}", f"{ETC_PLACE}/{name}"))
        self._links.append(("/etc/mtab", "/proc/self/mounts"))
        words: list[str] = []
        for directory in EMPTY:
            words += ["--dir", directory]
        words += ["--perms", "1777", "--dir", "/var/tmp"]
        for mount in self._mounts:
            words += ["--ro-bind", str(mount.source), mount.target]
        for link, target in self._links:
            words += ["--symlink", target, link]
        self._arguments = tuple(words)

    def _take_file(self, name: str) -> None:
        source, copy = self._host / "etc" / name, self._etc / name.replace("/", "-")
        with contextlib.suppress(FileNotFoundError, PermissionError):
            shutil.copyfile(source, copy)
            self._links.append((f"/etc/{name}", f"{ETC_PLACE}/{copy.name}"))


def _fill(own: Path, shared: Path, shown: str, paths: Sequence[tuple[str, ...]]) -> None:
    deeper: dict[str, list[tuple[str, ...]]] = {}
    for parts in paths:
        if len(parts) > 1:
            deeper.setdefault(parts[0], []).append(parts[1:])
    own.mkdir(exist_ok=True)
    for entry in os.scandir(shared):
        if entry.name in deeper and entry.is_dir():
            _fill(own / entry.name, Path(entry.path), f"{shown}/{entry.name}", deeper[entry.name])
        else:
            _link(own / entry.name, f"{shown}/{entry.name}")


def _link(place: Path, target: str) -> None:
    if not place.is_symlink() and not place.exists():
        place.symlink_to(target)


def resolve(mounts: Sequence[Mount], links: Sequence[tuple[str, str]], path: str) -> Path | None:
    """Where ``path`` of a container with these mounts, and these links in its root, is on this machine.

    Symbolic links are followed as the container would follow them. The last component need not exist. None for what
    is nowhere outside the container (its memory, ``/proc``, ``/dev``, too many links).
    """
    places = {m.target.rstrip("/") or "/": m.source for m in mounts}
    fixed = dict(links)
    todo = _parts(path)
    inside, outside = "", places.get("/")
    trail: list[tuple[str, Path | None]] = []
    followed = 0
    while todo:
        part = todo.pop()
        if part == "..":
            inside, outside = trail.pop() if trail else ("", places.get("/"))
            continue
        here = f"{inside}/{part}"
        place = places.get(here) or (outside / part if outside is not None else None)
        target = fixed.get(here) if here not in places else None
        if target is None and place is not None and here not in places and place.is_symlink():
            target = os.readlink(place)
        if target is not None:
            followed += 1
            if followed > LINKS_MAX:
                return None
            if target.startswith("/"):
                inside, outside, trail = "", places.get("/"), []
            todo.extend(_parts(target))
            continue
        trail.append((inside, outside))
        inside, outside = here, place
    return outside


def _parts(path: str) -> list[str]:
    return [part for part in reversed(PurePosixPath(path).parts) if part != "/"]
