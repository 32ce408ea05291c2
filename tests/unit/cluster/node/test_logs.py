"""Logs that are rotated while somebody writes, follows, and asks for their ends."""

from __future__ import annotations

import asyncio
import errno
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.unit.cluster.node.harness import DEADLINE, a_pod, node, phase
from tests.unit.cluster.node.test_runtime_contract import until
from tiphys.cluster.apiserver.streams import LogOptions
from tiphys.cluster.node import agent, worker
from tiphys.cluster.node.changes import FileChanges
from tiphys.cluster.node.logs import LifeLog, Rotation, read, rotate
from tiphys.machinery.resources import PODS
from tiphys.workflows.drivers.artifacts.registry import native_executor
from tiphys.workflows.executor import native

ROTATION = Rotation(max_bytes=1 << 17, max_files=3)
LINES = 20_000


def line(number: int) -> str:
    return f"line {number:08} {'x' * 40}\n"


def written(path: Path, lines: int = LINES) -> LifeLog:
    path.write_text("".join(map(line, range(lines))))
    return LifeLog([path], datetime.now(UTC), lambda: datetime.now(UTC))


async def text(log: LifeLog, options: LogOptions) -> str:
    return b"".join([chunk async for chunk in read(log, options, FileChanges())]).decode()


def holes_work(tmp_path: Path) -> bool:
    probe = tmp_path / "holes"
    probe.write_bytes(b"x" * (1 << 20))
    rotate(probe, Rotation(1 << 16, 2))
    return probe.stat().st_blocks * 512 < 1 << 20


@pytest.fixture(autouse=True)
def needs_holes(tmp_path: Path) -> None:
    if not holes_work(tmp_path):
        pytest.skip("this file system makes no holes in files")


async def test_what_is_kept_is_bounded_and_whole(tmp_path: Path) -> None:
    log = written(tmp_path / "c.0.log")
    before = log.files[0].stat().st_size
    rotate(log.files[0], ROTATION)
    log.end(datetime.now(UTC))
    said = (await text(log, LogOptions("c"))).splitlines(keepends=True)
    first = int(said[0].split()[1])
    assert said == [line(number) for number in range(first, LINES)]
    kept = before - first * len(line(0))
    assert 2 * ROTATION.max_bytes - len(line(0)) <= kept <= 3 * ROTATION.max_bytes
    assert log.files[0].stat().st_blocks * 512 <= 3 * ROTATION.max_bytes + 65_536


@pytest.mark.parametrize("lines", [0, 1, 10, 2_000_000])
async def test_the_end_of_a_rotated_log(tmp_path: Path, lines: int) -> None:
    log = written(tmp_path / "c.0.log")
    rotate(log.files[0], ROTATION)
    log.end(datetime.now(UTC))
    said = await text(log, LogOptions("c", tail_lines=lines))
    assert "\0" not in said
    if lines <= 10:
        assert said == "".join(line(number) for number in range(LINES - lines, LINES))


async def test_a_log_that_is_not_too_long_stays(tmp_path: Path) -> None:
    log = written(tmp_path / "c.0.log", lines=100)
    rotate(log.files[0], ROTATION)
    rotate(tmp_path / "absent", ROTATION)
    log.end(datetime.now(UTC))
    assert await text(log, LogOptions("c")) == "".join(map(line, range(100)))


async def test_following_goes_on_across_rotations(tmp_path: Path) -> None:
    log = written(tmp_path / "c.0.log", lines=0)
    said: list[bytes] = []
    ready = asyncio.Event()

    async def follow() -> None:
        async for chunk in read(log, LogOptions("c", follow=True), FileChanges()):
            said.append(chunk)
            ready.set()

    following = asyncio.create_task(follow())
    with log.files[0].open("a") as file:
        for start in range(0, LINES, 1000):
            file.write("".join(map(line, range(start, start + 1000))))
            file.flush()
            await asyncio.wait_for(ready.wait(), 10)
            ready.clear()
            rotate(log.files[0], ROTATION)
    log.end(datetime.now(UTC))
    await asyncio.wait_for(following, 10)
    assert b"".join(said).decode() == "".join(map(line, range(LINES)))


async def test_one_who_reads_too_slowly_misses_whole_lines_only(tmp_path: Path) -> None:
    log = written(tmp_path / "c.0.log")
    log.end(datetime.now(UTC))
    chunks = read(log, LogOptions("c"), FileChanges())
    said = [await anext(chunks)]
    rotate(log.files[0], ROTATION)
    said += [chunk async for chunk in chunks]
    numbers = [int(row.split()[1]) for row in b"".join(said).decode().splitlines()]
    assert numbers == sorted(set(numbers)) and numbers[0] == 0 and numbers[-1] == LINES - 1
    assert len(numbers) < LINES


async def test_a_steps_log_is_kept_whole_and_others_are_rotated(tmp_path: Path) -> None:
    template = json.dumps({"name": "t", "container": {"image": "busybox"}})
    meta = {"annotations": {native.TEMPLATE: template}, "labels": {native.LABEL_WORKFLOW: "wf"}}
    async with node("process", tmp_path) as here:
        here.extensions = (native_executor(here.client, tmp_path / "artifacts"),)
        agent = await here.start()
        agent.rotation = ROTATION
        script = f"seq {LINES * 5}; touch {tmp_path}/$WHO; while ! test -e {tmp_path}/go; do sleep 0.02; done"
        keys = []
        for name, more in {"plain": {}, "step": meta}.items():
            container = {"name": "main", "env": [{"name": "WHO", "value": name}]}
            keys.append(await here.create(a_pod(script, name, container=container, metadata=more)))
        await until(lambda: (tmp_path / "plain").exists() and (tmp_path / "step").exists())
        for key in keys:
            await here.until(key, lambda pod: phase(pod) == "Running")
            worker = agent.worker(key)
            assert worker is not None
            worker.rotate_logs()
        plain, step = [await here.log(key, container="main") for key in keys]
        every = "".join(f"{number}\n" for number in range(1, LINES * 5 + 1))
        assert (step, 0 < len(plain) < len(every), every.endswith(plain)) == (every, True, True)
        (tmp_path / "go").touch()
        assert [phase(await here.ended(key)) for key in keys] == ["Succeeded", "Succeeded"]


async def test_a_log_that_cannot_be_rotated_does_not_end_the_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rotated = asyncio.Event()

    def broken(path: Path, rotation: Rotation) -> None:
        rotated.set()
        raise OSError(errno.EIO, "a broken disk")

    monkeypatch.setattr(agent, "REFRESH_SECONDS", 0.01)
    monkeypatch.setattr(worker, "rotate", broken)
    async with node("process", tmp_path) as here:
        await here.start()
        key = await here.create(a_pod("while :; do sleep 0.02; done"))
        async with asyncio.timeout(DEADLINE):
            await rotated.wait()
        await here.client.delete(PODS, key, {"gracePeriodSeconds": 0})
        await here.gone(key)
