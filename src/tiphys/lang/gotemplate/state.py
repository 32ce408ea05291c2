"""What an execution carries along, its limits, and its errors with their places."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tiphys.lang.gofmt import quote
from tiphys.lang.gotemplate.errors import ExecError
from tiphys.lang.gotemplate.nodes import Node
from tiphys.lang.gotext import utf8

OUTPUT_MAX = 10_000_000
"""Characters of a result."""
STEPS_MAX = 60_000
"""What one execution may do: a node is a step, a call a few more, by the size of what it takes and gives."""
CALLS_MAX = 60
"""Templates that call templates, nested; each takes a handful of Python's own stack frames."""

_CALL_STEPS = 12
STEP_CHARACTERS = 256
_STEP_ELEMENTS = 4


class Nil:
    """A nil of type interface {}: there is an entry and it is nil. What is not there at all is None."""

    go_type = "interface {}"

    def __repr__(self) -> str:
        return "NIL"


NIL = Nil()


class Missing:
    """No value from a previous stage of the pipeline."""


MISSING = Missing()


class Break(Exception):
    """Leaves a range."""


class Continue(Exception):
    """Goes on with the next element of a range."""


class State:
    """One execution. ``variables`` are ``[name, value, is_any]``, the latest last.

    ``is_any`` and ``dot_is_any`` say that a value was an element of a container of any: only messages depend on it.
    """

    __slots__ = (
        "calls",
        "dot_is_any",
        "file",
        "missing_key",
        "name",
        "node",
        "out",
        "size",
        "steps",
        "text",
        "variables",
    )

    def __init__(self, name: str, text: str, missing_key: str, data: Any) -> None:
        self.name = self.file = name
        self.text = text
        self.missing_key = missing_key
        self.node: Node | None = None
        self.variables: list[list[Any]] = [["$", data, False]]
        self.dot_is_any = False
        self.out: list[str] = []
        self.size = 0
        self.steps = 0
        self.calls = 0

    def write(self, text: str) -> None:
        self.out.append(text)
        size = len(text)
        if size >= STEP_CHARACTERS:
            self.spend(size // STEP_CHARACTERS)
        self.grow(size)

    def grow(self, size: int) -> None:
        """Accounts for output."""
        self.size += size
        if self.size > OUTPUT_MAX:
            raise self.error(f"the output is longer than {OUTPUT_MAX} characters")

    def spend(self, steps: int = 1) -> None:
        self.steps += steps
        if self.steps > STEPS_MAX:
            raise self.error(f"gave up after {STEPS_MAX} steps")

    def spend_on_call(self, given: Iterable[Any], made: Any) -> None:
        """Accounts for a call by the size of its arguments and result."""
        steps = _CALL_STEPS + _steps_for(made)
        for argument in given:
            steps += _steps_for(argument)
        self.spend(steps)

    def error(self, message: str) -> ExecError:
        """The error at the present node."""
        if self.node is None:
            return ExecError(f"template: {self.name}: {message}")
        before = self.text[: self.node.position]
        line = before.count("\n") + 1
        column = len(utf8(before[before.rfind("\n") + 1 :]))
        place = f"template: {self.file}:{line}:{column}: executing {quote(self.name)} at <{self.node}>"
        return ExecError(f"{place}: {message}")

    def variable(self, name: str) -> list[Any]:
        """The latest ``[name, value, is_any]`` of that name."""
        entry: list[Any]
        for entry in reversed(self.variables):
            if entry[0] == name:
                return entry
        raise self.error(f"undefined variable: {name}")

    def set_variable(self, name: str, value: Any, is_any: bool = False) -> None:
        entry = self.variable(name)
        entry[1], entry[2] = value, is_any


def _steps_for(value: Any) -> int:
    if isinstance(value, str):
        return len(value) // STEP_CHARACTERS
    return len(value) // _STEP_ELEMENTS if isinstance(value, list | dict) else 0
