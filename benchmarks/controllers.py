"""What the cluster's controllers cost: many simulated pods, a real Deployment, a cluster that has nothing to do.

scale       1,000 simulated pods of 50 Deployments on 20 nodes, from the first creation to all Ready; and the memory
real        a Deployment of 3 pods that really run (process runtime), from its creation to Available
idle        CPU of a cluster with 50 Deployments in which nothing happens
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks._rows import Row
from tiphys.app.compose import Parts, compose
from tiphys.app.settings import Settings
from tiphys.client.client import Client
from tiphys.machinery.resources import DEPLOYMENTS, ObjectKey

APPS, REPLICAS, NODES = 50, 20, 20
IDLE_SECONDS = 10.0
WAIT_SECONDS_MAX = 120.0


def rows() -> Iterable[Row]:
    # A process of its own: memory and CPU are this cluster's alone.
    command = [sys.executable, "-m", "benchmarks.controllers"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    found = json.loads(done.stdout.splitlines()[-1])
    yield Row("controllers: 1,000 simulated pods Ready", "s", found["ready"], bar=15.0, aim=5.0)
    yield Row("controllers: memory with 1,000 simulated pods", "MB", found["memory"], bar=300.0, aim=200.0)
    yield Row("controllers: idle CPU with 50 apps", "%", found["idle"], bar=1.0, aim=0.2)
    yield Row("controllers: a Deployment of 3 real pods Available", "s", asyncio.run(_real()), bar=1.0, aim=0.3)


def deployment(name: str, replicas: int, command: list[str], node: str | None = None) -> dict[str, Any]:
    spec: dict[str, Any] = {"containers": [{"name": "main", "image": "busybox", "command": command}]}
    spec["terminationGracePeriodSeconds"] = 0
    if node is not None:
        spec["nodeSelector"] = {"type": node}
    labels = {"app": name}
    return {
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


async def _simulated() -> dict[str, float]:
    async with compose(Settings(simulated_nodes=NODES, runtime="process")) as parts:
        began = time.perf_counter()
        names = [f"app-{number}" for number in range(APPS)]
        made = (parts.client.create(DEPLOYMENTS, deployment(name, REPLICAS, ["sleep"], "simulated")) for name in names)
        await asyncio.gather(*made)
        await _available(parts, names, REPLICAS)
        ready = time.perf_counter() - began
        await asyncio.sleep(2.0)
        cpu, began = time.process_time(), time.perf_counter()
        await asyncio.sleep(IDLE_SECONDS)
        idle = 100.0 * (time.process_time() - cpu) / (time.perf_counter() - began)
        return {"ready": ready, "memory": _resident_megabytes(), "idle": idle}


async def _real() -> float:
    with tempfile.TemporaryDirectory(prefix="tiphys-bench-") as folder:
        async with compose(Settings(data_dir=Path(folder), runtime="process")) as parts:
            began = time.perf_counter()
            await parts.client.create(DEPLOYMENTS, deployment("real", 3, ["sleep", "60"]))
            await _available(parts, ["real"], 3)
            return time.perf_counter() - began


async def _available(parts: Parts, names: list[str], replicas: int) -> None:
    """Waits for events, without looking again and again."""
    left = set(names)
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        async with parts.client.watch(DEPLOYMENTS, "default") as events:
            left -= {name for name in names if await _is_available(parts.client, name, replicas)}
            async for event in events:
                if int((event.object.get("status") or {}).get("availableReplicas") or 0) >= replicas:
                    left.discard(event.object["metadata"]["name"])
                if not left:
                    return


async def _is_available(client: Client, name: str, replicas: int) -> bool:
    held = await client.get(DEPLOYMENTS, ObjectKey("default", name))
    return int((held.get("status") or {}).get("availableReplicas") or 0) >= replicas


def _resident_megabytes() -> float:
    for line in Path("/proc/self/status").read_text("ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_simulated())))
