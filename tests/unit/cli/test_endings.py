"""Every way that a command can end has its words and its exit code."""

from __future__ import annotations

import click
import pytest

from tiphys.cli.endings import BUG, FAILED, INTERRUPTED, OK, WRONG_USE, Endings, Problems
from tiphys.machinery.errors import Bug, Conflict, DriverError, Invalid, NotFound, SpecError


def code_of(err: BaseException | None) -> int:
    with Endings() as ending:
        if err is not None:
            raise err
    return ending.code


@pytest.mark.parametrize(
    ("err", "code", "words"),
    [
        (None, OK, ""),
        (SpecError("spec.templates[0]", "has no name"), WRONG_USE, "tiphys: spec.templates[0]: has no name\n"),
        (Problems(["a.yaml:1: x", "b.yaml:2: y"]), WRONG_USE, "tiphys: a.yaml:1: x\ntiphys: b.yaml:2: y\n"),
        (Invalid("spec: wrong"), WRONG_USE, "tiphys: spec: wrong\n"),
        (NotFound('workflows "x" not found'), FAILED, 'tiphys: workflows "x" not found\n'),
        (Conflict("changed meanwhile"), FAILED, "tiphys: changed meanwhile\n"),
        (DriverError("no runtime"), FAILED, "tiphys: no runtime\n"),
        (FileNotFoundError(2, "No such file or directory", "w.yaml"), WRONG_USE, "w.yaml: No such file"),
        (click.UsageError("say a FILE"), WRONG_USE, "say a FILE"),
        (KeyboardInterrupt(), INTERRUPTED, ""),
        (SystemExit(5), 5, ""),
        (Bug("impossible"), BUG, "This is a bug in tiphys"),
        (ZeroDivisionError(), BUG, "ZeroDivisionError"),
        (ExceptionGroup("tasks", [NotFound("gone")]), FAILED, "tiphys: gone\n"),
        (ExceptionGroup("tasks", [NotFound("gone"), ZeroDivisionError()]), BUG, "ZeroDivisionError"),
    ],
)
def test_endings(err: BaseException | None, code: int, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of(err) == code
    assert words in capsys.readouterr().err


def test_a_bug_shows_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    code_of(Bug("impossible"))
    assert "Traceback" in capsys.readouterr().err
