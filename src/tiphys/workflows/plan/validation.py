"""Validation of a new workflow: the door to ``plan.validate``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tiphys.workflows.plan.state import State


def problem_of(state: State) -> str | None:
    """What the original's validation says against a workflow, None for nothing."""
    return None
