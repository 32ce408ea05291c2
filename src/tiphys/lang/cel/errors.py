"""What can go wrong with a CEL expression, and how it is shown.

    CelError
      CompileError      the text is no valid expression: syntax, types, literals that cannot be right
      ProgramError      a constant part fails when the program is made (int('x'))
      CostExceeded      evaluation cost more than it may

Failures *during* evaluation are values (`values.Failure`), because ``true || 1/0`` is true.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

ISSUES_MAX = 100


class CelError(ValueError):
    """Base of all errors of this package."""


class Issue(NamedTuple):
    """One complaint about an expression; ``offset`` counts characters from its start."""

    offset: int
    message: str


class CompileError(CelError):
    """``str()`` is the text of cel-go: every issue with its line and a caret."""

    def __init__(self, source: str, issues: Iterable[Issue]) -> None:
        self.source = source
        self.issues = tuple(sorted(issues, key=lambda issue: issue.offset))[:ISSUES_MAX]
        super().__init__("\n".join(_shown(source, issue) for issue in self.issues))


class ProgramError(CelError):
    """A constant subexpression has no value."""


class CostExceeded(CelError):
    """The evaluation was stopped; ``cost`` is what it had used by then."""

    def __init__(self, cost: int) -> None:
        self.cost = cost
        super().__init__("operation cancelled: actual cost limit exceeded")


def _shown(source: str, issue: Issue) -> str:
    if issue.offset < 0:
        return f"ERROR: <input>:-1:0: {issue.message}"
    before = source[: issue.offset]
    line, column = before.count("\n") + 1, issue.offset - (before.rfind("\n") + 1)
    text = source.split("\n")[line - 1].replace("\t", " ")
    pointer = "".join("．" if ord(c) > 127 else "." for c in text[:column])
    caret = "＾" if text[column : column + 1] and ord(text[column]) > 127 else "^"
    return f"ERROR: <input>:{line}:{column + 1}: {issue.message}\n | {text}\n | {pointer}{caret}"
