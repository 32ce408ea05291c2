"""The second look: what is looked at again, and what never is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import again

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
HELD_LATER = """
from pathlib import Path
def test_that_holds_the_second_time():
    seen = Path(__file__).with_name("seen")
    before = seen.exists()
    seen.touch()
    assert before
"""
STOPPED = HELD_LATER + "def test_that_ends_the_run():\n    raise KeyboardInterrupt\n"


def run(folder: Path, program: str) -> tuple[int, Path]:
    """Exit code of a run of a test file, and where its failed tests are noted."""
    test, noted = folder / "test_it.py", folder / "failed"
    test.write_text(program)
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", test.name]
    env = ENVIRONMENT | {"TIPHYS_FAILED": str(noted)}
    return subprocess.run(command, env=env, capture_output=True, cwd=folder).returncode, noted


def look(noted: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.again", str(noted)]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, cwd=noted.parent)


def test_what_holds_alone_is_named(tmp_path: Path) -> None:
    code, noted = run(tmp_path, HELD_LATER)
    assert code == 1 and noted.read_text().count("\n") == 1
    looked = look(noted)
    assert looked.returncode == 0 and "THESE HELD ONLY WHEN RUN ALONE" in looked.stdout


def test_what_fails_again_fails(tmp_path: Path) -> None:
    code, noted = run(tmp_path, "def test_that_fails():\n    assert False\n")
    assert (code, look(noted).returncode) == (1, 1)


def test_a_run_that_did_not_come_to_its_end_is_not_looked_at(tmp_path: Path) -> None:
    code, noted = run(tmp_path, STOPPED)
    assert code == 2 and not noted.exists()
    assert look(noted).returncode == 1


@pytest.mark.parametrize(
    "failed", [[], ["tests/sim/test_seeds.py::test_x"], ["tests/property/test_x.py::test_x"], ["tests/unit/x.py"] * 6]
)
def test_chance_has_no_part_in_these(failed: list[str], tmp_path: Path) -> None:
    noted = tmp_path / "failed"
    noted.write_text("".join(f"{test}\n" for test in failed))
    assert again.main(noted) == 1
