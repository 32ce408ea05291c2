"""Estimated durations: as long as in the last workflow like it that succeeded."""

from __future__ import annotations

from typing import Any

from tests.unit.workflows.kit import Cluster
from tests.unit.workflows.test_controller import end_of, in_cluster
from tiphys.app.compose import World
from tiphys.client.client import Client
from tiphys.lang.names import node_id
from tiphys.machinery.resources import WORKFLOW_TEMPLATES, WORKFLOWS
from tiphys.workflows.plan.estimation import LABELS

CRON, TEMPLATE, _ = LABELS
SPEC = {
    "entrypoint": "main",
    "templates": [
        {"name": "main", "steps": [[{"name": "a", "template": "t"}]]},
        {"name": "t", "container": {"image": "busybox", "command": ["true"]}},
    ],
}


def estimates(cluster: Cluster) -> dict[str, Any]:
    nodes = cluster.workflow["status"]["nodes"].values()
    return {node["name"]: node.get("estimatedDuration") for node in nodes}


def test_of_the_workflow_and_of_each_node() -> None:
    seconds = {"old/": 30, "old/old": 29, f"old/{node_id('old', 'old[0].a')}": 7}
    cluster = Cluster(SPEC, succeeded={f"{CRON}=c": "old"}, seconds=seconds)
    cluster.workflow["metadata"]["labels"] = {CRON: "c", TEMPLATE: "t"}
    cluster.reload()
    cluster.decide()
    assert cluster.workflow["status"]["estimatedDuration"] == 30
    assert estimates(cluster) == {"wf": 29, "wf[0]": None, "wf[0].a": 7}


def test_nobody_knows_how_long_the_first_one_takes() -> None:
    cluster = Cluster(SPEC)
    cluster.workflow["metadata"]["labels"] = {TEMPLATE: "t"}
    cluster.reload()
    cluster.decide()
    assert "estimatedDuration" not in cluster.workflow["status"]
    assert set(estimates(cluster).values()) == {None}


def test_from_the_last_success_with_the_same_template() -> None:
    def from_template(name: str) -> dict[str, Any]:
        return {"metadata": {"name": name, "namespace": "default"}, "spec": {"workflowTemplateRef": {"name": "tpl"}}}

    async def body(client: Client, _: World) -> list[Any]:
        await client.create(WORKFLOW_TEMPLATES, {"metadata": {"name": "tpl", "namespace": "default"}, "spec": SPEC})
        found = []
        for name in ("first", "second"):
            await client.create(WORKFLOWS, from_template(name))
            (end,) = await end_of(client, name)
            found.append((end["status"]["phase"], end["status"].get("estimatedDuration")))
        nodes = end["status"]["nodes"].values()
        return [*found, next(node.get("estimatedDuration") for node in nodes if node["displayName"] == "a")]

    first, second, node = in_cluster(body, "rules: [{duration: 5s}]")
    assert first == ("Succeeded", None)
    assert second[0] == "Succeeded" and second[1] >= 5 and node >= 5
