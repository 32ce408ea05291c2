"""What travels: arguments, outputs of every kind, globals, expressions, memoized results, artifact locations."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.workflows.kit import Cluster, container
from tiphys.workflows.plan import artifacts
from tiphys.workflows.plan.problems import MissingVariable, Problem
from tiphys.workflows.plan.text import evaluate, evaluate_bool, replace, replace_strict, should_execute


def echo(name: str = "echo") -> dict[str, Any]:
    body = {"image": "busybox", "command": ["echo"], "args": ["{{inputs.parameters.p}}"]}
    return {"name": name, "inputs": {"parameters": [{"name": "p"}]}, "container": body}


def arguments(value: Any) -> dict[str, Any]:
    return {"parameters": [{"name": "p", "value": value}]}


def args_of(cluster: Cluster, node: str) -> list[str]:
    found: list[str] = cluster.lookup.live_pods[cluster.pod_of(node)]["spec"]["containers"][0]["args"]
    return found


def run(spec: dict[str, Any], **objects: Any) -> Cluster:
    cluster = Cluster({"entrypoint": "main", **spec}, **objects)
    cluster.decide()
    return cluster


def test_results_of_a_loop_are_aggregated_as_a_list() -> None:
    first = {"name": "a", "template": "make", "withItems": [1, 2]}
    then = {"name": "b", "template": "echo", "arguments": arguments("{{steps.a.outputs.result}}")}
    script = {"name": "make", "script": {"image": "x", "command": ["sh"], "source": "x"}}
    cluster = run({"templates": [{"name": "main", "steps": [[first], [then]]}, script, echo()]})
    cluster.succeed("wf[0].a(1:2)", {"result": '"two"'})
    cluster.succeed("wf[0].a(0:1)", {"result": "1"})
    assert json.loads(args_of(cluster, "wf[1].b")[0]) == [1, "two"]


def test_a_global_output_is_known_to_all_and_to_the_workflow() -> None:
    output = {"name": "x", "globalName": "shared", "valueFrom": {"path": "/x"}}
    first, then = container("a", outputs={"parameters": [output]}), echo()
    value = arguments("{{workflow.outputs.parameters.shared}}")
    steps = [[{"name": "a", "template": "a"}], [{"name": "b", "template": "echo", "arguments": value}]]
    cluster = run({"templates": [{"name": "main", "steps": steps}, first, then]})
    cluster.succeed("wf[0].a", {"parameters": [{**output, "value": "seen"}]})
    assert args_of(cluster, "wf[1].b") == ["seen"]
    assert cluster.workflow["status"]["outputs"]["parameters"] == [{"name": "shared", "value": "seen"}]


@pytest.mark.parametrize(("which", "value"), [("heads", "h"), ("tails", "t")])
def test_a_conditional_output_takes_what_was_run(which: str, value: str) -> None:
    expression = "steps.heads.status == 'Succeeded' ? steps.heads.outputs.result : steps.tails.outputs.result"
    output = {"name": "p", "valueFrom": {"expression": expression}}
    steps = [[{"name": n, "template": "s", "when": f"{which} == {n}"} for n in ("heads", "tails")]]
    script = {"name": "s", "script": {"image": "x", "command": ["sh"], "source": "x"}}
    cluster = run({"templates": [{"name": "main", "steps": steps, "outputs": {"parameters": [output]}}, script]})
    cluster.succeed(f"wf[0].{which}", {"result": value})
    assert cluster.workflow["status"]["nodes"]["wf"]["outputs"]["parameters"][0]["value"] == value


def test_an_input_takes_its_default_and_a_config_maps_value() -> None:
    labels = {"workflows.argoproj.io/configmap-type": "Parameter"}
    config_map = {"metadata": {"labels": labels}, "data": {"k": "from the map"}}
    parameters = [
        {"name": "a", "default": "usual"},
        {"name": "b", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "k"}}},
    ]
    body = {"image": "x", "command": ["x"], "args": ["{{inputs.parameters.a}} {{inputs.parameters.b}}"]}
    main = {"name": "main", "inputs": {"parameters": parameters}, "container": body}
    assert args_of(run({"templates": [main]}, config_maps={"cm": config_map}), "wf") == ["usual from the map"]


def test_a_value_that_is_none_of_the_enum_is_refused() -> None:
    given = {"parameters": [{"name": "p", "enum": ["a", "b"], "value": "c"}]}
    cluster = run({"templates": [container("main")], "arguments": given})
    assert cluster.phase == "Failed"
    assert "enum" in cluster.workflow["status"]["message"]


def test_a_memoized_step_is_not_run_again() -> None:
    memo = {"key": "k", "cache": {"configMap": {"name": "memo"}}, "maxAge": "1h"}
    entry = {
        "nodeID": "old",
        "outputs": {"parameters": [{"name": "x", "value": "kept"}]},
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "lastHitTimestamp": "2026-01-01T00:00:00Z",
    }
    labels = {"workflows.argoproj.io/configmap-type": "Cache"}
    config_map = {"metadata": {"labels": labels}, "data": {"k": json.dumps(entry)}}
    cluster = run({"templates": [container("main", memoize=memo)]}, config_maps={"memo": config_map})
    (node,) = cluster.workflow["status"]["nodes"].values()
    assert (cluster.phase, cluster.created, node["memoizationStatus"]["hit"]) == ("Succeeded", [], True)
    assert node["outputs"] == entry["outputs"]


def test_tags_that_are_not_known_yet_stay_unless_they_must_be_known() -> None:
    values = {"inputs.parameters.a": "1"}
    assert replace('"{{inputs.parameters.a}} {{later}}"', values) == '"1 {{later}}"'
    assert replace_strict('"{{later}}"', values, ("steps",)) == '"{{later}}"'
    with pytest.raises(MissingVariable):
        replace_strict('"{{steps.a.outputs.result}}"', values, ("steps",))


def test_expressions_see_dotted_names() -> None:
    values = {"workflow.status": "Failed", "tasks.a.outputs.result": "3"}
    assert evaluate("asInt(tasks.a.outputs.result) + 1", values) == 4
    assert evaluate_bool("workflow.status != 'Succeeded'", values)
    with pytest.raises(Problem):
        evaluate_bool("'text'", values)


@pytest.mark.parametrize(("when", "holds"), [("", True), ("a == a", True), ("3 > 4", False), ("true && false", False)])
def test_conditions(when: str, holds: bool) -> None:
    assert should_execute(when) is holds


@pytest.mark.parametrize(
    ("artifact", "complete", "key"),
    [
        ({"s3": {"endpoint": "e", "bucket": "b", "key": "k"}}, True, "k"),
        ({"s3": {"key": "k"}}, False, "k"),
        ({"http": {"url": "https://host/a/b"}}, True, "/a/b"),
        ({"raw": {"data": "x"}}, True, ""),
        ({"name": "nowhere"}, False, ""),
    ],
)
def test_where_an_artifact_is(artifact: dict[str, Any], complete: bool, key: str) -> None:
    assert (artifacts.has_location(artifact), artifacts.key_of(artifact)) == (complete, key)


def test_a_part_of_an_artifact() -> None:
    assert artifacts.with_sub_path({"s3": {"key": "a/b"}}, "../c") == {"s3": {"key": "a/c"}}
    with pytest.raises(Problem, match="git artifact does not have a key"):
        artifacts.with_sub_path({"git": {"repo": "r"}}, "x")
    with pytest.raises(Problem, match="the url of an http artifact is invalid"):
        artifacts.with_key({"http": {"url": "http://[::1"}}, "x")


def test_a_repository_becomes_the_place_of_new_artifacts() -> None:
    repository = {"s3": {"endpoint": "e", "bucket": "b", "keyPrefix": "pre", "keyFormat": ""}}
    place = {"endpoint": "e", "bucket": "b", "key": "pre/{{workflow.name}}/{{pod.name}}"}
    assert artifacts.location_of(repository) == {"s3": place}
    assert artifacts.location_of(None) is None
