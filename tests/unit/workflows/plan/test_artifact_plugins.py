"""The sidecars that artifact plugins get on the embedded node."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.unit.workflows.kit import Cluster
from tiphys.workflows.plan.assess import failed_reason
from tiphys.workflows.settings import ArtifactPlugin, Settings

SETTINGS = Settings(artifact_drivers={"test": ArtifactPlugin("drivers/test:v1", 7), "other": ArtifactPlugin("o")})
PLACE = {"name": "test", "configuration": "c", "key": "k"}
INPUT = {"name": "in", "path": "/in", "plugin": PLACE}
OUTPUT = {"name": "out", "path": "/out", "plugin": PLACE}
SIDECAR = {
    "name": "artifact-plugin-test",
    "image": "drivers/test:v1",
    "args": ["/tmp/artifact-plugins/test/socket"],
    "restartPolicy": "Always",
}


def workflow(settings: Settings = SETTINGS, spec: Any = None, **template: Any) -> Cluster:
    main = {"name": "main", "container": {"image": "busybox", "command": ["true"]}, **template}
    cluster = Cluster({"entrypoint": "main", "templates": [main], **(spec or {})}, settings)
    cluster.decide()
    return cluster


def begun(cluster: Cluster) -> list[dict[str, Any]]:
    """The pod's init containers, with what they say."""
    return [dict(c) for c in cluster.lookup.live_pods["wf"]["spec"].get("initContainers") or ()]


def test_outputs_need_the_plugin_beside_the_step() -> None:
    assert begun(workflow(outputs={"artifacts": [OUTPUT]})) == [SIDECAR]


def test_inputs_are_loaded_before_the_users_own_init_containers() -> None:
    own = {"name": "own", "image": "busybox"}
    found = begun(workflow(inputs={"artifacts": [INPUT]}, outputs={"artifacts": [OUTPUT]}, initContainers=[own]))
    assert [c["name"] for c in found] == ["artifact-plugin-test", "init", "own"]


def test_what_lies_elsewhere_needs_no_plugin() -> None:
    raw = {"name": "in", "path": "/in", "raw": {"data": "x"}}
    assert begun(workflow(inputs={"artifacts": [raw]})) == []


def test_a_template_s_location_and_its_key() -> None:
    output = {"name": "out", "path": "/out", "plugin": {"key": "mine"}}
    assert begun(workflow(archiveLocation={"plugin": PLACE}, outputs={"artifacts": [output]})) == [SIDECAR]


def test_the_agent_learns_how_long_a_plugin_may_take() -> None:
    cluster = workflow(outputs={"artifacts": [OUTPUT]})
    template = cluster.lookup.live_pods["wf"]["metadata"]["annotations"]["workflows.argoproj.io/template"]
    assert '"connectionTimeoutSeconds":7' in template


def test_so_it_does_for_what_a_data_template_lists() -> None:
    source = {"artifactPaths": {"name": "found", "plugin": PLACE}}
    template = {"name": "main", "data": {"source": source, "transformation": [{"expression": "data"}]}}
    cluster = workflow(spec={"templates": [template]})
    template = cluster.lookup.live_pods["wf"]["metadata"]["annotations"]["workflows.argoproj.io/template"]
    assert '"connectionTimeoutSeconds":7' in template


def test_a_plugin_that_is_not_configured() -> None:
    cluster = workflow(Settings(), outputs={"artifacts": [OUTPUT]})
    assert not cluster.lookup.live_pods
    assert cluster.workflow["status"]["message"].endswith("artifact driver test not found")


def test_pods_of_other_clusters_have_no_plugins() -> None:
    cluster = workflow(replace(SETTINGS, executor="in-pod"), outputs={"artifacts": [OUTPUT]})
    assert cluster.workflow["status"]["message"].endswith("artifact plugins are for the native executor")


def test_a_failed_step_does_not_blame_the_plugin() -> None:
    cluster = workflow(outputs={"artifacts": [OUTPUT]})
    pod = cluster.lookup.live_pods["wf"]
    ended = {"exitCode": 1, "reason": "Error"}
    statuses = {"initContainerStatuses": [{"name": "artifact-plugin-test", "state": {"terminated": ended}}]}
    mains = {"containerStatuses": [{"name": "main", "state": {"terminated": {**ended, "exitCode": 3}}}]}
    assert failed_reason({**pod, "status": {**statuses, **mains}}, None) == ("Failed", "main: Error (exit code 3)")
