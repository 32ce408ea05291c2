"""What the executor needs of a store for artifacts. Implementations are in ``workflows/drivers/artifacts``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tiphys.workflows.executor.trees import Place

Object = Mapping[str, Any]


@dataclass(frozen=True)
class PluginPlace:
    """Where a pod's artifact plugin is met: its ``socket``, and ``files``, a directory that it sees as ``inside``.

    ``own`` is a directory on the same file system that it does not see. ``inside`` is "" where it sees this machine's
    files as they are.
    """

    socket: Path
    files: Path
    own: Path
    inside: str = ""


class ArtifactDriver(Protocol):
    """One kind of store. Artifacts come with a complete location. All methods block and may be called from threads.

    Raise ``executor.errors.ExecutorError``; ``missing`` where the artifact is not there.
    """

    def load(self, artifact: Object, target: Path) -> None:
        """Copies the artifact to ``target`` (a file, or a directory where the artifact is one)."""
        ...

    def save(self, source: Place, artifact: Object) -> None: ...

    def delete(self, artifact: Object) -> None:
        """Removes the artifact; what is not there is fine."""
        ...


class ArtifactDrivers(Protocol):
    """Finds the driver for an artifact."""

    def driver_for(self, artifact: Object) -> ArtifactDriver:
        """Raises ``ExecutorError`` for a kind of store that is not supported."""
        ...
