"""http and plugin templates: the work list of the agent, and what it reports.

The controller writes templates into a WorkflowTaskSet named like the workflow; the agent (one pod per workflow) carries
them out and patches ``status.nodes`` of the task set. Finished entries are taken out again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tiphys.machinery.actions import Create, Patch
from tiphys.machinery.resources import WORKFLOW_TASK_SETS, ObjectKey
from tiphys.workflows.plan import memoize
from tiphys.workflows.plan.pods import agent as pods
from tiphys.workflows.plan.problems import Problem
from tiphys.workflows.plan.state import LABEL_COMPLETED, LABEL_INSTANCE_ID

if TYPE_CHECKING:
    from tiphys.workflows.plan.state import State


def reconcile(state: State) -> None:
    """Takes over what the agent reported and gives it what is new."""
    _take_results(state)
    if state.tasks:
        _give_tasks(state)
        if not state.has_agent:
            _create_pod(state)


def _create_pod(state: State) -> None:
    try:
        pods.create(state)
    except Problem as err:
        for node_id in list(state.nodes.task_set):
            node = state.nodes.by_id[node_id]
            if not node.fulfilled:
                state.mark_error(node, f'create agent pod failed with reason:"{err}"')
                state.mark(node_id)
    else:
        state.has_agent = True


def _take_results(state: State) -> None:
    reported = ((state.task_set or {}).get("status") or {}).get("nodes") or {}
    for node_id, result in reported.items():
        node = state.nodes.by_id.get(node_id)
        if node is None or node_id in state.taken_tasks:
            continue
        fields: dict[str, Any] = {
            "phase": result.get("phase", ""),
            "message": result.get("message", ""),
            "outputs": result.get("outputs"),
            "finished_at": state.second,
        }
        if state.nodes.update(node, **fields):
            state.updated = True
            state.mark(node_id)
        if node.fulfilled:
            state.taken_tasks.add(node_id)
        if node.phase == "Succeeded":
            memoize.save(state, node)
        state.tasks.pop(node_id, None)


def _give_tasks(state: State) -> None:
    fresh = {node_id: task for node_id, task in state.tasks.items() if node_id not in state.given_tasks}
    if not fresh:
        return
    state.given_tasks.update(fresh)
    key = ObjectKey(state.namespace, state.name)
    if state.has_task_set:
        patch = {"metadata": {"labels": {LABEL_COMPLETED: "false"}}, "spec": {"tasks": fresh}}
        state.actions.append(Patch(WORKFLOW_TASK_SETS, key, patch, why="http and plugin tasks"))
        return
    state.has_task_set = True
    state.actions.append(Create(WORKFLOW_TASK_SETS, _task_set(state, fresh), why="http and plugin tasks"))


def _task_set(state: State, tasks: Mapping[str, Any]) -> dict[str, Any]:
    labels = {LABEL_INSTANCE_ID: state.settings.instance_id} if state.settings.instance_id else {}
    owner = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "name": state.name, "uid": state.uid}
    meta = {"name": state.name, "namespace": state.namespace, "labels": labels, "ownerReferences": [owner]}
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "WorkflowTaskSet",
        "metadata": meta,
        "spec": {"tasks": dict(tasks)},
    }


def clean_up(state: State) -> None:
    """Takes finished tasks out of the task set."""
    finished = [n for n in state.given_tasks if (node := state.nodes.by_id.get(n)) is None or node.fulfilled]
    if not finished:
        return
    key, gone = ObjectKey(state.namespace, state.name), dict.fromkeys(finished)
    state.given_tasks.difference_update(finished)
    patch: dict[str, Any] = {"spec": {"tasks": gone}}
    if state.phase in ("Succeeded", "Failed", "Error"):
        patch["metadata"] = {"labels": {LABEL_COMPLETED: "true"}}
    state.after.append(Patch(WORKFLOW_TASK_SETS, key, {"status": {"nodes": gone}}, subresource="status"))
    state.after.append(Patch(WORKFLOW_TASK_SETS, key, patch, why="finished tasks"))
