"""Applications on the embedded cluster's network: real pods behind a Service, found by address and by name."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tiphys.app.compose import Parts, compose
from tiphys.app.settings import Settings
from tiphys.client.client import Client
from tiphys.cluster.node.network.outside import INGRESSES
from tiphys.machinery.errors import NotFound
from tiphys.machinery.resources import DEPLOYMENTS, PODS, SERVICES, ObjectKey, Resource
from tiphys.runtime.clock import SystemClock
from tiphys.runtime.informer import Informer

pytestmark = [pytest.mark.e2e]

Object = Mapping[str, Any]
REPLICAS = 3
SECONDS_MAX = 60
SERVER = """
import http.server, os, socket, urllib.request
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path.startswith("/resolve/"):
            body = socket.gethostbyname(self.path[9:]).encode()
        elif self.path.startswith("/asks/"):
            url = f"http://{self.path[6:]}/"
            body = b" ".join({urllib.request.urlopen(url, timeout=5).read() for _ in range(40)})
        else:
            body = os.environ["POD_NAME"].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words): pass
http.server.ThreadingHTTPServer((os.environ["POD_IP"], 8080), Handler).serve_forever()
"""

needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or not (shutil.which("ip") and shutil.which("nft")), reason="a bridge needs root, ip and nft"
)


def deployment() -> dict[str, Any]:
    from_pod = [
        {"name": name, "valueFrom": {"fieldRef": {"fieldPath": field}}}
        for name, field in (("POD_IP", "status.podIP"), ("POD_NAME", "metadata.name"))
    ]
    container = {
        "name": "web",
        "image": "python:3",
        "command": ["python3", "-c", SERVER],
        "env": from_pod,
        "ports": [{"containerPort": 8080}],
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
    }
    return {
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "replicas": REPLICAS,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"terminationGracePeriodSeconds": 0, "containers": [container]},
            },
        },
    }


def service() -> dict[str, Any]:
    spec = {"type": "NodePort", "selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}
    return {"metadata": {"name": "web", "namespace": "default"}, "spec": spec}


async def reaches(client: Client, resource: Resource, key: ObjectKey, wanted: Callable[[Object], object]) -> Object:
    """The object, once it is as wanted; told by a watch."""
    informer = Informer(client, resource, clock=SystemClock(), rng=random.Random(1))
    arrived = asyncio.Event()
    informer.subscribe(lambda *_: arrived.set())
    following = asyncio.create_task(informer.run())
    try:
        async with asyncio.timeout(SECONDS_MAX):
            while True:
                arrived.clear()
                found = informer.get(key)
                if found is not None and wanted(found):
                    return found
                await arrived.wait()
    finally:
        following.cancel()


async def asked(host: str, port: int, path: str = "/") -> str:
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    if not answer:
        raise ConnectionResetError
    head, _, body = answer.decode().partition("\r\n\r\n")
    assert " 200 " in head.splitlines()[0], head
    return body


async def gone(client: Client, resource: Resource, key: ObjectKey) -> None:
    """Returns once the object is not there any more."""
    informer = Informer(client, resource, clock=SystemClock(), rng=random.Random(1))
    changed = asyncio.Event()
    informer.subscribe(lambda *_: changed.set())
    following = asyncio.create_task(informer.run())
    try:
        async with asyncio.timeout(SECONDS_MAX):
            await informer.synced.wait()
            while informer.get(key) is not None:
                changed.clear()
                await changed.wait()
    finally:
        following.cancel()


def outside_address(found: Object) -> str:
    held = ((found.get("status") or {}).get("loadBalancer") or {}).get("ingress") or [{}]
    return str(held[0].get("ip", ""))


async def all_that_answer(address: str, port: int = 80) -> set[str]:
    """The names of all replicas, each of which has answered: forwards follow readiness a moment later."""
    names: set[str] = set()
    async with asyncio.timeout(SECONDS_MAX):
        while len(names) < REPLICAS:
            with contextlib.suppress(ConnectionError):
                names.add(await asked(address, port))
    return names


async def run_web(parts: Parts) -> tuple[str, int]:
    """The Service's address and its node port, with all replicas available behind it."""
    await parts.client.create(SERVICES, service())
    await parts.client.create(DEPLOYMENTS, deployment())
    key = ObjectKey("default", "web")

    def is_available(found: Object) -> bool:
        return (found.get("status") or {}).get("availableReplicas") == REPLICAS

    await reaches(parts.client, DEPLOYMENTS, key, is_available)
    spec = (await parts.client.get(SERVICES, key))["spec"]
    return str(spec["clusterIP"]), int(spec["ports"][0]["nodePort"])


async def end(parts: Parts) -> None:
    """Ends all pods and takes their network down, which a daemon would leave behind for its next life."""
    with contextlib.suppress(NotFound):
        await parts.client.delete(DEPLOYMENTS, ObjectKey("default", "web"), {"propagationPolicy": "Foreground"})
        await gone(parts.client, DEPLOYMENTS, ObjectKey("default", "web"))
    await parts.node.end_all()
    assert parts.network is not None
    await parts.network.close()


def settings(place: Path, network: str) -> Settings:
    return Settings(data_dir=place, listen="127.0.0.1:0", runtime="process", images="map", network=network)


@pytest.mark.parametrize("network", [pytest.param("bridge", marks=needs_root), "loopback"])
async def test_a_service_spreads_over_its_pods(tmp_path: Path, network: str) -> None:
    async with compose(settings(tmp_path, network), daemon=True) as parts:
        address, node_port = await run_web(parts)
        assert await all_that_answer(address) == await all_that_answer("127.0.0.1", node_port)
        await end(parts)


async def test_a_pod_that_is_not_ready_leaves_its_service_and_comes_back(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    ready.touch()
    made = deployment()
    made["spec"]["replicas"] = 1
    probe = {"exec": {"command": ["test", "-e", str(ready)]}, "periodSeconds": 1, "failureThreshold": 1}
    made["spec"]["template"]["spec"]["containers"][0]["readinessProbe"] = probe
    async with compose(settings(tmp_path / "data", "loopback"), daemon=True) as parts:
        parts.farewell.pods_stay = False
        address = (await parts.client.create(SERVICES, service()))["spec"]["clusterIP"]
        await parts.client.create(DEPLOYMENTS, made)
        await until_it_answers(address, True)
        ready.unlink()
        await until_it_answers(address, False)
        ready.touch()
        await until_it_answers(address, True)
        await end(parts)


async def until_it_answers(address: str, answers: bool) -> None:
    async with asyncio.timeout(SECONDS_MAX):
        while True:
            try:
                await asked(address, 80)
                answered = True
            except OSError:
                answered = False
            if answered is answers:
                return
            await asyncio.sleep(0.01)  # between looks: whoever is to be seen shares this loop


@needs_root
async def test_a_pod_reaches_all_of_its_own_service_itself_included(tmp_path: Path) -> None:
    async with compose(settings(tmp_path, "bridge"), daemon=True) as parts:
        address, _ = await run_web(parts)
        everybody = await all_that_answer(address)
        assert set((await asked(address, 80, f"/asks/{address}")).split()) == everybody
        await end(parts)


@needs_root
async def test_an_ingress_and_a_load_balancer_lead_to_the_pods(tmp_path: Path) -> None:
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    rule = {"host": "web", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
    ingress = {"metadata": {"name": "web", "namespace": "default"}, "spec": {"rules": [rule]}}
    key = ObjectKey("default", "web")
    async with compose(settings(tmp_path, "bridge"), daemon=True) as parts:
        await run_web(parts)
        await parts.client.create(INGRESSES, ingress)
        await parts.client.patch(
            SERVICES, key, {"spec": {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": True}}
        )
        router = outside_address(await reaches(parts.client, INGRESSES, key, outside_address))
        balancer = outside_address(await reaches(parts.client, SERVICES, key, outside_address))
        await all_that_answer(router)
        await all_that_answer(balancer)
        await end(parts)


@needs_root
async def test_a_pod_finds_a_service_by_its_name(tmp_path: Path) -> None:
    chosen = Settings(data_dir=tmp_path, listen="127.0.0.1:0", runtime="auto", images="map", network="bridge")
    async with compose(chosen, daemon=True) as parts:
        if parts.node.runtime_name == "process":
            pytest.skip("pods of the process runtime use the machine's resolver")
        address, _ = await run_web(parts)
        await all_that_answer(address)
        assert await asked(address, 80, "/resolve/web.default.svc.cluster.local") == address
        await end(parts)


@needs_root
async def test_nothing_is_left_of_a_bridge(tmp_path: Path) -> None:
    async with compose(settings(tmp_path, "bridge"), daemon=True) as parts:
        await run_web(parts)
        assert parts.network is not None and not parts.network.is_empty
        await end(parts)
        process = await asyncio.create_subprocess_exec("ip", "-o", "link", "show", stdout=asyncio.subprocess.PIPE)
        shown, _ = await process.communicate()
        assert f"-{os.getpid()}" not in shown.decode()


@needs_root
async def test_a_pod_reaches_the_api_by_its_usual_address(tmp_path: Path) -> None:
    chosen = Settings(data_dir=tmp_path, listen="127.0.0.1:0", runtime="auto", images="map", network="bridge")
    script = (
        "import os, ssl, urllib.request\n"
        "context = ssl._create_unverified_context()\n"
        "url = f\"https://{os.environ['KUBERNETES_SERVICE_HOST']}:{os.environ['KUBERNETES_SERVICE_PORT']}/version\"\n"
        "print(urllib.request.urlopen(url, context=context, timeout=5).status)\n"
    )
    container = {
        "name": "c",
        "image": "python:3",
        "command": ["python3", "-c", script],
        "ports": [{"containerPort": 1}],
    }
    pod = {
        "metadata": {"name": "asks", "namespace": "default"},
        "spec": {"restartPolicy": "Never", "containers": [container]},
    }
    async with compose(chosen, daemon=True) as parts:
        await parts.client.create(PODS, pod)

        def has_ended(found: Object) -> bool:
            return (found.get("status") or {}).get("phase") in ("Succeeded", "Failed")

        ended = await reaches(parts.client, PODS, ObjectKey("default", "asks"), has_ended)
        assert ended["status"]["phase"] == "Succeeded", ended["status"]
        await end(parts)
