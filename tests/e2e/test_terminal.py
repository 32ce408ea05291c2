"""On a terminal a run is a tree that is redrawn in place, and leaves its last state behind."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tools.picture import record, svg, thin

pytestmark = pytest.mark.e2e

EXAMPLES = Path(__file__).parents[2] / "examples"


def text(rows: list[list[tuple[str, int, bool]]]) -> str:
    return "\n".join("".join(cell[0] for cell in row) for row in rows)


def test_a_run_on_a_terminal() -> None:
    command = [sys.executable, "-m", "tiphys.cli.main", "run", str(EXAMPLES / "parameters.yaml"), "--log"]
    frames = record([*command, "--runtime", "process"])
    last = text(frames[-1].rows)
    assert "0: hello world" in last and "✔ Succeeded" in last
    assert last.count("STEP") == 1, "the tree was drawn twice"
    assert any(cell.colour == 32 for row in frames[-1].rows for cell in row), "no green"
    picture = svg(thin(frames), "$ tiphys run")
    assert picture.startswith("<svg") and "hello world" in picture
