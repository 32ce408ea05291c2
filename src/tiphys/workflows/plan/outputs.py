"""Outputs of Steps and DAG nodes, outputs of the workflow, and the ends of a node.

A composite's outputs are resolved from the scope of its members when it succeeds. An output with ``globalName`` also
becomes one of the workflow, visible to everything that starts later. The ends ("outbound nodes") of a node are the
nodes that what comes next hangs below.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tiphys.workflows.plan import memoize
from tiphys.workflows.plan.canonical import any_string
from tiphys.workflows.plan.nodes import Node
from tiphys.workflows.plan.problems import Outcome, Problem
from tiphys.workflows.plan.scope import Scope, resolve_artifact, resolve_parameter
from tiphys.workflows.plan.templates import has_outputs

if TYPE_CHECKING:
    from tiphys.workflows.plan.state import Call, State
    from tiphys.workflows.plan.templates import Template

_PARAMETER_KEYS = ("name", "default", "value", "globalName", "enum", "description")


def finish(state: State, call: Call, node: Node, template: Template, scope: Scope, groups: int) -> Outcome:
    """Ends a Steps node whose groups all succeeded."""
    set_outbound_of_steps(state, node, groups)
    try:
        made = from_scope(template, scope)
    except Problem as err:
        return Outcome(node, err)
    if made is not None:
        state.update(node, outputs=made)
        export(state, made)
    memoize.save(state, node)
    return Outcome(state.mark_phase(node, "Succeeded"))


def from_scope(template: Template, scope: Scope) -> dict[str, Any] | None:
    """The outputs that a template declares, resolved; None where it declares none. Raises `Problem`."""
    declared = template.get("outputs") or {}
    if not has_outputs(declared):
        return None
    made: dict[str, Any] = {}
    if declared.get("parameters"):
        made["parameters"] = [_parameter(param, scope) for param in declared["parameters"]]
    if declared.get("artifacts"):
        found = (_artifact(artifact, scope) for artifact in declared["artifacts"])
        artifacts = [artifact for artifact in found if artifact is not None]
        if artifacts:
            made["artifacts"] = artifacts
    return made


def _parameter(param: Mapping[str, Any], scope: Scope) -> dict[str, Any]:
    value_from = param.get("valueFrom")
    if value_from is None:
        raise Problem("output parameters must have a valueFrom specified")
    default = value_from.get("default")
    try:
        value, absent = resolve_parameter(scope, value_from)
    except Problem:
        if default is None:
            raise
        value = default
    else:
        if absent and default is not None:
            value = default
    if value is None:
        raise Problem(
            f'output parameter "{param.get("name", "")}": "{value_from.get("parameter", "")}" is an absent optional '
            "(skipped/omitted node output with no default)"
        )
    made = {**param, "value": any_string(value)}
    return {key: made[key] for key in _PARAMETER_KEYS if made.get(key) is not None}


def _artifact(artifact: Mapping[str, Any], scope: Scope) -> dict[str, Any] | None:
    try:
        resolved = resolve_artifact(scope, artifact)
    except Problem as err:
        if "Unable to resolve" in str(err) and artifact.get("optional"):
            return None
        raise Problem(f"unable to resolve outputs from scope: {err}") from err
    return None if resolved is None else {"name": artifact.get("name", ""), **_without_name(resolved)}


def _without_name(artifact: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in artifact.items() if key != "name"}


def export(state: State, outputs: Mapping[str, Any] | None) -> None:
    """Makes outputs with a global name outputs of the workflow."""
    for param in (outputs or {}).get("parameters") or ():
        if param.get("globalName"):
            _export_parameter(state, param)
    for artifact in (outputs or {}).get("artifacts") or ():
        if artifact.get("globalName"):
            _export_artifact(state, artifact)


def _export_parameter(state: State, param: Mapping[str, Any]) -> None:
    name = param["globalName"]
    if any(param.get(key) is not None for key in ("value", "default", "valueFrom")):
        value = param.get("value", param.get("default"))
        state.set_global(f"workflow.outputs.parameters.{name}", "" if value is None else any_string(value))
    made: dict[str, Any] = {"name": name}
    if param.get("value") is not None:
        made["value"] = param["value"]
    _upsert(state, "parameters", made, keep_value="value" not in made)


def _export_artifact(state: State, artifact: Mapping[str, Any]) -> None:
    made = {key: value for key, value in artifact.items() if key not in ("name", "globalName", "path")}
    _upsert(state, "artifacts", {"name": artifact["globalName"], **made})


def _upsert(state: State, kind: str, made: dict[str, Any], *, keep_value: bool = False) -> None:
    known = (state.status.get("outputs") or {}).get(kind) or []
    index = next((i for i, item in enumerate(known) if item.get("name") == made["name"]), None)
    if index is None:
        changed = [*known, made]
    elif known[index] == made or (keep_value and "value" in known[index]):
        return
    else:
        changed = [*known[:index], made, *known[index + 1 :]]
    state.set_status(outputs={**(state.status.get("outputs") or {}), kind: changed})


def set_outbound_of_steps(state: State, node: Node, groups: int) -> None:
    """The ends of a Steps node are those of its last group that was begun."""
    for index in range(groups - 1, -1, -1):
        group = state.node_named(f"{node.name}[{index}]")
        if group is not None:
            ends = [end for child in group.children for end in outbound(state, child)]
            state.update(node, outbound_nodes=ends)
            return


def outbound(state: State, node_id: str) -> list[str]:
    """The ends of a node."""
    node = state.nodes.by_id.get(node_id)
    if node is None:
        return []
    if node.type in ("Skipped", "Suspend", "HTTP", "Plugin"):
        return [node.id]
    if node.type == "Pod" and not _has_containers(state, node):
        return [node.id]
    if node.type in ("Pod", "Container", "TaskGroup"):
        return _outbound_of_children(state, node)
    if node.type == "Retry" and node.children:
        return [next(reversed(node.children))]
    if node.type in ("Steps", "DAG") and node.memo_hit:
        return [node.id]
    return [end for inner in node.outbound_nodes for end in outbound(state, inner)]


def _has_containers(state: State, node: Node) -> bool:
    """Whether a pod comes from a container set: then its containers are its children."""
    return any((c := state.nodes.by_id.get(child)) is not None and c.type == "Container" for child in node.children)


def _outbound_of_children(state: State, node: Node) -> list[str]:
    if not node.children:
        return [node.id]
    ends: list[str] = []
    for child_id in node.children:
        child = state.nodes.by_id.get(child_id)
        if child is None:
            continue
        if node.type == "Container" and child.boundary_id != node.boundary_id:
            ends.append(node.id)
        else:
            ends.extend(outbound(state, child_id))
    return ends
