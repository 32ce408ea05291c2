"""The time and chance that expressions of a workflow get: what its decision was given, and what follows from that.

``now()``, ``sprig.now``, ``sprig.uuidv4`` and their like work while a decision is made, and only then. The present is
the decision's. Random bytes follow from the workflow, the present and how many were drawn before, so a simulation that
is run again sees the same ones. They are not fit for secrets, nor are they in the original.
"""

from __future__ import annotations

import hashlib
from contextvars import ContextVar
from datetime import datetime

from tiphys.lang.gotime import from_datetime
from tiphys.lang.govalues import CallError
from tiphys.lang.moments import Time
from tiphys.lang.sprig import Sources


class Chance:
    """The time and chance of one workflow."""

    __slots__ = ("_drawn", "_now", "_seed")

    def __init__(self, seed: str, now: datetime) -> None:
        self._seed = seed
        self._now = now
        self._drawn = 0

    def now(self) -> Time:
        return from_datetime(self._now)

    def draw(self, count: int) -> bytes:
        """The next ``count`` bytes."""
        self._drawn += 1
        text = f"{self._seed} {self._now.isoformat()} {self._drawn}"
        return hashlib.shake_256(text.encode()).digest(count)


_present: ContextVar[Chance | None] = ContextVar("present", default=None)


class deciding:
    """Expressions evaluated inside have time and chance. ``seed`` is the workflow's uid."""

    __slots__ = ("_before", "_chance")

    def __init__(self, seed: str, now: datetime) -> None:
        self._chance = Chance(seed, now)

    def __enter__(self) -> None:
        self._before = _present.set(self._chance)

    def __exit__(self, *_error: object) -> None:
        _present.reset(self._before)


def sources() -> Sources | None:
    """What expressions may draw from here; None outside of a decision."""
    return _SOURCES if _present.get() is not None else None


def now() -> Time | None:
    """What ``now()`` gives here."""
    chance = _present.get()
    return chance.now() if chance is not None else None


def _chance() -> Chance:
    chance = _present.get()
    if chance is None:
        raise CallError("there is no time or chance outside of a decision")
    return chance


# One for all, since the functions that use it are built from it.
_SOURCES = Sources(now=lambda: _chance().now(), random=lambda count: _chance().draw(count))
