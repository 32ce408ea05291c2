"""What crun and runc keep from a container, what they limit, and what is left when somebody is killed."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from tests.unit.cluster.node.test_runtime_contract import end_of, launch, output, running_with, until
from tiphys.cluster.node.identity import identity_of
from tiphys.cluster.node.layered import LayeredRoot
from tiphys.cluster.node.runtime import Identity, Mount, RuntimeUnusable, choose
from tiphys.cluster.node.runtimes import shim
from tiphys.cluster.node.runtimes.oci import OciRuntime, first_process

CAP_MKNOD = 27


@pytest.fixture(params=["crun", "runc"])
async def oci(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OciRuntime]:
    made = OciRuntime(tmp_path / "shared", programs=(request.param,))
    try:
        await choose([made], tmp_path / "probe")
    except RuntimeUnusable as err:
        pytest.skip(str(err))
    (tmp_path / "pod").mkdir()
    yield made
    made.discard("uid", tmp_path / "pod")


def a_pod(**container: object) -> dict[str, object]:
    return {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "main", **container}]}}


async def run(oci: OciRuntime, tmp_path: Path, script: str, **more: object) -> str:
    life = launch(oci, tmp_path / "pod", "sh", "-c", script, **more)  # type: ignore[arg-type]
    await end_of(oci.start(life))
    return output(oci, life)


@pytest.mark.parametrize("place", ["/home", "/var/run", "/srv", "/opt", "/mnt", "/tmp"])
async def test_the_owners_places_are_empty(oci: OciRuntime, tmp_path: Path, place: str) -> None:
    assert await run(oci, tmp_path, f"ls -A {place}") == ""


async def test_it_is_process_one_and_sees_no_other(oci: OciRuntime, tmp_path: Path) -> None:
    said = await run(
        oci, tmp_path, "echo $$; ls /proc >/tmp/all; grep -c '^[0-9]' /tmp/all; hostname; cat /etc/hostname; echo $HOME"
    )
    assert said.splitlines() == ["1", "2", "pod-1", "pod-1", "/root"]


DEEDS = ["mount -t tmpfs none /mnt", "hostname other", "mknod /x b 254 0 && cat /x", "echo 1 > /proc/sys/kernel/panic"]


@pytest.mark.parametrize("deed", DEEDS)
async def test_no_power_over_the_machine(oci: OciRuntime, tmp_path: Path, deed: str) -> None:
    assert await run(oci, tmp_path, f"({deed}) 2>/dev/null; echo $?") != "0\n"


async def test_the_filter_of_the_runtime(oci: OciRuntime, tmp_path: Path) -> None:
    pod = a_pod(securityContext={"seccompProfile": {"type": "RuntimeDefault"}})
    who = Identity(no_new_privileges=True)
    script = "grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status; unshare -U true 2>/dev/null || echo refused"
    said = await run(oci, tmp_path, script, pod=pod, identity=who)
    assert said.split() == ["NoNewPrivs:", "1", "Seccomp:", "2", "refused"]


@pytest.mark.parametrize(
    ("context", "bounds"),
    [
        ({}, "00000000a80425fb"),
        ({"capabilities": {"drop": ["ALL"]}}, "0000000000000000"),
        ({"capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}}, "0000000000000400"),
        ({"capabilities": {"drop": ["MKNOD", "CAP_CHOWN"]}}, "00000000a00425fa"),
        ({"capabilities": {"add": ["NOT_A_CAP"]}}, "00000000a80425fb"),
    ],
)
async def test_capabilities(oci: OciRuntime, tmp_path: Path, context: dict[str, object], bounds: str) -> None:
    container = {"name": "main", "securityContext": context}
    who = identity_of(container, {"metadata": {"name": "p"}, "spec": {"containers": [container]}})
    said = await run(oci, tmp_path, "grep CapBnd /proc/self/status", identity=who)
    if os.geteuid() != 0:  # a plain user's containers make no devices
        bounds = f"{int(bounds, 16) & ~(1 << CAP_MKNOD):016x}"
    assert said.split()[1] == bounds


async def test_a_read_only_root(oci: OciRuntime, tmp_path: Path) -> None:
    said = await run(oci, tmp_path, "touch /x && echo written", read_only_root=True)
    assert "Read-only file system" in said


@pytest.mark.skipif(os.geteuid() != 0, reason="a plain user has no other users to give")
async def test_another_user(oci: OciRuntime, tmp_path: Path) -> None:
    who = Identity(uid=1000, gid=2000, groups=(3000,))
    assert await run(oci, tmp_path, "id -u; id -g; id -G", identity=who) == "1000\n2000\n2000 3000\n"


async def test_memory_that_is_used_up(oci: OciRuntime, tmp_path: Path) -> None:
    if "memory" in oci.unlimited:
        pytest.skip("no memory controller that could be used")
    pod = a_pod(resources={"limits": {"memory": "32Mi"}})
    end = await end_of(oci.start(launch(oci, tmp_path / "pod", "tail", "/dev/zero", pod=pod)))
    assert (end.code, end.reason) == (137, "OOMKilled")


async def test_a_fork_bomb_stays_its_own_trouble(oci: OciRuntime, tmp_path: Path) -> None:
    if "pids" in oci.unlimited:
        pytest.skip("no pids controller that could be used")
    life = launch(oci, tmp_path / "pod", "sh", "-c", "i=0; while [ $i -lt 9000 ]; do sleep 1000 & i=$((i+1)); done")
    end = await asyncio.wait_for(asyncio.shield(oci.start(life).ended), 60)
    assert end.code != 0 and "fork" in output(oci, life)


async def test_nothing_is_left_of_a_container_whose_keepers_were_killed(oci: OciRuntime, tmp_path: Path) -> None:
    seconds = f"4321.{os.getpid()}"  # which nobody else on this machine sleeps
    life = launch(oci, tmp_path / "pod", "sh", "-c", f"echo up; exec sleep {seconds}")
    container = oci.start(life)
    await until(lambda: output(oci, life) == "up\n")
    record = shim.read_life(life.place)
    assert record is not None
    os.killpg(record.pid, signal.SIGKILL)
    assert (await end_of(container)).code == 137
    await until(lambda: not running_with(seconds))
    oci.discard("uid", tmp_path / "pod")
    assert not any((tmp_path / "shared" / "oci").glob("uid*"))
    assert not mounted_below(tmp_path)


async def test_a_signal_before_there_is_a_process(oci: OciRuntime, tmp_path: Path) -> None:
    life = launch(oci, tmp_path / "pod", "sh", "-c", "trap 'exit 9' TERM; while :; do sleep 0.01; done")
    container = oci.start(life)
    container.signal(signal.SIGTERM)
    await until(lambda: first_process(life.place) is not None)
    for _ in range(100):  # the shell needs a moment to set its trap
        container.signal(signal.SIGTERM)
        if (await asyncio.wait([container.ended], timeout=0.05))[0]:
            break
    assert (await end_of(container)).code in (9, 143)


async def test_what_it_wrote_anywhere_can_be_collected(oci: OciRuntime, tmp_path: Path) -> None:
    script = "echo a > /top; mkdir /new; echo b > /new/f; echo c > /etc/more; ln -s /new /link; rm /etc/mtab"
    life = launch(oci, tmp_path / "pod", "sh", "-c", script)
    await end_of(oci.start(life))
    where = partial(oci.host_path, life)
    assert [(where(p) or Path()).read_text() for p in ("/top", "/new/f", "/link/f", "/etc/more")] == [
        "a\n",
        "b\n",
        "b\n",
        "c\n",
    ]
    etc = where("/etc")
    assert etc is not None and {"more", "passwd"} <= set(os.listdir(etc)) and "mtab" not in os.listdir(etc)


async def test_a_file_that_no_kernel_runs(oci: OciRuntime, tmp_path: Path) -> None:
    program = tmp_path / "junk"
    program.write_bytes(b"\x01\x02\x03")
    program.chmod(0o755)
    life = launch(oci, tmp_path / "pod", "/junk", mounts=(Mount(program, "/junk"),))
    assert (await end_of(oci.start(life))).code == 1
    assert output(oci, life) == "exec /junk: exec format error\n"


def test_layers_are_seen_as_the_kernel_shows_them(tmp_path: Path) -> None:
    lower, upper = tmp_path / "lower", tmp_path / "upper"
    (lower / "d").mkdir(parents=True)
    (lower / "d" / "old").write_text("old")
    (lower / "f").write_text("f")
    (lower / "away").symlink_to("../../../../d")
    (upper / "d").mkdir(parents=True)
    (upper / "d" / "new").write_text("new")
    root = LayeredRoot(lower, upper, tmp_path / "merged", [Mount(tmp_path / "volume", "/v")])
    assert root.resolve("/f") == lower / "f"
    assert root.resolve("/away/new") == upper / "d" / "new"
    assert root.resolve("/away/old") == lower / "d" / "old"
    assert sorted(os.listdir(root.resolve("/d") or "")) == ["new", "old"]
    assert root.resolve("/d/none") == upper / "d" / "none"
    assert root.resolve("/v/x") == tmp_path / "volume" / "x"
    (lower / "loop").symlink_to("loop")
    assert root.resolve("/loop") is None


def mounted_below(place: Path) -> bool:
    return str(place) in Path("/proc/self/mounts").read_text()
