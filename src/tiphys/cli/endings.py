"""How a command ends: errors as text for people, and the exit code that goes with each.

    0  done                                    (``run``: every workflow Succeeded)
    1  it did not come out right               (a workflow that failed; the API or a driver said no)
    2  wrong use, or an invalid manifest       (says file, line, field path and what to do)
    3  a bug of ours                           (traceback, and where to report it)
    130 interrupted before anything was started

``Endings`` is a context manager, because "any other exception" means a bug here and nowhere else: nothing below has to
catch what it does not understand.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from types import TracebackType
from typing import Self

import click

from tiphys.machinery.errors import BadRequest, Bug, Invalid, SpecError, TiphysError

OK, FAILED, WRONG_USE, BUG, INTERRUPTED = 0, 1, 2, 3, 130
REPORT = "This is a bug in tiphys. Please report it with the lines above."


class Problems(TiphysError):
    """Several findings about the user's input, already worded (``file:line: path: message``); ends with code 2."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


class Endings:
    """Wraps one command: ``code`` is the exit code, set by the caller or by the exception that ended the block."""

    code = OK

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, at: TracebackType | None) -> bool:
        if err is None:
            return False
        self.code = self._ended_by(err)
        return True

    def _ended_by(self, err: BaseException) -> int:
        match err:
            case SystemExit(code=code):
                return code if isinstance(code, int) else OK if code is None else FAILED
            case click.exceptions.Exit(exit_code=code):
                return code
            case KeyboardInterrupt() | click.exceptions.Abort():
                return INTERRUPTED
            case click.ClickException():
                err.show()
                return WRONG_USE
            case OSError(errno=errno.EPIPE):
                _give_up_stdout()
                return OK
            case BaseExceptionGroup():
                return max(self._ended_by(inner) for inner in err.exceptions)
            case _:
                return report(err)


def report(err: BaseException) -> int:
    """Words for ``err`` on standard error, and its exit code."""
    if isinstance(err, Problems):
        for line in err.lines:
            _say(line)
        return WRONG_USE
    if isinstance(err, SpecError | Invalid | BadRequest):
        _say(str(err))
        return WRONG_USE
    if isinstance(err, TiphysError) and not isinstance(err, Bug):
        _say(str(err))
        return FAILED
    if isinstance(err, FileNotFoundError | PermissionError | IsADirectoryError | NotADirectoryError) and err.filename:
        _say(f"{err.filename}: {err.strerror}")
        return WRONG_USE
    traceback.print_exception(err)
    _say(REPORT)
    return BUG


def _say(line: str) -> None:
    print(f"tiphys: {line}", file=sys.stderr)


def _give_up_stdout() -> None:
    """The reader went away (``| head``): write nothing more, not even at interpreter exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
