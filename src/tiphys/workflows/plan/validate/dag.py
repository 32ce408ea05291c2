"""Templates of tasks that depend on each other.

What a task depends on is read from ``depends`` by its words alone, as upstream does: ``and`` or ``true`` in it count
as names of tasks. Whether the expression is well-formed shows only at run time.
"""

from __future__ import annotations

import re
from collections import deque
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tiphys.lang import gojson
from tiphys.workflows.plan.canonical import has_tags
from tiphys.workflows.plan.validate.arguments import check_arguments
from tiphys.workflows.plan.validate.callers import Given
from tiphys.workflows.plan.validate.names import check_field_names, holds_parameter, is_field_name
from tiphys.workflows.plan.validate.problem import Invalid, Place
from tiphys.workflows.plan.validate.resolution import Base, Template
from tiphys.workflows.plan.validate.steps import check_not_leaf, inline_inputs, is_loop
from tiphys.workflows.plan.validate.variables import Scope, item_names

if TYPE_CHECKING:
    from tiphys.workflows.plan.validate.templates import Validation

Task = dict[str, Any]

RESULTS = frozenset(["Succeeded", "Failed", "Errored", "Skipped", "Omitted", "Daemoned", "AnySucceeded", "AllFailed"])
LOOP_RESULTS = frozenset(("AnySucceeded", "AllFailed"))

_NO_ITEMS = "uses an items-based condition such as .AnySucceeded or .AllFailed but does not contain any items"
_STATUS = re.compile(r"tasks\.([-a-zA-Z0-9]+)\.status")
_WORD = re.compile(r"([a-zA-Z0-9][-a-zA-Z0-9]*?)\.([A-Z][a-zA-Z]+)|([a-zA-Z0-9][-a-zA-Z0-9]*)")


def check_dag(run: Validation, template: Template, base: Base, scope: Scope, place: Place) -> None:
    """Raises `Invalid` for the first fault; adds to ``scope`` what the outputs may use."""
    check_not_leaf(template)
    name, dag = template.get("name", ""), template["dag"]
    tasks: list[Task] = dag.get("tasks") or []
    if not tasks:
        raise Invalid(f"templates.{name} must have at least one task", "dag.tasks")
    places = {task["name"]: place.inside(f"dag.tasks[{index}]", name) for index, task in enumerate(tasks)}
    needs = {task["name"]: dependencies(task) for task in tasks}
    try:
        order = _sorted_tasks(tasks, needs)
    except Invalid as err:
        raise err.within(f"templates.{name} sorting failed: ", "dag.tasks") from None
    try:
        check_field_names(task["name"] for task in order)
    except Invalid as err:
        raise err.within(f"templates.{name}.tasks", "dag.tasks") from None
    called = _check_calls(run, name, order, needs, base, scope, places)
    _check_target(name, dag.get("target", ""), scope, set(needs))
    ancestry = _Ancestry(order, needs)
    for task in order:
        try:
            _check_task(run, name, task, called[task["name"]], ancestry, base, scope, places)
        except Invalid as err:
            raise err.within("", "", places[task["name"]]) from None


def dependencies(task: Task) -> dict[str, bool]:
    """The tasks that a task waits for; True where it asks about a loop's items (``A.AnySucceeded``)."""
    text = task.get("depends", "")
    if not text:
        names = task.get("dependencies") or ()
        if all(map(is_field_name, names)):
            return dict.fromkeys(names, False)
        # what the original reads out of names that are none
        text = " && ".join(f"({name}.Succeeded || {name}.Skipped || {name}.Daemoned)" for name in names)
    found: dict[str, bool] = {}
    for name, result, bare in _WORD.findall(text):
        if bare:
            found[bare] = False
        elif result in LOOP_RESULTS:
            found[name] = True
        else:
            found.setdefault(name, False)
    return found


def _sorted_tasks(tasks: list[Task], needs: dict[str, dict[str, bool]]) -> list[Task]:
    """The tasks, each after those it needs. Raises `Invalid`; the words are the original's."""
    by_name: dict[str, Task] = {}
    for task in tasks:
        if task["name"] in by_name:
            raise Invalid(f"duplicated nodeName {task['name']}")
        by_name[task["name"]] = task
    waiting = {name: len(needed) for name, needed in needs.items()}
    followers: dict[str, list[str]] = {}
    for name, needed in needs.items():
        for other in needed:
            if other not in by_name:
                raise Invalid(f"invalid dependency {other}")
            followers.setdefault(other, []).append(name)
    ready = deque(name for name, count in waiting.items() if not count)
    order = []
    while ready:
        name = ready.popleft()
        order.append(by_name[name])
        for follower in followers.get(name, ()):
            waiting[follower] -= 1
            if not waiting[follower]:
                ready.append(follower)
    if len(order) < len(tasks):
        raise Invalid("graph with cycle")
    return order


def _check_calls(
    run: Validation,
    name: str,
    order: list[Task],
    needs: dict[str, dict[str, bool]],
    base: Base,
    scope: Scope,
    places: dict[str, Place],
) -> dict[str, Template | None]:
    """Checks how tasks refer to templates and to each other; returns the template of each."""
    uses_depends = any(task.get("depends") for task in order)
    by_name = {task["name"]: task for task in order}
    called: dict[str, Template | None] = {}
    for task in order:
        label = f"templates.{name}.tasks.{task['name']}"
        try:
            _check_style(name, label, task, uses_depends)
            called[task["name"]] = _call(run, label, task, base, places[task["name"]])
            run.add_outputs(called[task["name"]], "tasks", task["name"], scope, aggregate=is_loop(task))
            _check_results(label, task)
            for other, about_items in needs[task["name"]].items():
                if about_items and not is_loop(by_name[other]) and by_name[other].get("withSequence") is None:
                    # the original names the other task twice here
                    where = f"templates.{name}.tasks.{other} dependency '{other}'"
                    raise Invalid(f"{where} {_NO_ITEMS}", "depends")
        except Invalid as err:
            raise err.within("", "", places[task["name"]]) from None
    return called


def _check_style(name: str, label: str, task: Task, uses_depends: bool) -> None:
    """The old (``dependencies``) and the new way (``depends``) do not mix, and either needs names that are words."""
    if (uses_depends or task.get("dependencies")) and task["name"][0] in "0123456789":
        what = "name cannot begin with a digit when using either 'depends' or 'dependencies'"
        raise Invalid(f"{label} {what}", "name")
    if uses_depends and task.get("dependencies"):
        what = "cannot use both 'depends' and 'dependencies' in the same DAG template"
        raise Invalid(f"templates.{name} {what}", "dependencies")
    if uses_depends and task.get("continueOn") is not None:
        what = "cannot use 'continueOn' when using 'depends'. Instead use 'dep-task.Failed'/'dep-task.Errored'"
        raise Invalid(f"templates.{name} {what}", "continueOn")


def _check_results(label: str, task: Task) -> None:
    for name, result, _ in _WORD.findall(task.get("depends", "")):
        if result and result not in RESULTS:
            raise Invalid(f"{label} task result '{result}' for task '{name}' is invalid", "depends")


def _call(
    run: Validation, label: str, task: Task, base: Base, at: Place, arguments: dict[str, Any] | None = None
) -> Template | None:
    try:
        return run.call(task, base, run.anything() if arguments is None else Given(arguments), at)
    except Invalid as err:
        raise err.within(f"{label} ") from None


def _check_target(name: str, target: str, scope: Scope, tasks: set[str]) -> None:
    try:
        scope.check(target)
    except Invalid as err:
        raise err.within(f"templates.{name}.targets ", "dag.target") from None
    if not target:
        return
    for wanted in target.split(" "):
        if wanted not in tasks and not holds_parameter(wanted):
            raise Invalid(f"templates.{name}.targets: target '{wanted}' is not defined", "dag.target")


class _Ancestry:
    """What each task comes after, near and far: one bit a task, since a chain of thousands has millions of pairs."""

    def __init__(self, order: list[Task], needs: dict[str, dict[str, bool]]) -> None:
        """``order`` has every task after those it needs."""
        self._order = order
        self._needs = needs

    @cached_property
    def _bits(self) -> dict[str, int]:
        return {task["name"]: 1 << index for index, task in enumerate(self._order)}

    @cached_property
    def _before(self) -> dict[str, int]:
        """Made when first asked for: many graphs only order their tasks."""
        found: dict[str, int] = {}
        for task in self._order:
            before = 0
            for other in self._needs[task["name"]]:
                before |= found[other] | self._bits[other]
            found[task["name"]] = before
        return found

    def comes_after(self, task: str, other: str) -> bool:
        return bool(self._before[task] & self._bits.get(other, 0))

    def statuses(self, task: str, text: str) -> set[str]:
        """The variables in a text that are the phases of what a task comes after."""
        return {f"tasks.{name}.status" for name in _STATUS.findall(text) if self.comes_after(task, name)}


def _check_task(
    run: Validation,
    name: str,
    task: Task,
    called: Template | None,
    ancestry: _Ancestry,
    base: Base,
    scope: Scope,
    places: dict[str, Place],
) -> None:
    label, arguments = f"templates.{name}.tasks.{task['name']}", task.get("arguments") or {}
    if task.get("hooks") is not None:
        scope.names.add(f"tasks.{task['name']}.status")
    run.add_outputs(called, "tasks", task["name"], scope, aggregate=False)
    text, extra = gojson.dumps(task, keep_order=True) if has_tags(task) else "", inline_inputs(task)
    extra |= ancestry.statuses(task["name"], text)
    try:
        extra |= item_names(task)
        scope.check(text, extra)
    except Invalid as err:
        raise err.within(f"{label} ") from None
    try:
        check_arguments(f"{label}.arguments.", arguments, allow_empty=False)
    except Invalid as err:
        raise err.within("", "arguments") from None
    _check_argument_sources(label, task["name"], arguments, ancestry)
    _call(run, label, task, base, places[task["name"]], arguments)


def _check_argument_sources(label: str, task: str, arguments: dict[str, Any], ancestry: _Ancestry) -> None:
    """An argument taken from another task needs that task among the ancestors."""
    for kind, key in (("parameters", "value"), ("artifacts", "from")):
        for index, argument in enumerate(arguments.get(kind) or ()):
            value = argument.get(key) or ""
            if value.startswith("{{tasks.") and not ancestry.comes_after(task, value.split(".")[1]):
                what = f"missing dependency '{value.split('.')[1]}' for {kind[:-1]} '{argument['name']}'"
                raise Invalid(f"{label} {what}", f"arguments.{kind}[{index}]")
