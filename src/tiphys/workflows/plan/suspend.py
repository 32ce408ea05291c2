"""Suspend templates: a node that waits for somebody, or for a duration.

Outputs with ``valueFrom.supplied`` are filled in from outside (``argo node set``) while it waits; when the duration is
over the declared defaults are used, and without one the node is in Error.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import orjson

from tiphys.lang import durations
from tiphys.workflows.plan import execute as executor
from tiphys.workflows.plan.nodes import Node
from tiphys.workflows.plan.problems import Outcome, Problem

if TYPE_CHECKING:
    from tiphys.workflows.plan.state import Call, State
    from tiphys.workflows.plan.templates import Template


def execute(state: State, call: Call, template: Template) -> Outcome:
    """Waits, or ends the wait when its time has come."""
    node = state.nodes.by_id.get(call.node_id)
    if node is None:
        node = executor.initialize(state, call, "Suspend", "Pending", template=template)
        _offer_choices(state, node)
    state.waits[call.name] = "somebody to resume it"
    if text := (template.get("suspend") or {}).get("duration"):
        try:
            seconds = durations.parse_argo(text) / 1e9
        except ValueError as err:
            return Outcome(node, Problem(str(err)))
        ends = (node.started_at or state.now) + timedelta(seconds=seconds)
        if state.now > ends:
            try:
                outputs = with_defaults(node.outputs)
            except Problem as err:
                return Outcome(node, err)
            state.update(node, outputs=outputs)
            return Outcome(state.mark_phase(node, "Succeeded"))
        state.at(ends, call.node_id)
        state.waits[call.name] = f"somebody to resume it, or the end of {text}"
    return Outcome(state.mark_phase(node, "Running"))


def prepare(state: State, node: Node, template: Template) -> None:
    """Gives a new node the outputs that are to be supplied."""
    declared = (template.get("outputs") or {}).get("parameters") or ()
    inputs = {p["name"]: p for p in (template.get("inputs") or {}).get("parameters") or ()}
    expected: list[dict[str, Any]] = []
    for param in declared:
        value_from = param.get("valueFrom") or {}
        if value_from.get("supplied") is None:
            continue
        default = value_from.get("default", (inputs.get(param["name"]) or {}).get("default"))
        if default is not None:
            value_from = {**value_from, "default": default}
        expected.append({**param, "valueFrom": value_from})
    if expected:
        node.outputs = {"parameters": expected}


def with_defaults(outputs: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Outputs with defaults in place of what was not supplied. Raises `Problem` where there is none."""
    if outputs is None:
        return None
    return {**outputs, "parameters": [_default(param) for param in outputs.get("parameters") or ()]}


def _default(param: Mapping[str, Any]) -> dict[str, Any]:
    value_from = param.get("valueFrom")
    if not value_from or value_from.get("supplied") is None:
        return dict(param)
    if value_from.get("default") is None:
        raise Problem(f"raw output parameter '{param['name']}' has not been set and does not have a default value")
    made = {key: value for key, value in param.items() if key != "valueFrom"}
    return {**made, "value": value_from["default"]}


def _offer_choices(state: State, node: Node) -> None:
    """An input whose value is a JSON object with ``enum`` offers these as choices."""
    parameters = (node.inputs or {}).get("parameters") or ()
    changed = [_with_choices(param) for param in parameters]
    if node.inputs is not None and changed != list(parameters):
        state.update(node, inputs={**node.inputs, "parameters": changed})


def _with_choices(param: Mapping[str, Any]) -> dict[str, Any]:
    try:
        parsed = orjson.loads(str(param.get("value") or ""))
    except orjson.JSONDecodeError:
        return dict(param)
    choices = parsed.get("enum") if isinstance(parsed, dict) else None
    if not choices:
        return dict(param)
    made = {**param, "enum": choices}
    made.setdefault("default", choices[0])
    return made
