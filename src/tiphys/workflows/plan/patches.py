"""The status patch of a decision: what differs from what is stored, and nothing else.

Nodes are compared with the form in which they were last written; a field that is gone is null, as RFC 7386 wants it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tiphys.machinery.actions import Patch
from tiphys.machinery.resources import WORKFLOWS, ObjectKey
from tiphys.workflows.observe import Object
from tiphys.workflows.plan.nodes import to_wire

if TYPE_CHECKING:
    from tiphys.workflows.plan.state import State


@dataclass(eq=False)
class Written:
    """The object as stored after the last patch."""

    resource_version: str
    status: dict[str, Any] = field(default_factory=dict)
    nodes: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, workflow: Object) -> Written:
        meta, status = workflow.get("metadata") or {}, workflow.get("status") or {}
        return cls(
            resource_version=str(meta.get("resourceVersion", "")),
            status={key: value for key, value in status.items() if key != "nodes"},
            nodes=dict(status.get("nodes") or {}),
            metadata={key: meta.get(key) for key in ("labels", "annotations", "finalizers") if meta.get(key)},
        )


def difference(state: State, written: Written) -> Patch | None:
    """The patch that stores what changed, None for nothing; ``written`` is taken to be up to date then."""
    if state.templates is not None and state.templates.grew:
        state.status["storedTemplates"] = dict(state.stored_templates)
        state.templates.grew = False
    status = _changed(written.status, state.status)
    nodes = _changed_nodes(state, written)
    if nodes:
        status["nodes"] = nodes
    metadata = _changed_metadata(state, written)
    if not status and not metadata:
        return None
    _decoded(state, written, status)
    body: dict[str, Any] = {"metadata": {**metadata}}
    if written.resource_version:
        body["metadata"]["resourceVersion"] = written.resource_version
    if status:
        body["status"] = status
    written.status = dict(state.status)
    return Patch(WORKFLOWS, ObjectKey(state.namespace, state.name), body, why="status")


def _decoded(state: State, written: Written, status: dict[str, Any]) -> None:
    """Adds what was stored in another form than Go's: whoever writes a workflow writes it as it was decoded."""
    for key, held in (("storedTemplates", state.stored_templates), ("storedWorkflowTemplateSpec", state.stored_spec)):
        if held and state.status.get(key) != held:
            state.status[key] = dict(held)
            status[key] = _changed(written.status.get(key) or {}, held)


def _changed_nodes(state: State, written: Written) -> dict[str, Any]:
    changed, removed = state.nodes.take_changes()
    found: dict[str, Any] = {}
    for node_id in changed:
        wire = to_wire(state.nodes.by_id[node_id])
        before = written.nodes.get(node_id)
        if before is None:
            found[node_id] = wire
        elif before != wire:
            found[node_id] = _changed(before, wire)
        written.nodes[node_id] = wire
    for node_id in removed:
        if written.nodes.pop(node_id, None) is not None:
            found[node_id] = None
    return found


def _changed_metadata(state: State, written: Written) -> dict[str, Any]:
    now = {"labels": state.labels, "annotations": state.annotations, "finalizers": state.finalizers}
    found: dict[str, Any] = {}
    for key, value in now.items():
        before = written.metadata.get(key)
        if (before or None) == (value or None):
            continue
        found[key] = _changed(before or {}, value) if isinstance(value, dict) else list(value)
        written.metadata[key] = dict(value) if isinstance(value, dict) else list(value)
    return found


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """The merge patch that makes ``after`` of ``before``."""
    found: dict[str, Any] = {}
    for key, value in after.items():
        known = before.get(key)
        if known == value and (value is not None or key in before):
            continue
        if isinstance(value, Mapping) and isinstance(known, Mapping):
            found[key] = _changed(known, value)
        else:
            found[key] = value
    found.update((key, None) for key in before if key not in after)
    return found
