"""What validation finds, and where it says the fault is."""

import time
from collections.abc import Mapping
from typing import Any

import pytest

from tiphys.workflows.plan.validate import NoTemplates, Problem, validate, validate_workflow

ECHO = {
    "name": "echo",
    "inputs": {"parameters": [{"name": "m"}]},
    "container": {"image": "a", "args": ["{{inputs.parameters.m}}"]},
}


def step(name: str = "a", **more: Any) -> dict[str, Any]:
    return {"name": name, "template": "echo", "arguments": {"parameters": [{"name": "m", "value": "x"}]}, **more}


def workflow(*templates: dict[str, Any], kind: str = "Workflow", **spec: Any) -> dict[str, Any]:
    return {
        "kind": kind,
        "metadata": {"name": "w"},
        "spec": {"entrypoint": "main", "templates": list(templates), **spec},
    }


def main(*groups: list[dict[str, Any]]) -> dict[str, Any]:
    return {"name": "main", "steps": list(groups)}


def only(problems: list[Problem]) -> Problem:
    assert len(problems) == 1
    return problems[0]


class One:
    """A lookup that knows one WorkflowTemplate."""

    def __init__(self, manifest: dict[str, Any]) -> None:
        self.manifest = manifest

    def workflow_template(self, name: str) -> Mapping[str, Any] | None:
        return self.manifest if self.manifest["metadata"]["name"] == name else None

    def cluster_workflow_template(self, name: str) -> Mapping[str, Any] | None:
        return None


def test_a_good_workflow_has_no_problems() -> None:
    assert validate(workflow(main([step()]), ECHO)) == []


def test_the_place_is_the_template_that_is_wrong_not_the_one_that_calls_it() -> None:
    bad = {**ECHO, "container": {"args": ["x"]}}
    found = only(validate(workflow(main([step()]), bad)))
    assert found.message == "templates.main.steps[0].a templates.echo.container.image may not be empty"
    assert (found.path, found.template) == ("spec.templates[1].container.image", "echo")


def test_a_variable_that_cannot_be_resolved_names_the_step() -> None:
    found = only(validate(workflow(main([step(when="{{steps.b.status}} == Succeeded"), step("b")]), ECHO)))
    assert found.message == "templates.main.steps failed to resolve {{steps.b.status}}"
    assert found.path == "spec.templates[0].steps[0][0]"


def test_parameters_need_a_value_only_on_submission() -> None:
    manifest = workflow(main([step()]), ECHO, arguments={"parameters": [{"name": "p"}]})
    assert validate(manifest, lint=True) == []
    found = only(validate(manifest, lint=False))
    assert found.message == "spec.arguments.p.value or spec.arguments.p.valueFrom is required"
    assert found.path == "spec.arguments.parameters[0]"


def test_a_fault_in_another_object_names_that_object() -> None:
    other = workflow({**ECHO, "container": {"args": []}}, kind="WorkflowTemplate")
    other["metadata"]["name"] = "lib"
    caller = {"name": "a", "templateRef": {"name": "lib", "template": "echo"}, "arguments": step()["arguments"]}
    found = only(validate(workflow(main([caller])), One(other)))
    assert (found.source, found.path) == ("WorkflowTemplate/lib", "spec.templates[0].container.image")


def test_a_missing_template_is_worded_for_lint_and_for_the_server() -> None:
    manifest = workflow(main([{"name": "a", "templateRef": {"name": "nope", "template": "t"}}]))
    offline = only(validate_workflow(manifest, NoTemplates(), lint=True))
    online = only(validate_workflow(manifest, NoTemplates(), lint=False, offline=False))
    assert offline.message.endswith('couldn\'t find workflow template "nope" in namespace ""')
    assert online.message.endswith("template reference nope.t not found")


def test_templates_that_call_each_other_are_looked_into_once() -> None:
    assert validate(workflow(main([{"name": "a", "template": "main"}]))) == []


def test_a_long_chain_of_tasks_is_no_problem() -> None:
    tasks = [{"name": f"t{i}", "template": "leaf", "dependencies": [f"t{i - 1}"] if i else []} for i in range(1500)]
    leaf = {"name": "leaf", "container": {"image": "a"}}
    assert validate(workflow({"name": "main", "dag": {"tasks": tasks}}, leaf)) == []


def test_a_long_chain_of_templates_ends_in_a_problem_not_in_a_crash() -> None:
    chain = [{"name": f"t{i}", "steps": [[{"name": "a", "template": f"t{i + 1}"}]]} for i in range(2000)]
    found = only(validate(workflow(*chain, {"name": "t2000", "container": {"image": "a"}}, entrypoint="t0")))
    assert found.message == "templates call each other too deeply"


def test_a_cluster_template_cannot_use_a_namespaced_one() -> None:
    manifest = workflow(
        main([{"name": "a", "templateRef": {"name": "lib", "template": "t"}}]), kind="ClusterWorkflowTemplate"
    )
    assert "it has no namespace" in only(validate(manifest, One(workflow(kind="WorkflowTemplate")))).message


@pytest.mark.parametrize("manifest", ["{{=" + " " * 50_000, "{{=" * 30_000, "{{=" * 20_000 + "\nx" * 20_000 + "}}"])
def test_odd_manifests_take_no_time(manifest: str) -> None:
    resource = {"name": "main", "resource": {"action": "create", "manifest": manifest}}
    began = time.process_time()
    validate_workflow(workflow(resource), NoTemplates(), lint=True)
    assert time.process_time() - began < 10  # a blow-up takes minutes
