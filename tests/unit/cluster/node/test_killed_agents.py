"""The agent is a process that is killed with SIGKILL again and again: every pod lives once, and nothing is left behind.

``test_crashes.py`` ends it between any two of its actions; here the kernel does, at any instruction, while pods come
and some are taken away. The small size is for every run, the whole one (200 pods, 50 kills) is slow.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cluster.node import agent_process
from tests.unit.cluster.node.harness import RUNTIMES, a_pod, phase
from tests.unit.cluster.node.test_oci import mounted_below
from tiphys.client.client import Client
from tiphys.cluster.apiserver.http.listen import serve
from tiphys.cluster.apiserver.server import ApiServer
from tiphys.cluster.apiserver.store import Store
from tiphys.cluster.node import cgroups
from tiphys.cluster.node.runtime import RuntimeUnusable, choose
from tiphys.machinery.resources import PODS, ObjectKey
from tiphys.runtime.clock import SystemClock
from tiphys.runtime.ids import SystemIds

# An agent that nobody kills for this long has done all there is to do, many times over.
DEADLINE = 120.0
# The longest an agent lives, once it serves; some are killed before.
LIFE_SECONDS_MAX = 0.8
LIFE_MILLISECONDS = (0, 50, 300)
# Agents are forked off a process that has imported what they need: they would spend most of their lives on it.
FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload([agent_process.__name__])
# More than a pipe holds.
LINES = 20_000
OUTPUT = sorted(["began", *map(str, range(1, LINES + 1)), "ended"])


@dataclass
class Killed:
    """An API server, and agents of which each lives until it is killed."""

    client: Client
    kubeconfig: Path
    runtime: str
    directory: Path
    process: ForkServerProcess | None = None
    says: Connection | None = None

    async def start(self, *, waits: bool = True) -> None:
        self.says, up = FORKED.Pipe(duplex=False)
        what = (self.kubeconfig, self.runtime, self.directory, up)
        self.process = FORKED.Process(target=agent_process.main, args=what, daemon=True)
        self.process.start()
        up.close()
        if waits:
            assert await asyncio.to_thread(self.says.poll, DEADLINE)
            assert self.says.recv() == "up"

    async def kill(self) -> None:
        if self.process is not None and self.says is not None:
            self.process.kill()
            await asyncio.to_thread(self.process.join)
            self.process.close()
            self.says.close()
            self.process = None

    async def until_phase(self, names: set[str]) -> dict[str, str]:
        """The phases of these pods once all have ended, by uid."""
        ends: dict[str, str] = {}
        async with asyncio.timeout(DEADLINE), self.client.watch(PODS, "default") as events:
            async for event in events:
                pod = event.object
                if event.type != "BOOKMARK" and phase(pod) in ("Succeeded", "Failed"):
                    if pod["metadata"]["name"] in names:
                        ends[pod["metadata"]["uid"]] = phase(pod)
                    if len(ends) == len(names):
                        return ends
        raise AssertionError("the watch ended")

    async def until_none(self) -> None:
        async with asyncio.timeout(DEADLINE):
            while (await self.client.list(PODS, "default"))["items"]:  # noqa: ASYNC110
                await asyncio.sleep(0.1)


@asynccontextmanager
async def killed_agents(runtime: str, directory: Path) -> AsyncIterator[Killed]:
    try:
        await choose([RUNTIMES[runtime](directory / "try")], directory / "probe")
    except RuntimeUnusable as err:
        pytest.skip(str(err))
    server = await ApiServer.start(Store(), SystemClock(), SystemIds())
    served = await serve(server, "127.0.0.1:0", directory)
    kubeconfig = directory / "kubeconfig"
    kubeconfig.write_text(served.kubeconfig)
    agents = Killed(Client(server.transport()), kubeconfig, runtime, directory / "node")
    try:
        yield agents
    finally:
        await agents.kill()
        await served.close()
        await server.close()


def a_life(name: str, runtime: str, effects: Path, rng: random.Random) -> dict[str, Any]:
    """A pod that writes its uid once, and may leave a process behind it.

    Limits put it into control groups; an isolated one sees the file in a volume.
    """
    seen = "/effects" if runtime != "process" else str(effects)
    container: dict[str, Any] = {
        "name": "c",
        "env": [{"name": "UID_OF_POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}}],
        "resources": {"limits": {"memory": "256Mi"}},
    }
    more: dict[str, Any] = {}
    if runtime != "process":
        container["volumeMounts"] = [{"name": "v", "mountPath": seen}]
        more["volumes"] = [{"name": "v", "hostPath": {"path": str(effects)}}]
    leaves = rng.choice(("sleep 600 & ", ""))
    lasts = f"echo began >&2; sleep {rng.choice(LIFE_MILLISECONDS) / 1000}; seq {LINES}; echo ended >&2"
    script = f'echo "$UID_OF_POD" >> {seen}/lives; {leaves}{lasts}'
    return a_pod(script, name, container=container, **more)


async def lives_once(runtime: str, directory: Path, pods: int, kills: int, seed: int) -> None:
    rng, effects = random.Random(seed), directory / "effects"
    effects.mkdir()
    async with killed_agents(runtime, directory) as agents:
        removed: set[str] = set()
        for number in range(kills):
            await agents.start(waits=rng.random() < 0.9)
            share = range(number * pods // kills, (number + 1) * pods // kills)
            for index in share:
                await agents.client.create(PODS, a_life(f"p{index}", runtime, effects, rng))
            if rng.random() < 0.2:
                removed.add(name := f"p{rng.choice(share)}")
                await agents.client.delete(PODS, ObjectKey("default", name))
            await asyncio.sleep(rng.uniform(0, LIFE_SECONDS_MAX))
            await agents.kill()
        await agents.start()
        ends = await agents.until_phase({f"p{index}" for index in range(pods)} - removed)
        lives = Counter((effects / "lives").read_text().split())
        assert set(ends.values()) == {"Succeeded"}
        assert {uid: lives[uid] for uid in ends} == dict.fromkeys(ends, 1)
        assert set(lives.values()) == {1}  # those that were taken away lived once at most
        for uid in ends:
            assert sorted((directory / "node" / "pods" / uid / "c.0.log").read_text().split()) == OUTPUT
        for index in range(pods):
            if f"p{index}" not in removed:
                await agents.client.delete(PODS, ObjectKey("default", f"p{index}"))
        await agents.until_none()
        await nothing_is_left(directory, lives)


async def nothing_is_left(directory: Path, uids: Counter[str]) -> None:
    """No directory, process, mount or control group of any pod."""
    pods = directory / "node" / "pods"
    async with asyncio.timeout(DEADLINE):
        while any(pods.iterdir()):  # noqa: ASYNC110 - another process takes them away
            await asyncio.sleep(0.05)
        while processes_of(uids):  # noqa: ASYNC110 - they were killed, which takes the kernel a moment
            await asyncio.sleep(0.05)
    assert not mounted_below(directory)
    groups = cgroups.find()  # its `find` knows of those that exist
    places = [place for uid in uids for place in groups.find(pods / uid / "c.0").places]
    assert places == []
    states = directory / "node" / "shared" / "oci"
    assert not states.exists() or list(states.iterdir()) == []


def processes_of(uids: Iterable[str]) -> list[str]:
    """What runs with a pod's directory in its arguments or its uid in its environment."""
    words = [os.fsencode(uid) for uid in uids]
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            said = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
        except OSError:
            continue
        if any(word in said for word in words):
            found.append(said.replace(b"\0", b" ").decode(errors="replace"))
    return found


linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@linux
@pytest.mark.parametrize("runtime", ["oci", "process", "sandbox"])
async def test_a_few_pods_under_agents_that_are_killed(runtime: str, tmp_path: Path) -> None:
    await lives_once(runtime, tmp_path, pods=20, kills=5, seed=6)


@linux
@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["oci", "process", "sandbox"])
async def test_many_pods_under_agents_that_are_killed(runtime: str, tmp_path: Path) -> None:
    await lives_once(runtime, tmp_path, pods=200, kills=50, seed=50)
