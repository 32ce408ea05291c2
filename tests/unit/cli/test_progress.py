"""What a run shows: headline, tree, what is left out where room is short, one line per event without a terminal."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from typing import Any

from tiphys.cli import progress, tree
from tools.terminal import Terminal

START = datetime(2026, 1, 1, tzinfo=UTC)
LOOK = tree.Look()


def workflow(phases: dict[str, str], phase: str = "Running", **status: Any) -> dict[str, Any]:
    """A DAG ``wf`` with one pod per name."""
    started = "2026-01-01T00:00:00Z"
    nodes: dict[str, Any] = {
        "wf": {"id": "wf", "name": "wf", "displayName": "wf", "type": "DAG", "phase": phase, "startedAt": started}
    }
    for name, of_pod in phases.items():
        nodes[f"wf-{name}"] = {
            "id": f"wf-{name}", "name": f"wf.{name}", "displayName": name, "type": "Pod", "phase": of_pod,
            "boundaryID": "wf", "templateName": "t", "startedAt": started,
        }  # fmt: skip
    return {
        "metadata": {"name": "wf", "namespace": "default", "uid": "1", "creationTimestamp": started},
        "status": {"phase": phase, "startedAt": started, "nodes": nodes, **status},
    }


def test_a_headline_and_the_tree() -> None:
    state = workflow({"a": "Succeeded", "b": "Running"}, progress="1/2")
    assert list(progress.one(state, LOOK, START + timedelta(seconds=3), 20)) == [
        "● Running  wf  1/2 steps  3s",
        "STEP    TEMPLATE  DURATION  MESSAGE",
        " ● wf                       ",
        " ├─✔ a  t         3s        ",
        " └─● b  t         3s        ",
    ]


def test_where_room_is_short_what_runs_is_shown_first() -> None:
    state = workflow({**{f"done-{i}": "Succeeded" for i in range(50)}, "busy": "Running"})
    shown = list(progress.one(state, LOOK, START, 8))
    assert len(shown) <= 8
    assert any("busy" in line for line in shown)
    assert shown[-1] == "   … 47 more: 47 Succeeded"


def test_many_workflows_share_the_room() -> None:
    states = [workflow({"a": "Running"}) for _ in range(40)]
    assert len(list(progress.forest(states, LOOK, START, 24))) < 2 * 40


def test_without_a_terminal_each_change_is_a_line() -> None:
    out = io.StringIO()
    view = progress.Plain(out, LOOK, START)
    for second, state in enumerate(
        [
            workflow({"a": "Pending"}),
            workflow({"a": "Running"}),
            workflow({"a": "Running"}),
            workflow({"a": "Succeeded"}),
        ]
    ):
        view.state(state)
        view.refresh(START + timedelta(seconds=second))
    assert out.getvalue().splitlines() == [
        "   0.00s  ◷ wf.a  Pending",
        "   0.00s  ● Running  wf",
        "   1.00s  ● wf.a  Running",
        "   3.00s  ✔ wf.a  Succeeded",
    ]


def test_a_live_tree_leaves_its_last_state_and_the_log_above() -> None:
    terminal = Terminal()
    view = progress.Live(terminal, LOOK)
    view.state(workflow({"a": "Running"}))
    view.refresh(START)
    view.say("a: hello")
    view.state(workflow({"a": "Succeeded"}, "Succeeded", finishedAt="2026-01-01T00:00:02Z"))
    view.refresh(START)
    view.close(START)
    assert terminal.lines() == [
        "a: hello",
        "✔ Succeeded  wf  2s",
        "STEP    TEMPLATE  DURATION  MESSAGE",
        " ✔ wf",
        " └─✔ a  t         0s",
    ]


def test_drawing_takes_a_tenth_of_the_time_at_most() -> None:
    pace = progress.Pace(per_second=10)
    pace.drew(began=0.0, ended=0.5)
    assert pace.wait_seconds(0.5) == 4.5
    pace.drew(began=10.0, ended=10.001)
    assert round(pace.wait_seconds(10.001), 3) == 0.1
    assert pace.wait_seconds(99.0) == 0.0
