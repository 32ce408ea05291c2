"""Wrong manifests and a cluster that refuses: the node says what and where, the workflow ends or waits, and
``tiphys explain`` tells it in a sentence."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.workflows.kit import Cluster
from tests.unit.workflows.test_controller import in_cluster
from tiphys.app.compose import World
from tiphys.app.follow import is_finished
from tiphys.app.local import LocalCluster
from tiphys.app.settings import Settings as AppSettings
from tiphys.cli.explain import how_it_ended, what_it_waits_for
from tiphys.client.client import Client
from tiphys.cluster.apiserver.registry import ResourceInfo
from tiphys.machinery.errors import ApiError, Forbidden, Invalid
from tiphys.machinery.resources import CONFIG_MAPS, PERSISTENT_VOLUME_CLAIMS, PODS, WORKFLOWS, ObjectKey, Resource
from tiphys.testing.stage import Script, run_on_stage, stage
from tiphys.workflows.observe import Changes
from tiphys.workflows.preview import preview

CONTAINER = {"container": {"image": "busybox", "command": ["true"]}}
PENDING = "rules: [{phase: Pending, reason: ImagePullBackOff, message: no such image}]"


def steps(*groups: Any) -> dict[str, Any]:
    return {"name": "main", "steps": [list(group) for group in groups]}


def step(name: Any = "a", template: str = "t", **more: Any) -> dict[str, Any]:
    return {"name": name, "template": template, **more}


def spec(*templates: Any, **more: Any) -> dict[str, Any]:
    return {"entrypoint": "main", "templates": [*templates, {"name": "t", **CONTAINER}], **more}


def told(wanted: dict[str, Any], stage: str = "", seconds: float = 60) -> tuple[str, str]:
    """The phase of a workflow after some time, and what ``tiphys explain`` says of it."""

    async def body(client: Client, world: World) -> tuple[str, str]:
        labels = {"workflows.argoproj.io/configmap-type": "Parameter"}
        meta = {"name": "there", "namespace": "default", "labels": labels}
        await client.create(CONFIG_MAPS, {"metadata": meta, "data": {}})
        key = ObjectKey("default", "wf")
        await client.create(WORKFLOWS, {"metadata": {"name": "wf", "namespace": "default"}, "spec": wanted})
        await world.clock.sleep_until(world.clock.monotonic() + seconds)
        found = await client.get(WORKFLOWS, key)
        if is_finished(found):
            return found["status"]["phase"], "\n".join(how_it_ended(found))
        plan = await preview(client, key, world.clock)
        return found["status"]["phase"], "\n".join(what_it_waits_for(found, plan))

    answer: tuple[str, str] = in_cluster(body, stage)
    return answer


def parameter(value_from: Any) -> dict[str, Any]:
    return {"name": "main", "inputs": {"parameters": [{"name": "p", "valueFrom": value_from}]}, **CONTAINER}


REFERENCE = {"parameters": [{"name": "p", "value": "{{steps.zz.outputs.result}}"}]}
SEMAPHORE = {"semaphores": [{"configMapKeyRef": {"name": "cm", "key": "k"}}]}
ENDINGS = {
    "templates that call each other": (
        spec(steps([step("a", "b")]), {"name": "b", "dag": {"tasks": [{"name": "x", "template": "main"}]}}),
        "Failed",
        "Maximum recursion depth exceeded",
    ),
    "recursion without end": (
        spec(steps([step("work")], [step("again", "main")])),
        "Failed",
        "Maximum recursion depth exceeded",
    ),
    "a template that is not there": (
        spec(steps([step("a", "nope")])),
        "Failed",
        "invalid spec: templates.main.steps[0].a template name 'nope' undefined",
    ),
    "a WorkflowTemplate that is not there": (
        {"workflowTemplateRef": {"name": "zz"}},
        "Error",
        'workflowtemplate.argoproj.io "zz" not found',
    ),
    "a reference to nothing": (
        spec(steps([step(arguments=REFERENCE)])),
        "Failed",
        "templates.main.steps failed to resolve {{steps.zz.outputs.result}}",
    ),
    "a template's name that is no text": (
        {"entrypoint": "main", "templates": [{"name": 5, **CONTAINER}]},
        "Failed",
        "json: cannot unmarshal number into Go struct field Template.spec.templates.name of type string",
    ),
    "a step's name that is no text": (
        spec(steps([step(7)])),
        "Failed",
        "json: cannot unmarshal number into Go struct field Template.spec.templates.steps.name of type string",
    ),
    "a condition that is none": (
        spec(steps([step(when="1 ==")])),
        "Failed",
        "Invalid 'when' expression '1 ==': Unexpected end of expression",
    ),
    "items that are no list": (
        spec(steps([step(withParam="{nope")])),
        "Failed",
        "withParam",
    ),
    "an expression that cannot be read": (
        spec({"name": "main", "container": {"image": "x", "command": ["true"], "args": ["{{=a + }}"]}}),
        "Error",
        "failed to evaluate expression: unexpected token EOF (1:4)",
    ),
    "the expression of a hook": (
        spec({"name": "main", **CONTAINER}, hooks={"h": {"expression": "workflow.status ===", "template": "t"}}),
        "Error",
        'unexpected token Operator("=")',
    ),
    "a config map that is not there": (
        spec(parameter({"configMapKeyRef": {"name": "cm", "key": "k"}})),
        "Error",
        "unable to retrieve inputs.parameters.p from ConfigMap: ConfigMap 'cm' does not exist",
    ),
    "a config map without the key": (
        spec(parameter({"configMapKeyRef": {"name": "there", "key": "k"}})),
        "Error",
        "ConfigMap 'there' does not have the key 'k'",
    ),
    "a semaphore without its config map": (
        spec({"name": "main", "synchronization": SEMAPHORE, **CONTAINER}),
        "Error",
        "failed to initialize semaphore default/ConfigMap/cm/k",
    ),
    "an artifact repository that is not there": (
        spec({"name": "main", **CONTAINER}, artifactRepositoryRef={"configMap": "zz", "key": "k"}),
        "Error",
        'failed to find any artifact repository for artifact repository ref "zz#k"',
    ),
    "a volume that is not there": (
        spec(
            {
                "name": "main",
                "container": {**CONTAINER["container"], "volumeMounts": [{"name": "v", "mountPath": "/v"}]},
            }
        ),
        "Error",
        "volume 'v' not found in workflow spec",
    ),
}


@pytest.mark.parametrize("case", ENDINGS)
def test_what_ends_a_workflow_is_said(case: str) -> None:
    wanted, phase, sentence = ENDINGS[case]
    ended, said = told(wanted)
    assert ended == phase
    assert sentence in said
    assert max(map(len, said.splitlines())) < 500


def test_an_image_that_cannot_be_had_is_waited_for() -> None:
    phase, said = told(spec({"name": "main", **CONTAINER}), PENDING)
    assert (phase, "wf is Pending ImagePullBackOff: no such image" in said) == ("Running", True)


def test_what_fails_in_the_retry_expression_fails_the_node() -> None:
    retried = {"name": "main", "retryStrategy": {"limit": 2, "expression": "nope( =="}, **CONTAINER}
    phase, said = told(spec(retried), "rules: [{exitCode: 1}]")
    assert (phase, "nope( ==" in said) == ("Error", True)


def test_a_pod_that_nobody_can_place_is_waited_for() -> None:
    cluster = Cluster(spec({"name": "main", **CONTAINER}))
    cluster.decide()
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}
    pod = cluster.lookup.live_pods["wf"]
    cluster.lookup.live_pods["wf"] = {**pod, "status": {"phase": "Pending", "conditions": [condition]}}
    cluster.decide(Changes(pods=cluster.lookup.live_pods))
    (node,) = cluster.workflow["status"]["nodes"].values()
    assert (cluster.phase, node["phase"], node["message"]) == ("Running", "Pending", "Unschedulable: 0/1 nodes")


QUOTA = 'pods "wf" is forbidden: exceeded quota: small, requested: pods=1, used: pods=1, limited: pods=1'


def test_a_full_quota_is_asked_again_after_a_while() -> None:
    cluster = Cluster(spec({"name": "main", **CONTAINER}))
    cluster.decide()
    cluster.lookup.live_pods.clear()
    plan = cluster.decide(Changes(delayed={"wf": QUOTA}))
    (node,) = cluster.workflow["status"]["nodes"].values()
    assert (cluster.phase, node["phase"], node["message"]) == ("Running", "Pending", QUOTA)
    assert plan.waits == {"wf": f"room in a quota: {QUOTA}"}
    assert not cluster.advance(5).actions
    cluster.advance(6)
    assert cluster.created == ["wf", "wf"]
    cluster.succeed("wf")
    assert cluster.phase == "Succeeded"


def refused_for_a_minute(kind: Resource, error: ApiError, **more: Any) -> list[dict[str, Any]]:
    """The workflow's status while objects of a kind are refused, and half a minute after."""

    async def job(world: World) -> list[dict[str, Any]]:
        async with LocalCluster.start(AppSettings(), node=stage(Script.parse("")), world=world) as cluster:
            room = False

            def refuse(info: ResourceInfo, _new: Any, old: Any) -> None:
                if info.resource == kind and old is None and not room:
                    raise error

            cluster.parts.server.verbs.admission.append(refuse)
            made = spec({"name": "main", **CONTAINER}, **more)
            await cluster.client.create(WORKFLOWS, {"metadata": {"name": "wf", "namespace": "default"}, "spec": made})
            found = []
            for seconds in (60, 90):
                await world.clock.sleep_until(seconds)
                found.append(dict((await cluster.client.get(WORKFLOWS, ObjectKey("default", "wf")))["status"]))
                room = True
            return found

    answer: list[dict[str, Any]] = run_on_stage(job)
    return answer


def test_the_controller_asks_again_what_a_quota_refused() -> None:
    held, done = refused_for_a_minute(PODS, Forbidden(QUOTA))
    assert [node["message"] for node in held["nodes"].values()] == [QUOTA]
    assert done["phase"] == "Succeeded", done.get("message")


CLAIM = [
    {"metadata": {"name": "v"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1"}}}}
]


def test_a_volume_claim_that_is_refused_ends_the_workflow() -> None:
    held, done = refused_for_a_minute(PERSISTENT_VOLUME_CLAIMS, Invalid("no such mode"), volumeClaimTemplates=CLAIM)
    assert (held["phase"], held["message"]) == ("Error", "pvc create error: no such mode")
    assert held == done and not held.get("nodes")


def test_a_volume_claim_that_a_quota_has_no_room_for_is_waited_for() -> None:
    error = Forbidden("claims is forbidden: exceeded quota: small")
    held, done = refused_for_a_minute(PERSISTENT_VOLUME_CLAIMS, error, volumeClaimTemplates=CLAIM)
    assert held["phase"] == "Pending"
    assert held["message"] == "Waiting for a PVC to be created. claims is forbidden: exceeded quota: small"
    assert done["phase"] == "Succeeded", done.get("message")


@pytest.mark.parametrize(("after", "phase", "pods"), [(5, "Succeeded", 2), (30, "Error", 1)])
def test_a_pod_that_vanishes_is_made_again_soon_after_its_start_and_missed_later(
    after: float, phase: str, pods: int
) -> None:
    """As with the original, which allows for ten seconds in which its cache may not have seen a pod."""

    async def body(client: Client, world: World) -> tuple[str, int, str]:
        key, made = ObjectKey("default", "wf"), spec({"name": "main", **CONTAINER})
        await client.create(WORKFLOWS, {"metadata": {"name": "wf", "namespace": "default"}, "spec": made})
        await world.clock.sleep_until(after)
        first = (await client.get(PODS, key))["metadata"]["uid"]
        await client.delete(PODS, key, {"gracePeriodSeconds": 0})
        await world.clock.sleep_until(200)
        left = {pod["metadata"]["uid"] for pod in (await client.list(PODS))["items"]}
        found = await client.get(WORKFLOWS, key)
        return found["status"]["phase"], len({first, *left}), "\n".join(how_it_ended(found))

    ended, made, said = in_cluster(body, "rules: [{duration: 100s}]")
    assert (ended, made) == (phase, pods)
    assert phase == "Succeeded" or "wf Error: pod deleted" in said


def test_a_pod_of_a_loop_that_vanishes_does_not_hold_the_others() -> None:
    cluster = Cluster(spec(steps([step(withItems=[1, 2])])))
    cluster.decide()
    cluster.set_pod("wf[0].a(0:1)", "Running")
    cluster.advance(60)
    name = cluster.pod_of("wf[0].a(0:1)")
    del cluster.lookup.live_pods[name]
    cluster.decide(Changes(pods={name: None}))
    cluster.succeed("wf[0].a(1:2)")
    assert cluster.phase == "Failed"
    assert {name: cluster.nodes()[name] for name in ("wf[0].a(0:1)", "wf[0].a(1:2)")} == {
        "wf[0].a(0:1)": "Error",
        "wf[0].a(1:2)": "Succeeded",
    }
