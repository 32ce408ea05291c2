"""What a run carries along: its environment, variables, the innermost loop, and what it has used of its budgets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tiphys.lang.expr.builtins import MEMORY_BUDGET
from tiphys.lang.expr.errors import Panic
from tiphys.lang.moments import Time

TURNS_MAX = 400_000
"""Turns of all loops of a run together. The original has no such limit and can be kept busy for years."""

CHARACTERS_A_TURN = 128
ELEMENTS_A_TURN = 16
"""Work on a long text or list counts as a turn for each so many characters or elements."""


class Scope:
    """One loop: its elements, where it is, and what it has gathered."""

    __slots__ = ("accumulator", "index", "items")

    def __init__(self, items: list[Any]) -> None:
        self.items = items
        self.index = 0
        self.accumulator: Any = None


class Frame:
    """One run of a program."""

    __slots__ = ("_memory", "_turns", "env", "now", "scope", "variables")

    def __init__(self, env: Mapping[str, Any], variables: int, now: Time | None) -> None:
        self.env = env
        self.variables: list[Any] = [None] * variables
        self.now = now
        self.scope: Scope = _NO_SCOPE
        self._memory = 0
        self._turns = 0

    def grow(self, size: int) -> None:
        """Counts what was, or is about to be, built."""
        self._memory += size
        if self._memory >= MEMORY_BUDGET:
            raise Panic("memory budget exceeded")

    def turn(self, count: int) -> None:
        """Counts the turns of a loop before it starts."""
        self._turns += count
        if self._turns > TURNS_MAX:
            raise Panic(f"loops took more than {TURNS_MAX} turns")

    def read(self, value: Any) -> None:
        """Counts a text or list that is walked or copied, if it is long enough to matter."""
        if isinstance(value, list):
            if len(value) > ELEMENTS_A_TURN:
                self.turn(len(value) // ELEMENTS_A_TURN)
        elif isinstance(value, str | bytes) and len(value) > CHARACTERS_A_TURN:
            self.turn(len(value) // CHARACTERS_A_TURN)


_NO_SCOPE = Scope([])

Code = Callable[[Frame], Any]
