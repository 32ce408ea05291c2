"""The artifact plugins of a pod, as the node's agent meets them: where their sockets are, what they are shown.

Each plugin gets a directory of its own, mounted where it expects its socket, and in that another for files, which both
sides see. Where containers see this machine's files as they are, the directory has a short name, since the address
of a socket may not be long, and files are handed over where they lie.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiphys.machinery.podlife import PodDirs
from tiphys.workflows.executor.artifacts import PluginPlace
from tiphys.workflows.executor.errors import ExecutorError
from tiphys.workflows.plan.assess import ARTIFACT_PLUGIN
from tiphys.workflows.plan.pods import plugins

Object = Mapping[str, Any]
_FILES = "files"
_SOCKET, _OWN = "socket", "own"


@dataclass(frozen=True)
class PodPlugins:
    """The plugins of one pod, by name: their directories on this machine."""

    directories: Mapping[str, Path]
    isolated: bool

    @classmethod
    def of(cls, pod: Object, dirs: PodDirs) -> PodPlugins:
        begun = [c["name"] for c in pod["spec"].get("initContainers") or () if c["name"].startswith(ARTIFACT_PLUGIN)]
        names = [name.removeprefix(ARTIFACT_PLUGIN) for name in begun]
        if dirs.isolated:
            return cls({name: dirs.private / "plugins" / name for name in names}, True)
        top = Path(tempfile.gettempdir())
        return cls({name: top / f"tiphys-{pod['metadata']['uid']}-{name}" for name in names}, False)

    def __bool__(self) -> bool:
        return bool(self.directories)

    @property
    def containers(self) -> frozenset[str]:
        return frozenset(f"{ARTIFACT_PLUGIN}{name}" for name in self.directories)

    def places(self) -> dict[str, PluginPlace]:
        found = {}
        for name, directory in self.directories.items():
            inside = f"{plugins.directory(name)}/{_FILES}" if self.isolated else ""
            found[name] = PluginPlace(directory / _SOCKET / "socket", directory / _FILES, directory / _OWN, inside)
        return found

    def mounts(self) -> dict[str, list[tuple[Path, str, bool]]]:
        """What each plugin's container is shown; makes the directories. Raises ``ExecutorError``."""
        for directory in self.directories.values():
            _make(directory)
            for part in (_SOCKET, _FILES, _OWN):
                (directory / part).mkdir(exist_ok=True)
            (directory / _SOCKET).chmod(0o777)  # for whatever user the plugin is in its container
        return {f"{ARTIFACT_PLUGIN}{name}": _mounts(name, directory) for name, directory in self.directories.items()}

    def outside(self) -> list[Path]:
        """The directories that do not lie among the pod's own."""
        return [] if self.isolated else list(self.directories.values())


def _mounts(name: str, directory: Path) -> list[tuple[Path, str, bool]]:
    """Two mounts, so that the plugin cannot put a link in the place of the directory for files."""
    place = plugins.directory(name)
    return [(directory / _SOCKET, place, False), (directory / _FILES, f"{place}/{_FILES}", False)]


def _make(directory: Path) -> None:
    """Of our own, whoever else writes in the directory above."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    try:
        directory.mkdir(0o700)
    except FileExistsError:
        found = directory.lstat()
        if found.st_uid != os.geteuid() or directory.is_symlink():
            raise ExecutorError(f"{directory} exists and is somebody else's") from None
