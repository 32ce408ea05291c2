"""Details of the original that show in stored workflows: metrics, fail fast, plugins, and what decoding does."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.workflows.kit import Cluster, container
from tiphys.workflows.plan.canonical import ARTIFACT, canonical
from tiphys.workflows.settings import Settings

IN_POD = Settings(executor="in-pod", workflow_level_plugins=True)
ACCOUNTS = {name: {"secrets": [{"name": f"{name}-token"}]} for name in ("default", "p-executor-plugin")}


def metrics_error(cluster: Cluster) -> str | None:
    conditions = cluster.workflow["status"].get("conditions") or ()
    return next((c["message"] for c in conditions if c["type"] == "MetricsError"), None)


def with_metric(**metric: Any) -> Cluster:
    given = {"prometheus": [{"name": "m", "help": "about", **metric}]}
    return Cluster({"entrypoint": "main", "templates": [container("main", metrics=given)]})


def test_a_metric_that_is_no_number_is_told_when_its_node_ends() -> None:
    cluster = with_metric(gauge={"value": "{{status}}"})
    cluster.decide()
    assert metrics_error(cluster) is None
    cluster.succeed("wf")
    expected = "could not construct metric 'm': strconv.ParseFloat: parsing \"Succeeded\": invalid syntax"
    assert metrics_error(cluster) == expected


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ({"counter": {"value": "1"}, "when": "{{status}} == Failed"}, None),
        ({"counter": {"value": "{{duration}}"}}, None),
        ({}, "could not construct metric 'm': invalid metric spec"),
    ],
)
def test_metrics_of_an_ended_node(metric: dict[str, Any], message: str | None) -> None:
    cluster = with_metric(**metric)
    cluster.decide()
    cluster.succeed("wf")
    assert metrics_error(cluster) == message


def test_real_time_gauges_are_checked_when_the_node_is_made_and_again_at_its_end() -> None:
    cluster = with_metric(gauge={"realtime": True, "value": "{{status}}"})
    cluster.decide()
    message = "'status' is not available as a real time metric"
    assert metrics_error(cluster) == message
    cluster.succeed("wf")
    assert metrics_error(cluster) == f"{message}, {message}"


def test_failing_fast_ends_the_group_by_its_failed_child() -> None:
    inner = {"name": "inner", "steps": [[{"name": "a", "template": "t"}]]}
    loop = {"name": "i", "template": "inner", "withItems": [1, 2]}
    main = {"name": "main", "failFast": True, "parallelism": 1, "steps": [[loop]]}
    cluster = Cluster({"entrypoint": "main", "templates": [main, inner, container("t")]})
    cluster.decide()
    cluster.fail("wf[0].i(0:1)[0].a")
    nodes = {node["name"]: node for node in cluster.workflow["status"]["nodes"].values()}
    assert cluster.phase == "Failed"
    assert nodes["wf"]["message"] == f"child '{nodes['wf[0].i(0:1)']['id']}' failed"
    assert nodes["wf[0].i(0:1)[0]"]["message"] == "template has failed or errored children and failFast enabled"
    assert "wf[0].i(1:2)" not in nodes


def plugin(**sidecar: Any) -> dict[str, Any]:
    resources = {"requests": {"cpu": "1"}, "limits": {"cpu": "1"}}
    made = {"name": "side", "image": "i", "ports": [{"containerPort": 4355}], "resources": resources}
    made["securityContext"] = {"runAsNonRoot": True}
    return {"metadata": {"name": "p"}, "spec": {"sidecar": {"container": made, **sidecar}}}


def agent_of(settings: Settings, given: dict[str, Any]) -> Cluster:
    templates = [{"name": "main", "plugin": {"p": {}}}]
    spec = {"entrypoint": "main", "templates": templates, "executorPlugins": [given]}
    cluster = Cluster(spec, settings, accounts=ACCOUNTS)
    cluster.decide()
    return cluster


def test_a_plugin_of_the_workflow_runs_beside_the_agent_and_sees_only_its_own_token() -> None:
    cluster = agent_of(IN_POD, plugin(automountServiceAccountToken=True))
    (pod,) = cluster.lookup.live_pods.values()
    side, main = pod["spec"]["containers"]
    token = next(v["name"] for v in pod["spec"]["volumes"] if (v.get("secret") or {}).get("secretName", "")[:2] == "p-")
    assert [(m["name"], m.get("subPath")) for m in side["volumeMounts"]] == [("var-run-argo", "side"), (token, None)]
    assert {"name": "ARGO_PLUGIN_ADDRESSES", "value": '["http://localhost:4355"]'} in main["env"]
    assert {"name": "ARGO_PLUGIN_NAMES", "value": '["side"]'} in main["env"]


def test_plugins_come_from_config_maps_where_a_workflow_brings_none() -> None:
    described = plugin()["spec"]["sidecar"]["container"]
    config_map = {"metadata": {"name": "hello-executor-plugin"}, "data": {"sidecar.container": json.dumps(described)}}
    for settings in (IN_POD, Settings()):
        spec = {"entrypoint": "main", "templates": [{"name": "main", "plugin": {"hello": {}}}]}
        cluster = Cluster(spec, settings, accounts=ACCOUNTS, plugins={"default": [config_map]})
        cluster.decide()
        (pod,) = cluster.lookup.live_pods.values()
        assert sorted(container["name"] for container in pod["spec"]["containers"]) == ["main", "side"]


def test_plugins_of_workflows_can_be_forbidden() -> None:
    cluster = agent_of(Settings(executor="in-pod"), plugin())
    assert cluster.phase == "Error"
    message = cluster.workflow["status"]["nodes"]["wf"]["message"]
    assert message.startswith('create agent pod failed with reason:"workflow-level executor plugins are disabled')


def test_fields_are_found_in_spite_of_their_case() -> None:
    assert canonical({"name": "a", "subpath": "x"}, ARTIFACT) == {"name": "a", "subPath": "x"}
    assert canonical({"name": "a", "nosuch": "x"}, ARTIFACT) == {"name": "a"}


def test_a_field_that_became_empty_by_substitution_vanishes() -> None:
    git = {"name": "src", "path": "/src", "git": {"repo": "r", "revision": "{{inputs.parameters.revision}}"}}
    inputs = {"parameters": [{"name": "revision", "value": ""}], "artifacts": [git]}
    cluster = Cluster({"entrypoint": "main", "templates": [container("main", inputs=inputs)]})
    cluster.decide()
    (artifact,) = cluster.workflow["status"]["nodes"]["wf"]["inputs"]["artifacts"]
    assert artifact["git"] == {"repo": "r"}


def test_a_complete_workflow_is_left_as_it_is() -> None:
    cluster = Cluster({"entrypoint": "main", "templates": [container("main")]})
    node = {"id": "wf", "name": "wf", "displayName": "wf", "type": "Pod", "phase": "Succeeded", "templateName": "main"}
    cluster.workflow["metadata"]["labels"] = {"workflows.argoproj.io/completed": "true"}
    cluster.workflow["status"] = {"phase": "Succeeded", "nodes": {"wf": node}}
    cluster.reload()
    cluster.decide()
    assert cluster.workflow["status"]["nodes"]["wf"] == node
