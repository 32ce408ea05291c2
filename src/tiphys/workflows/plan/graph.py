"""Which tasks of a DAG wait for which: the graph that ``depends`` and ``dependencies`` draw."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tiphys.lang import depends
from tiphys.workflows.plan.problems import Problem


@dataclass(frozen=True, eq=False)
class Graph:
    """``logic`` is the expanded depends of each task; its text is "" where nothing is waited for."""

    dependencies: Mapping[str, tuple[str, ...]]
    dependents: Mapping[str, list[str]]
    logic: Mapping[str, depends.Logic]

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
    """The graph of a DAG's tasks. Raises `Problem` for a task that waits for one that is not there."""
    try:
        logic = {name: depends.rewrite(task, tasks) for name, task in tasks.items()}
    except depends.DependsError as err:
        raise Problem(str(err)) from err
    dependents: dict[str, list[str]] = {}
    for name, found in logic.items():
        for dependency in found.needs:
            dependents.setdefault(dependency, []).append(name)
    return Graph({name: tuple(found.needs) for name, found in logic.items()}, dependents, logic)
