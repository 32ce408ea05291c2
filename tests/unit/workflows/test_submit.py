"""What submission changes about a workflow."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tiphys.machinery.errors import SpecError
from tiphys.workflows.plan.submit import SubmitOptions, apply_options, from_object

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
WORKFLOW: dict[str, Any] = {
    "apiVersion": "argoproj.io/v1alpha1",
    "kind": "Workflow",
    "metadata": {"generateName": "x-", "labels": {"a": "1"}},
    "spec": {
        "entrypoint": "main",
        "arguments": {"parameters": [{"name": "p", "value": "1"}, {"name": "q", "value": "2", "enum": ["2"]}]},
    },
}


def test_nothing_given_changes_nothing() -> None:
    assert apply_options(WORKFLOW, SubmitOptions()) == WORKFLOW


def test_given_parameters_stand_first_and_replace_their_namesakes() -> None:
    made = apply_options(WORKFLOW, SubmitOptions(parameters={"new": "n", "p": "other"}))
    assert made["spec"]["arguments"]["parameters"] == [
        {"name": "new", "value": "n"},
        {"name": "p", "value": "other"},
        {"name": "q", "value": "2", "enum": ["2"]},
    ]
    assert WORKFLOW["spec"]["arguments"]["parameters"][0]["value"] == "1"


def test_labels_are_added_and_names_replaced() -> None:
    options = SubmitOptions(
        name="n", generate_name="g-", labels={"b": "2"}, entrypoint="e", service_account="s", priority=3
    )
    made = apply_options(WORKFLOW, options)
    assert made["metadata"] == {"generateName": "g-", "name": "n", "labels": {"a": "1", "b": "2"}}
    assert {k: made["spec"][k] for k in ("entrypoint", "serviceAccountName", "priority")} == {
        "entrypoint": "e", "serviceAccountName": "s", "priority": 3,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "reference", "label"),
    [
        ("WorkflowTemplate", {"name": "t"}, "workflow-template"),
        ("ClusterWorkflowTemplate", {"name": "t", "clusterScope": True}, "cluster-workflow-template"),
    ],
)
def test_from_templates(kind: str, reference: dict[str, Any], label: str) -> None:
    made = from_object({"kind": kind, "metadata": {"name": "t"}}, NOW)
    assert made["spec"] == {"workflowTemplateRef": reference}
    assert made["metadata"] == {"generateName": "t-", "labels": {f"workflows.argoproj.io/{label}": "t"}}


def test_from_a_cron_workflow() -> None:
    cron = {
        "kind": "CronWorkflow",
        "metadata": {"name": "c", "uid": "u", "labels": {"workflows.argoproj.io/controller-instanceid": "i"}},
        "spec": {
            "workflowMetadata": {"labels": {"l": "1"}, "annotations": {"n": "2"}, "finalizers": ["f"]},
            "workflowSpec": {"entrypoint": "main"},
        },
    }
    made = from_object(cron, NOW)
    assert made["spec"] == {"entrypoint": "main"}
    meta = made["metadata"]
    assert meta["annotations"] == {"workflows.argoproj.io/scheduled-time": "2026-01-01T12:00:00Z", "n": "2"}
    assert meta["labels"] == {
        "workflows.argoproj.io/cron-workflow": "c", "l": "1", "workflows.argoproj.io/controller-instanceid": "i",
    }  # fmt: skip
    assert meta["ownerReferences"][0]["uid"] == "u" and meta["finalizers"] == ["f"]


def test_not_from_anything_else() -> None:
    with pytest.raises(SpecError, match="cannot be made from a Pod"):
        from_object({"kind": "Pod", "metadata": {"name": "p"}}, NOW)
