"""A Deployment rolls, pauses and undoes under load, and no request fails: a load generator counts them.

The application does what is asked of applications: it gets Ready once it listens, and at SIGTERM it ends what it has
begun and takes nothing new. Who connects and says nothing does not hold it up.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_network import end, needs_root, reaches, settings
from tiphys.app.compose import compose
from tiphys.client.client import Client
from tiphys.machinery.actions import PatchType
from tiphys.machinery.resources import DEPLOYMENTS, REPLICA_SETS, SERVICES, ObjectKey

pytestmark = [pytest.mark.e2e]

Object = Mapping[str, Any]
KEY = ObjectKey("default", "web")
REPLICAS, CLIENTS = 2, 4
SECONDS_MAX = 60
PROGRAM = """
import contextlib, os, signal, socket, threading, time
def serve(connection):
    with connection, contextlib.suppress(OSError):
        connection.settimeout(2)
        connection.recv(4096)
        time.sleep(0.01)
        body = os.environ["VERSION"]
        connection.sendall(f"HTTP/1.1 200 OK\\r\\nContent-Length: {len(body)}\\r\\n\\r\\n{body}".encode())
def take():
    threading.Thread(target=serve, args=listener.accept()[:1]).start()
leaving = []
signal.signal(signal.SIGTERM, lambda *_: leaving.append(True))
listener = socket.create_server((os.environ["POD_IP"], 8080), backlog=128)
listener.settimeout(0.05)
while not leaving:
    with contextlib.suppress(TimeoutError):
        take()
listener.setblocking(False)
with contextlib.suppress(BlockingIOError):
    while True:
        take()
listener.close()
"""


def template(version: str) -> dict[str, Any]:
    container = {
        "name": "web",
        "image": "python:3",
        "command": ["python3", "-c", PROGRAM],
        "env": [
            {"name": "VERSION", "value": version},
            {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        ],
        "ports": [{"containerPort": 8080}],
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
    }
    spec = {"terminationGracePeriodSeconds": 10, "containers": [container]}
    return {"metadata": {"labels": {"app": "web"}}, "spec": spec}


class Load:
    """Asks the Service as fast as it answers, with a connection for every request."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.answers: Counter[str] = Counter()
        self.failures: list[str] = []
        self._answered = asyncio.Condition()

    async def run(self) -> None:
        while True:
            try:
                answer = await ask(self.address)
            except OSError as err:
                self.failures.append(f"{type(err).__name__}: {err}")
                continue
            async with self._answered:
                self.answers[answer] += 1
                self._answered.notify_all()

    async def until(self, *versions: str) -> None:
        """Returns with the next answers of one of these versions."""

        def answered() -> int:
            return sum(self.answers[version] for version in versions)

        wanted = answered() + CLIENTS
        async with asyncio.timeout(SECONDS_MAX), self._answered:
            await self._answered.wait_for(lambda: answered() >= wanted)


async def ask(address: str) -> str:
    """The body of the answer. Raises OSError."""
    reader, writer = await asyncio.open_connection(address, 80)
    try:
        writer.write(b"GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n")
        answer = (await reader.read()).decode()
    finally:
        writer.close()
    if not answer.startswith("HTTP/1.1 200 OK\r\n"):
        raise ConnectionResetError(f"no answer: {answer!r}")
    return answer.partition("\r\n\r\n")[2]


@asynccontextmanager
async def under_load(address: str) -> AsyncIterator[Load]:
    load = Load(address)
    clients = [asyncio.create_task(load.run()) for _ in range(CLIENTS)]
    try:
        yield load
    finally:
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)


async def start(client: Client) -> str:
    """The Service's address, with all replicas available behind it."""
    ports = [{"port": 80, "targetPort": 8080}]
    service = {"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": ports}}
    spec = {"replicas": REPLICAS, "selector": {"matchLabels": {"app": "web"}}, "template": template("one")}
    await client.create(SERVICES, {**service, "metadata": {"name": "web", "namespace": "default"}})
    await client.create(DEPLOYMENTS, {"metadata": {"name": "web", "namespace": "default"}, "spec": spec})
    await reaches(client, DEPLOYMENTS, KEY, is_rolled_out)
    address = str((await client.get(SERVICES, KEY))["spec"]["clusterIP"])
    async with asyncio.timeout(SECONDS_MAX):
        while True:  # a forward follows its endpoints a moment later
            with contextlib.suppress(OSError):
                await ask(address)
                return address


def is_rolled_out(found: Object) -> bool:
    status = found.get("status") or {}
    counts = [status.get(field) for field in ("replicas", "updatedReplicas", "availableReplicas")]
    return status.get("observedGeneration") == found["metadata"]["generation"] and counts == [REPLICAS] * 3


def is_half_way(found: Object) -> bool:
    return 0 < ((found.get("status") or {}).get("updatedReplicas") or 0) < REPLICAS


def has_paused(found: Object) -> bool:
    conditions = (found.get("status") or {}).get("conditions") or ()
    return any(each.get("reason") == "DeploymentPaused" for each in conditions)


async def change(client: Client, patch: Object) -> None:
    await client.patch(DEPLOYMENTS, KEY, {"spec": patch}, PatchType.STRATEGIC)


async def roll_pause_and_undo(client: Client, load: Load) -> None:
    await change(client, {"template": template("two")})
    await reaches(client, DEPLOYMENTS, KEY, is_half_way)
    await change(client, {"paused": True})
    await reaches(client, DEPLOYMENTS, KEY, has_paused)
    await load.until("one", "two")
    await change(client, {"paused": None})
    await reaches(client, DEPLOYMENTS, KEY, is_rolled_out)
    await load.until("two")

    sets = (await client.list(REPLICA_SETS, "default"))["items"]
    by_revision = {each["metadata"]["annotations"]["deployment.kubernetes.io/revision"]: each for each in sets}
    before = by_revision["1"]["spec"]["template"]
    undo = [{"op": "replace", "path": "/spec/template", "value": before}]
    await client.patch(DEPLOYMENTS, KEY, undo, PatchType.JSON)
    await reaches(client, DEPLOYMENTS, KEY, is_rolled_out)
    await load.until("one")


@pytest.mark.parametrize("network", [pytest.param("bridge", marks=needs_root), "loopback"])
async def test_no_request_fails_while_a_deployment_rolls(tmp_path: Path, network: str) -> None:
    async with compose(settings(tmp_path, network), daemon=True) as parts:
        try:
            address = await start(parts.client)
            async with under_load(address) as load:
                await roll_pause_and_undo(parts.client, load)
            assert load.failures == []
        finally:
            await end(parts)
