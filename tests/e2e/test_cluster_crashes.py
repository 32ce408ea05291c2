"""kill -9 of ``tiphys up`` while many write, a torn log, a full and a read-only disk, a clock that jumps.

What must hold each time: no acknowledged write is lost, no resourceVersion is given out twice, a watch that is taken
up again where it stopped misses nothing, and a server that cannot write says so and goes on when it can again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tiphys.app.datadir import ServerInfo
from tiphys.app.settings import Settings
from tiphys.app.up import detach, tiphys_command
from tiphys.client.client import Client
from tiphys.client.http import HttpTransport
from tiphys.cluster.apiserver.journal import JournalError
from tiphys.cluster.apiserver.server import SHARED_MAPS, ApiServer
from tiphys.cluster.apiserver.store import Store
from tiphys.machinery.errors import ApiError, DriverError, Expired, ServiceUnavailable
from tiphys.machinery.resources import CONFIG_MAPS, ObjectKey
from tiphys.runtime.clock import SystemClock
from tiphys.runtime.ids import SystemIds

pytestmark = pytest.mark.e2e

NAMESPACE = "default"
WRITERS = 8
KILLS = 3
WRITES_BEFORE_KILL = 60
SECONDS_MAX = 60


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": NAMESPACE}, "data": data}


@dataclass
class Ledger:
    """What clients were told: versions by name, and every version that any answer or event ever carried."""

    acknowledged: dict[str, int] = field(default_factory=dict)
    owners: dict[int, str] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)
    last_seen: str = ""

    def note(self, obj: Any) -> None:
        meta = obj["metadata"]
        name, version = meta["name"], int(meta["resourceVersion"])
        assert self.owners.setdefault(version, name) == name, f"version {version} was given out twice"


async def write(client: Client, ledger: Ledger, prefix: str, wanted: int, enough: asyncio.Event) -> None:
    """Creates until the server dies; says when ``wanted`` writes are acknowledged, all writers' together."""
    number = 0
    while True:
        number += 1
        try:
            made = await client.create(CONFIG_MAPS, config_map(f"{prefix}-{number}", n=str(number)))
        except (DriverError, ApiError, OSError):
            return
        ledger.note(made)
        ledger.acknowledged[made["metadata"]["name"]] = int(made["metadata"]["resourceVersion"])
        if len(ledger.acknowledged) >= wanted:
            enough.set()


async def follow(client: Client, ledger: Ledger, until: set[str] | None = None) -> None:
    """As an informer: takes the watch up where it stopped, and lists anew where that is too long ago.

    Until the server dies, or all names of ``until`` were seen.
    """
    with contextlib.suppress(DriverError, ServiceUnavailable, OSError):
        while until is None or until - ledger.seen.keys():
            with contextlib.suppress(Expired):
                await _watch(client, ledger, until)
                continue
            listed = await client.list(CONFIG_MAPS, NAMESPACE)
            for one in listed["items"]:
                ledger.note(one)
                ledger.seen[one["metadata"]["name"]] = int(one["metadata"]["resourceVersion"])
            ledger.last_seen = listed["metadata"]["resourceVersion"]


async def _watch(client: Client, ledger: Ledger, until: set[str] | None) -> None:
    async with client.watch(CONFIG_MAPS, NAMESPACE, resourceVersion=ledger.last_seen) as events:
        async for event in events:
            assert event.type == "ADDED", event
            ledger.note(event.object)
            name, version = event.object["metadata"]["name"], event.object["metadata"]["resourceVersion"]
            assert name not in ledger.seen, f"{name} came twice"
            ledger.seen[name], ledger.last_seen = int(version), version
            if until is not None and not until - ledger.seen.keys():
                return


@asynccontextmanager
async def client_of(server: ServerInfo) -> Any:
    transport = HttpTransport.from_kubeconfig(server.kubeconfig)
    try:
        yield Client(transport)
    finally:
        await transport.close()


async def life(server: ServerInfo, ledger: Ledger, number: int, rng: random.Random) -> None:
    """One life of the server: writers, a watcher, and the kill."""
    wanted = len(ledger.acknowledged) + WRITES_BEFORE_KILL + rng.randrange(WRITES_BEFORE_KILL)
    async with client_of(server) as client, asyncio.timeout(SECONDS_MAX):
        if not ledger.last_seen:
            ledger.last_seen = (await client.list(CONFIG_MAPS, NAMESPACE))["metadata"]["resourceVersion"]
        watching = asyncio.create_task(follow(client, ledger))
        enough = asyncio.Event()
        prefixes = [f"w{number}-{n}" for n in range(WRITERS)]
        writing = [asyncio.create_task(write(client, ledger, prefix, wanted, enough)) for prefix in prefixes]
        await enough.wait()
        end(server)
        await asyncio.gather(*writing, watching)


async def check(server: ServerInfo, ledger: Ledger) -> None:
    """All that was acknowledged is there, and comes to a watcher who stopped before a kill."""
    async with client_of(server) as client, asyncio.timeout(SECONDS_MAX):
        listed = await client.list(CONFIG_MAPS, NAMESPACE)
        held = {one["metadata"]["name"]: int(one["metadata"]["resourceVersion"]) for one in listed["items"]}
        assert ledger.acknowledged.items() <= held.items()
        for name, version in ledger.seen.items():
            assert held[name] == version, "a watcher saw what did not last"
        await follow(client, ledger, {name for name in held if name.startswith("w")})


def start(place: Path) -> ServerInfo:
    flags = ["--data-dir", str(place), "--listen", "127.0.0.1:0", "--runtime", "process", "--network", "host"]
    return detach(Settings(data_dir=place), tiphys_command("up", *flags))


def end(server: ServerInfo) -> None:
    os.kill(server.pid, signal.SIGKILL)
    os.waitpid(server.pid, 0)


def test_kills_under_load(tmp_path: Path) -> None:
    ledger, rng = Ledger(), random.Random(os.environ.get("CRASH_SEED", "tiphys"))
    for number in range(KILLS):
        asyncio.run(life(start(tmp_path), ledger, number, rng))
    server = start(tmp_path)
    try:
        asyncio.run(check(server, ledger))
    finally:
        end(server)


def test_a_torn_log_costs_only_its_tail(tmp_path: Path) -> None:
    """Bytes cut off the end of the log, as a power loss would: the server starts, with a beginning of what was."""
    ledger, rng = Ledger(), random.Random("torn")
    asyncio.run(life(start(tmp_path), ledger, 0, rng))
    log = tmp_path / "store.db-wal"
    os.truncate(log, log.stat().st_size - 3_000)
    server = start(tmp_path)

    async def look() -> None:
        async with client_of(server) as client:
            listed = await client.list(CONFIG_MAPS, NAMESPACE)
            held = {one["metadata"]["name"]: int(one["metadata"]["resourceVersion"]) for one in listed["items"]}
            newest = max(held.values())
            kept = {name: version for name, version in ledger.acknowledged.items() if version <= newest}
            assert kept.items() <= held.items(), "a gap before the end"
            assert len(kept) >= len(ledger.acknowledged) - 2 * WRITERS
            await client.create(CONFIG_MAPS, config_map("after"))

    try:
        asyncio.run(look())
    finally:
        end(server)


# The API server alone, on a disk that fails


async def api_server(path: Path, clock: SystemClock | None = None) -> ApiServer:
    store = Store.open(path, SHARED_MAPS)
    return await ApiServer.start(store, clock or SystemClock(), SystemIds(), ["workflows.argoproj.io"])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of four megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    made = shutil.which("mount") and os.geteuid() == 0
    if (
        not made
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)], check=False).returncode
    ):
        pytest.skip("mounting a small disk needs root")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


async def test_a_full_disk(small_disk: Path) -> None:
    server = await api_server(small_disk / "store.db")
    client = Client(server.transport())
    ballast = small_disk / "ballast"
    acknowledged = []
    ballast.write_bytes(b"x" * (2 << 20))
    with pytest.raises(ServiceUnavailable, match="full"):
        for number in range(1_000):
            made = await client.create(CONFIG_MAPS, config_map(f"big-{number}", text="x" * 50_000))
            acknowledged.append(made["metadata"]["name"])
    assert acknowledged
    listed = await client.list(CONFIG_MAPS, NAMESPACE)
    assert [one["metadata"]["name"] for one in listed["items"]] == sorted(acknowledged), "reading goes on"
    ballast.unlink()
    await client.create(CONFIG_MAPS, config_map("after"))
    await server.close()
    again = await api_server(small_disk / "store.db")
    held = (await Client(again.transport()).list(CONFIG_MAPS, NAMESPACE))["items"]
    assert {one["metadata"]["name"] for one in held} == {*acknowledged, "after"}
    await again.close()


def make_read_only(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)


async def test_a_read_only_disk(small_disk: Path) -> None:
    """It is refused at the start with the file's name."""
    server = await api_server(small_disk / "store.db")
    await Client(server.transport()).create(CONFIG_MAPS, config_map("before"))
    await server.close()
    make_read_only(small_disk)
    with pytest.raises(JournalError, match=r"store\.db"):
        await api_server(small_disk / "store.db")


class JumpingClock(SystemClock):
    """Wall time is the machine's plus ``jump``; timers are not touched."""

    jump = timedelta()

    def now(self) -> datetime:
        return super().now() + self.jump


async def test_a_clock_that_jumps(tmp_path: Path) -> None:
    """Versions go on counting whatever the time; a watch does not notice; timestamps are what the clock said."""
    clock = JumpingClock()
    server = await api_server(tmp_path / "store.db", clock)
    client = Client(server.transport())
    versions, stamps = [], []
    began = (await client.list(CONFIG_MAPS, NAMESPACE))["metadata"]["resourceVersion"]
    for number, days in enumerate((0, 4_000, -4_000, 1)):
        clock.jump = timedelta(days=days)
        made = await client.create(CONFIG_MAPS, config_map(f"at-{number}"))
        versions.append(int(made["metadata"]["resourceVersion"]))
        stamps.append(made["metadata"]["creationTimestamp"])
        changed = await client.get(CONFIG_MAPS, ObjectKey(NAMESPACE, f"at-{number}"))
        assert changed["metadata"]["creationTimestamp"] == stamps[-1]
    assert versions == sorted(set(versions))
    assert stamps[2] < stamps[0] < stamps[3] < stamps[1]
    got = []
    async with client.watch(CONFIG_MAPS, NAMESPACE, resourceVersion=began) as events:
        async for event in events:
            got.append(int(event.object["metadata"]["resourceVersion"]))
            if len(got) == len(versions):
                break
    assert got == versions
    clock.jump = timedelta(days=-8_000)
    await server.close()
    again = await api_server(tmp_path / "store.db", clock)
    after = await Client(again.transport()).create(CONFIG_MAPS, config_map("after"))
    assert int(after["metadata"]["resourceVersion"]) > versions[-1]
    await again.close()
