"""Validation of a new workflow before anything happens: the door to ``plan.validate``.

As a side effect the original stores the templates of other objects that it met; so do we.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiphys.workflows.plan.validate import validate_workflow

if TYPE_CHECKING:
    from tiphys.workflows.plan.state import State


def problem_of(state: State) -> str | None:
    """What the original's validation says against a workflow, None for nothing."""
    workflow = {**state.workflow, "kind": "Workflow", "apiVersion": "argoproj.io/v1alpha1"}
    workflow["metadata"] = {**workflow["metadata"], "labels": state.labels, "annotations": state.annotations}
    if not state.is_from_template:
        workflow["spec"] = state.spec
    stored = dict(state.stored_templates)
    defaults = state.settings.workflow_defaults or None
    problems = validate_workflow(workflow, state.lookup, lint=False, defaults=defaults, offline=False, stored=stored)
    fresh = {key: template for key, template in stored.items() if key not in state.stored_templates}
    if fresh:
        state.stored_templates.update(fresh)
        state.templates.grew = True
    return problems[0].message if problems else None
