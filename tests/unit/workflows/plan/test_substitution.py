"""What substitution in templates takes from where; the short cuts that it takes must not show."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.workflows.kit import Cluster, container
from tiphys.workflows.plan.assess import progress_of

STEP = {"name": "s", "template": "t", "arguments": {"parameters": [{"name": "a", "value": "{{workflow.name}}-1"}]}}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{inputs.parameters.a}}", "wf-1"),
        ("{{ inputs.parameters.a }} of {{workflow.name}}", "wf-1 of wf"),
        ("{{inputs.parameters}}", '[{"name":"a","value":"wf-1"}]'),
        ("{{=toJson(inputs.parameters)}}", '{"a":"wf-1"}'),
        ("{{somebody.elses}}", "{{somebody.elses}}"),
        ("{{=inputs.parameters.a + workflow.name}}", "wf-1wf"),
        ("none", "none"),
    ],
)
def test_a_command_has_its_tags_replaced(text: str, expected: str) -> None:
    work = container("t", inputs={"parameters": [{"name": "a"}]})
    work["container"] = {**work["container"], "command": [text]}
    cluster = Cluster({"entrypoint": "main", "templates": [{"name": "main", "steps": [[STEP]]}, work]})
    cluster.decide()
    (pod,) = cluster.created
    assert commands(cluster.lookup.live_pods[pod]) == [[expected]]


def commands(pod: dict[str, Any]) -> list[list[str]]:
    return [c["command"] for c in pod["spec"]["containers"]]


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("0/1", (0, 1)),
        ("3/3", (3, 3)),
        ("", None),
        ("0/0", None),
        ("2/1", None),
        ("1/", None),
        ("\u00b2/\u00b3", None),
        (f"1/{'9' * 5_000}", None),
    ],
)
def test_progress_makes_sense_or_counts_for_nothing(text: str, numbers: tuple[int, int] | None) -> None:
    assert progress_of(text) == numbers
