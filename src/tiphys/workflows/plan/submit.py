"""What a submission changes about a workflow before it is created, and how a workflow is made from a template or cron.

Pure: objects in, new objects out (what did not change is shared). The command line and the API server both ask here.
Order of arguments: those that were given stand first, then the manifest's own that were not overridden (as upstream,
where the order is what users see in ``get``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tiphys.machinery.errors import SpecError

Object = Mapping[str, Any]

SCHEDULED_TIME = "workflows.argoproj.io/scheduled-time"
CRON_WORKFLOW = "workflows.argoproj.io/cron-workflow"
TEMPLATE_LABELS = {
    "WorkflowTemplate": "workflows.argoproj.io/workflow-template",
    "ClusterWorkflowTemplate": "workflows.argoproj.io/cluster-workflow-template",
}
INSTANCE_ID = "workflows.argoproj.io/controller-instanceid"


@dataclass(frozen=True)
class SubmitOptions:
    """The flags of ``submit`` (and the API's ``submitOptions``); empty ones change nothing."""

    name: str = ""
    generate_name: str = ""
    entrypoint: str = ""
    service_account: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    priority: int | None = None
    pod_priority_class: str = ""


def apply_options(workflow: Object, options: SubmitOptions) -> dict[str, Any]:
    """The workflow as it is to be created."""
    spec = dict(workflow.get("spec") or {})
    for key, value in (
        ("entrypoint", options.entrypoint),
        ("serviceAccountName", options.service_account),
        ("podPriorityClassName", options.pod_priority_class),
    ):
        if value:
            spec[key] = value
    if options.priority is not None:
        spec["priority"] = options.priority
    if options.parameters:
        spec["arguments"] = _overridden(spec.get("arguments") or {}, options.parameters)
    return {**workflow, "metadata": _metadata(workflow["metadata"], options), "spec": spec}


def from_object(origin: Object, now: datetime) -> dict[str, Any]:
    """A new workflow from a WorkflowTemplate, ClusterWorkflowTemplate or CronWorkflow. Raises SpecError for others."""
    kind = origin.get("kind")
    if kind in TEMPLATE_LABELS:
        return _from_template(str(kind), str(origin["metadata"]["name"]))
    if kind == "CronWorkflow":
        return _from_cron(origin, now)
    raise SpecError("kind", f"a workflow cannot be made from a {kind}")


def _metadata(meta: Object, options: SubmitOptions) -> dict[str, Any]:
    changed = dict(meta)
    if options.labels:
        changed["labels"] = {**(meta.get("labels") or {}), **options.labels}
    if options.annotations:
        changed["annotations"] = {**(meta.get("annotations") or {}), **options.annotations}
    if options.generate_name:
        changed["generateName"] = options.generate_name
    if options.name:
        changed["name"] = options.name
    return changed


def _overridden(arguments: Object, parameters: Mapping[str, str]) -> dict[str, Any]:
    given = [{"name": name, "value": value} for name, value in parameters.items()]
    others = [p for p in arguments.get("parameters") or () if p.get("name") not in parameters]
    return {**arguments, "parameters": [*given, *others]}


def _from_template(kind: str, name: str) -> dict[str, Any]:
    reference = {"name": name, **({"clusterScope": True} if kind.startswith("Cluster") else {})}
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"generateName": f"{name}-", "labels": {TEMPLATE_LABELS[kind]: name}},
        "spec": {"workflowTemplateRef": reference},
    }


def _from_cron(cron: Object, now: datetime) -> dict[str, Any]:
    meta, wanted = cron["metadata"], cron["spec"].get("workflowMetadata") or {}
    labels = {CRON_WORKFLOW: meta["name"], **(wanted.get("labels") or {})}
    if INSTANCE_ID in (meta.get("labels") or {}):
        labels[INSTANCE_ID] = meta["labels"][INSTANCE_ID]
    owner = {
        "apiVersion": "argoproj.io/v1alpha1", "kind": "CronWorkflow", "name": meta["name"], "uid": meta.get("uid", ""),
        "controller": True, "blockOwnerDeletion": True,
    }  # fmt: skip
    scheduled = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    made: dict[str, Any] = {
        "generateName": f"{meta['name']}-",
        "labels": labels,
        "annotations": {SCHEDULED_TIME: scheduled, **(wanted.get("annotations") or {})},
        "ownerReferences": [owner],
    }
    if wanted.get("finalizers"):
        made["finalizers"] = list(wanted["finalizers"])
    return {
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": made,
        "spec": cron["spec"].get("workflowSpec") or {},
    }  # fmt: skip
