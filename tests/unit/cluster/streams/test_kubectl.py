"""exec, attach, cp, logs, port-forward and proxy with the kubectls of this machine, as their users see them.

One for each way of speaking; with TIPHYS_EVERY_KUBECTL=1 every one there is.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import re
import struct
import termios
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from tests.unit.cluster.streams.harness import DEADLINE, Cluster, cluster, kubectls

KUBECTLS = kubectls(every=bool(os.environ.get("TIPHYS_EVERY_KUBECTL")))
pytestmark = pytest.mark.skipif(not KUBECTLS, reason="there is no kubectl here")


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with cluster("sandbox", tmp_path) as made:
        await made.pod("p")
        yield made


@pytest.fixture(params=KUBECTLS or ["none"], ids=os.path.basename)
def kubectl(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_exec(running: Cluster, kubectl: str) -> None:
    ran = await running.kubectl(kubectl, "exec", "p", "--", "sh", "-c", "echo out; echo err >&2; exit 42")
    assert (ran.code, ran.out, ran.err) == (42, "out\n", "err\ncommand terminated with exit code 42\n")
    fed = await running.kubectl(kubectl, "exec", "-i", "p", "--", "sh", "-c", "cat; echo end", stdin=b"one\ntwo\n")
    assert (fed.code, fed.out, fed.err) == (0, "one\ntwo\nend\n", "")


async def test_exec_of_what_is_not_there(running: Cluster, kubectl: str) -> None:
    missing = await running.kubectl(kubectl, "exec", "p", "--", "no-such-program")
    assert missing.code == 1
    assert re.fullmatch(
        r"error: Internal error occurred: (Internal error occurred: )?error executing command in container: failed to"
        r' exec in container: failed to start exec "[0-9a-f]{64}": OCI runtime exec failed: exec failed: unable to'
        r' start container process: exec: "no-such-program": executable file not found in \$PATH\n',
        missing.err,
    )
    wrong = await running.kubectl(kubectl, "exec", "p", "-c", "nope", "--", "true")
    assert (wrong.code, wrong.err) == (1, "Error from server (BadRequest): container nope is not valid for pod p\n")
    nobody = await running.kubectl(kubectl, "exec", "nobody", "--", "true")
    assert (nobody.code, nobody.err) == (1, 'Error from server (NotFound): pods "nobody" not found\n')


async def test_exec_at_a_terminal(running: Cluster, kubectl: str) -> None:
    script = "tty; read line; echo got-$line; stty size; exit 3"
    words = [kubectl, "exec", "-it", "p", "--", "sh", "-c", script]
    code, said = await _at_terminal(running, words, b"hello\n", b"/dev/pts/", b"24 80")
    assert code == 3
    assert b"got-hello" in said


async def _at_terminal(
    running: Cluster, words: list[str], typed: bytes, before: bytes, after: bytes
) -> tuple[int, bytes]:
    """Runs kubectl at a terminal of its own; types once ``before`` was said and waits for ``after`` and the end."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = {**os.environ, "KUBECONFIG": str(running.kubeconfig), "HOME": str(running.kubeconfig.parent)}
    process = await asyncio.create_subprocess_exec(
        *words, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True
    )
    os.close(slave)
    said, loop = b"", asyncio.get_running_loop()
    try:
        async with asyncio.timeout(DEADLINE):
            while before not in said:
                said += await loop.run_in_executor(None, os.read, master, 4096)
            os.write(master, typed)
            while after not in said:
                said += await loop.run_in_executor(None, os.read, master, 4096)
            return await process.wait(), said
    finally:
        os.close(master)


async def test_cp_both_ways(running: Cluster, kubectl: str, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "in").write_text("indata\n")
    (folder / "big").write_bytes(os.urandom(3 << 20))
    there = await running.kubectl(kubectl, "cp", str(folder), "p:/tmp/d")
    assert (there.code, there.err) == (0, "")
    seen = await running.kubectl(kubectl, "exec", "p", "--", "sh", "-c", "cat /tmp/d/in; wc -c </tmp/d/big")
    assert seen.out.split() == ["indata", str(3 << 20)]
    back = await running.kubectl(kubectl, "cp", "p:/tmp/d/big", str(tmp_path / "back"))
    assert back.code == 0, back
    assert (tmp_path / "back").read_bytes() == (folder / "big").read_bytes()


async def test_attach(running: Cluster, kubectl: str) -> None:
    script = "n=0; while ! test -e /tmp/go; do n=$((n+1)); echo $n; sleep 0.05; done; echo last; exit 3"
    await running.pod("talks", {"name": "c", "image": "busybox", "command": ["sh", "-c", script]})
    process = await running.begin(kubectl, "attach", "talks")
    assert process.stdout is not None
    async with asyncio.timeout(DEADLINE):
        first = int(await process.stdout.readline())
        await running.kubectl(kubectl, "exec", "talks", "--", "touch", "/tmp/go")
        out, _ = await process.communicate()
    *numbers, last = out.decode().split()
    assert (process.returncode, last) == (0, "last")
    assert [int(n) for n in numbers] == [first + 1 + n for n in range(len(numbers))]


async def test_attach_with_input(running: Cluster, kubectl: str) -> None:
    once = {"name": "c", "image": "busybox", "command": ["sh", "-c", "cat; echo eof"], "stdin": True, "stdinOnce": True}
    await running.pod("reads", once, restart="Never")
    ran = await running.kubectl(kubectl, "attach", "reads", "-i", stdin=b"hello\nworld\n")
    assert (ran.code, ran.out) == (0, "hello\nworld\neof\n")
    assert (await running.kubectl(kubectl, "logs", "reads")).out == "hello\nworld\neof\n"


async def test_run_at_a_terminal(running: Cluster, kubectl: str) -> None:
    words = ("run", "shell", "-it", "--rm", "--restart=Never", "--image=busybox", "--", "sh", "-c")
    script = "test -t 0 && read line && stty size && echo got-$line"
    code, said = await _at_terminal(running, [kubectl, *words, script], b"hello\n", b"pressing enter", b"got-hello")
    assert code == 0, said
    assert b"24 80" in said


async def test_logs_follow(running: Cluster, kubectl: str) -> None:
    await running.pod("talks", {"name": "c", "image": "busybox", "command": ["sh", "-c", "echo a; sleep 0.3; echo b"]})
    ran = await running.kubectl(kubectl, "logs", "-f", "talks")
    assert (ran.code, ran.out) == (0, "a\nb\n")


async def test_port_forward(running: Cluster, kubectl: str) -> None:
    answering = await asyncio.start_server(_echo_upper, "127.0.0.1", 0)
    port = answering.sockets[0].getsockname()[1]
    process = await running.begin(kubectl, "port-forward", "pod/p", f":{port}")
    assert process.stdout is not None
    try:
        async with asyncio.timeout(DEADLINE):
            line = (await process.stdout.readline()).decode()
            found = re.fullmatch(rf"Forwarding from 127\.0\.0\.1:(\d+) -> {port}\n", line)
            assert found, line
            answers = await asyncio.gather(*(_ask(int(found[1]), b"x%d" % n * 20_000) for n in range(8)))
            assert answers == [b"X%d" % n * 20_000 for n in range(8)]
    finally:
        process.terminate()
        await process.communicate()
        answering.close()


async def test_port_forward_to_nobody(running: Cluster, kubectl: str) -> None:
    process = await running.begin(kubectl, "port-forward", "pod/p", ":9")
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async with asyncio.timeout(DEADLINE):
            line = (await process.stdout.readline()).decode()
            assert await _ask(int(line.split(":")[1].split()[0]), b"x") == b""
            assert b"error forwarding port 9 to pod" in await process.stderr.readline()
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


async def test_proxy(running: Cluster, kubectl: str) -> None:
    async def page(request: web.BaseRequest) -> web.Response:
        assert "Authorization" not in request.headers
        if request.path == "/moved":
            return web.Response(status=302, headers={"Location": "/there"})
        return web.Response(text=f"{request.method} {request.rel_url.raw_path}?{request.query_string}")

    runner = web.ServerRunner(web.Server(page))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        place = f"/api/v1/namespaces/default/pods/p:{runner.addresses[0][1]}/proxy"
        ran = await running.kubectl(kubectl, "get", "--raw", f"{place}/a/b/?x=1&y=2")
        assert (ran.code, ran.out) == (0, "GET /a/b/?x=1&y=2")
        nobody = await running.kubectl(kubectl, "get", "--raw", "/api/v1/namespaces/default/pods/p:9/proxy/")
        assert nobody.err.startswith("Error from server (ServiceUnavailable): error trying to reach service: ")
    finally:
        await runner.cleanup()


async def _echo_upper(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write((await reader.read(-1)).upper())
    await writer.drain()
    writer.close()


async def _ask(port: int, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    writer.write_eof()
    try:
        return await reader.read(-1)
    except ConnectionError:
        return b""
    finally:
        writer.close()
