"""Kubernetes events about nodes: what changed its phase in a pass, told once.

A node that was pending (or new) and is completed now has been running in between: both are told.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tiphys.workflows.plan.nodes import Node

if TYPE_CHECKING:
    from tiphys.workflows.plan.state import State

NodeEvent = tuple[str, str, str, Node]


def of_pass(state: State) -> Iterator[NodeEvent]:
    """The events of the pass that just ended."""
    if not state.settings.node_events:
        return
    for node_id, before in state.nodes.pass_before.items():
        node = state.nodes.by_id.get(node_id)
        if node is None or before == node.phase:
            continue
        if node.completed and before in (None, "Pending"):
            yield _event(node, "Running")
        if before is not None or node.completed or node.phase == "Running":
            yield _event(node, node.phase)


def _event(node: Node, phase: str) -> NodeEvent:
    message = f"{phase} node {node.name}"
    if node.message:
        message += f": {node.message}"
    return "Normal" if phase in ("Succeeded", "Running") else "Warning", f"WorkflowNode{phase}", message, node
