"""NetworkPolicies between real pods of two namespaces on a bridge, and what is said where nothing can enforce them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_network import asked, needs_root, reaches, settings
from tiphys.app.compose import Parts, compose
from tiphys.cluster.node.network.isolation import NETWORK_POLICIES
from tiphys.machinery.errors import NotFound
from tiphys.machinery.resources import EVENTS, NAMESPACES, PODS, SERVICES, ObjectKey

pytestmark = [pytest.mark.e2e]

Object = Mapping[str, Any]
SECONDS_MAX = 60
NOBODY = "nobody"
# Answers with its name, and "/asks/ADDRESS" with what it gets from there itself.
PROGRAM = """
import http.server, os, urllib.request
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = os.environ["POD_NAME"]
        if self.path.startswith("/asks/"):
            try:
                body = urllib.request.urlopen(f"http://{self.path[6:]}/", timeout=0.5).read().decode()
            except OSError:
                body = "nobody"
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body.encode())
    def log_message(self, *words): pass
http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
"""


def pod(name: str, namespace: str) -> dict[str, Any]:
    container = {
        "name": "c",
        "image": "python:3",
        "command": ["python3", "-c", PROGRAM],
        "env": [{"name": "POD_NAME", "value": name}],
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"port": 8080}, "periodSeconds": 1},
    }
    spec = {"terminationGracePeriodSeconds": 0, "containers": [container]}
    return {"metadata": {"name": name, "namespace": namespace, "labels": {"app": name}}, "spec": spec}


def policy(name: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "shop"}, "spec": {"podSelector": {}, **spec}}


class Crowd:
    """``web`` and ``friend`` in the namespace shop, ``stranger`` in another."""

    def __init__(self, parts: Parts) -> None:
        self.client = parts.client
        self.addresses: dict[str, str] = {}
        self.service = ""

    async def gather(self) -> None:
        for namespace in ("shop", "street"):
            await self.client.create(NAMESPACES, {"metadata": {"name": namespace}})
        ports = [{"port": 80, "targetPort": "http"}]
        made = {"metadata": {"name": "web", "namespace": "shop"}, "spec": {"selector": {"app": "web"}, "ports": ports}}
        self.service = (await self.client.create(SERVICES, made))["spec"]["clusterIP"]
        pods = [ObjectKey("shop", "web"), ObjectKey("shop", "friend"), ObjectKey("street", "stranger")]
        await asyncio.gather(*(self._start(key) for key in pods))
        await self.until("stranger", self.service, "web")

    async def _start(self, key: ObjectKey) -> None:
        await self.client.create(PODS, pod(key.name, key.namespace))

        def is_ready(found: Object) -> bool:
            conditions = (found.get("status") or {}).get("conditions") or ()
            return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)

        self.addresses[key.name] = (await reaches(self.client, PODS, key, is_ready))["status"]["podIP"]

    async def answer(self, who: str, whom: str) -> str:
        """Who answers when ``who`` asks; ``whom`` is a pod, or the address of a Service."""
        target = f"{self.addresses[whom]}:8080" if whom in self.addresses else whom
        return await asked(self.addresses[who], 8080, f"/asks/{target}")

    async def until(self, who: str, whom: str, answers: str) -> None:
        async with asyncio.timeout(SECONDS_MAX):
            while await self.answer(who, whom) != answers:
                pass

    async def apply(self, *policies: dict[str, Any]) -> None:
        for one in policies:
            await self.client.create(NETWORK_POLICIES, one)

    async def remove(self, *names: str) -> None:
        for name in names:
            await self.client.delete(NETWORK_POLICIES, ObjectKey("shop", name))

    async def leave(self) -> None:
        for key in (ObjectKey("shop", "web"), ObjectKey("shop", "friend"), ObjectKey("street", "stranger")):
            with contextlib.suppress(NotFound):
                await self.client.delete(PODS, key, {"gracePeriodSeconds": 0})


@pytest.fixture
async def crowd(tmp_path: Path) -> AsyncIterator[Crowd]:
    async with compose(settings(tmp_path, "bridge"), daemon=True) as parts:
        here = Crowd(parts)
        await here.gather()
        yield here
        await here.leave()
        await parts.node.end_all()
        assert parts.network is not None
        await parts.network.close()


@needs_root
async def test_policies_decide_who_reaches_whom(crowd: Crowd) -> None:
    # nobody gets in, by the pod's address or its Service's; the node does, and what goes out is answered
    await crowd.apply(policy("closed"))
    await crowd.until("friend", "web", NOBODY)
    assert await crowd.answer("stranger", crowd.service) == NOBODY
    assert await crowd.answer("web", "stranger") == "stranger"
    assert await crowd.answer("web", crowd.service) == "web"

    # policies add up: the shop's pods and those of namespaces with a label, on the port's name
    inside = {"podSelector": {"matchLabels": {"app": "friend"}}}
    known = {"namespaceSelector": {"matchLabels": {"known": "yes"}}}
    rule = {"from": [inside, known], "ports": [{"port": "http"}]}
    await crowd.apply(policy("open", ingress=[rule]))
    await crowd.until("friend", crowd.service, "web")
    assert await crowd.answer("stranger", "web") == NOBODY
    await crowd.client.patch(NAMESPACES, ObjectKey("", "street"), {"metadata": {"labels": {"known": "yes"}}})
    await crowd.until("stranger", "web", "web")
    assert await crowd.answer("stranger", crowd.service) == "web"
    await crowd.remove("closed", "open")

    # nothing goes out but to a block of addresses; what comes in is answered
    block = {"cidr": "0.0.0.0/0", "except": [f"{crowd.addresses['stranger']}/32"]}
    out = policy("out", policyTypes=["Egress"], egress=[{"to": [{"ipBlock": block}], "ports": [{"port": 8080}]}])
    await crowd.apply(out)
    await crowd.until("web", "stranger", NOBODY)
    assert await crowd.answer("web", "friend") == "friend"
    assert await crowd.answer("friend", crowd.service) == "web"
    assert await crowd.answer("stranger", "web") == "web"
    await crowd.remove("out")
    await crowd.until("web", "stranger", "stranger")


async def test_that_nothing_enforces_a_policy_is_said_once(tmp_path: Path) -> None:
    async with compose(settings(tmp_path, "loopback"), daemon=True) as parts:
        client = parts.client
        async with asyncio.timeout(SECONDS_MAX), client.watch(EVENTS, "default") as events:
            await client.create(NETWORK_POLICIES, {**policy("p"), "metadata": {"name": "p", "namespace": "default"}})
            said = [event.object async for event in _until_said(events)]
        assert [each["reason"] for each in said] == ["NotEnforced"]
        assert said[0]["type"] == "Warning" and said[0]["involvedObject"]["kind"] == "NetworkPolicy"


async def _until_said(events: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for event in events:
        if event.object["involvedObject"]["name"] == "p":
            yield event
            return
