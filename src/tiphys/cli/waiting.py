"""Sentences about what a workflow waits for: what the engine said, and what has no node yet because others come first.

The engine names what it holds back itself (locks, parallelism, back-off, suspension). A task whose dependencies have
not finished, or a step of a later group, has no node to say so: the reason stands in the templates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Nodes = Mapping[str, Mapping[str, Any]]

_FINISHED = ("Succeeded", "Failed", "Error", "Skipped", "Omitted")
SHOWN_MAX = 50


def sentences(workflow: Mapping[str, Any], nodes: Nodes, waits: Mapping[str, str]) -> list[tuple[str, str]]:
    """``(what, what it waits for)``; ``nodes`` is status.nodes as decided, ``waits`` are the engine's words."""
    found = [*waits.items(), *unborn(workflow, nodes)]
    if len(found) > SHOWN_MAX:
        return [*found[:SHOWN_MAX], ("…", f"and {len(found) - SHOWN_MAX} more")]
    return found


def unborn(workflow: Mapping[str, Any], nodes: Nodes) -> Iterator[tuple[str, str]]:
    """Tasks and steps of running DAGs and step lists that have no node yet; of the workflow's own templates only."""
    status = workflow.get("status") or {}
    spec = status.get("storedWorkflowTemplateSpec") or workflow.get("spec") or {}
    templates = {t.get("name"): t for t in spec.get("templates") or ()}
    names = {node.get("name") for node in nodes.values()}
    for node in nodes.values():
        if node.get("phase") in _FINISHED or node.get("templateRef"):
            continue
        template = templates.get(node.get("templateName")) or {}
        if node.get("type") == "DAG":
            yield from _tasks(str(node["name"]), template.get("dag") or {}, names)
        elif node.get("type") == "Steps":
            yield from _groups(str(node["name"]), template.get("steps") or (), names)


def _tasks(dag: str, body: Mapping[str, Any], names: set[Any]) -> Iterator[tuple[str, str]]:
    for task in body.get("tasks") or ():
        name = f"{dag}.{task.get('name')}"
        needed = task.get("depends") or " && ".join(task.get("dependencies") or ())
        if name not in names and needed:
            yield name, f"the tasks it depends on: {needed}"


def _groups(steps: str, groups: Any, names: set[Any]) -> Iterator[tuple[str, str]]:
    for index, group in enumerate(groups):
        if f"{steps}[{index}]" in names:
            continue
        members = group if isinstance(group, list) else group.get("steps") or ()
        shown = ", ".join(str(step.get("name")) for step in members)
        yield f"{steps}[{index}]", f"the steps before it (then: {shown})"
