"""Which tasks of a DAG wait for which, and whether ``depends`` holds.

    depends          A && (B.Failed || !C.Succeeded): bare names mean Succeeded, Skipped or Daemoned
    dependencies     the same, joined by &&; continueOn of the *dependency* adds Errored or Failed

Names with dashes are compared as if they had underscores, as the original does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tiphys.workflows.plan.problems import Problem

_NAMES = re.compile(r"([a-zA-Z0-9][-a-zA-Z0-9]*?\.[A-Z][a-zA-Z]+)|([a-zA-Z0-9][-a-zA-Z0-9]*)")


@dataclass(frozen=True)
class Result:
    """How a dependency ended, in the words that ``depends`` has for it."""

    words: frozenset[str]

    @classmethod
    def of(cls, phase: str, *, daemoned: bool, members: list[str]) -> Result:
        words = {"Errored" if phase == "Error" else phase}
        if daemoned:
            words.add("Daemoned")
        if any(member == "Succeeded" for member in members):
            words.add("AnySucceeded")
        if members and all(member == "Failed" for member in members):
            words.add("AllFailed")
        return cls(frozenset(words))


@dataclass(frozen=True, eq=False)
class Graph:
    """``logic`` is the expanded depends of each task, "" for none."""

    dependencies: Mapping[str, tuple[str, ...]]
    dependents: Mapping[str, list[str]]
    logic: Mapping[str, str]

    def leaves(self) -> list[str]:
        """Tasks that nothing depends on, sorted."""
        return sorted(name for name in self.dependencies if name not in self.dependents)

    def reachable(self, targets: Iterable[str]) -> list[str]:
        """The targets and all their ancestors, dependencies first. Raises `Problem` for an unknown task."""
        order: dict[str, None] = {}
        for target in targets:
            self._add(target, order)
        return list(order)

    def ancestors(self, name: str) -> list[str]:
        return [other for other in self.reachable([name]) if other != name]

    def is_ancestor(self, other: str, name: str) -> bool:
        seen: set[str] = set()
        todo = list(self.dependencies[name])
        while todo:
            current = todo.pop()
            if current == other:
                return True
            if current not in seen:
                seen.add(current)
                todo.extend(self.dependencies.get(current, ()))
        return False

    def _add(self, target: str, order: dict[str, None]) -> None:
        stack: list[tuple[str, bool]] = [(target, False)]
        while stack:
            name, expanded = stack.pop()
            if name in order:
                continue
            if name not in self.dependencies:
                raise Problem(f"target {name} does not exist")
            if expanded:
                order[name] = None
                continue
            stack.append((name, True))
            stack.extend((dep, False) for dep in reversed(self.dependencies[name]) if dep not in order)


def graph(tasks: Mapping[str, Mapping[str, Any]]) -> Graph:
    """The graph of a DAG's tasks."""
    dependencies: dict[str, tuple[str, ...]] = {}
    dependents: dict[str, list[str]] = {}
    logic: dict[str, str] = {}
    for name, task in tasks.items():
        found, logic[name] = _expand(task, tasks)
        dependencies[name] = found
        for dependency in found:
            dependents.setdefault(dependency, []).append(name)
    return Graph(dependencies, dependents, logic)


def _expand(task: Mapping[str, Any], tasks: Mapping[str, Mapping[str, Any]]) -> tuple[tuple[str, ...], str]:
    text = str(task.get("depends") or "")
    if not text:
        named = [str(name) for name in task.get("dependencies") or ()]
        return tuple(dict.fromkeys(named)), " && ".join(_bare(name, tasks) for name in named)
    found: dict[str, None] = {}
    pieces: list[str] = []
    at = 0
    for match in _NAMES.finditer(text):
        pieces.append(text[at : match.start()])
        at = match.end()
        if match[1]:
            found[match[1].partition(".")[0]] = None
            pieces.append(match[1])
        else:
            found[match[2]] = None
            pieces.append(_bare(match[2], tasks))
    return tuple(found), "".join(pieces) + text[at:]


def _bare(name: str, tasks: Mapping[str, Mapping[str, Any]]) -> str:
    words = ["Succeeded", "Skipped", "Daemoned"]
    forgiven = (tasks.get(name) or {}).get("continueOn") or {}
    if forgiven.get("error"):
        words.append("Errored")
    if forgiven.get("failed"):
        words.append("Failed")
    return "(" + " || ".join(f"{name}.{word}" for word in words) + ")"


def holds(logic: str, results: Mapping[str, Result]) -> bool:
    """Whether an expanded depends holds. Raises `Problem`."""
    text = logic.replace("-", "_")
    known = {name.replace("-", "_"): result for name, result in reversed(list(results.items()))}
    tokens = re.findall(r"&&|\|\||[!()]|[a-zA-Z0-9_]+\.[a-zA-Z]+|\S", text)
    reader = _Reader(tokens, known)
    try:
        value = reader.either()
    except Problem as err:
        raise Problem(f"unable to evaluate expression '{text}': {err}") from err
    if reader.at != len(tokens):
        raise Problem(f"unable to evaluate expression '{text}': unexpected token")
    return value


class _Reader:
    """either = both {"||" both}; both = one {"&&" one}; one = "!" one | "(" either ")" | name.Word"""

    def __init__(self, tokens: list[str], results: Mapping[str, Result]) -> None:
        self.tokens, self.results, self.at = tokens, results, 0

    def either(self) -> bool:
        value = self.both()
        while self._take("||"):
            value = self.both() or value
        return value

    def both(self) -> bool:
        value = self.one()
        while self._take("&&"):
            value = self.one() and value
        return value

    def one(self) -> bool:
        if self._take("!"):
            return not self.one()
        if self._take("("):
            value = self.either()
            if not self._take(")"):
                raise Problem("missing )")
            return value
        if self.at >= len(self.tokens):
            raise Problem("unexpected end")
        name, _, word = self.tokens[self.at].partition(".")
        self.at += 1
        if name not in self.results:
            raise Problem(f"unknown name {name}")
        return word in self.results[name].words

    def _take(self, token: str) -> bool:
        if self.at < len(self.tokens) and self.tokens[self.at] == token:
            self.at += 1
            return True
        return False
