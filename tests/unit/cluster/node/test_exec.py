"""Commands in running containers: the same promises, kept by every runtime that works on this machine."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.cluster.node.test_runtime_contract import DEADLINE, end_of, launch, pod, runtime, until
from tiphys.cluster.node.runtime import (
    STDERR,
    STDOUT,
    Command,
    Container,
    Identity,
    Launch,
    Runtime,
    Session,
    StartFailure,
    finish,
)

__all__ = ["pod", "runtime"]

FOREVER = ("sh", "-c", "echo up; while :; do sleep 1000; done")


@contextlib.asynccontextmanager
async def living(runtime: Runtime, pod: Path, *argv: str, **more: object) -> AsyncIterator[tuple[Container, Launch]]:
    life = launch(runtime, pod, *(argv or FOREVER), **more)  # type: ignore[arg-type]
    container = runtime.start(life)
    log = runtime.log_files(life.place)[0]
    await until(lambda: log.exists() and log.stat().st_size > 0)
    try:
        yield container, life
    finally:
        container.signal(9)
        await end_of(container)


async def text_of(session: Session, stream: int) -> str:
    said = b""
    while chunk := await session.read(stream):
        said += chunk
    return said.decode()


async def ran(session: Session) -> tuple[int, str]:
    async with asyncio.timeout(DEADLINE):
        code, said = await finish(session)
    return code, said.decode()


async def test_environment_directory_and_exit_code(runtime: Runtime, pod: Path) -> None:
    async with living(runtime, pod, env={"GREETING": "hei", "odd.name": "x"}, cwd="/usr") as (container, life):
        command = Command(("sh", "-c", 'echo "$GREETING $0"; pwd; exit 42', "a b"))
        assert await ran(runtime.exec(container, life, command)) == (42, "hei a b\n/usr\n")
        assert (await ran(runtime.exec(container, life, Command(("env",)))))[1].count("odd.name=x") == 1


async def test_outputs_are_apart_and_input_ends(runtime: Runtime, pod: Path) -> None:
    async with living(runtime, pod) as (container, life), asyncio.timeout(DEADLINE):
        session = runtime.exec(container, life, Command(("sh", "-c", "cat; echo done >&2"), stdin=True))
        await session.write(b"one\n")
        assert await session.read(STDOUT) == b"one\n"
        session.close_input()
        assert await text_of(session, STDERR) == "done\n"
        assert await session.ended == 0
        session.close()


async def test_much_data_both_ways(runtime: Runtime, pod: Path) -> None:
    data = bytes(range(256)) * 8192
    async with living(runtime, pod) as (container, life), asyncio.timeout(DEADLINE):
        session = runtime.exec(container, life, Command(("cat",), stdin=True))

        async def feed() -> None:
            await session.write(data)
            session.close_input()

        feeding = asyncio.create_task(feed())
        said = b""
        while chunk := await session.read(STDOUT):
            said += chunk
        await feeding
        assert said == data
        session.close()


async def test_a_terminal_with_a_size(runtime: Runtime, pod: Path) -> None:
    if runtime.name == "engine":
        pytest.skip("the engine's program takes the terminal a moment after it began: a size given before is lost")
    async with living(runtime, pod) as (container, life), asyncio.timeout(DEADLINE):
        script = "tty; read x; stty size </dev/tty; test -t 1; exit $?"
        session = runtime.exec(container, life, Command(("sh", "-c", script), stdin=True, tty=True))
        assert (await session.read(STDOUT)).startswith(b"/dev/pts/")
        session.resize(columns=101, rows=33)
        await session.write(b"\n")
        assert "33 101\r\n" in await text_of(session, STDOUT)
        assert await session.ended == 0
        session.close()


async def test_an_interrupt_typed_at_the_terminal(runtime: Runtime, pod: Path) -> None:
    if runtime.name == "engine":
        pytest.skip(
            "the engine's program takes the terminal a moment after it began: what is typed before is echoed twice"
        )
    async with living(runtime, pod) as (container, life), asyncio.timeout(DEADLINE):
        session = runtime.exec(container, life, Command(("cat",), stdin=True, tty=True))
        await session.write(b"x\n")
        said = b""
        while said != b"x\r\nx\r\n":  # the terminal's echo, and the command's
            said += await session.read(STDOUT)
        await session.write(b"\x03")
        assert await asyncio.shield(session.ended) == 130
        session.close()


async def test_what_runs_in_the_background_holds_nobody_up(runtime: Runtime, pod: Path) -> None:
    async with living(runtime, pod) as (container, life):
        assert await ran(runtime.exec(container, life, Command(("sh", "-c", "sleep 77 & echo x")))) == (0, "x\n")


async def test_a_closed_session_is_killed(runtime: Runtime, pod: Path) -> None:
    async with living(runtime, pod) as (container, life), asyncio.timeout(DEADLINE):
        session = runtime.exec(container, life, Command(("sh", "-c", "echo up; sleep 1000")))
        await session.read(STDOUT)
        session.close()
        session.close()
        assert await session.ended == 137
        assert not container.ended.done()


async def test_a_command_ends_with_its_container(runtime: Runtime, pod: Path) -> None:
    async with living(runtime, pod) as (container, life), asyncio.timeout(DEADLINE):
        session = runtime.exec(container, life, Command(("sh", "-c", "echo up; sleep 1000")))
        await session.read(STDOUT)
        container.signal(9)
        assert await session.ended == 137
        await end_of(container)
        with pytest.raises(StartFailure, match="container not found"):
            runtime.exec(container, life, Command(("true",)))
        session.close()


async def test_a_program_of_the_image_by_its_place(runtime: Runtime, pod: Path, tmp_path: Path) -> None:
    if runtime.name == "engine":
        pytest.skip("an engine's containers have their image's programs, not this machine's")
    program = tmp_path / "greet-program"
    program.write_text("#!/bin/sh\necho greetings\n")
    program.chmod(0o755)
    place = "/usr/local/bin/greet"
    async with living(runtime, pod, programs={place: program}) as (container, life):
        assert await ran(runtime.exec(container, life, Command((place,)))) == (0, "greetings\n")


async def test_programs_that_are_not_there(runtime: Runtime, pod: Path) -> None:
    async with living(runtime, pod) as (container, life):
        with pytest.raises(StartFailure, match=r'^OCI runtime exec failed: .* exec: "nope": executable file not found'):
            runtime.exec(container, life, Command(("nope",)))
        with pytest.raises(StartFailure, match="stat /no/such: no such file or directory"):
            runtime.exec(container, life, Command(("/no/such",)))


async def test_no_more_rights_than_the_container(runtime: Runtime, pod: Path) -> None:
    if not runtime.isolated:
        pytest.skip("only isolated runtimes take rights away")
    shape = "grep -E '^(Uid|Gid|Cap(Inh|Prm|Eff|Bnd)|NoNewPrivs|Seccomp|Seccomp_filters):' /proc/self/status"
    for identity in (Identity(), Identity(uid=1000, gid=2000)):
        script = f"{shape}; id -u; ls -di /proc/self/ns/* | grep -o '/ns/.*'; echo up; exec sleep 1000"
        async with living(runtime, pod, "sh", "-c", script, attempt=identity.uid or 0, identity=identity) as both:
            container, life = both
            log = runtime.log_files(life.place)[0]
            await until(lambda log=log: "up\n" in log.read_text())  # type: ignore[misc]
            code, said = await ran(runtime.exec(container, life, Command(("sh", "-c", f"{shape}; id -u"))))
            assert code == 0, (said, log.read_text())
            assert log.read_text().startswith(said), said
            code, said = await ran(runtime.exec(container, life, Command(("sh", "-c", "mount -t tmpfs x /tmp"))))
            assert code != 0
            assert "ermi" in said or "superuser" in said


async def test_the_same_files_and_processes(runtime: Runtime, pod: Path) -> None:
    async with living(runtime, pod) as (container, life):
        if runtime.isolated:
            assert (await ran(runtime.exec(container, life, Command(("sh", "-c", "cat /proc/1/comm")))))[1] == "sh\n"
            await ran(runtime.exec(container, life, Command(("sh", "-c", "echo kept > /tmp/f; echo x > /root/f"))))
            command = Command(("sh", "-c", "cat /tmp/f; hostname"))
            assert (await ran(runtime.exec(container, life, command)))[1] == "kept\npod-1\n"
