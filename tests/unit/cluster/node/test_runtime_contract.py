"""The same promises, kept by every runtime that works on this machine (others are skipped, saying why)."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from tests.unit.cluster.node.engine_service import TEST_IMAGE
from tiphys.cluster.node.runtime import (
    Container,
    Identity,
    Launch,
    Mount,
    Runtime,
    RuntimeUnusable,
    StartFailure,
    choose,
)
from tiphys.cluster.node.runtimes import shim
from tiphys.cluster.node.runtimes.engine import EngineRuntime
from tiphys.cluster.node.runtimes.oci import OciRuntime
from tiphys.cluster.node.runtimes.process import ProcessRuntime
from tiphys.cluster.node.runtimes.sandbox import SandboxRuntime
from tiphys.machinery.podlife import Exit

MAKERS: dict[str, Callable[[Path], Runtime]] = {
    "engine": EngineRuntime,
    "crun": partial(OciRuntime, programs=("crun",)),
    "runc": partial(OciRuntime, programs=("runc",)),
    "process": ProcessRuntime,
    "sandbox": SandboxRuntime,
}
DEADLINE = 10.0


@pytest.fixture(params=sorted(MAKERS))
async def runtime(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Runtime]:
    if request.param == "engine":
        engine = request.getfixturevalue("engine_socket")
        made: Runtime = EngineRuntime(tmp_path / "shared", engine)
    else:
        made = MAKERS[request.param](tmp_path / "shared")
    try:
        await choose([made], tmp_path / "probe")
    except RuntimeUnusable as err:
        pytest.skip(str(err))
    yield made
    made.discard("uid", tmp_path / "pod")


async def another(request: pytest.FixtureRequest, directory: Path) -> Runtime:
    """The same runtime in the hands of another agent."""
    kind = request.node.callspec.params["runtime"]
    made = MAKERS[kind](directory)
    if kind == "engine":
        made = EngineRuntime(directory, request.getfixturevalue("engine_socket"))
    await choose([made], directory / "probe")
    return made


@pytest.fixture
def pod(tmp_path: Path) -> Path:
    place = tmp_path / "pod"
    place.mkdir()
    return place


def launch(runtime: Runtime, pod: Path, /, *argv: str, attempt: int = 0, **more: object) -> Launch:
    if runtime.name == "engine":  # it has no programs but its images'
        more.setdefault("pod", {"spec": {"containers": [{"name": "main", "image": TEST_IMAGE}]}})
    env = {**runtime.base_env, **more.pop("env", {})}  # type: ignore[dict-item]
    return Launch("uid", "main", attempt, pod / f"main.{attempt}", argv, env, hostname="pod-1", **more)  # type: ignore[arg-type]


async def end_of(container: Container) -> Exit:
    return await asyncio.wait_for(asyncio.shield(container.ended), DEADLINE)


def output(runtime: Runtime, life: Launch) -> str:
    return "".join(f.read_text() for f in runtime.log_files(life.place) if f.exists())


@pytest.mark.parametrize("code", [0, 1, 42, 255])
async def test_exit_codes_come_through(runtime: Runtime, pod: Path, code: int) -> None:
    end = await end_of(runtime.start(launch(runtime, pod, "sh", "-c", f"exit {code}")))
    assert end.code == code
    assert end.started_at <= end.finished_at


async def test_output_goes_to_the_log_in_order(runtime: Runtime, pod: Path) -> None:
    life = launch(runtime, pod, "sh", "-c", "echo one; echo two >&2; echo three")
    await end_of(runtime.start(life))
    if runtime.isolated:  # two pipes, read apart as a kubelet's
        lines = output(runtime, life).split()
        assert sorted(lines) == ["one", "three", "two"]
        assert lines.index("one") < lines.index("three")
        return
    assert output(runtime, life) == "one\ntwo\nthree\n"


@pytest.mark.parametrize("user", [None, 1000])
@pytest.mark.parametrize("apart", [False, True])
async def test_outputs_may_be_opened_anew(runtime: Runtime, pod: Path, user: int | None, apart: bool) -> None:
    """By their names or by way of process 1, as tee and hooks do; nothing that was written before is cut off."""
    has_pipes(runtime)
    if user and runtime.same_users and os.geteuid() != 0:
        pytest.skip("a plain user has no other users to give")
    again = "echo b > /dev/stderr; echo c | tee /dev/stderr; echo d > /proc/1/fd/1; echo e > /dev/stdout"
    life = launch(
        runtime, pod, "sh", "-c", f"echo a; {again}; seq 3000", split_output=apart, identity=Identity(user, user)
    )
    assert (await end_of(runtime.start(life))).code == 0
    out, err = ["a", "c", "d", "e", *map(str, range(1, 3001))], ["b", "c"]
    if apart:
        assert [f.read_text().split() for f in runtime.log_files(life.place)] == [out, err]
    else:
        assert sorted(output(runtime, life).split()) == sorted(out + err)


async def test_a_log_that_takes_no_more_does_not_end_the_container(runtime: Runtime, pod: Path) -> None:
    """As on a full disk; much more comes than a pipe holds."""
    has_pipes(runtime)
    life = launch(runtime, pod, "sh", "-c", "seq 100000 && exit 3")
    os.symlink("/dev/full", f"{life.place}.log")
    assert (await end_of(runtime.start(life))).code == 3


async def test_standard_output_can_be_kept_apart(runtime: Runtime, pod: Path) -> None:
    life = launch(runtime, pod, "sh", "-c", "echo out; echo err >&2", split_output=True)
    await end_of(runtime.start(life))
    assert [f.read_text() for f in runtime.log_files(life.place)] == ["out\n", "err\n"]


async def test_environment_arguments_and_directory(runtime: Runtime, pod: Path, tmp_path: Path) -> None:
    script = 'echo "$GREETING"; env | grep -c "^OLDPWD="; pwd; printf "%s|" "$@"'
    life = launch(runtime, pod, "sh", "-c", script, "x", "a b", "", "c'd", env={"GREETING": "hei $HOME"}, cwd="/usr")
    await end_of(runtime.start(life))
    assert output(runtime, life) == "hei $HOME\n0\n/usr\na b||c'd|"


async def test_a_program_that_is_not_there(runtime: Runtime, pod: Path) -> None:
    if runtime.name == "engine":  # which is asked, and answers later
        end = await end_of(runtime.start(launch(runtime, pod, "no-such-thing")))
        assert (end.code, end.reason) == (128, "StartError") and "executable file" in end.message
        return
    with pytest.raises(StartFailure, match=r'exec: "no-such-thing": executable file not found in \$PATH'):
        runtime.start(launch(runtime, pod, "no-such-thing"))
    with pytest.raises(StartFailure, match="no such file or directory"):
        runtime.start(launch(runtime, pod, "/no/such/thing"))
    with pytest.raises(StartFailure, match="permission denied"):
        runtime.start(launch(runtime, pod, "/usr"))


async def test_arguments_that_no_kernel_takes(runtime: Runtime, pod: Path) -> None:
    try:
        end = await end_of(runtime.start(launch(runtime, pod, "sh", "-c", "true", "x" * (4 << 20))))
        code, reason, message = end.code, end.reason, end.message
    except StartFailure as err:  # a runtime may know before it begins
        code, reason, message = err.code, err.reason, str(err)
    assert (code, reason) == (128, "StartError")
    assert "rgument list too long" in message


async def test_signals_that_come_at_once(runtime: Runtime, pod: Path) -> None:
    container = runtime.start(launch(runtime, pod, "sleep", "1000"))
    container.signal(signal.SIGKILL)
    assert (await end_of(container)).code == 137


async def test_a_polite_request_to_end(runtime: Runtime, pod: Path) -> None:
    life = launch(runtime, pod, "sh", "-c", "trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.02; done")
    container = runtime.start(life)
    await until(lambda: output(runtime, life) == "up\n")
    container.signal(signal.SIGTERM)
    assert (await end_of(container)).code == 7
    assert output(runtime, life).endswith("bye\n")


async def test_kill_is_137_and_takes_the_children(runtime: Runtime, pod: Path) -> None:
    life = launch(runtime, pod, "sh", "-c", "trap '' TERM; sleep 1000 & echo up; wait; wait")
    container = runtime.start(life)
    await until(lambda: output(runtime, life) == "up\n")
    container.signal(signal.SIGTERM)
    container.signal(signal.SIGKILL)
    assert (await end_of(container)).code == 137
    await until(lambda: not running_with(f"{life.place}.life"))


async def test_what_is_left_of_the_group_ends_with_the_container(runtime: Runtime, pod: Path, tmp_path: Path) -> None:
    seconds = f"1234.{os.getpid()}"  # which nobody else on this machine sleeps
    life = launch(runtime, pod, "sh", "-c", f"sleep {seconds} & exit 3")
    assert (await end_of(runtime.start(life))).code == 3
    await until(lambda: not running_with(seconds))


async def test_a_life_is_started_once(runtime: Runtime, pod: Path) -> None:
    life = launch(runtime, pod, "sh", "-c", "echo ran")
    first, second = runtime.start(life), runtime.start(life)
    assert (await end_of(first)).code == (await end_of(second)).code == 0
    assert (await end_of(runtime.start(life))).code == 0
    assert output(runtime, life) == "ran\n"


async def test_an_ended_life_is_found_again(runtime: Runtime, pod: Path) -> None:
    end = await end_of(runtime.start(launch(runtime, pod, "sh", "-c", "exit 5")))
    (found,) = runtime.adopt("uid", pod)
    assert (found.name, found.attempt) == ("main", 0)
    again = await end_of(found)
    assert (again.code, again.finished_at) == (5, end.finished_at)


async def test_a_running_life_is_adopted(request: pytest.FixtureRequest, runtime: Runtime, pod: Path) -> None:
    life = launch(runtime, pod, "sh", "-c", "echo up; while ! test -e /data/go; do sleep 0.01; done; exit 9")
    data = pod / "data"
    data.mkdir()
    if not runtime.isolated:
        script = f"echo up; while ! test -e {data}/go; do sleep 0.01; done; exit 9"
        life = launch(runtime, pod, "sh", "-c", script)
    else:
        life = launch(runtime, pod, *life.argv, mounts=(Mount(data, "/data"),))
    runtime.start(life)
    await until(lambda: output(runtime, life) == "up\n")
    (found,) = (await another(request, pod.parent / "other-agent")).adopt("uid", pod)
    assert not found.ended.done()
    (data / "go").touch()
    assert (await end_of(found)).code == 9


async def test_of_lives_that_follow_each_other_the_last_two_are_kept(runtime: Runtime, pod: Path) -> None:
    if runtime.name != "engine":
        pytest.skip("the agent takes earlier lives away itself")
    for attempt in range(4):
        await end_of(runtime.start(launch(runtime, pod, "sh", "-c", "true", attempt=attempt)))
    assert [life.attempt for life in runtime.adopt("uid", pod)] == [2, 3]


async def test_a_signal_that_comes_at_once_is_the_commands_and_nobody_elses(runtime: Runtime, pod: Path) -> None:
    """Process 1, which ignores what it does not handle, goes on; so does what prepares it."""
    if not runtime.isolated:
        pytest.skip("a process of this machine ends")
    container = runtime.start(launch(runtime, pod, "sh", "-c", "sleep 0.3; echo done"))
    container.signal(signal.SIGTERM)
    assert (await end_of(container)).code == 0
    assert output(runtime, launch(runtime, pod)) == "done\n"


async def test_a_claimed_life_without_a_process_was_killed(runtime: Runtime, pod: Path) -> None:
    has_shells(runtime)
    (pod / "main.0.life").write_text("4194300 -\n")
    (found,) = runtime.adopt("uid", pod)
    assert (await end_of(found)).code == 137


async def test_a_late_shell_finds_its_life_taken(runtime: Runtime, pod: Path) -> None:
    """The agent was killed between starting the shell and the shell's claim; the new agent starts the life too."""
    has_shells(runtime)
    life = launch(runtime, pod, "sh", "-c", "echo ran")
    command = [shim.SHELL, "-c", shim.SCRIPT, "tiphys", f"{life.place}.life", "/", "-", "022", "sh", "-c", "echo late"]
    assert (await end_of(runtime.start(life))).code == 0
    late = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, start_new_session=True)
    said, _ = await late.communicate()
    assert (late.returncode, said, output(runtime, life)) == (0, b"", "ran\n")


def test_what_a_command_leaves_behind_ends_with_its_life(tmp_path: Path) -> None:
    """Also when no agent is there: nobody here but the shell."""
    place, left = tmp_path / "main.0", "(trap '' TERM; exec sleep 600) & exit 3"
    command = [shim.SHELL, "-c", shim.SCRIPT, "tiphys", f"{place}.life", "/", "-", "022", "sh", "-c", left]
    subprocess.run(
        command, stdout=subprocess.PIPE, start_new_session=True, timeout=60
    )  # until nobody can write any more
    record = shim.read_life(place)
    assert record is not None and record.code == 3


async def test_mounts_are_seen_and_written(runtime: Runtime, pod: Path, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "in").write_text("given")
    target = str(tmp_path / "mounted" / "here") if not runtime.isolated else "/mounted/here"
    script = f"cat {target}/in; echo made > {target}/out"
    life = launch(runtime, pod, "sh", "-c", script, mounts=(Mount(volume, target),))
    await end_of(runtime.start(life))
    assert output(runtime, life) == "given"
    assert (volume / "out").read_text() == "made\n"
    assert runtime.host_path(life, f"{target}/out") is not None
    runtime.discard("uid", pod)
    assert not Path(target).parent.exists() or runtime.isolated


async def test_files_outside_mounts_can_be_collected(runtime: Runtime, pod: Path, tmp_path: Path) -> None:
    target = "/tmp/made-by-container" if runtime.isolated else str(tmp_path / "made")
    life = launch(runtime, pod, "sh", "-c", f"echo content > {target}")
    await end_of(runtime.start(life))
    place = runtime.host_path(life, target)
    assert place is not None and place.read_text() == "content\n"


LOCAL = Path("/usr/local/bin")
CAT = Path(shutil.which("cat") or "/bin/cat").resolve()


@pytest.mark.skipif(not LOCAL.is_dir(), reason="this machine has no /usr/local/bin")
async def test_scripts_name_the_programs_of_the_image_where_it_has_them(
    runtime: Runtime, pod: Path, tmp_path: Path
) -> None:
    """In /usr/local/bin, which is this machine's; what it has there itself stays."""
    if runtime.name in ("engine", "process"):
        pytest.skip("its containers have another machine's, or exactly this machine's, /usr/local/bin")
    own = tmp_path / "interpreter"
    own.write_text("#!/bin/sh\necho interpreted\n")
    own.chmod(0o755)
    programs = {"/usr/local/bin/interpreter": own, "/usr/local/bin/show": CAT}
    script = "printf '#!/usr/local/bin/show\nshown' > /tmp/x; chmod +x /tmp/x; /tmp/x; /usr/local/bin/interpreter; "
    script += "cd /usr/local/bin; for name in *; do test -e $name && echo $name; done; command -v show"
    life = launch(runtime, pod, "sh", "-c", script, programs=programs)
    assert (await end_of(runtime.start(life))).code == 0
    head, *rest, place = output(runtime, life).splitlines()
    assert (head, rest[0], place) == ("#!/usr/local/bin/show", "showninterpreted", "/usr/local/bin/show")
    assert {"interpreter", "show"} <= set(rest[1:]) <= {"interpreter", "show", *os.listdir(LOCAL)}


async def test_programs_of_the_image_are_found(runtime: Runtime, pod: Path, tmp_path: Path) -> None:
    if runtime.name == "engine":
        pytest.skip("an engine's containers have their image's programs, not this machine's")
    program = tmp_path / "greet-program"
    program.write_text("#!/bin/sh\necho greetings from $1\n")
    program.chmod(0o755)
    programs = {"/greet": program, "/usr/local/bin/greet": program}
    commands = (["/greet", "a"], ["greet", "b"], ["sh", "-c", "greet c"], ["/usr/local/bin/greet", "d"])
    for attempt, argv in enumerate(commands):
        life = launch(runtime, pod, *argv, attempt=attempt, programs=programs)
        assert (await end_of(runtime.start(life))).code == 0
        assert output(runtime, life) == f"greetings from {argv[-1][-1]}\n"


async def test_a_hundred_at_once(runtime: Runtime, pod: Path) -> None:
    count = 10 if runtime.name == "engine" else 100  # it takes a good part of a second for each
    made = (launch(runtime, pod, "sh", "-c", f"exit {n % 7}", attempt=n) for n in range(count))
    lives = [replace(life, pod_uid=f"uid-{life.attempt}") for life in made]
    ends = await asyncio.gather(*(end_of(runtime.start(life)) for life in lives))
    assert [end.code for end in ends] == [n % 7 for n in range(count)]
    for life in lives:
        runtime.discard(life.pod_uid, pod)


async def test_discard_ends_what_runs(runtime: Runtime, pod: Path) -> None:
    container = runtime.start(launch(runtime, pod, "sleep", "1000.25"))
    if runtime.name != "engine":
        await until((pod / "main.0.life").exists)
    runtime.discard("uid", pod)
    assert (await end_of(container)).code == 137


def has_shells(runtime: Runtime) -> None:
    if runtime.name == "engine":
        pytest.skip("the engine itself sees to it that a life is started once")


def has_pipes(runtime: Runtime) -> None:
    if runtime.name not in ("oci", "sandbox"):
        pytest.skip("outputs are files, or an engine's pipes")


async def until(claim: Callable[[], bool]) -> None:
    """Yields to the world until the claim holds; what is waited for has no event of its own."""
    async with asyncio.timeout(DEADLINE):
        while not claim():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def running_with(word: str) -> bool:
    """Whether a process names ``word`` in its arguments."""
    if sys.platform != "linux":
        return False
    for place in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (place / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if word.encode() in arguments:
            return True
    return False
