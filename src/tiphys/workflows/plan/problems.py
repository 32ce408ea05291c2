"""Why a template could not be executed (yet): values, and the few exceptions that carry them through a decision.

    Problem              wrong user input: the node ends in Error with this text
    ├── MissingVariable  something referenced is not there yet: look again when more is known
    ├── TimedOut         the node waited longer than its template allows: Failed
    ├── TooDeep          templates call each other without end
    ├── Blocked          parallelism is used up: look again when something finishes
    └── NotYet           the cluster refused for now (a quota): the node stays Pending with this text

`Outcome` is what executing a template gives: the node, if there is one by now, and the problem, if any.
"""

from __future__ import annotations

from typing import NamedTuple

from tiphys.machinery.errors import TiphysError
from tiphys.workflows.plan.nodes import Node


class Problem(TiphysError):
    """Wrong user input met while deciding."""

    @property
    def text(self) -> str:
        return str(self)


class MissingVariable(Problem):
    """A reference that cannot be resolved yet."""


class TimedOut(Problem):
    """A node is pending longer than allowed."""

    def __init__(self) -> None:
        super().__init__("timeout")


class TooDeep(Problem):
    """The recursion limit was reached."""

    def __init__(self) -> None:
        super().__init__(
            "Maximum recursion depth exceeded. See https://argo-workflows.readthedocs.io/en/latest/scaling/#maximum-recursion-depth"
        )


class Blocked(Problem):
    """No further pod may start now."""

    def __init__(self) -> None:
        super().__init__("Max parallelism reached")


class NotYet(Problem):
    """The cluster refused for now."""


class Outcome(NamedTuple):
    """``node`` is None when none was created (parallelism)."""

    node: Node | None
    problem: Problem | None = None
