"""How long a workflow and its nodes will take: as long as in the last workflow like it that succeeded.

"Like it" is one with the same label: made by the same CronWorkflow, else from the same template. Whole seconds; 0 is
"nobody knows". Source: workflow/controller/estimation (which, where a workflow has several of the labels, picks one by
chance).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiphys.lang import names

if TYPE_CHECKING:
    from tiphys.workflows.plan.state import State

LABELS = tuple(
    f"workflows.argoproj.io/{kind}" for kind in ("cron-workflow", "workflow-template", "cluster-workflow-template")
)


def of_workflow(state: State) -> int:
    """Seconds."""
    before = _before(state)
    return state.lookup.seconds_taken(before) if before else 0


def of_node(state: State, name: str) -> int:
    """Seconds, of the node of that name."""
    before = _before(state)
    if not before:
        return 0
    return state.lookup.seconds_taken(before, names.node_id(before, name.replace(state.name, before, 1)))


def _before(state: State) -> str:
    """The workflow to go by, asked for once; "" for none."""
    if state.baseline is None:
        label = next((label for label in LABELS if label in state.labels), "")
        state.baseline = state.lookup.last_success(label, state.labels[label]) if label else ""
    return state.baseline
