"""The API server: writes in process and over HTTPS, lists, watch delivery, start and idle cost.

Over HTTPS the client is a process of its own on the same machine: what is measured is the pair on two cores.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks._rows import Row
from tiphys.client.client import Client
from tiphys.client.http import HttpTransport
from tiphys.client.transport import Request
from tiphys.cluster.apiserver.http import representation
from tiphys.cluster.apiserver.http.listen import serve
from tiphys.cluster.apiserver.server import SHARED_MAPS, ApiServer
from tiphys.cluster.apiserver.store import Store
from tiphys.machinery.resources import CONFIG_MAPS, PODS, WORKFLOWS, ObjectKey
from tiphys.runtime.clock import SystemClock
from tiphys.runtime.ids import SystemIds

POD = {
    "metadata": {"generateName": "p-", "namespace": "default", "labels": {"app": "bench"}},
    "spec": {
        "containers": [
            {
                "name": "main",
                "image": "busybox",
                "command": ["sh", "-c", "echo hello"],
                "env": [{"name": f"VARIABLE_{n}", "value": "x" * 40} for n in range(5)],
            }
        ]
    },
}
CONCURRENT = 32


def rows() -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        yield from asyncio.run(_served(Path(folder)))
    with tempfile.TemporaryDirectory() as folder:
        yield from _process(Path(folder))


async def _served(folder: Path) -> list[Row]:
    async with _server(folder) as server:
        client = Client(server.transport())
        found = [
            Row("POST pods in process, durable", "1/s", await _rate(client, 3_000), 5_000, 10_000, more_is_better=True),
            Row("one durable write alone", "ms", await _alone(client), 5, 1),
        ]
        served = await serve(server, "127.0.0.1:0", folder)
        kubeconfig = folder / "kubeconfig"
        kubeconfig.write_text(served.kubeconfig)
        rate = await asyncio.to_thread(_https_rate, kubeconfig)
        found.append(Row("POST pods over HTTPS keep-alive", "1/s", rate, 1_000, 2_000, more_is_better=True))
        found += await _lists(server, client, kubeconfig)
        found.append(Row("watch delivery, 100 watchers, p99", "ms", await _watch_delay(client), 5, 2))
        found += [
            Row(f"patch of one node of {size:,}", "ms", await _node_patch(client, size), 15, 2)
            for size in (1_000, 100_000)
        ]
        await served.close()
        return found


@asynccontextmanager
async def _server(folder: Path) -> AsyncIterator[ApiServer]:
    server = await ApiServer.start(Store.open(folder / "cluster.db", SHARED_MAPS), SystemClock(), SystemIds())
    try:
        yield server
    finally:
        await server.close()


async def _rate(client: Client, count: int) -> float:
    """Creates per second, ``CONCURRENT`` at a time."""
    began = time.perf_counter()
    for _ in range(count // CONCURRENT):
        await asyncio.gather(*(client.create(PODS, POD) for _ in range(CONCURRENT)))
    return count / (time.perf_counter() - began)


async def _alone(client: Client) -> float:
    timings = [await _timed(lambda: client.create(PODS, POD)) for _ in range(200)]
    return statistics.median(timings) * 1e3


async def _timed(work: Callable[[], Awaitable[Any]]) -> float:
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


def _https_rate(kubeconfig: Path) -> float:
    out = subprocess.run(
        [sys.executable, "-m", "benchmarks.apiserver", str(kubeconfig)],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    return float(out.stdout)


async def _over_https(kubeconfig: str) -> float:
    transport = HttpTransport.from_kubeconfig(kubeconfig)
    client = Client(transport)
    await _rate(client, CONCURRENT)
    rate = await _rate(client, 1_500)
    await transport.close()
    return rate


async def _lists(server: ApiServer, client: Client, kubeconfig: Path) -> list[Row]:
    missing = 10_000 - len(server.store.collection("pods").records)
    for _ in range(max(0, missing) // 100):
        await asyncio.gather(*(client.create(PODS, POD) for _ in range(100)))
    how = representation.negotiate("application/json")
    info = server.target(Request("list", PODS)).info
    page = server.lister.list(info, None, {})

    async def served() -> None:
        page = server.lister.list(info, None, {})
        representation.page(page, how, _no_table)

    timings = [await _timed(served) for _ in range(7)]
    bytes_each = sum(len(record.bytes) for record in page.records) / len(page.records)
    name = f"list of {len(page.records):,} pods of {bytes_each / 1024:.1f} KB"
    return [Row(name, "ms", statistics.median(timings) * 1e3, 60, 25)]


def _no_table() -> Any:
    raise AssertionError("a plain list has no table")


async def _watch_delay(client: Client) -> float:
    """From the write's begin to the event's arrival, the 99th of 100 over all watchers and writes."""
    delays: list[float] = []
    began = 0.0
    ready = asyncio.Event()
    opened = 0

    async def watch() -> None:
        nonlocal opened
        version = (await client.list(CONFIG_MAPS))["metadata"]["resourceVersion"]
        async with client.watch(CONFIG_MAPS, resourceVersion=version) as events:
            opened += 1
            if opened == 100:
                ready.set()
            for _ in range(50):
                await anext(events)
                delays.append(time.perf_counter() - began)

    async with asyncio.TaskGroup() as group:
        for _ in range(100):
            group.create_task(watch())
        await ready.wait()
        for n in range(50):
            began = time.perf_counter()
            await client.create(CONFIG_MAPS, {"metadata": {"name": f"c{n}", "namespace": "default"}})
            await asyncio.sleep(0.002)  # each write is measured alone
    return statistics.quantiles(delays, n=100)[98] * 1e3


async def _node_patch(client: Client, size: int) -> float:
    name = f"w{size}"
    await client.create(WORKFLOWS, {"metadata": {"name": name, "namespace": "default"}, "spec": {"entrypoint": "m"}})
    nodes = {f"{name}-{n}": {"id": f"{name}-{n}", "phase": "Pending", "children": []} for n in range(size)}
    key = ObjectKey("default", name)
    await client.patch(WORKFLOWS, key, {"status": {"nodes": nodes}})

    async def patch(n: int) -> None:
        await client.patch(WORKFLOWS, key, {"status": {"nodes": {f"{name}-{n}": {"phase": "Succeeded"}}}})

    timings = [await _timed(lambda n=n: patch(n)) for n in range(100)]  # type: ignore[misc]
    return statistics.median(timings) * 1e3


SERVE = """
import asyncio, sys
from pathlib import Path
from tiphys.cluster.apiserver.http.listen import serve
from tiphys.cluster.apiserver.server import SHARED_MAPS, ApiServer
from tiphys.cluster.apiserver.store import Store
from tiphys.runtime.clock import SystemClock
from tiphys.runtime.ids import SystemIds

async def main():
    folder = Path(sys.argv[1])
    server = await ApiServer.start(Store.open(folder / "cluster.db", SHARED_MAPS), SystemClock(), SystemIds())
    await serve(server, "127.0.0.1:0", folder)
    print("ready", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def _process(folder: Path) -> Iterator[Row]:
    """A server of its own: how long until it listens, what it costs while nobody asks."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", SERVE, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield Row("API server ready, from nothing", "s", time.perf_counter() - began, 2, 0.5)
        time.sleep(1)
        before = _cpu_seconds(process.pid)
        time.sleep(3)
        yield Row("API server idle, CPU", "%", (_cpu_seconds(process.pid) - before) / 3 * 100, 0.5, 0.1)
        yield Row("API server idle, memory", "MB", _resident(process.pid) / 2**20, 150, 80)
    finally:
        process.kill()
        process.wait()


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    print(asyncio.run(_over_https(sys.argv[1])))
