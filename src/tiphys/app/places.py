"""Directories of this machine as volumes of the embedded cluster."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class HostPlaces:
    """A ``cluster.controllers.volumes.Places``: every volume is a directory below ``folder``."""

    folder: Path

    @property
    def root(self) -> str:
        return str(self.folder)

    async def discard(self, path: str) -> None:
        """Nothing outside ``folder`` is ever removed, whatever a volume says."""
        place = Path(path)
        if place.parent == self.folder and place.name not in ("", ".", ".."):
            await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)
