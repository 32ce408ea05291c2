"""Doing a workflow over: `retry` goes on where it failed, `resubmit` makes a new one of it.

Retry resets the groups on the way from the root to each failed node and removes what hangs below it, so that the
engine makes it again; successful siblings stay. Resubmit copies the spec; memoized, it also takes over the nodes, of
which pods that did not fail become Skipped.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from tiphys.lang import names
from tiphys.machinery import selectors
from tiphys.workflows.plan.interventions import node_fields
from tiphys.workflows.plan.nodes import UNSUCCESSFUL, stamp
from tiphys.workflows.plan.problems import Problem

Workflow = Mapping[str, Any]
Node = Mapping[str, Any]
Nodes = Mapping[str, Node]

_PREFIX = "workflows.argoproj.io/"
GROUPS = frozenset(("DAG", "TaskGroup", "StepGroup", "Steps"))
EXECUTED = frozenset(("Container", "Pod", "HTTP", "Plugin"))
_NOT_CARRIED_OVER = frozenset(
    _PREFIX + key
    for key in (
        "creator",
        "creator-email",
        "creator-preferred-username",
        "phase",
        "completed",
        "workflow-archiving-status",
    )
)


# -- retry -------------------------------------------------------------------------------------------------------------


def retry(
    workflow: Workflow,
    now: datetime,
    *,
    restart_successful: bool = False,
    node_field_selector: str = "",
    parameters: Mapping[str, str] | None = None,
) -> tuple[dict[str, Any], list[str]]:
    """The workflow as it goes on, and the names of pods to delete first. Raises `Problem`."""
    status = workflow.get("status") or {}
    phase = status.get("phase", "")
    if phase == "Succeeded" and not (restart_successful and node_field_selector):
        raise Problem("To retry a succeeded workflow, set the options restartSuccessful and nodeFieldSelector")
    if phase not in ("Succeeded", "Failed", "Error"):
        raise Problem(f"Cannot retry a workflow in phase {phase}")
    nodes: Nodes = status.get("nodes") or {}
    tree = _Tree(str(workflow["metadata"]["name"]), nodes)
    starts = set(_selected(nodes, node_field_selector)) if restart_successful and node_field_selector else set()
    starts |= set(_failed(nodes, starts))
    reset, deleted = _affected(tree, starts)
    if parameters:
        for node_id in reset - deleted:
            if nodes[node_id].get("type") in ("TaskGroup", "StepGroup"):
                deleted |= tree.below(node_id)
    made = _reopened(workflow, now, parameters)
    made["status"]["nodes"] = _remaining(tree, reset, deleted, now)
    return made, _pods(workflow, tree, deleted)


def _selected(nodes: Nodes, selector: str) -> Iterable[str]:
    try:
        chosen = selectors.parse_fields(selector)
    except selectors.SelectorError as err:
        raise Problem(str(err)) from err
    return (node_id for node_id, node in nodes.items() if chosen.matches(node_fields(node)))


def _failed(nodes: Nodes, starts: set[str]) -> Iterable[str]:
    """Failed nodes that something was executed for, and below which nothing succeeded."""
    for node_id, node in nodes.items():
        if node.get("phase") not in UNSUCCESSFUL or node.get("type") not in EXECUTED:
            continue
        seen: Node | None = node
        if (node.get("nodeFlag") or {}).get("retried"):
            seen = next(
                (n for n in nodes.values() if n.get("type") == "Retry" and node_id in (n.get("children") or ())), node
            )
        if seen is not None and not _something_succeeded(nodes, seen, starts):
            yield node_id


def _something_succeeded(nodes: Nodes, node: Node, starts: set[str]) -> bool:
    seen: set[str] = set()
    todo = list(node.get("children") or ())
    while todo:
        child_id = todo.pop()
        child = nodes.get(child_id)
        if child is None or child_id in seen:
            continue
        seen.add(child_id)
        if child_id not in starts and child.get("phase") == "Succeeded":
            return True
        todo.extend(child.get("children") or ())
    return False


class _Tree:
    """The nodes with one parent each (the last in order of ids), as the way from the root is looked for."""

    def __init__(self, root: str, nodes: Nodes) -> None:
        self.root, self.nodes = root, nodes
        self.parent: dict[str, str] = {}
        for node_id in sorted(nodes):
            for child in nodes[node_id].get("children") or ():
                self.parent[child] = node_id
        for node_id, node in nodes.items():
            name = node.get("name", "")
            if node_id not in self.parent and name != root and not name.startswith(f"{root}.onExit"):
                raise Problem(f"couldn't find parent node for {node_id}")
            for child in node.get("children") or ():
                if child not in nodes:
                    raise Problem(f"coudln't obtain child {child}")

    def sorted(self) -> list[str]:
        """The nodes from the root downwards; exit handlers of the workflow are not among them."""
        order, todo = {self.root: None}, deque([self.root])
        while todo:
            for child in self.nodes[todo.popleft()].get("children") or ():
                if child not in order:
                    order[child] = None
                    todo.append(child)
        return list(order)

    def below(self, node_id: str) -> set[str]:
        found: set[str] = set()
        todo = [node_id]
        while todo:
            for child in self.nodes[todo.pop()].get("children") or ():
                if child not in found:
                    found.add(child)
                    todo.append(child)
        return found

    def type_of(self, node_id: str | None) -> str:
        return str(self.nodes[node_id].get("type", "")) if node_id else ""


def _affected(tree: _Tree, starts: set[str]) -> tuple[set[str], set[str]]:
    """The nodes to reset and those to delete (which wins), looked for from the top."""
    reset: set[str] = set()
    deleted: set[str] = set()
    for node_id in tree.sorted() if tree.root in tree.nodes else ():
        if node_id in starts and node_id not in deleted:
            _reset_path(tree, node_id, reset, deleted)
    return reset, deleted


def _reset_path(tree: _Tree, start: str, reset: set[str], deleted: set[str]) -> None:
    deleted |= tree.below(start) | {start}
    if start == tree.root:
        return
    current: str | None = start
    while current is not None:
        kind = tree.type_of(current)
        if kind in GROUPS:
            reset.add(current)
            current = _reset_boundaries(tree, current, reset)
            continue
        if kind == "Retry" and tree.nodes[current].get("phase") in UNSUCCESSFUL:
            reset.add(current)
        elif kind == "Container":
            while tree.type_of(current) != "Pod":
                current = _parent(tree, current)
            deleted |= tree.below(current) | {current}
            continue
        current = tree.parent.get(current)


def _parent(tree: _Tree, node_id: str) -> str:
    parent = tree.parent.get(node_id)
    if parent is None:
        raise Problem("was seeking node but ran out of nodes to explore")
    return parent


def _reset_boundaries(tree: _Tree, start: str, reset: set[str]) -> str | None:
    """Resets every boundary above a group, with the groups and retries right above them."""
    current = start
    while True:
        parent = tree.parent.get(current)
        if tree.type_of(parent) == "Retry" and parent is not None:
            reset.add(parent)
            current = parent
            parent = tree.parent.get(current)
        if parent is not None and tree.type_of(parent) in ("StepGroup", "TaskGroup"):
            reset.add(parent)
        boundary = tree.nodes[current].get("boundaryID", "")
        if not boundary:
            return parent
        while current != boundary:
            current = _parent(tree, current)
        reset.add(current)


def _remaining(tree: _Tree, reset: set[str], deleted: set[str], now: datetime) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for node_id, node in tree.nodes.items():
        is_exit = str(node.get("name", "")).startswith(f"{tree.root}.onExit")
        if node_id in deleted or (is_exit and node_id not in reset):
            continue
        made = _reset_node(node, now) if node_id in reset else dict(node)
        for key in ("children", "outboundNodes"):
            left = [other for other in node.get(key) or () if other not in deleted]
            made.pop(key, None)
            if left:
                made[key] = left
        kept[node_id] = made
    return kept


def _reset_node(node: Node, now: datetime) -> dict[str, Any]:
    made = {key: value for key, value in node.items() if key != "message"}
    outputs = node.get("outputs")
    if node.get("type") == "Suspend" and outputs is not None:
        asked = [{"name": p["name"], "valueFrom": {"supplied": {}}} for p in outputs.get("parameters") or ()]
        made["outputs"] = {**outputs, "parameters": asked} if asked else outputs
    if node.get("phase") != "Skipped":
        made["phase"] = "Running"
    made.update(startedAt=stamp(now), finishedAt=None)
    return made


def _pods(workflow: Workflow, tree: _Tree, deleted: set[str]) -> list[str]:
    """The pods of deleted nodes, and of everything in the workflow's exit handler."""
    found = {node_id: None for node_id in deleted if tree.type_of(node_id) == "Pod"}
    for node_id, node in tree.nodes.items():
        if node.get("name") == f"{tree.root}.onExit":
            found.update(dict.fromkeys([node_id, *tree.below(node_id)]))
    version = names.pod_name_version((workflow.get("metadata") or {}).get("annotations"))
    pods: dict[str, None] = {}
    for node_id in found:
        node = tree.nodes[node_id]
        template = str((node.get("templateRef") or {}).get("template") or node.get("templateName", ""))
        pods[names.pod_name(tree.root, str(node["name"]), template, node_id, version)] = None
    return list(pods)


def _reopened(workflow: Workflow, now: datetime, parameters: Mapping[str, str] | None) -> dict[str, Any]:
    """The workflow with everything cleared that said it was complete."""
    meta, status = dict(workflow["metadata"]), dict(workflow.get("status") or {})
    gone = (_PREFIX + "completed", _PREFIX + "workflow-archiving-status")
    meta["labels"] = {key: value for key, value in (meta.get("labels") or {}).items() if key not in gone}
    conditions = [dict(condition) for condition in status.get("conditions") or ()]
    completed = next((condition for condition in conditions if condition.get("type") == "Completed"), None)
    if completed is None:
        conditions.append({"type": "Completed", "status": "False"})
    else:
        completed.clear()
        completed.update(type="Completed", status="False")
    for key in ("phase", "message", "finishedAt", "persistentVolumeClaims"):
        status.pop(key, None)
    status.update(conditions=conditions, startedAt=stamp(now))
    if status.get("storedWorkflowTemplateSpec"):
        stored = status["storedWorkflowTemplateSpec"]
        status["storedWorkflowTemplateSpec"] = {key: value for key, value in stored.items() if key != "shutdown"}
    spec = _restartable(workflow.get("spec") or {})
    return {**workflow, "metadata": meta, "spec": with_parameters(spec, parameters), "status": status}


def _restartable(spec: Mapping[str, Any]) -> dict[str, Any]:
    made = {key: value for key, value in spec.items() if key != "shutdown"}
    if made.get("activeDeadlineSeconds") == 0:
        del made["activeDeadlineSeconds"]
    return made


def with_parameters(spec: Mapping[str, Any], parameters: Mapping[str, str] | None) -> dict[str, Any]:
    """The spec with other values for its parameters; the given ones come first."""
    if not parameters:
        return dict(spec)
    arguments = spec.get("arguments") or {}
    given = [{"name": name, "value": value} for name, value in parameters.items()]
    rest = [param for param in arguments.get("parameters") or () if param.get("name") not in parameters]
    return {**spec, "arguments": {**arguments, "parameters": [*given, *rest]}}


# -- resubmit ----------------------------------------------------------------------------------------------------------


def resubmit(
    workflow: Workflow,
    now: datetime,
    *,
    memoized: bool = False,
    suffix: str = "",
    parameters: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """A new workflow like this one. ``suffix`` ends the name of a memoized one. Raises `Problem`."""
    old, status = workflow["metadata"], workflow.get("status") or {}
    prefix = str(old.get("generateName") or f"{old['name']}-")
    meta: dict[str, Any] = {"generateName": prefix}
    if memoized:
        if status.get("phase") not in UNSUCCESSFUL:
            raise Problem("workflow must be Failed/Error to resubmit in memoized mode")
        meta["name"] = prefix + suffix
    if old.get("namespace"):
        meta["namespace"] = old["namespace"]
    labels = {key: value for key, value in (old.get("labels") or {}).items() if key not in _NOT_CARRIED_OVER}
    meta["labels"] = {**labels, _PREFIX + "resubmitted-from-workflow": old["name"]}
    if old.get("annotations") is not None:
        meta["annotations"] = dict(old["annotations"])
    if old.get("ownerReferences"):
        meta["ownerReferences"] = list(old["ownerReferences"])
    made: dict[str, Any] = {key: workflow[key] for key in ("apiVersion", "kind") if key in workflow}
    made.update(metadata=meta, spec=with_parameters(_restartable(workflow.get("spec") or {}), parameters))
    if memoized:
        made["status"] = _memoized_status(workflow, str(meta["name"]), now)
    return made


def _memoized_status(workflow: Workflow, name: str, now: datetime) -> dict[str, Any]:
    status = workflow.get("status") or {}
    old_name, nodes = str(workflow["metadata"]["name"]), status.get("nodes") or {}
    renamed = _Renamer(old_name, name, nodes)
    made: dict[str, Any] = {}
    for node in nodes.values():
        if str(node.get("name", "")).startswith(f"{old_name}.onExit"):
            continue
        copy = _memoized_node(node, renamed, nodes, now)
        if copy is not None:
            made[copy["id"]] = copy
    found: dict[str, Any] = {"nodes": made, "conditions": [{"type": "Completed", "status": "False"}]}
    if status.get("storedTemplates"):
        found["storedTemplates"] = dict(status["storedTemplates"])
    return found


class _Renamer:
    """Node names and ids under another workflow's name."""

    def __init__(self, old: str, new: str, nodes: Nodes) -> None:
        self._old, self._new, self._nodes = re.compile("^" + old), new, nodes

    def name(self, name: str) -> str:
        return self._old.sub(lambda _: self._new, name)

    def id_of_name(self, name: str) -> str:
        return names.node_id(self._new, name)

    def id(self, old_id: str) -> str:
        return self.id_of_name(self.name(str((self._nodes.get(old_id) or {}).get("name", ""))))


def _memoized_node(node: Node, renamed: _Renamer, nodes: Nodes, now: datetime) -> dict[str, Any] | None:
    made = dict(node)
    made["name"] = renamed.name(str(node.get("name", "")))
    made["id"] = renamed.id_of_name(made["name"])
    if node.get("boundaryID"):
        made["boundaryID"] = renamed.id(node["boundaryID"])
    for key in ("children", "outboundNodes"):
        others: Sequence[str] = node.get(key) or ()
        if others:
            made[key] = [renamed.id(other) for other in others]
    failed = node.get("phase") in UNSUCCESSFUL
    is_pod = node.get("type") == "Pod"
    never = failed and is_pod
    made.update(startedAt=None if never else stamp(now), finishedAt=None if never else stamp(now))
    if is_pod and not failed:
        made.update(phase="Skipped", type="Skipped", message=f"original pod: {node['id']}")
    elif node.get("type") == "Skipped" and not _something_succeeded(nodes, node, set()):
        return None
    else:
        made["phase"] = "Pending"
        made.pop("message", None)
    return made
