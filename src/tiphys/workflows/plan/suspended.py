"""What people do to a suspended workflow from outside: let it go on, fail a step, supply what a step waits for.

Pure: a workflow in, the merge patch out that does it. The patch carries the resourceVersion that it was decided on, so
that a 409 means: read again, decide again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from tiphys.machinery.errors import SpecError
from tiphys.workflows.plan.problems import Problem
from tiphys.workflows.plan.suspend import with_defaults

Object = Mapping[str, Any]
Node = Mapping[str, Any]


def resume(workflow: Object, now: datetime, chosen: Callable[[Node], bool] | None = None) -> dict[str, Any] | None:
    """Lets the workflow go on: with ``chosen`` only those suspended steps, else all of them and the workflow itself.

    None where nothing is suspended. Raises SpecError for a step that waits for an output without a default, and for a
    choice that no suspended step fits.
    """
    if chosen is not None:
        return set_nodes(workflow, now, chosen, phase="Succeeded")
    nodes = {}
    for node in suspended(workflow):
        try:
            outputs = with_defaults(node.get("outputs"))
        except Problem as err:
            raise SpecError(str(node.get("name")), str(err)) from err
        nodes[node["id"]] = _ended(now, "Succeeded") | ({"outputs": outputs} if outputs else {})
    changed: dict[str, Any] = {"status": {"nodes": nodes}} if nodes else {}
    if (workflow.get("spec") or {}).get("suspend"):
        changed["spec"] = {"suspend": None}
    return _conditional(workflow, changed) if changed else None


def set_nodes(
    workflow: Object,
    now: datetime,
    chosen: Callable[[Node], bool],
    *,
    phase: str = "",
    message: str = "",
    outputs: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Changes the suspended steps that are ``chosen``: a phase ends them, ``outputs`` are the values they wait for.

    Raises SpecError where no suspended step fits, or a step does not wait for such an output.
    """
    found = [node for node in suspended(workflow) if chosen(node)]
    if not found:
        raise SpecError("", "no suspended step fits the selector (only suspended steps can be set)")
    nodes: dict[str, Any] = {}
    for node in found:
        changed: dict[str, Any] = _ended(now, phase) if phase else {}
        if message:
            changed["message"] = message
        if outputs:
            changed["outputs"] = _supplied(node, outputs)
        nodes[node["id"]] = changed
    return _conditional(workflow, {"status": {"nodes": nodes}})


def suspended(workflow: Object) -> list[Node]:
    """The steps that wait for somebody."""
    nodes = (workflow.get("status") or {}).get("nodes") or {}
    return [node for node in nodes.values() if node.get("type") == "Suspend" and node.get("phase") == "Running"]


def _ended(now: datetime, phase: str) -> dict[str, Any]:
    finished = phase in ("Succeeded", "Failed", "Error", "Skipped")
    return {"phase": phase} | ({"finishedAt": now.strftime("%Y-%m-%dT%H:%M:%SZ")} if finished else {})


def _supplied(node: Node, values: Mapping[str, str]) -> dict[str, Any]:
    outputs = node.get("outputs")
    if not outputs:
        raise SpecError(str(node.get("name")), "the step does not wait for outputs")
    expected = {
        p["name"] for p in outputs.get("parameters") or () if (p.get("valueFrom") or {}).get("supplied") is not None
    }
    for name in values:
        if name not in expected:
            raise SpecError(str(node.get("name")), f"the step does not wait for an output {name!r}, or has it already")
    made = [
        {**{k: v for k, v in p.items() if k != "valueFrom"}, "value": values[p["name"]]}
        if p["name"] in values
        else dict(p)
        for p in outputs.get("parameters") or ()
    ]
    return {**outputs, "parameters": made}


def _conditional(workflow: Object, changed: dict[str, Any]) -> dict[str, Any]:
    return {**changed, "metadata": {"resourceVersion": workflow["metadata"]["resourceVersion"]}}
