"""The one error that leaves the language, and the one that never does.

ExprError     a program that cannot be compiled or run: message, place, and a picture of the place
Panic         a failure inside an operator or function, which the program places and turns into an ExprError
"""

from __future__ import annotations

from typing import Literal

Kind = Literal["compile", "run"]


class ExprError(ValueError):
    """``str()`` is the original's text: ``message (line:column)`` and two lines that point at the place.

    ``kind`` is "compile" for what is wrong with the text or its types, "run" for what its values made fail.
    """

    def __init__(self, message: str, *, kind: Kind, source: str = "", at: int | None = None) -> None:
        super().__init__(message if at is None else message + _pointer(source, at))
        self.message = message
        self.kind: Kind = kind
        self.at = at


class Panic(Exception):
    """What Go would panic with. ``at`` is the character where it happened, once somebody knows."""

    def __init__(self, message: str, at: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.at = at

    def locate(self, at: int) -> None:
        """The innermost place wins."""
        if self.at is None:
            self.at = at


def _pointer(source: str, at: int) -> str:
    """`` (1:5)`` and the line with a ``^`` under the place; nothing where that line is empty."""
    at = min(at, len(source))
    line_start = source.rfind("\n", 0, at) + 1
    line_end = source.find("\n", line_start)
    line = source[line_start : line_end if line_end >= 0 else len(source)]
    if not line:
        return ""
    number, column = source.count("\n", 0, at) + 1, at - line_start
    tabless = line.replace("\t", " ")
    return f" ({number}:{column + 1})\n | {tabless}\n | {'.' * column}^"
