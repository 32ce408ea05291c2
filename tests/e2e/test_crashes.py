"""kill -9 of ``tiphys up`` at random moments of a running workflow, fifty times.

Each step writes a line when it begins and one when it ends, into a file that is not part of the cluster. A server that
is started again must go on within two seconds, the workflow must end right, and every step must have begun and ended
exactly once: the steps are not killed with the server, which finds them again.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tiphys.app.datadir import ServerInfo
from tiphys.app.follow import follow
from tiphys.app.settings import Settings
from tiphys.app.up import detach, tiphys_command
from tiphys.client.client import Client
from tiphys.client.http import HttpTransport
from tiphys.machinery.resources import WORKFLOWS, ObjectKey, key_of

STEPS = 50
KILLS = 50
SECONDS_MAX = 600.0  # a minute and a half on an idle machine

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@dataclass
class Victim:
    """A server that is killed and started again, always with the same data directory."""

    data_dir: Path
    server: ServerInfo | None = None

    def start(self) -> float:
        """Returns how many seconds it took to be Ready."""
        flags = ["--data-dir", str(self.data_dir), "--listen", "127.0.0.1:0", "--runtime", "process"]
        began = time.perf_counter()
        self.server = detach(Settings(data_dir=self.data_dir), tiphys_command("up", *flags))
        return time.perf_counter() - began

    def kill(self) -> None:
        assert self.server is not None
        os.kill(self.server.pid, signal.SIGKILL)
        os.waitpid(self.server.pid, 0)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        assert self.server is not None
        transport = HttpTransport.from_kubeconfig(self.server.kubeconfig)
        try:
            yield Client(transport)
        finally:
            await transport.close()


def workflow(effects: Path, number: int) -> dict[str, Any]:
    """Fifty steps: ten groups of five, each a moment long."""
    n = "{{inputs.parameters.n}}"
    script = f"echo begin {n} >> {effects}; sleep 0.05; echo end {n} >> {effects}"
    step = {
        "name": "step",
        "inputs": {"parameters": [{"name": "n"}]},
        "container": {"image": "busybox", "command": ["sh", "-c", script]},
    }

    def use(n: int) -> dict[str, Any]:
        arguments = {"parameters": [{"name": "n", "value": str(n)}]}
        return {"name": f"s{n}", "template": "step", "arguments": arguments}

    groups = [[use(n) for n in range(first, first + 5)] for first in range(0, STEPS, 5)]
    return {
        "metadata": {"name": f"victim-{number}", "namespace": "default"},
        "spec": {"entrypoint": "main", "templates": [{"name": "main", "steps": groups}, step]},
    }


async def one_workflow(victim: Victim, effects: Path, number: int, rng: random.Random, kills: int) -> list[float]:
    """Submits a workflow, kills the server ``kills`` times while it runs, and sees it through to its end."""
    async with victim.client() as client:
        key = key_of(await client.create(WORKFLOWS, workflow(effects, number)))
    restarts = []
    for _ in range(kills):
        await asyncio.sleep(rng.uniform(0.0, 0.4))  # the moment of the kill is the point
        victim.kill()
        restarts.append(victim.start())
    async with asyncio.timeout(60):
        final = await finished(victim, key)
    nodes = final["status"]["nodes"].values()
    assert final["status"]["phase"] == "Succeeded", final["status"].get("message")
    assert Counter(node["type"] for node in nodes)["Pod"] == STEPS
    assert {node["phase"] for node in nodes} == {"Succeeded"}
    return restarts


async def finished(victim: Victim, key: ObjectKey) -> dict[str, Any]:
    last: dict[str, Any] = {}
    async with victim.client() as client:
        async for state in follow(client, [key]):
            last = dict(state)
    return last


def test_fifty_kills(tmp_path: Path) -> None:
    rng = random.Random(os.environ.get("CRASH_SEED", "tiphys"))
    victim = Victim(tmp_path / "data")
    victim.start()
    began, kills, number = time.monotonic(), 0, 0
    restarts: list[float] = []
    imports: list[float] = []
    try:
        while kills < KILLS and time.monotonic() - began < SECONDS_MAX:
            effects = tmp_path / f"effects-{number}"
            of_this_one = min(rng.randint(3, 6), KILLS - kills)
            imports.append(seconds_of_imports())
            restarts += asyncio.run(one_workflow(victim, effects, number, rng, of_this_one))
            kills += of_this_one
            number += 1
            lines = Counter(effects.read_text().split("\n")[:-1])
            expected = Counter(f"{what} {n}" for n in range(STEPS) for what in ("begin", "end"))
            assert lines == expected, f"side effects differ in workflow {number}: {lines - expected} {expected - lines}"
    finally:
        victim.kill()
    assert kills == KILLS
    # Two seconds on a machine that has nothing else to do; elsewhere as many times longer as Python's imports take.
    assert statistics.median(restarts) <= max(2.0, 6 * statistics.median(imports)), sorted(restarts)


def seconds_of_imports() -> float:
    """What a Python program pays on this machine, now, before it serves HTTPS (0.2 s when idle)."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import aiohttp.web, cryptography.x509, yaml"], check=True)
    return time.perf_counter() - began


def test_a_second_server_is_refused_the_data_directory(tmp_path: Path) -> None:
    victim = Victim(tmp_path)
    victim.start()
    try:
        flags = ["--data-dir", str(tmp_path), "--listen", "127.0.0.1:0", "--runtime", "process"]
        second = subprocess.run(tiphys_command("up", *flags), capture_output=True, text=True, timeout=30, check=False)
        assert second.returncode != 0
        assert "another tiphys uses" in second.stderr
    finally:
        victim.kill()


def test_an_object_is_there_after_a_kill(tmp_path: Path) -> None:
    victim = Victim(tmp_path)
    victim.start()

    async def job() -> None:
        async with victim.client() as client:
            made = await client.create(WORKFLOWS, workflow(tmp_path / "effects", 0) | {"spec": {"suspend": True}})
        victim.kill()
        victim.start()
        async with victim.client() as client:
            again = await client.get(WORKFLOWS, key_of(made))
        assert again["metadata"]["uid"] == made["metadata"]["uid"]

    try:
        asyncio.run(job())
    finally:
        victim.kill()
