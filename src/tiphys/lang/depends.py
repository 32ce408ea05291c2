"""``depends`` of DAG tasks: which tasks it names, what it means, whether the task runs.

    rewrite(task, tasks) → Logic             the expression with every bare name spelt out, and the tasks it needs
    decide(logic, states) → Outcome          given what became of those tasks
    check_results(depends)                   the names of results, as validation checks them

A bare ``A`` means that A succeeded, was skipped, or is a running daemon (and, with continueOn, that it failed or
errored); ``A.Failed`` and its like mean what they say. ``dependencies: [A, B]`` is the same as ``A && B``. What is a
name is decided by a regular expression before anything is parsed, so ``and``, ``not`` and ``true`` are task names too.
The rest is an expression of expr-lang over one record per task; in names, ``-`` counts as ``_`` there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from tiphys.lang.expr import ExprError, eval_bool
from tiphys.lang.expr.values import Struct

LENGTH_MAX = 100_000
"""Characters of a ``depends``."""

RESULTS = ("Succeeded", "Failed", "Errored", "Skipped", "Omitted", "Daemoned", "AnySucceeded", "AllFailed")
"""What may follow a task's name. The last two are about the items of a task that loops."""

Needs = Literal["task", "items"]

_NAME = re.compile(r"([a-zA-Z0-9][-a-zA-Z0-9]*?\.[A-Z][a-zA-Z]+)|([a-zA-Z0-9][-a-zA-Z0-9]*)")
_PLAIN = re.compile(r"[a-zA-Z0-9][-a-zA-Z0-9]*")
_ABOUT_ITEMS = ("AnySucceeded", "AllFailed")
_FULFILLED = frozenset(("Succeeded", "Failed", "Error", "Skipped", "Omitted"))


class DependsError(ValueError):
    """A ``depends`` that names no task, or that cannot be evaluated. The message is the original's."""


class Logic(NamedTuple):
    """``text`` is what is evaluated; ``needs`` says of each task named whether its items are asked about.

    ``results`` are those of which every task needed must have one, where the text says no more than that.
    """

    text: str
    needs: dict[str, Needs]
    results: Mapping[str, tuple[str, ...]] | None = None


class Outcome(NamedTuple):
    """``proceed``: all tasks it needs have ended. ``execute``: given how they ended, the task runs."""

    execute: bool
    proceed: bool


class State(NamedTuple):
    """What became of a task: its node's phase, whether it is a daemon, for a loop the phases of its items.

    ``items`` holds None for an item whose phase is not known; ``hooks_done`` says that its hooks have ended too.
    """

    phase: str
    daemoned: bool = False
    items: tuple[str | None, ...] | None = None
    hooks_done: bool = True

    @property
    def fulfilled(self) -> bool:
        """Whether tasks that depend on it may be decided."""
        return self.phase in _FULFILLED or (self.daemoned and self.phase != "Pending")

    def results(self) -> Struct:
        """The record that expressions see."""
        items = self.items or ()
        return Struct(
            "controller.TaskResults",
            {
                "Succeeded": self.phase == "Succeeded",
                "Failed": self.phase == "Failed",
                "Errored": self.phase == "Error",
                "Skipped": self.phase == "Skipped",
                "Omitted": self.phase == "Omitted",
                "Daemoned": self.daemoned and self.phase != "Pending",
                "AnySucceeded": "Succeeded" in items,
                "AllFailed": bool(items) and all(phase == "Failed" for phase in items),
            },
        )


def rewrite(task: Mapping[str, Any], tasks: Mapping[str, Mapping[str, Any]]) -> Logic:
    """The logic of ``task`` among ``tasks`` (by name). Raises DependsError where it names a task that is not there."""
    depends = str(task.get("depends") or "")
    names = [name.strip() for name in depends.split("&&")]
    if not depends:
        names = [str(name) for name in task.get("dependencies") or ()]
        depends = " && ".join([_expanded(name, tasks) for name in names])
    if len(depends) > LENGTH_MAX:
        raise DependsError(f"depends is longer than {LENGTH_MAX} characters")
    are_plain = all(map(_PLAIN.fullmatch, names))
    if are_plain and not task.get("depends"):  # spelt out already
        return Logic(depends, dict.fromkeys(names, "task"), {n: _accepted(tasks[n]) for n in names} if names else None)
    needs: dict[str, Needs] = {}
    text = _NAME.sub(lambda match: _spelt_out(match, needs, tasks), depends)
    return Logic(text, needs, {name: _accepted(tasks[name]) for name in names} if are_plain else None)


def _spelt_out(match: re.Match[str], needs: dict[str, Needs], tasks: Mapping[str, Mapping[str, Any]]) -> str:
    bare: str | None = match.group(2)
    if bare is not None:
        needs[bare] = "task"
        return _expanded(bare, tasks)
    name, _, result = match.group(1).partition(".")
    if result in _ABOUT_ITEMS:
        needs[name] = "items"
    else:
        needs.setdefault(name, "task")
    return match.group(1)


def _expanded(name: str, tasks: Mapping[str, Mapping[str, Any]]) -> str:
    task = tasks.get(name)
    if task is None:
        raise DependsError(f"target {name} does not exist")
    return "(" + " || ".join([f"{name}.{result}" for result in _accepted(task)]) + ")"


def _accepted(task: Mapping[str, Any]) -> tuple[str, ...]:
    """The results that a bare name stands for."""
    continues = task.get("continueOn")
    if not continues:
        return ("Succeeded", "Skipped", "Daemoned")
    failures = (("error", "Errored"), ("failed", "Failed"))
    return ("Succeeded", "Skipped", "Daemoned", *(result for key, result in failures if continues.get(key)))


def decide(logic: Logic, states: Mapping[str, State | None]) -> Outcome:
    """Whether a task with this logic runs. ``states`` holds None, or nothing, for tasks that have no node yet.

    Raises DependsError for logic that is no expression over these tasks.
    """
    for name in logic.needs:
        state = states.get(name)
        if state is None or not state.fulfilled or not state.hooks_done:
            return Outcome(execute=False, proceed=False)
    quick = _quickly(logic, states)
    if quick is not None:
        return Outcome(execute=quick, proceed=True)
    env: dict[str, Any] = {}
    for name in sorted(logic.needs):
        if (state := states.get(name)) is not None:
            env.setdefault(name.replace("-", "_"), state.results())
    source = logic.text.replace("-", "_")
    try:
        return Outcome(execute=eval_bool(source, env), proceed=True)
    except ExprError as err:
        raise DependsError(f"unable to evaluate expression '{source}': {err}") from err


_TOKEN = re.compile(r"\s*(?:([\w-]+)\.(\w+)|(&&|\|\||[()!]))\s*")
_QUICK: Mapping[str, Callable[[State], bool]] = {
    "Succeeded": lambda state: state.phase == "Succeeded",
    "Failed": lambda state: state.phase == "Failed",
    "Errored": lambda state: state.phase == "Error",
    "Skipped": lambda state: state.phase == "Skipped",
    "Omitted": lambda state: state.phase == "Omitted",
    "Daemoned": lambda state: state.daemoned and state.phase != "Pending",
}


def _quickly(logic: Logic, states: Mapping[str, State | None]) -> bool | None:
    """The value of logic made of results, ``&&``, ``||``, ``!`` and parentheses alone; None for any other."""
    if logic.results is not None:
        return all(any(_holds(states.get(name), result) for result in of) for name, of in logic.results.items())
    text = logic.text
    tokens: list[bool | str] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            return None
        name, result, mark = match.groups()
        if mark is not None:
            tokens.append(mark)
        else:
            state, test = states.get(name), _QUICK.get(result)
            if state is None or test is None:
                return None
            tokens.append(test(state))
        at = match.end()
    tokens.reverse()
    value = _any_of(tokens)
    return None if tokens else value


def _holds(state: State | None, result: str) -> bool:
    return state is not None and _QUICK[result](state)


def _any_of(tokens: list[bool | str]) -> bool | None:
    value = _all_of(tokens)
    while value is not None and tokens and tokens[-1] == "||":
        tokens.pop()
        other = _all_of(tokens)
        value = None if other is None else value or other
    return value


def _all_of(tokens: list[bool | str]) -> bool | None:
    value = _one_of(tokens)
    while value is not None and tokens and tokens[-1] == "&&":
        tokens.pop()
        other = _one_of(tokens)
        value = None if other is None else value and other
    return value


def _one_of(tokens: list[bool | str]) -> bool | None:
    token = tokens.pop() if tokens else None
    if token == "!":
        value = _one_of(tokens)
        return None if value is None else not value
    if token == "(":
        value = _any_of(tokens)
        return value if tokens and tokens.pop() == ")" else None
    return token if isinstance(token, bool) else None


def check_results(depends: str) -> None:
    """Raises DependsError for ``A.Foo`` with a result that does not exist; lower-case ones are taken for tasks."""
    for match in _NAME.finditer(depends):
        name, dot, result = (match.group(1) or "").partition(".")
        if dot and result not in RESULTS:
            raise DependsError(f"task result '{result}' for task '{name}' is invalid")
