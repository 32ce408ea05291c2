"""Ingresses on a machine where the router can listen nowhere."""

from __future__ import annotations

import asyncio
import random
from functools import partial
from ipaddress import IPv4Network
from typing import Any

import pytest

from tests.unit.cluster.node.test_runtime_contract import until
from tiphys.client.client import Client
from tiphys.cluster.apiserver.server import ApiServer
from tiphys.cluster.apiserver.store import Store
from tiphys.cluster.node.network import outside
from tiphys.cluster.node.network.outside import INGRESS_CLASSES, INGRESSES, Outside
from tiphys.runtime.clock import SystemClock
from tiphys.runtime.ids import SystemIds


def ingress(name: str) -> dict[str, Any]:
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    rule = {"host": name, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
    return {"metadata": {"name": name, "namespace": "default"}, "spec": {"rules": [rule]}}


def is_routed(made: Outside, host: str) -> bool:
    return made.router.routes().find(host, "/", {}, 0.0) is not None


async def test_a_class_that_nobody_serves_is_not_offered(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(outside, "ROUTERS", IPv4Network("240.0.0.0/30"))  # no machine's own
    server = await ApiServer.start(Store(), SystemClock(), SystemIds())
    client = Client(server.transport())
    made = Outside(client, lambda: (), lambda *_: [], SystemClock(), random.Random(1))
    running = asyncio.create_task(made.run())
    for name in ("one", "two"):
        await client.create(INGRESSES, ingress(name))
        await until(partial(is_routed, made, name))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert not (await client.list(INGRESS_CLASSES))["items"]
    assert caplog.text.count("Ingresses are not served") == 1
    await server.close()
