"""The stops that docs/tour.md tells are those that a run passes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
# a stop on the page: a line with the file and the function, right below its numbered heading
TOLD = re.compile(r"^## \d+\. .*\n\n`src/tiphys/([\w/.]+)` · `([\w.]+)`$", re.M)
PASSED = re.compile(r"^ *[\d.]+ ms  (\S+?):\d+  (\S+)  ", re.M)
# who comes after whom, always; the status patch and the staging may overtake each other
CHAIN = (
    "Verbs.create", "WorkflowController._on_workflow", "Run.decide", "Actor.carry_out", "NativeExecutor.stage",
    "NativeExecutor.collect", "WorkflowController._on_pod",
)  # fmt: skip


def test_the_tour_stops_where_a_run_does() -> None:
    told = TOLD.findall((ROOT / "docs" / "tour.md").read_text(encoding="utf-8"))
    command = [sys.executable, "-m", "tiphys.cli.main", "run", "examples/hello.yaml", "--trace", "--runtime", "process"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    passed = list(dict.fromkeys(PASSED.findall(ran.stderr)))
    assert set(told) == set(passed)
    order = [function for _, function in passed]
    assert [order.index(function) for function in CHAIN] == sorted(order.index(function) for function in CHAIN)
