"""What the node adds to the programs it runs: starting a step, isolating it, keeping its files, reading its log.

process     milliseconds over a bare posix_spawn of the same program, from the request to the known exit code
oci         a container by crun or runc, over crun or runc alone
sandbox     the same container in bubblewrap, over bubblewrap alone with the same namespaces
artifact    a file of 1 GB saved to the local store and loaded again (archive: none), over `tar | tar` there and back
log         reading a log of 100 MB through the log source, in MB per second
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

from benchmarks._rows import Row, median_seconds
from tiphys.cluster.apiserver.streams import LogOptions
from tiphys.cluster.node.changes import FileChanges
from tiphys.cluster.node.logs import LifeLog, read
from tiphys.cluster.node.runtime import Launch, Runtime, RuntimeUnusable, choose
from tiphys.cluster.node.runtimes.oci import OciRuntime
from tiphys.cluster.node.runtimes.process import DEFAULT_PATH, ProcessRuntime
from tiphys.cluster.node.runtimes.sandbox import SandboxRuntime
from tiphys.workflows.drivers.artifacts.local import LocalStore
from tiphys.workflows.executor.trees import Place

STEPS = 200
ARTIFACT_BYTES = 1 << 30
LOG_BYTES = 100 << 20


def rows() -> Iterable[Row]:
    with tempfile.TemporaryDirectory(prefix="tiphys-bench-") as folder:
        place = Path(folder)
        yield from _starts(place)
        yield _artifact(place)
        yield _log(place)


def _starts(place: Path) -> Iterable[Row]:
    spawn, process = asyncio.run(_steps(ProcessRuntime, place / "process", _spawn_true))
    yield Row("node: process step over posix_spawn", "ms", (process - spawn) * 1e3, bar=2.0, aim=1.0)
    yield from _oci(place)
    try:
        bare, sandbox = asyncio.run(_steps(SandboxRuntime, place / "sandbox", _bare_bubblewrap))
    except RuntimeUnusable:
        return
    yield Row("node: sandbox step", "ms", sandbox * 1e3, bar=2.0, aim=1.2, floor=bare * 1e3)


def _oci(place: Path) -> Iterable[Row]:
    """The same container by the OCI runtime that works here, over that runtime alone on a prepared bundle."""
    try:
        floor, step = asyncio.run(_oci_steps(place / "oci"))
    except RuntimeUnusable:
        return
    yield Row("node: oci step", "ms", step * 1e3, bar=2.0, aim=1.3, floor=floor * 1e3)


async def _oci_steps(place: Path) -> tuple[float, float]:
    runtime = OciRuntime(place / "shared")
    await choose([runtime], place / "probe")
    return await _steps(lambda _: runtime, place, _bare_oci(runtime, place / "bare"))


def _bare_oci(runtime: OciRuntime, place: Path) -> Callable[[], None]:
    """crun or runc by themselves: their own configuration, `true`, this machine's programs."""
    place.mkdir(parents=True)
    (place / "rootfs").mkdir()
    subprocess.run([runtime.program, "spec"], cwd=place, check=True)
    config = json.loads((place / "config.json").read_text())
    config["process"] |= {"terminal": False, "args": ["/usr/bin/true"]}
    config["process"].pop("rlimits", None)
    for name in ("usr", "lib", "lib64", "bin"):
        if Path(f"/{name}").is_dir():
            bind = {"destination": f"/{name}", "type": "bind", "source": f"/{name}", "options": ["bind", "ro"]}
            config["mounts"].append(bind)
    (place / "config.json").write_text(json.dumps(config))
    hide = "umount -l /sys/fs/cgroup/unified 2>/dev/null; " if runtime.program == "crun" else ""
    script = f"{hide}exec {runtime.program} --root {place}/state run --bundle {place} bare"
    return lambda: _spawn([shutil.which("unshare") or "unshare", "-m", "sh", "-c", script])


async def _steps(kind: Callable[[Path], Runtime], place: Path, floor: Callable[[], None]) -> tuple[float, float]:
    """Median seconds of the floor and of a step, measured in turns so that both see the same machine."""
    runtime = kind(place / "shared")
    await choose([runtime], place / "probe")
    pod = place / "pod"
    pod.mkdir(parents=True)
    floors, steps = [], []
    for number in range(STEPS):
        began = time.perf_counter()
        floor()
        floors.append(time.perf_counter() - began)
        launch = Launch("uid", "main", number, pod / f"main.{number}", ("true",), {"PATH": DEFAULT_PATH})
        began = time.perf_counter()
        end = await runtime.start(launch).ended
        steps.append(time.perf_counter() - began)
        if end.code != 0:
            raise RuntimeError(f"a step ended with {end.code}")
    return statistics.median(floors), statistics.median(steps)


def _spawn_true() -> None:
    _spawn([shutil.which("true") or "true"])


def _bare_bubblewrap() -> None:
    spaces = ["--unshare-pid", "--unshare-ipc", "--unshare-uts"]
    _spawn(
        [shutil.which("bwrap") or "bwrap", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", *spaces, "true"]
    )


def _spawn(argv: list[str]) -> None:
    """Waits as an event loop does: for a descriptor of the process, then for its code."""
    pid = os.posix_spawn(argv[0], argv, os.environ)
    fd = os.pidfd_open(pid)
    select.select([fd], [], [])
    os.waitpid(pid, 0)
    os.close(fd)


def _artifact(place: Path) -> Row:
    source, loaded = place / "big", place / "loaded"
    block = os.urandom(1 << 20)
    with source.open("wb") as file:
        for _ in range(ARTIFACT_BYTES >> 20):
            file.write(block)
    store = LocalStore(place / "store")
    artifact = {"name": "a", "s3": {"key": "wf/pod/big"}}

    def there_and_back() -> None:
        store.save(Place(source, "/big"), artifact)
        store.load(artifact, loaded)

    def tar_there_and_back() -> None:
        for _ in range(2):
            shutil.rmtree(place / "copy", ignore_errors=True)
            (place / "copy").mkdir()
            subprocess.run(f"tar -C {place} -cf - big | tar -C {place}/copy -xf -", shell=True, check=True)

    ours, floor = median_seconds(there_and_back, 3), median_seconds(tar_there_and_back, 3)
    rate = 2 * ARTIFACT_BYTES / 1e6
    return Row(
        "node: artifact of 1 GB there and back", "MB/s", rate / ours, 0.6, 1.0, rate / floor, more_is_better=True
    )


def _log(place: Path) -> Row:
    file = place / "main.0.log"
    line = b"x" * 99 + b"\n"
    file.write_bytes(line * (LOG_BYTES // len(line)))

    async def read_all() -> int:
        log = LifeLog([file], datetime.now(UTC), lambda: datetime.now(UTC))
        log.end(datetime.now(UTC))
        return sum([len(chunk) async for chunk in read(log, LogOptions("main"), FileChanges())])

    if asyncio.run(read_all()) != LOG_BYTES // len(line) * len(line):
        raise RuntimeError("the log lost bytes")
    seconds = median_seconds(lambda: asyncio.run(read_all()), 3)
    return Row("node: log stream", "MB/s", LOG_BYTES / 1e6 / seconds, bar=100, aim=500, more_is_better=True)
