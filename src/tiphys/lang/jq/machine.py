"""Runs compiled filters: a machine with continuations and a stack of choices, so that nothing recurses at run time.

A filter gives any number of values. Each compiled node is a function ``node(machine, value, place, env, then)`` that
does its step and returns the next *task*: a tuple of a function and its arguments, or None for "no (more) values here".
It hands a value on with the task ``(then, value, place)``; before it does, it may push onto the choices what is to be
tried afterwards. When a task is None the machine takes the latest choice; when there is none left the filter is done.

    [ (right, …) ]  ,  pushes the right side and continues with the left
    Try             a barrier: errors raised above it are handled here, unless its body is already left (Left)
    Label           where break lands
    Either          the next pattern of ``?//``

``place`` is None, or, where paths are wanted (``path(f)``, assignments), a pair of the keys that lead here (a linked
list) and the value they lead to. Variables and functions live in a linked list ``(entry, outer)``; where to find them
is known when the filter is compiled. Calls in tail position keep nothing, so loops may run as long as the budget lasts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from tiphys.lang.jq.errors import Break, Failure, JqError, JqLimitError

STEPS_MAX: Final = 100_000
"""Steps of one evaluation, about a microsecond each; callers add to it for large documents."""

Task = tuple[Any, ...] | None
Place = tuple[Any, Any] | None
Env = tuple[Any, Any] | None
Then = Callable[["Machine", Any, Place], Task]
Node = Callable[["Machine", Any, Place, Env, Then], Task]


@dataclass(eq=False, slots=True)
class Try:
    handler: Node | None
    place: Place
    env: Env
    then: Then


@dataclass(eq=False, slots=True)
class Left:
    """The body of a `Try` has handed out a value: errors from further on are none of its business."""

    barrier: Try


class Label:
    __slots__ = ()


@dataclass(eq=False, slots=True)
class Either:
    following: tuple[Any, ...]


class Machine:
    """One evaluation. ``choices`` is for the nodes."""

    def __init__(self, steps: int, now: float | None) -> None:
        self.choices: list[Any] = []
        self.now = now
        self._steps = steps

    def run(self, node: Node, value: Any) -> Iterator[Any]:
        """The values of a filter, one after the other. Raises `JqError` where the filter ends in one."""
        output: list[Any] = []

        def done(_machine: Machine, result: Any, _place: Place) -> Task:
            output.append(result)
            return None

        task: Task = (node, value, None, None, done)
        while True:
            try:
                self._until_output(task, output)
            except JqError as err:
                task = self._handle(err)
                continue
            except RecursionError:
                raise JqLimitError("value nested too deep") from None
            if not output:
                return
            yield output.pop()
            task = None

    def _until_output(self, task: Task, output: list[Any]) -> None:
        choices = self.choices
        steps = self._steps
        try:
            while True:
                while task is not None:
                    steps -= 1
                    if steps < 0:
                        raise JqLimitError("the filter takes too many steps")
                    task = task[0](self, *task[1:])
                if output:
                    return
                while choices:
                    choice = choices.pop()
                    if type(choice) is tuple:
                        task = choice
                        break
                else:
                    return
        finally:
            self._steps = steps

    def _handle(self, err: JqError) -> Task:
        """Unwinds to whoever takes the error; raises it when nobody does."""
        left: set[Try] = set()
        choices = self.choices
        while choices:
            choice = choices.pop()
            kind = type(choice)
            if kind is Left:
                left.add(choice.barrier)
            elif kind is Label:
                if isinstance(err, Break) and err.label is choice:
                    return None
            elif isinstance(err, JqLimitError):
                continue
            elif kind is Either:
                return choice.following  # type: ignore[no-any-return]
            elif kind is Try and choice not in left and isinstance(err, Failure):
                return (
                    None
                    if choice.handler is None
                    else (choice.handler, err.value, choice.place, choice.env, choice.then)
                )
        raise err


def intact(value: Any, place: tuple[Any, Any]) -> bool:
    """Whether the value is still the one that the place's keys lead to."""
    anchor = place[1]
    if isinstance(value, (list, dict)):
        return value is anchor
    return type(value) is type(anchor) and bool(value == anchor)


def keys_of(place: tuple[Any, Any]) -> list[Any]:
    """The keys of a place as a jq path."""
    keys: list[Any] = []
    node = place[0]
    while node:
        node, key = node
        keys.append(key)
    return keys[::-1]
