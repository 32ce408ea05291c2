"""Admission: quotas under races, limits, policies and webhooks, each through the verbs as a request would."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web

from tiphys.client.client import Client
from tiphys.client.transport import Request
from tiphys.cluster.apiserver.server import ApiServer
from tiphys.cluster.apiserver.verbs import Writer
from tiphys.machinery.errors import ApiError, Forbidden, InternalError, Invalid
from tiphys.machinery.resources import CONFIG_MAPS, PODS, ObjectKey, Resource
from tiphys.runtime.clock import SystemClock
from tiphys.serving.certificates import Authority, server_context

QUOTAS = Resource("", "v1", "resourcequotas", "ResourceQuota", True)
LIMITS = Resource("", "v1", "limitranges", "LimitRange", True)
GROUP = "admissionregistration.k8s.io"
MUTATING = Resource(GROUP, "v1", "mutatingwebhookconfigurations", "MutatingWebhookConfiguration", False)
VALIDATING = Resource(GROUP, "v1", "validatingwebhookconfigurations", "ValidatingWebhookConfiguration", False)
POLICIES = Resource(GROUP, "v1", "validatingadmissionpolicies", "ValidatingAdmissionPolicy", False)
BINDINGS = Resource(GROUP, "v1", "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding", False)
MAPS = [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"], "resources": ["configmaps"]}]
Answer = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "default"}, "data": data}


def pod(name: str, **resources: Any) -> dict[str, Any]:
    containers = [{"name": "c", "image": "x", "resources": resources}]
    return {"metadata": {"name": name, "namespace": "default"}, "spec": {"containers": containers}}


# Quotas


async def test_a_quota_holds_however_many_come_at_once(client: Client) -> None:
    meta = {"name": "q", "namespace": "default"}
    await client.create(QUOTAS, {"metadata": meta, "spec": {"hard": {"configmaps": "3", "pods": "2"}}})
    made = await asyncio.gather(
        *(client.create(CONFIG_MAPS, config_map(f"c{n}")) for n in range(20)),
        *(client.create(PODS, pod(f"p{n}")) for n in range(20)),
        return_exceptions=True,
    )
    refused = [each for each in made if isinstance(each, ApiError)]
    assert len(made) - len(refused) == 5
    assert {type(each) for each in refused} == {Forbidden}
    assert "exceeded quota: q, requested: configmaps=1, used: configmaps=3, limited: configmaps=3" in str(refused[0])
    await client.delete(CONFIG_MAPS, ObjectKey("default", "c0"))
    await client.create(CONFIG_MAPS, config_map("again"))
    async with client.watch(QUOTAS, "default") as events:
        async for event in events:
            if event.object["status"].get("used") == {"configmaps": "3", "pods": "2"}:
                break


async def test_pods_that_have_ended_use_nothing(client: Client) -> None:
    spec = {"hard": {"pods": "1", "requests.cpu": "1", "count/pods": "2"}}
    await client.create(QUOTAS, {"metadata": {"name": "q", "namespace": "default"}, "spec": spec})
    with pytest.raises(Forbidden, match=r"failed quota: q: must specify requests\.cpu for: c"):
        await client.create(PODS, pod("none"))
    await client.create(PODS, pod("one", requests={"cpu": "1"}))
    with pytest.raises(Forbidden, match=r"exceeded quota: q, requested: pods=1,requests\.cpu=1m, used:"):
        await client.create(PODS, pod("two", requests={"cpu": "1m"}))
    patch = {"status": {"phase": "Succeeded"}}
    await client.patch(PODS, ObjectKey("default", "one"), patch, subresource="status")
    await client.create(PODS, pod("two", requests={"cpu": "1m"}))
    with pytest.raises(Forbidden, match="count/pods=1"):
        await client.create(PODS, pod("three", requests={"cpu": "1m"}))


async def test_scopes_choose_pods(client: Client) -> None:
    spec = {"hard": {"pods": "0"}, "scopes": ["BestEffort", "NotTerminating"]}
    await client.create(QUOTAS, {"metadata": {"name": "q", "namespace": "default"}, "spec": spec})
    await client.create(PODS, pod("burstable", requests={"cpu": "1"}))
    ends = pod("ends")
    ends["spec"]["activeDeadlineSeconds"] = 5
    await client.create(PODS, ends)
    with pytest.raises(Forbidden, match="exceeded quota"):
        await client.create(PODS, pod("best"))


async def test_limits_complete_and_bound(client: Client) -> None:
    limit = {
        "type": "Container",
        "default": {"cpu": "2"},
        "defaultRequest": {"cpu": "1"},
        "max": {"cpu": "3"},
        "min": {"cpu": "500m"},
        "maxLimitRequestRatio": {"cpu": "2"},
    }
    await client.create(LIMITS, {"metadata": {"name": "l", "namespace": "default"}, "spec": {"limits": [limit]}})
    made = await client.create(PODS, pod("p"))
    assert made["spec"]["containers"][0]["resources"] == {"limits": {"cpu": "2"}, "requests": {"cpu": "1"}}
    said = made["metadata"]["annotations"]["kubernetes.io/limit-ranger"]
    assert said == "LimitRanger plugin set: cpu request for container c; cpu limit for container c"
    for resources, message in (
        ({"requests": {"cpu": "100m"}, "limits": {"cpu": "200m"}}, "minimum cpu usage per Container is 500m, but"),
        ({"limits": {"cpu": "4"}, "requests": {"cpu": "3"}}, "maximum cpu usage per Container is 3, but limit is 4"),
        ({"limits": {"cpu": "3"}, "requests": {"cpu": "1"}}, "is 2, but provided ratio is 3.000000"),
    ):
        with pytest.raises(Forbidden, match=message):
            await client.create(PODS, pod("bad", **resources))


# Policies


async def bind_policy(client: Client, binding: dict[str, Any] | None = None, **spec: Any) -> None:
    constraints = {"resourceRules": MAPS}
    await client.create(POLICIES, {"metadata": {"name": "p"}, "spec": {"matchConstraints": constraints, **spec}})
    bound = {"policyName": "p", "validationActions": ["Deny"], **(binding or {})}
    await client.create(BINDINGS, {"metadata": {"name": "b"}, "spec": bound})


async def test_variables_conditions_and_parameters(client: Client) -> None:
    await client.create(CONFIG_MAPS, config_map("params", most="2"))
    await bind_policy(
        client,
        {"paramRef": {"name": "params", "parameterNotFoundAction": "Deny"}},
        paramKind={"apiVersion": "v1", "kind": "ConfigMap"},
        matchConditions=[{"name": "named", "expression": "request.name.startsWith('x')"}],
        variables=[
            {"name": "count", "expression": "has(object.data) ? size(object.data) : 0"},
            {"name": "broken", "expression": "object.data.nowhere"},
        ],
        validations=[
            {
                "expression": "variables.count <= int(params.data.most)",
                "messageExpression": "'at most ' + params.data.most",
            }
        ],
    )
    await client.create(CONFIG_MAPS, config_map("other", a="", b="", c=""))
    await client.create(CONFIG_MAPS, config_map("x1", a="", b=""))
    with pytest.raises(Invalid, match="'p' with binding 'b' denied request: at most 2"):
        await client.create(CONFIG_MAPS, config_map("x2", a="", b="", c=""))
    await client.delete(CONFIG_MAPS, ObjectKey("default", "params"))
    with pytest.raises(Invalid, match="failed to configure binding: no params found for policy binding with `Deny`"):
        await client.create(CONFIG_MAPS, config_map("x3"))


@pytest.mark.parametrize(("policy", "refused"), [("Fail", True), ("Ignore", False)])
async def test_expressions_that_fail(client: Client, policy: str, refused: bool) -> None:
    await bind_policy(client, failurePolicy=policy, validations=[{"expression": "object.data.nowhere == ''"}])
    if not refused:
        await client.create(CONFIG_MAPS, config_map("c", a="1"))
        return
    with pytest.raises(Invalid, match="resulted in error: no such key: nowhere"):
        await client.create(CONFIG_MAPS, config_map("c", a="1"))


async def test_a_policy_refuses_deleting(client: Client) -> None:
    await client.create(CONFIG_MAPS, config_map("kept"))
    await bind_policy(client, validations=[{"expression": "request.operation != 'DELETE'", "reason": "Forbidden"}])
    with pytest.raises(Forbidden, match=r"failed expression: request\.operation != .DELETE."):
        await client.delete(CONFIG_MAPS, ObjectKey("default", "kept"))


async def test_a_bomb_of_an_expression_runs_out_of_budget(client: Client) -> None:
    numbers = "[0,1,2,3,4,5,6,7,8,9]"
    bomb = "".join(f"{numbers}.all({v}, " for v in "abcdefgh") + "true" + ")" * 8
    await bind_policy(client, validations=[{"expression": bomb}])
    async with asyncio.timeout(5):
        with pytest.raises(Invalid, match="cost"):
            await client.create(CONFIG_MAPS, config_map("c"))


# Webhooks


@asynccontextmanager
async def webhook(folder: Path, answer: Answer) -> AsyncIterator[dict[str, Any]]:
    """A ``clientConfig`` for a webhook that answers with ``answer(request)``."""

    async def handle(request: web.BaseRequest) -> web.Response:
        review = orjson.loads(await request.read())
        response = {"uid": review["request"]["uid"], **await answer(review["request"])}
        return web.json_response({"kind": review["kind"], "apiVersion": review["apiVersion"], "response": response})

    authority, now = Authority(folder), SystemClock().now()
    pair = authority.server(["127.0.0.1"], now)
    runner = web.ServerRunner(web.Server(handle))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=server_context(authority, pair)).start()
    bundle = base64.b64encode(authority.ca.certificate.read_bytes()).decode()
    try:
        yield {"url": f"https://127.0.0.1:{runner.addresses[0][1]}/hook", "caBundle": bundle}
    finally:
        await runner.cleanup()


def hook(config: dict[str, Any], **more: Any) -> dict[str, Any]:
    declared = {"name": "h.example.com", "clientConfig": config, "rules": MAPS, "sideEffects": "None"}
    return {"metadata": {"name": "h"}, "webhooks": [{**declared, "admissionReviewVersions": ["v1"], **more}]}


async def test_a_webhook_changes_and_another_refuses(client: Client, server: ApiServer, tmp_path: Path) -> None:
    async def label(request: dict[str, Any]) -> dict[str, Any]:
        patch = [{"op": "add", "path": "/metadata/labels", "value": {"seen": request["operation"]}}]
        encoded = base64.b64encode(orjson.dumps(patch)).decode()
        return {"allowed": True, "patchType": "JSONPatch", "patch": encoded, "warnings": ["labelled"]}

    async def refuse(request: dict[str, Any]) -> dict[str, Any]:
        assert request["object"]["metadata"]["labels"] == {"seen": "CREATE"}
        bad = "bad" in (request["object"].get("data") or {})
        return {"allowed": not bad, "status": {"message": "no bad data", "code": 418, "reason": "Teapot"}}

    async with webhook(tmp_path / "a", label) as first, webhook(tmp_path / "b", refuse) as second:
        await client.create(MUTATING, hook(first))
        await client.create(VALIDATING, hook(second))
        made = await client.create(CONFIG_MAPS, config_map("good"))
        assert made["metadata"]["labels"] == {"seen": "CREATE"}
        writer = Writer("test", trusted=False)
        asked = Request("create", CONFIG_MAPS, "default", body=config_map("bad", bad="1"))
        with pytest.raises(ApiError) as caught:
            await server.answer(asked, writer)
        assert writer.warnings == ["labelled"]
    assert (caught.value.code, caught.value.status()["reason"]) == (418, "Teapot")
    assert str(caught.value) == 'admission webhook "h.example.com" denied the request: no bad data'


async def test_what_a_webhook_says_may_come_in_many_pieces(client: Client, tmp_path: Path) -> None:
    async def fill(_request: dict[str, Any]) -> dict[str, Any]:
        patch = [{"op": "add", "path": "/data", "value": {"long": "x" * 900_000}}]
        return {"allowed": True, "patchType": "JSONPatch", "patch": base64.b64encode(orjson.dumps(patch)).decode()}

    async with webhook(tmp_path / "a", fill) as config:
        await client.create(MUTATING, hook(config))
        made = await client.create(CONFIG_MAPS, config_map("one"))
    assert len(made["data"]["long"]) == 900_000


async def test_what_a_webhook_adds_gets_defaults(client: Client, tmp_path: Path) -> None:
    async def inject(request: dict[str, Any]) -> dict[str, Any]:
        sidecar = {"name": "proxy", "image": "proxy:1", "ports": [{"containerPort": 15001}]}
        patch = [{"op": "add", "path": "/spec/containers/-", "value": sidecar}]
        encoded = base64.b64encode(orjson.dumps(patch)).decode()
        return {"allowed": True, "patchType": "JSONPatch", "patch": encoded}

    rules = [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]
    async with webhook(tmp_path / "a", inject) as config:
        await client.create(MUTATING, hook(config, rules=rules))
        containers = [{"name": "main", "image": "web:1"}]
        meta = {"name": "p", "namespace": "default"}
        made = await client.create(PODS, {"metadata": meta, "spec": {"containers": containers}})
    sidecar = made["spec"]["containers"][1]
    assert sidecar["ports"] == [{"containerPort": 15001, "protocol": "TCP"}]
    assert sidecar["imagePullPolicy"] == "IfNotPresent"


async def test_an_object_that_changes_meanwhile_is_looked_at_again(client: Client, tmp_path: Path) -> None:
    await client.create(CONFIG_MAPS, config_map("c", n="0"))
    seen: list[str] = []

    async def interrupt(request: dict[str, Any]) -> dict[str, Any]:
        if request["userInfo"]["username"] and not seen:
            seen.append(request["oldObject"]["data"]["n"])
            await client.patch(CONFIG_MAPS, ObjectKey("default", "c"), {"data": {"n": "1"}})
        return {"allowed": True}

    async with webhook(tmp_path / "a", interrupt) as config:
        await client.create(VALIDATING, hook(config))
        after = await client.patch(CONFIG_MAPS, ObjectKey("default", "c"), {"data": {"m": "x"}})
    assert after["data"] == {"n": "1", "m": "x"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"allowed": "yes"},
        {"allowed": False, "status": {"code": "teapot"}},
        {"allowed": False, "status": []},
        {"allowed": True, "warnings": "none"},
        {"allowed": True, "auditAnnotations": {"a": 1}},
        {"allowed": True, "patch": 3},
    ],
)
async def test_a_webhook_whose_answer_has_a_wrong_shape_has_failed(
    client: Client, tmp_path: Path, wrong: dict[str, Any]
) -> None:
    async def confuse(_: dict[str, Any]) -> dict[str, Any]:
        return wrong

    async with webhook(tmp_path / "a", confuse) as config:
        await client.create(VALIDATING, hook(config))
        with pytest.raises(InternalError, match=r"failed calling webhook .* of the wrong type"):
            await client.create(CONFIG_MAPS, config_map("c"))
        await client.patch(
            VALIDATING, ObjectKey("", "h"), {"webhooks": hook(config, failurePolicy="Ignore")["webhooks"]}
        )
        await client.create(CONFIG_MAPS, config_map("c"))


async def test_webhooks_that_fail(client: Client, tmp_path: Path) -> None:
    stuck = asyncio.Event()

    async def hang(_: dict[str, Any]) -> dict[str, Any]:
        await stuck.wait()
        return {"allowed": True}

    async with webhook(tmp_path / "a", hang) as config:
        await client.create(VALIDATING, hook(config, timeoutSeconds=1))
        with pytest.raises(InternalError, match=r"hook\?timeout=1s\": context deadline exceeded"):
            await client.create(CONFIG_MAPS, config_map("c"))
        stuck.set()
        key = ObjectKey("", "h")
        await client.patch(VALIDATING, key, {"webhooks": [hook({**config, "caBundle": ""})["webhooks"][0]]})
        with pytest.raises(InternalError, match="tls: failed to verify certificate"):
            await client.create(CONFIG_MAPS, config_map("c"))
        open_hook = hook({**config, "caBundle": ""}, failurePolicy="Ignore")
        await client.patch(VALIDATING, key, {"webhooks": open_hook["webhooks"]})
        await client.create(CONFIG_MAPS, config_map("c"))
