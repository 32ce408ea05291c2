"""What people do to running workflows: stop, terminate, suspend, resume, set nodes.

Pure functions from objects to objects; whoever calls them reads and writes. Submission is in `submit`, doing a
workflow over in `rerun`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tiphys.machinery import selectors
from tiphys.workflows.plan.nodes import COMPLETED, stamp
from tiphys.workflows.plan.problems import Problem
from tiphys.workflows.plan.suspend import with_defaults

Workflow = Mapping[str, Any]


def resume(workflow: Workflow, now: datetime, message: str = "") -> dict[str, Any]:
    """Clears ``spec.suspend`` and ends every node that is suspended. Raises `Problem` for outputs not supplied."""
    made = {**workflow, "spec": {k: v for k, v in (workflow.get("spec") or {}).items() if k != "suspend"}}
    nodes = (workflow.get("status") or {}).get("nodes") or {}
    resumed = {key: _resumed(node, now, message) for key, node in nodes.items() if _is_suspended(node)}
    return _with_nodes(made, resumed) if resumed else made


def _resumed(node: Mapping[str, Any], now: datetime, message: str) -> dict[str, Any]:
    made = {**node, "phase": "Succeeded", "finishedAt": stamp(now)}
    outputs = with_defaults(node.get("outputs"))
    if outputs is not None:
        made["outputs"] = outputs
    text = f"{node['message']}; {message}" if node.get("message") else message
    made.pop("message", None)
    return {**made, "message": text} if text else made


def set_nodes(workflow: Workflow, selector: str, values: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """Sets phase, message or output parameters of suspended nodes that a field selector picks. Raises `Problem`."""
    chosen = selectors.parse_fields(selector)
    nodes = (workflow.get("status") or {}).get("nodes") or {}
    changed: dict[str, Any] = {}
    exported: list[Mapping[str, Any]] = []
    for key, node in nodes.items():
        if _is_suspended(node) and chosen.matches(node_fields(node)):
            changed[key] = _set(node, values, now, exported)
    if not changed:
        raise Problem(
            f"currently, set only targets suspend nodes: no suspend nodes matching nodeFieldSelector: {selector}"
        )
    made = _with_nodes(workflow, changed)
    return _export(made, exported) if exported else made


def _set(
    node: Mapping[str, Any], values: Mapping[str, Any], now: datetime, exported: list[Mapping[str, Any]]
) -> dict[str, Any]:
    made = dict(node)
    if values.get("phase"):
        made["phase"] = values["phase"]
        if values["phase"] in (*COMPLETED, "Skipped", "Omitted"):
            made["finishedAt"] = stamp(now)
    if values.get("message"):
        made["message"] = values["message"]
    wanted = values.get("outputParameters") or {}
    if wanted:
        made["outputs"] = _set_outputs(node.get("outputs"), wanted, exported)
    return made


def _set_outputs(outputs: Any, wanted: Mapping[str, str], exported: list[Mapping[str, Any]]) -> dict[str, Any]:
    if outputs is None:
        raise Problem("cannot set output parameters because node is not expecting any raw parameters")
    parameters = [dict(param) for param in outputs.get("parameters") or ()]
    for name, value in wanted.items():
        found = next((param for param in parameters if param["name"] == name), None)
        if found is None:
            raise Problem(f"node is not expecting output parameter '{name}'")
        if (found.get("valueFrom") or {}).get("supplied") is None:
            raise Problem(
                f"cannot set output parameter '{name}' because it does not use valueFrom.raw or it was already set"
            )
        del found["valueFrom"]
        found["value"] = value
        if found.get("globalName"):
            exported.append(found)
    return {**outputs, "parameters": parameters}


def _export(workflow: dict[str, Any], exported: list[Mapping[str, Any]]) -> dict[str, Any]:
    outputs = (workflow["status"].get("outputs")) or {}
    known = {param["name"]: param for param in outputs.get("parameters") or ()}
    known.update((p["globalName"], {"name": p["globalName"], "value": p["value"]}) for p in exported)
    status = {**workflow["status"], "outputs": {**outputs, "parameters": list(known.values())}}
    return {**workflow, "status": status}


def node_fields(node: Mapping[str, Any]) -> dict[str, str]:
    """What field selectors of nodes may ask for."""
    ref = node.get("templateRef") or {}
    found = {key: str(node.get(key, "")) for key in ("displayName", "phase", "name", "id")}
    found["templateName"] = str(ref.get("template") or node.get("templateName", ""))
    if ref:
        found["templateRef.name"] = str(ref.get("name", ""))
        found["templateRef.template"] = str(ref.get("template", ""))
    for param in (node.get("inputs") or {}).get("parameters") or ():
        found[f"inputs.parameters.{param['name']}.value"] = str(param.get("value", ""))
    return found


def suspend(workflow: Workflow) -> dict[str, Any]:
    """Keeps a workflow from starting anything new. Raises `Problem` for one that is complete."""
    if is_complete(workflow):
        raise Problem("cannot suspend completed workflows")
    return _with_spec(workflow, suspend=True)


def stop(workflow: Workflow) -> dict[str, Any]:
    """Ends the running nodes, then runs exit handlers. Raises `Problem` for one that is complete."""
    return _shut_down(workflow, "Stop")


def terminate(workflow: Workflow) -> dict[str, Any]:
    """Ends everything at once. Raises `Problem` for one that is complete."""
    return _shut_down(workflow, "Terminate")


def _shut_down(workflow: Workflow, strategy: str) -> dict[str, Any]:
    if is_complete(workflow):
        raise Problem("cannot shutdown a completed workflow")
    return _with_spec(workflow, shutdown=strategy)


def is_complete(workflow: Workflow) -> bool:
    """Whether the label says that nothing will happen any more."""
    labels = (workflow.get("metadata") or {}).get("labels") or {}
    return labels.get("workflows.argoproj.io/completed") == "true"


def _with_spec(workflow: Workflow, **fields: Any) -> dict[str, Any]:
    return {**workflow, "spec": {**(workflow.get("spec") or {}), **fields}}


def _is_suspended(node: Mapping[str, Any]) -> bool:
    return node.get("type") == "Suspend" and node.get("phase") == "Running"


def _with_nodes(workflow: Workflow, nodes: Mapping[str, Any]) -> dict[str, Any]:
    status = workflow.get("status") or {}
    return {**workflow, "status": {**status, "nodes": {**(status.get("nodes") or {}), **nodes}}}
