"""Directories that are kept for who needs them again, the one that was not used for longest removed first."""

from __future__ import annotations

import contextlib
import shutil
from collections import Counter, OrderedDict
from collections.abc import Iterator
from pathlib import Path

PLACES_MAX = 64


class Shelf:
    """At most ``size_max`` directories, and those beyond that somebody holds.

    ``place`` and ``pattern`` say where the last process left its own; a name with a suffix is none that was finished.
    """

    def __init__(self, place: Path, pattern: str = "*/*", size_max: int = PLACES_MAX) -> None:
        self.size_max = size_max
        left = (path for path in place.glob(pattern) if not path.suffix)
        self._places = OrderedDict.fromkeys(sorted(left, key=lambda path: path.stat().st_mtime))
        self._held: Counter[Path] = Counter()

    def used(self, place: Path) -> None:
        """Puts a directory to the front, and removes what there is no room for."""
        self._places[place] = None
        self._places.move_to_end(place)
        spare = [other for other in self._places if other != place and other not in self._held]
        for oldest in spare[: max(0, len(self._places) - self.size_max)]:
            del self._places[oldest]
            shutil.rmtree(oldest, ignore_errors=True)

    @contextlib.contextmanager
    def held(self, place: Path) -> Iterator[None]:
        """Keeps a directory that is being read."""
        self._held[place] += 1
        try:
            yield
        finally:
            self._held[place] -= 1
            if not self._held[place]:
                del self._held[place]
