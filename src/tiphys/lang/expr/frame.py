"""What a run carries along: its environment, variables, the innermost loop, and what it has used of its budgets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tiphys.lang.expr.builtins import MEMORY_BUDGET
from tiphys.lang.expr.errors import Panic
from tiphys.lang.moments import Time

ITERATIONS_MAX = 2_000_000
"""Turns of all loops of a run together. The original has no such limit and can be kept busy for years."""


class Scope:
    """One loop: its elements, where it is, and what it has gathered."""

    __slots__ = ("accumulator", "index", "items")

    def __init__(self, items: list[Any]) -> None:
        self.items = items
        self.index = 0
        self.accumulator: Any = None


class Frame:
    """One run of a program."""

    __slots__ = ("_iterations", "_memory", "env", "now", "scope", "variables")

    def __init__(self, env: Mapping[str, Any], variables: int, now: Time | None) -> None:
        self.env = env
        self.variables: list[Any] = [None] * variables
        self.now = now
        self.scope: Scope = _NO_SCOPE
        self._memory = 0
        self._iterations = 0

    def grow(self, size: int) -> None:
        """Counts what was, or is about to be, built."""
        self._memory += size
        if self._memory >= MEMORY_BUDGET:
            raise Panic("memory budget exceeded")

    def turn(self, count: int) -> None:
        """Counts the turns of a loop before it starts."""
        self._iterations += count
        if self._iterations > ITERATIONS_MAX:
            raise Panic(f"loops took more than {ITERATIONS_MAX} turns")


_NO_SCOPE = Scope([])

Code = Callable[[Frame], Any]
