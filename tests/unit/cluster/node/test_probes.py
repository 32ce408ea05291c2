"""Probes: what rows of answers mean, and how questions are asked of real servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiphys.cluster.node import grpc_health
from tiphys.cluster.node.care import Nurse
from tiphys.cluster.node.lives import Life
from tiphys.cluster.node.prober import Asker, request_head
from tiphys.cluster.node.probes import Answer, Probe, Record, event_message, first_ask_seconds, probes_of
from tiphys.cluster.node.runtime import Launch, StartFailure
from tiphys.cluster.node.runtimes.process import ProcessRuntime
from tiphys.runtime.clock import SystemClock

ADDRESS = "127.0.0.1"
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def test_the_defaults_of_the_api() -> None:
    (probe,) = probes_of({"name": "c", "readinessProbe": {"exec": {"command": ["true"]}}})
    assert (probe.kind, probe.period_seconds, probe.timeout_seconds) == ("readiness", 10, 1)
    assert (probe.success_threshold, probe.failure_threshold, probe.grace_seconds) == (1, 3, None)


def test_a_verdict_needs_a_row_of_equal_answers() -> None:
    record = Record(Probe("readiness", {}, success_threshold=2, failure_threshold=3))
    answers = [Answer.SUCCESS, Answer.FAILURE, Answer.SUCCESS, Answer.WARNING]
    assert [record.add(answer) for answer in answers] == [False, False, False, True]
    assert record.verdict is True
    assert [record.add(Answer.FAILURE) for _ in range(3)] == [False, False, True]
    assert record.verdict is False


async def test_what_nobody_foresaw_is_told(tmp_path: Path) -> None:
    """It ends that probe, but not in silence."""

    class Home:
        pod: Mapping[str, Any] = {"metadata": {"name": "p", "namespace": "n"}}

        def __init__(self) -> None:
            self.told: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()

        def emit(self, kind: str, reason: str, message: str, container: str) -> None:
            raise AssertionError(message)

        def changed(self) -> None:
            raise ArithmeticError("a bug")

        def failed(self, err: BaseException) -> None:
            self.told.set_result(err)

    home, spec = Home(), {"name": "c", "lifecycle": {"postStart": {"sleep": {"seconds": 0}}}}
    runtime = ProcessRuntime(tmp_path)
    launch = Launch("u", "c", 0, tmp_path / "c.0", ("true",), {})
    container = runtime.start(launch)
    Nurse(home, runtime, SystemClock(), ADDRESS, 1.0).begin(spec, Life(), container, launch)
    assert str(await home.told) == "a bug"
    await container.ended


def test_a_question_without_an_answer_does_not_break_the_row() -> None:
    record = Record(Probe("liveness", {}, failure_threshold=2))
    assert [record.add(a) for a in (Answer.FAILURE, Answer.ERROR, Answer.FAILURE)] == [False, False, True]
    assert record.condemns


@given(answers=st.lists(st.sampled_from(list(Answer)), max_size=40), good=st.integers(1, 4), bad=st.integers(1, 4))
def test_verdicts_change_only_after_enough_equal_answers(answers: list[Answer], good: int, bad: int) -> None:
    record = Record(Probe("readiness", {}, success_threshold=good, failure_threshold=bad))
    plain: list[bool] = []
    for answer in answers:
        before = record.verdict
        record.add(answer)
        if answer is not Answer.ERROR:
            plain.append(answer is not Answer.FAILURE)
        if record.verdict is not before:
            needed = good if record.verdict else bad
            assert plain[-needed:] == [record.verdict] * needed


def test_only_readiness_leaves_the_container_alone() -> None:
    for kind, condemns in (("readiness", False), ("liveness", True), ("startup", True)):
        record = Record(Probe(kind, {}, failure_threshold=1))
        record.add(Answer.FAILURE)
        assert record.condemns is condemns


def test_the_first_question_waits_for_the_delay_that_is_left() -> None:
    probe = Probe("startup", {}, initial_delay_seconds=10)
    assert first_ask_seconds(probe, 4) == 6
    assert first_ask_seconds(probe, 30) == first_ask_seconds(Probe("startup", {}), 0) > 0


def test_the_words_of_events() -> None:
    probe = Probe("liveness", {})
    assert event_message(probe, Answer.FAILURE, "x") == ("Unhealthy", "Liveness probe failed: x")
    unknown = "Liveness probe errored and resulted in unknown state: x"
    assert event_message(probe, Answer.ERROR, "x") == ("Unhealthy", unknown)
    assert event_message(probe, Answer.SUCCESS, "") is None


def test_a_request_has_the_headers_of_a_kubelet() -> None:
    head = request_head("/p", "10.0.0.1:80", {"X-A": "1", "Host": "other"}).splitlines()
    assert head[:4] == ["GET /p HTTP/1.1", "Host: other", "User-Agent: kube-probe/1.35", "Accept: */*"]
    assert head[4:] == ["X-A: 1", "Connection: close", ""]


# Real questions.


async def nobody(_: Sequence[str]) -> tuple[int, bytes]:
    raise StartFailure("StartError", "cannot")


@asynccontextmanager
async def server(answer: Serve) -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answer(reader, writer)
        writer.close()

    made = await asyncio.start_server(serve, ADDRESS, 0)
    async with made:
        yield made.sockets[0].getsockname()[1]


def says(text: str) -> Serve:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(text.encode())
        await writer.drain()

    return answer


@pytest.mark.parametrize(
    ("text", "answer", "output"),
    [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Answer.SUCCESS, "ok"),
        ("HTTP/1.1 399 X\r\n\r\n", Answer.SUCCESS, ""),
        ("HTTP/1.1 404 X\r\n\r\n", Answer.FAILURE, "HTTP probe failed with statuscode: 404"),
        (
            "HTTP/1.1 302 Found\r\nLocation: http://example.invalid/\r\n\r\n",
            Answer.WARNING,
            "Probe terminated redirects, Response body: ",
        ),
    ],
)
async def test_http_answers(text: str, answer: Answer, output: str) -> None:
    async with server(says(text)) as port:
        assert await Asker(ADDRESS, nobody).ask({"httpGet": {"port": port}}, 5) == (answer, output)


async def test_a_named_port_is_looked_up() -> None:
    async with server(says("HTTP/1.1 200 OK\r\n\r\n")) as port:
        asker = Asker(ADDRESS, nobody, {"web": port})
        assert (await asker.ask({"httpGet": {"port": "web"}}, 5))[0] is Answer.SUCCESS
        assert (await asker.ask({"httpGet": {"port": "none"}}, 5))[0] is Answer.ERROR


async def test_a_server_that_says_nothing_is_late() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with server(silent) as port:
        answer, output = await Asker(ADDRESS, nobody).ask({"httpGet": {"port": port, "path": "x"}}, 0.05)
        assert (answer, "context deadline exceeded" in output) == (Answer.FAILURE, True)


async def test_a_refused_connection_in_gos_words() -> None:
    async with server(says("")) as port:
        pass
    assert await Asker(ADDRESS, nobody).ask({"tcpSocket": {"port": port}}, 1) == (
        Answer.FAILURE,
        f"dial tcp {ADDRESS}:{port}: connect: connection refused",
    )


async def test_a_command_that_cannot_be_run_is_asked_again_and_then_unknown() -> None:
    asked = []

    async def run(command: Sequence[str]) -> tuple[int, bytes]:
        asked.append(command)
        raise StartFailure("StartError", "no")

    answer, output = await Asker(ADDRESS, run).ask({"exec": {"command": ["/no"]}}, 1)
    assert (answer, len(asked), output.startswith("rpc error: code = Unknown")) == (Answer.ERROR, 3, True)


async def test_a_command_that_takes_too_long() -> None:
    async def run(_: Sequence[str]) -> tuple[int, bytes]:
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    answer = await Asker(ADDRESS, run).ask({"exec": {"command": ["sleep", "5"]}}, 0.01)
    assert answer == (Answer.FAILURE, 'command timed out: "sleep 5" timed out after 0.01s')


def health(status: int | None) -> Serve:
    """A gRPC server, as far as one answer goes."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(grpc_health.PREFACE))
        while True:
            head = await reader.readexactly(9)
            payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
            if head[3] == grpc_health.DATA:
                break
        assert payload[5:] == b"\x0a\x03svc"
        message = b"" if status is None else bytes([0, 0, 0, 0, 2, 8, status])
        kind = grpc_health.DATA if message else grpc_health.HEADERS
        writer.write(grpc_health._frame(grpc_health.SETTINGS, 0, 0, b""))
        writer.write(grpc_health._frame(kind, grpc_health.END_STREAM, 1, message))
        await writer.drain()

    return answer


@pytest.mark.parametrize(
    ("status", "healthy", "text"),
    [
        (1, True, ""),
        (2, False, '(responded with "NOT_SERVING")'),
        (None, False, "does not implement"),
    ],
)
async def test_grpc_health(status: int | None, healthy: bool, text: str) -> None:
    async with server(health(status)) as port:
        got, said = await grpc_health.check(ADDRESS, port, "svc", 5)
    assert (got, text in said) == (healthy, True)


async def test_an_endless_grpc_answer_is_refused() -> None:
    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        begin = bytes([0, 0xFF, 0xFF, 0xFF, 0xFF])
        while True:
            writer.write(grpc_health._frame(grpc_health.DATA, 0, 1, begin + bytes(1 << 16)))
            await writer.drain()

    async with server(flood) as port:
        assert "too long" in (await grpc_health.check(ADDRESS, port, "svc", 5))[1]
