"""What happens to pods whose node is done, once that is written: they are labelled, or deleted by ``podGC``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from tiphys.lang import durations
from tiphys.machinery import selectors
from tiphys.machinery.actions import Delete, Patch
from tiphys.machinery.resources import PODS, ObjectKey
from tiphys.workflows.plan.nodes import COMPLETED
from tiphys.workflows.plan.state import LABEL_COMPLETED, LABEL_COMPONENT

if TYPE_CHECKING:
    from tiphys.workflows.plan.state import State

_DONE_WITH: Mapping[str, Any] = {"metadata": {"labels": {LABEL_COMPLETED: "true"}}}


def pods(state: State) -> None:
    """Plans what is due; deletions with a delay wait for their time."""
    names = list(state.pods) if state.phase in COMPLETED else list(state.finished_pods)
    state.finished_pods.clear()  # those that must wait come back below
    for name in names:
        view = state.pods.get(name)
        node = state.nodes.by_id.get(view.node_id) if view is not None else None
        if view is None or node is None or not node.phase_fulfilled:
            continue
        labels = (view.obj.get("metadata") or {}).get("labels") or {}
        if LABEL_COMPONENT in labels or name in state.cleaned:
            continue
        action = _action(state, labels, (view.obj.get("status") or {}).get("phase", ""))
        if action:
            _carry_out(state, name, action)


def _carry_out(state: State, name: str, action: str) -> None:
    key = ObjectKey(state.namespace, name)
    if action == "delete":
        due = state.delete_at.setdefault(name, state.now + timedelta(seconds=_delay(state)))
        if state.now < due:
            state.at(due)
            state.finished_pods[name] = None
            return
        state.after.append(Delete(PODS, key, why="podGC"))
    else:
        state.after.append(Patch(PODS, key, _DONE_WITH, why="its node is done"))
    state.cleaned.add(name)


def _action(state: State, labels: Mapping[str, str], phase: str) -> str:
    """ "delete", "label", or "" for nothing yet."""
    gc: Mapping[str, Any] = state.spec.get("podGC") or {}
    strategy = gc.get("strategy") or ""
    done = state.phase in COMPLETED
    if gc.get("labelSelector") and not selectors.from_structured(gc["labelSelector"]).matches(labels):
        return "label"
    if not strategy:
        return "label"
    if strategy == "OnPodCompletion":
        return "delete"
    if strategy == "OnPodSuccess":
        return "delete" if phase == "Succeeded" else "label" if phase == "Failed" or done else ""
    if strategy == "OnWorkflowCompletion":
        return "delete" if done else ""
    if strategy == "OnWorkflowSuccess":
        return "delete" if state.phase == "Succeeded" else "label" if done else ""
    return "label" if done else ""


def _delay(state: State) -> float:
    text = (state.spec.get("podGC") or {}).get("deleteDelayDuration")
    if text:
        try:
            return durations.parse_argo(str(text)) / 1e9
        except ValueError:
            pass
    return state.settings.pod_gc_delete_delay_seconds
