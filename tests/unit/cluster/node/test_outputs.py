"""Who wrote what into a log of both outputs, for people who attach."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.unit.cluster.node.harness import DEADLINE, a_pod, node, phase
from tiphys.cluster.apiserver.streams import STDIN, RemoteOptions
from tiphys.cluster.node.outputs import Source
from tiphys.cluster.node.runtime import STDERR, STDOUT
from tiphys.machinery.resources import PODS


@dataclass
class Log:
    path: Path
    out: int
    err: int
    source: Source

    def take(self, stream: int, *, over: bool = False) -> bytes:
        return self.source.take(stream, over=over)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    path = tmp_path / "log"
    out, err = (os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND) for _ in range(2))
    os.write(out, b"before\n")
    source = Source(path, (os.dup(out), os.dup(err)))
    yield Log(path, out, err, source)
    source.close()
    for descriptor in (out, err):
        os.close(descriptor)


def test_what_was_there_before_is_not_shown(log: Log) -> None:
    assert (log.take(STDOUT), log.take(STDERR)) == (b"", b"")


def test_each_gets_its_own(log: Log) -> None:
    os.write(log.out, b"o1\n")
    os.write(log.err, b"e1\n")
    assert (log.take(STDERR), log.take(STDOUT)) == (b"e1\n", b"o1\n")
    os.write(log.err, b"e2\n")
    os.write(log.err, b"e3\n")
    os.write(log.out, b"o2\n")
    assert (log.take(STDOUT), log.take(STDERR)) == (b"o2\n", b"e2\ne3\n")


def test_to_and_fro_between_two_looks_loses_nothing(log: Log) -> None:
    for number in range(100):
        os.write(log.out, b"o%d\n" % number)
        os.write(log.err, b"e%d\n" % number)
    out, err = log.take(STDOUT), log.take(STDERR)
    assert sorted((out + err).split()) == sorted(f"{w}{n}".encode() for w in "oe" for n in range(100))
    assert err == b"e99\n"


def test_what_came_by_another_way_is_shown_at_the_second_look(log: Log) -> None:
    with log.path.open("ab") as other:
        other.write(b"x\n")
    assert log.take(STDOUT) == b""
    assert log.source.unsure
    assert log.take(STDOUT) == b"x\n"
    with log.path.open("ab") as other:
        other.write(b"y\n")
    assert log.take(STDOUT, over=True) == b"y\n"


@pytest.mark.parametrize("runtime", ["process", "sandbox", "oci"])
async def test_both_outputs_of_a_container(runtime: str, tmp_path: Path) -> None:
    """Its last words, too, when nobody is left to ask."""
    gate = {"name": "gate", "hostPath": {"path": str(tmp_path)}}
    words = "; ".join(f"while [ ! -e /gate/{n} ]; do sleep 0.02; done; echo o{n}; echo e{n} >&2" for n in (1, 2))
    container = {"volumeMounts": [{"name": "gate", "mountPath": "/gate"}]}
    async with node(runtime, tmp_path / "node") as here:
        agent = await here.start()
        key = await here.create(a_pod(words, volumes=[gate], container=container))
        await here.until(key, lambda pod: phase(pod) == "Running")
        options = RemoteOptions(container="c", streams=frozenset({STDOUT, STDERR}))
        session = agent.stream_source.attach(await here.client.get(PODS, key), options)
        for n in (1, 2):
            (tmp_path / str(n)).touch()
            said = tuple(await asyncio.gather(session.read(STDOUT), session.read(STDERR)))
            assert said == (b"o%d\n" % n, b"e%d\n" % n)
        assert tuple(await asyncio.gather(session.read(STDOUT), session.read(STDERR))) == (b"", b"")
        session.close()


@pytest.mark.parametrize("runtime", ["process", "sandbox", "oci"])
async def test_the_terminal_of_a_container(runtime: str, tmp_path: Path) -> None:
    """Both of its ends are terminals, and it has the size of the one who is attached."""
    container = {"stdin": True, "tty": True}
    script = "test -t 0 && test -t 1 && while read x; do stty size; done"
    async with node(runtime, tmp_path / "node") as here:
        agent = await here.start()
        key = await here.create(a_pod(script, container=container))
        await here.until(key, lambda pod: phase(pod) == "Running")
        options = RemoteOptions(container="c", streams=frozenset({STDIN, STDOUT}), tty=True)
        session = agent.stream_source.attach(await here.client.get(PODS, key), options)
        session.resize(columns=101, rows=33)
        said = b""
        async with asyncio.timeout(DEADLINE):
            while b"33 101" not in said:  # the terminals of runtimes like crun follow each other a moment later
                await session.write(b"x\n")
                said += await session.read(STDOUT)
            await session.write(b"\x04")
            while await session.read(STDOUT):
                pass
        session.close()


@pytest.mark.parametrize("tty", [False, True])
async def test_more_input_than_the_command_takes_yet(tty: bool, tmp_path: Path) -> None:
    """Who gives it waits, and nothing is lost."""
    script = "[ ! -t 0 ] || stty raw -echo; echo ready; sleep 0.5; head -c 600000 | wc -c"
    async with node("process", tmp_path / "node") as here:
        agent = await here.start()
        key = await here.create(a_pod(script, container={"stdin": True, "tty": tty}))
        await here.until(key, lambda pod: phase(pod) == "Running")
        options = RemoteOptions(container="c", streams=frozenset({STDIN, STDOUT}), tty=tty)
        async with here.client.logs(key, follow="true") as chunks:
            assert await anext(aiter(chunks)) == b"ready\n"
        session = agent.stream_source.attach(await here.client.get(PODS, key), options)
        async with asyncio.timeout(DEADLINE), asyncio.TaskGroup() as tasks:
            tasks.create_task(session.write(b"x" * 600_000))
            said = b""
            while b"600000" not in said:
                data = await session.read(STDOUT)
                assert data, said
                said += data
        session.close()
