"""The status patch of a decision: what differs from what is stored, and nothing else.

Nodes say themselves which of their fields changed, and from what; a field that is gone is null, as RFC 7386 wants it.
A list can only be written whole, so the children of a big loop that is under way are written once a second: each child
says itself where it belongs (boundaryID), and a run that is loaded links again what is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from tiphys.machinery.actions import Patch
from tiphys.machinery.resources import WORKFLOWS, ObjectKey
from tiphys.workflows.observe import Object
from tiphys.workflows.plan.nodes import Node, to_wire, wire_field

if TYPE_CHECKING:
    from tiphys.workflows.plan.state import State

BIG = 1_000
PUT_OFF = timedelta(seconds=1)


@dataclass(eq=False)
class Written:
    """The object as stored after the last patch."""

    resource_version: str
    status: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    children_at: dict[str, datetime] = field(default_factory=dict)

    @classmethod
    def of(cls, workflow: Object) -> Written:
        meta, status = workflow.get("metadata") or {}, workflow.get("status") or {}
        return cls(
            resource_version=str(meta.get("resourceVersion", "")),
            status={key: value for key, value in status.items() if key != "nodes"},
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
    found: dict[str, Any] = {}
    for node_id, before in state.nodes.take_changes().items():
        node = state.nodes.by_id[node_id]
        if before is not None and "children" in before and _puts_children_off(state, written, node):
            del before["children"]
            state.nodes.changed[node_id] = {"children": None}
        changed = to_wire(node) if before is None else _changed_fields(node, before)
        if changed:
            found[node_id] = changed
    return found


def _puts_children_off(state: State, written: Written, node: Node) -> bool:
    if len(node.children) < BIG or node.fulfilled:
        return False
    due = written.children_at.get(node.id)
    if due is not None and state.now < due:
        return True
    written.children_at[node.id] = state.now + PUT_OFF
    state.at(state.now + PUT_OFF)
    return False


def _changed_fields(node: Node, before: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, known in before.items():
        now = getattr(node, name)
        if now == known:
            continue  # it was changed, and changed back
        key, value = wire_field(name, now)
        mergeable = isinstance(now, dict) and isinstance(known, dict)
        found[key] = _changed(known, now) if mergeable else value
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
        if (known is value or known == value) and (value is not None or key in before):
            continue
        if isinstance(value, Mapping) and isinstance(known, Mapping):
            found[key] = _changed(known, value)
        else:
            found[key] = value
    if not before.keys() <= after.keys():
        found.update((key, None) for key in before if key not in after)
    return found
