"""An image map's programs in a root that is derived from this machine: where a container finds them.

Nothing can be added below the machine's own directories. What an image has there goes to a directory of its own, first
in PATH, and a command that names it is corrected. But scripts name programs too (``#!/usr/local/bin/python3``), and
official images have theirs in one place, /usr/local/bin: in its stead the container gets a directory of links, to the
image's programs and to what this machine has there.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from tiphys.cluster.node.rootfs import HOST_PLACE, PROGRAM_DIRECTORIES, HostRoot
from tiphys.cluster.node.runtime import Launch, Mount
from tiphys.cluster.node.runtimes.process import DEFAULT_PATH

PROGRAMS_PLACE = "/opt/tiphys/bin"
LOCAL = "/usr/local"
LOCAL_PROGRAMS = f"{LOCAL}/bin"
KNOWN_MAX = 100


@dataclass(frozen=True, slots=True)
class Programs:
    """``places`` are the image's path → the container's; ``links`` (place, target) and ``mounts`` make them so."""

    places: Mapping[str, str] = field(default_factory=dict)
    links: Sequence[tuple[str, str]] = ()
    mounts: Sequence[Mount] = ()

    def command(self, argv: Sequence[str]) -> tuple[str, ...]:
        """The command; one of the image's programs is named by the place that it has in the container."""
        return (self.places.get(argv[0], argv[0]), *argv[1:])

    def search_path(self, env: Mapping[str, str]) -> str:
        path = env.get("PATH", DEFAULT_PATH)
        apart = any(PurePosixPath(place).parent == PurePosixPath(PROGRAMS_PLACE) for place in self.places.values())
        return f"{PROGRAMS_PLACE}:{path}" if apart else path


NO_PROGRAMS = Programs()


class ImagePrograms:
    """``directory`` holds the directories of links, each made once."""

    def __init__(self, directory: Path, root: HostRoot) -> None:
        self._directory = directory
        self._root = root
        self._known: dict[object, Programs] = {}

    def of(self, launch: Launch) -> Programs:
        if launch.root is not None or not launch.programs:
            return NO_PROGRAMS
        local = self._local_place(launch)
        state = None if local is None else os.stat(local / "bin").st_mtime_ns  # what it holds may change
        key = (*launch.programs.items(), state)
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= KNOWN_MAX:
                self._known.clear()
            known = self._known[key] = self._arrange(launch.programs, local)
        return known

    def _local_place(self, launch: Launch) -> Path | None:
        """This machine's /usr/local, where a container can see it; None too where it has its own /usr."""
        if any(path.startswith("/usr/") for path in self._root.without_links(launch.kept)):
            return None
        usr = next((mount.source for mount in self._root.mounts() if mount.target == "/usr"), None)
        return usr / "local" if usr is not None and (usr / "local/bin").is_dir() else None

    def _arrange(self, programs: Mapping[str, Path], local: Path | None) -> Programs:
        shared = self._root.mounts()
        places: dict[str, str] = {}
        links: list[tuple[str, str]] = []
        mounts: list[Mount] = []
        beside: dict[str, str] = {}
        for target, source in programs.items():
            is_local = local is not None and str(PurePosixPath(target).parent) == LOCAL_PROGRAMS
            place = target if is_local else _place_of(target, shared)
            seen = any(source.is_relative_to(mount.source) for mount in shared)
            shown = str(source) if seen else _apart(target) if is_local else place
            places[target] = place
            if not seen:
                mounts.append(Mount(source, shown, read_only=True))
            if is_local:
                beside[PurePosixPath(target).name] = shown
            elif seen:
                links.append((place, shown))
        if local is not None and beside:
            mounts += self._with(beside, local)
        return Programs(places, links, mounts)

    def _with(self, programs: Mapping[str, str], local: Path) -> list[Mount]:
        """This machine's /usr/local/bin with these programs (name → place in the container) in it."""
        theirs = {name: f"{HOST_PLACE}{LOCAL_PROGRAMS}/{name}" for name in os.listdir(local / "bin")}
        links = sorted({**theirs, **programs}.items())
        place = self._directory / hashlib.sha256(repr(links).encode()).hexdigest()[:24]
        if not place.exists():
            draft = place.with_name(f"{place.name}.{os.getpid()}")
            draft.mkdir(parents=True, mode=0o755)
            for name, target in links:
                (draft / name).symlink_to(target)
            try:
                draft.rename(place)
            except OSError:  # another agent was first
                shutil.rmtree(draft, ignore_errors=True)
        # whole, since links in its bin lead elsewhere in it
        return [Mount(place, LOCAL_PROGRAMS, read_only=True), Mount(local, f"{HOST_PLACE}{LOCAL}", read_only=True)]


def _place_of(target: str, shared: Sequence[Mount]) -> str:
    path = PurePosixPath(target)  # /bin may be a link, which is no mount
    is_shared = path.parts[1] in PROGRAM_DIRECTORIES or any(path.is_relative_to(mount.target) for mount in shared)
    return _apart(target) if is_shared else target


def _apart(target: str) -> str:
    return f"{PROGRAMS_PLACE}/{PurePosixPath(target).name}"
