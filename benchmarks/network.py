"""The network of pods without root (driver loopback): what a Service costs a request, and how soon it follows.

overhead    a request through the Service's address less one to the pod itself: on a connection of its own, and on one
            that is kept. Pod, proxy and client are three processes of this machine
following   from the write of an EndpointSlice to the first connection that gets to the new back end
"""

from __future__ import annotations

import asyncio
import json
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks._rows import Row
from tiphys.app.compose import Parts, compose
from tiphys.app.settings import Settings
from tiphys.machinery.resources import ENDPOINT_SLICES, PODS, SERVICES, ObjectKey

REQUESTS, WARM = 1_000, 100
CHANGES = 25
SECONDS_MAX = 60.0
BACK_END = "127.50.200.1"  # of the range that pods without root have
REQUEST = b"GET / HTTP/1.1\r\nHost: web\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SERVER = f"""
import asyncio, os
class Web(asyncio.Protocol):
    def connection_made(self, transport): self.transport = transport
    def data_received(self, data): self.transport.write({ANSWER!r})
async def main():
    server = await asyncio.get_running_loop().create_server(Web, os.environ["POD_IP"], 8080)
    await server.serve_forever()
asyncio.run(main())
"""


def rows() -> Iterable[Row]:
    return asyncio.run(_rows())


async def _rows() -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="tiphys-bench-") as folder:
        settings = Settings(
            data_dir=Path(folder), listen="127.0.0.1:0", runtime="process", images="map", network="loopback"
        )
        async with compose(settings, daemon=True) as parts:
            parts.farewell.pods_stay = False
            overhead = await _overhead(parts)
            following = await _following(parts)
    return [
        Row("network: Service overhead, a connection each", "ms", overhead["fresh"], bar=0.3, aim=0.2),
        Row("network: Service overhead, kept connection", "ms", overhead["kept"], bar=0.3, aim=0.1),
        Row("network: endpoints change to proxy updated", "ms", following, bar=50.0, aim=10.0),
    ]


async def _overhead(parts: Parts) -> dict[str, float]:
    """Milliseconds that the Service adds."""
    pod = await _start_web(parts)
    made = {
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
    }
    service = (await parts.client.create(SERVICES, made))["spec"]["clusterIP"]
    await _answers(service, 80, ANSWER)
    client = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.network", pod, "8080", service, "80", stdout=asyncio.subprocess.PIPE
    )
    output, _ = await client.communicate()
    found: dict[str, float] = json.loads(output)
    return found


async def _start_web(parts: Parts) -> str:
    """The pod's address, once it listens there."""
    container = {
        "name": "web",
        "image": "python:3",
        "command": ["python3", "-c", SERVER],
        "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        "ports": [{"containerPort": 8080}],
    }
    meta = {"name": "web", "namespace": "default", "labels": {"app": "web"}}
    address = ""
    async with asyncio.timeout(SECONDS_MAX), parts.client.watch(PODS, "default") as events:
        await parts.client.create(PODS, {"metadata": meta, "spec": {"containers": [container]}})
        async for event in events:
            address = str((event.object.get("status") or {}).get("podIP") or "")
            if address:
                break
    await _answers(address, 8080, ANSWER)
    return address


async def _following(parts: Parts) -> float:
    """Median milliseconds over changes between two back ends."""
    servers = [await _names_itself(name) for name in (b"a", b"b")]
    ports = [int(server.sockets[0].getsockname()[1]) for server in servers]
    key = ObjectKey("default", "moves-1")
    made = {"metadata": {"name": "moves", "namespace": "default"}, "spec": {"ports": [{"port": 80}]}}
    service = (await parts.client.create(SERVICES, made))["spec"]["clusterIP"]
    await parts.client.create(ENDPOINT_SLICES, _slice(key, ports[1]))
    await _answers(service, 80, b"b")
    took = []
    for number in range(CHANGES):
        began = time.perf_counter()
        patch = {"ports": [{"port": ports[number % 2], "protocol": "TCP"}]}
        await parts.client.patch(ENDPOINT_SLICES, key, patch)
        await _answers(service, 80, b"ab"[number % 2 :][:1])
        took.append(1000 * (time.perf_counter() - began))
    for server in servers:
        server.close()
    return statistics.median(took)


def _slice(key: ObjectKey, port: int) -> dict[str, Any]:
    return {
        "metadata": {
            "name": key.name,
            "namespace": key.namespace,
            "labels": {"kubernetes.io/service-name": "moves"},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [BACK_END], "conditions": {"ready": True}}],
        "ports": [{"port": port, "protocol": "TCP"}],
    }


async def _names_itself(name: bytes) -> asyncio.Server:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(name)
        writer.close()

    return await asyncio.start_server(serve, BACK_END, 0)


async def _answers(address: str, port: int, wanted: bytes) -> None:
    """Asks again and again until the answer is this."""
    async with asyncio.timeout(SECONDS_MAX):
        while True:
            try:
                reader, writer = await asyncio.open_connection(address, port)
                writer.write(REQUEST)
                answer = await reader.read(len(wanted))
                writer.close()
            except OSError:
                continue
            if answer == wanted:
                return


# The client, in a process of its own


def _measure(pod: tuple[str, int], service: tuple[str, int]) -> dict[str, float]:
    fresh = _added(lambda way: _on_its_own((pod, service)[way]))
    connections = [socket.create_connection(address) for address in (pod, service)]
    kept = _added(lambda way: _ask(connections[way]))
    return {"fresh": fresh, "kept": kept}


def _added(ask: Callable[[int], float]) -> float:
    """Median milliseconds that way 1 takes longer than way 0. In turns, so that whatever else the machine does, and
    that the first of two finds the pod asleep, meets both alike."""
    took: tuple[list[float], list[float]] = ([], [])
    for number in range(WARM + REQUESTS):
        for way in (number % 2, 1 - number % 2):
            took[way].append(1000 * ask(way))
    return statistics.median(took[1][WARM:]) - statistics.median(took[0][WARM:])


def _on_its_own(address: tuple[str, int]) -> float:
    began = time.perf_counter()
    with socket.create_connection(address) as connection:
        _ask(connection)
    return time.perf_counter() - began


def _ask(connection: socket.socket) -> float:
    began = time.perf_counter()
    connection.sendall(REQUEST)
    if connection.recv(1024) != ANSWER:
        raise ConnectionError("the answer is not the pod's")
    return time.perf_counter() - began


if __name__ == "__main__":
    print(json.dumps(_measure((sys.argv[1], int(sys.argv[2])), (sys.argv[3], int(sys.argv[4])))))
