"""What stands between containers' outputs and their logs: nothing is lost, and order is kept where it can be."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tiphys.cluster.node.runtimes.relay import DEAF_TO
from tiphys.cluster.node.runtimes.relaying import ERR_FD, OUT_FD, OVER_FD, Relays
from tiphys.cluster.node.runtimes.shim import ERR_MODE, OUT_MODE

DEADLINE = 60.0
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="runtimes with pipes are for Linux")


class Life:
    """A container's outputs as its program has them."""

    def __init__(self, relays: Relays, out: Path, err: Path) -> None:
        self.out, self.err = out, err
        with contextlib.ExitStack() as stack:
            actions = relays.pipes((str(out), OUT_MODE), (str(err), ERR_MODE), stack)
            ends = {there: os.dup(here) for there, here in actions if isinstance(here, int)}
        self.outputs = [ends[OUT_FD], ends[ERR_FD]]
        self._over = ends[OVER_FD]
        self._logs = [ends[1], ends[2]]

    def say(self, number: int, text: str) -> None:
        os.write(self.outputs[number - 1], text.encode())

    def end(self) -> str:
        """Everything that is in the log once the relay says that it is all."""
        for descriptor in self.outputs:
            os.close(descriptor)
        assert select.select([self._over], [], [], DEADLINE)[0]
        assert os.read(self._over, 1) == b""
        for descriptor in (self._over, *self._logs):
            os.close(descriptor)
        return self.out.read_text()


@pytest.fixture
def relays() -> Iterator[Relays]:
    made = Relays()
    yield made
    made.close()
    assert os.waitpid(made.pid, 0) == (made.pid, 0)  # nobody is left who could send


@pytest.fixture
def life(relays: Relays, tmp_path: Path) -> Life:
    return Life(relays, tmp_path / "log", tmp_path / "log")


def test_what_went_to_one_output_and_then_to_the_other_keeps_that_order(relays: Relays, life: Life) -> None:
    """However long it was busy elsewhere; lines that come in pieces stay whole."""
    life.say(1, "up\n")
    until(partial(holds, life.out, "up\n"))
    said = "up\n"
    for turn in ((1, 2), (2, 1), (2, 1), (1, 2)):
        with paused(relays.pid):
            for number in turn:
                life.say(number, f"{number}")
                life.say(number, f"{number}\n")
                said += f"{number}{number}\n"
        until(partial(holds, life.out, said))
    assert life.end() == said


def holds(log: Path, text: str) -> bool:
    return log.read_text() == text


def until(claim: Callable[[], bool]) -> None:
    """Files tell nobody when they grow; so they are looked at."""
    give_up = time.monotonic() + DEADLINE
    while not claim():
        assert time.monotonic() < give_up
        time.sleep(0.005)


@contextlib.contextmanager
def paused(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    os.waitpid(pid, os.WUNTRACED)
    yield
    os.kill(pid, signal.SIGCONT)


def test_it_is_deaf_to_polite_signals(relays: Relays, life: Life) -> None:
    life.say(1, "before\n")
    until(partial(holds, life.out, "before\n"))  # it has begun
    for number in DEAF_TO:
        os.kill(relays.pid, number)
    life.say(2, "after\n")
    assert life.end() == "before\nafter\n"


def test_nothing_is_lost_when_the_agent_is_gone(relays: Relays, life: Life) -> None:
    relays.close()
    life.say(1, "nobody started me\n")
    assert life.end() == "nobody started me\n"


def test_one_who_reads_its_own_output_holds_up_nobody_else(relays: Relays, life: Life, tmp_path: Path) -> None:
    thief = os.open(f"/proc/self/fd/{life.outputs[0]}", os.O_RDONLY)
    with paused(relays.pid):
        life.say(1, "stolen")
        assert os.read(thief, 6) == b"stolen"
    other = Life(relays, tmp_path / "a", tmp_path / "b")
    other.say(1, "x" * 60_000)
    other.say(1, "y" * 60_000)
    assert other.end() == "x" * 60_000 + "y" * 60_000
    os.close(thief)
    assert life.end() == ""


def test_outputs_can_be_kept_apart(relays: Relays, tmp_path: Path) -> None:
    life = Life(relays, tmp_path / "out", tmp_path / "err")
    life.say(1, "o")
    life.say(2, "e")
    assert (life.end(), life.err.read_text()) == ("o", "e")


def test_a_log_that_takes_nothing_holds_nobody_up(relays: Relays, tmp_path: Path) -> None:
    full, other = Life(relays, Path("/dev/full"), tmp_path / "err"), Life(relays, tmp_path / "a", tmp_path / "b")
    text = "x" * (1 << 20)
    writer = subprocess.Popen(["sh", "-c", "cat; exit 3"], stdin=subprocess.PIPE, stdout=full.outputs[0])
    writer.communicate(text.encode(), timeout=DEADLINE)
    assert writer.returncode == 3
    other.say(1, "still here")
    assert other.end() == "still here"
    for descriptor in full.outputs:
        os.close(descriptor)


def test_the_next_container_after_a_relay_was_killed_gets_a_new_one(relays: Relays, tmp_path: Path) -> None:
    first = Life(relays, tmp_path / "1", tmp_path / "1")
    dead = relays.pid
    os.kill(dead, signal.SIGKILL)
    os.waitid(os.P_PID, dead, os.WEXITED | os.WNOWAIT)
    with pytest.raises(BrokenPipeError):
        first.say(1, "x")
    second = Life(relays, tmp_path / "2", tmp_path / "2")
    second.say(1, "x")
    assert relays.pid != dead
    assert second.end() == "x"
