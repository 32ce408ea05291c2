"""Locks on paths of this machine, for pods that share its files (runtimes without a root of their own).

Two pods whose declared paths overlap (equal, or one inside the other) run one after another. All paths of a pod are
taken at once, so that pods never wait for each other in a ring.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from pathlib import PurePosixPath


class PathLocks:
    def __init__(self) -> None:
        self._held: dict[str, str] = {}
        self._waiting: dict[str, tuple[frozenset[str], asyncio.Future[None]]] = {}

    async def take(self, owner: str, paths: Iterable[str], blocked: Callable[[str, str], None]) -> None:
        """Returns when ``owner`` has all of ``paths``. ``blocked(path, holder)`` tells what it has to wait for."""
        wanted = frozenset(str(PurePosixPath(path)) for path in paths)
        while True:
            conflict = self._conflict(owner, wanted)
            if conflict is None:
                for path in wanted:
                    self._held[path] = owner
                return
            blocked(*conflict)
            turn = asyncio.get_running_loop().create_future()
            self._waiting[owner] = (wanted, turn)
            try:
                await turn
            finally:
                self._waiting.pop(owner, None)

    def release(self, owner: str) -> None:
        for path in [path for path, holder in self._held.items() if holder == owner]:
            del self._held[path]
        for _, turn in self._waiting.values():
            if not turn.done():
                turn.set_result(None)

    def _conflict(self, owner: str, wanted: frozenset[str]) -> tuple[str, str] | None:
        """(path, holder) of what is in the way; whoever asked first goes first."""
        for path in wanted:
            for held, holder in self._held.items():
                if holder != owner and overlap(path, held):
                    return path, holder
        return None


def overlap(one: str, other: str) -> bool:
    """Whether one path is the other, or lies inside it."""
    return one == other or one.startswith(other.rstrip("/") + "/") or other.startswith(one.rstrip("/") + "/")
