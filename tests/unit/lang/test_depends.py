"""depends of DAG tasks."""

from __future__ import annotations

from typing import Any

import pytest

from tiphys.lang.depends import DependsError, Outcome, State, check_results, decide, rewrite

TASKS: dict[str, dict[str, Any]] = {"A": {}, "B": {"continueOn": {"failed": True}}, "my-task": {}}


def decided(depends: str, **states: State) -> Outcome:
    return decide(rewrite({"depends": depends}, TASKS), {name.replace("_", "-"): one for name, one in states.items()})


def test_bare_names_are_spelt_out() -> None:
    logic = rewrite({"depends": "A && (B || my-task.Failed)"}, TASKS)
    assert logic.text == (
        "(A.Succeeded || A.Skipped || A.Daemoned) && "
        "((B.Succeeded || B.Skipped || B.Daemoned || B.Failed) || my-task.Failed)"
    )
    assert logic.needs == {"A": "task", "B": "task", "my-task": "task"}


def test_dependencies_are_the_old_way_to_write_and() -> None:
    assert rewrite({"dependencies": ["A", "my-task"]}, TASKS) == rewrite({"depends": "A && my-task"}, TASKS)


def test_asking_about_items_is_noted() -> None:
    assert rewrite({"depends": "A.AnySucceeded || A.Failed"}, TASKS).needs == {"A": "items"}


@pytest.mark.parametrize(
    ("depends", "states", "execute"),
    [
        ("A", {"A": State("Succeeded")}, True),
        ("A", {"A": State("Failed")}, False),
        ("A.Failed || A.Errored", {"A": State("Error")}, True),
        ("A", {"A": State("Running", daemoned=True)}, True),
        ("!A.Succeeded", {"A": State("Skipped")}, True),
        ("my-task.Failed && A", {"my_task": State("Failed"), "A": State("Skipped")}, True),
        ("A.AnySucceeded", {"A": State("Failed", items=("Failed", "Succeeded"))}, True),
        ("A.AllFailed", {"A": State("Failed", items=("Failed", None))}, False),
        ("A.AllFailed", {"A": State("Succeeded", items=())}, False),
    ],
)
def test_decisions(depends: str, states: dict[str, State], execute: bool) -> None:
    assert decided(depends, **states) == Outcome(execute=execute, proceed=True)


@pytest.mark.parametrize("state", [None, State("Running"), State("Succeeded", hooks_done=False)])
def test_an_unfinished_task_is_waited_for(state: State | None) -> None:
    assert decide(rewrite({"depends": "A"}, TASKS), {"A": state}) == Outcome(execute=False, proceed=False)


@pytest.mark.parametrize(
    ("depends", "message"),
    [
        ("A and B", "target and does not exist"),
        ("A B", "unexpected token Bracket"),
        ("A.Foo", "type controller.TaskResults has no field Foo (1:3)"),
        ("A.Succeeded ? 1 : 2", "target 1 does not exist"),
    ],
)
def test_bad_logic(depends: str, message: str) -> None:
    with pytest.raises(DependsError) as caught:
        decided(depends, A=State("Succeeded"), B=State("Succeeded"))
    assert message in str(caught.value)


def test_results_are_checked_by_name() -> None:
    check_results("A.Succeeded && b.lower")
    with pytest.raises(DependsError, match="task result 'Foo' for task 'A' is invalid"):
        check_results("A.Foo")
