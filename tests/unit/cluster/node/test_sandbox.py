"""What the sandbox keeps from a container: the owner's files, other processes, power over the machine."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from tests.unit.cluster.node.test_runtime_contract import end_of, launch, output, until
from tiphys.cluster.node.rootfs import PASSWD, resolve
from tiphys.cluster.node.runtime import Identity, Mount, RuntimeUnusable, choose
from tiphys.cluster.node.runtimes import seccomp
from tiphys.cluster.node.runtimes.sandbox import SandboxRuntime


@pytest.fixture
async def sandbox(tmp_path: Path) -> SandboxRuntime:
    made = SandboxRuntime(tmp_path / "shared")
    try:
        await choose([made], tmp_path / "probe")
    except RuntimeUnusable as err:
        pytest.skip(str(err))
    (tmp_path / "pod").mkdir()
    return made


async def run(sandbox: SandboxRuntime, tmp_path: Path, script: str, **more: object) -> str:
    life = launch(sandbox, tmp_path / "pod", "sh", "-c", script, **more)
    await end_of(sandbox.start(life))
    return output(sandbox, life)


@pytest.mark.parametrize("place", ["/root", "/home", "/var/run", "/srv", "/opt", "/mnt", "/tmp"])
async def test_the_owners_places_are_empty(sandbox: SandboxRuntime, tmp_path: Path, place: str) -> None:
    assert await run(sandbox, tmp_path, f"ls -A {place}") == ""


async def test_the_machines_secrets_are_not_there(sandbox: SandboxRuntime, tmp_path: Path) -> None:
    said = await run(sandbox, tmp_path, "cat /etc/shadow /etc/ssl/private/* /var/run/docker.sock 2>/dev/null; id -u")
    assert said == "0\n"


async def test_it_is_process_one_and_sees_no_other(sandbox: SandboxRuntime, tmp_path: Path) -> None:
    said = await run(sandbox, tmp_path, "echo $$; echo /proc/[0-9]*; hostname")
    assert said.splitlines() == ["1", "/proc/1", "pod-1"]


async def test_the_programs_cannot_be_changed(sandbox: SandboxRuntime, tmp_path: Path) -> None:
    assert "Read-only file system" in await run(sandbox, tmp_path, "touch /usr/bin/x")


@pytest.mark.parametrize("deed", ["unshare -U true", "mount -t tmpfs none /mnt", "hostname other", "mknod /x c 1 1"])
async def test_no_power_over_the_machine(sandbox: SandboxRuntime, tmp_path: Path, deed: str) -> None:
    assert await run(sandbox, tmp_path, f"{deed} 2>/dev/null; echo $?") != "0\n"


async def test_a_read_only_root(sandbox: SandboxRuntime, tmp_path: Path) -> None:
    said = await run(sandbox, tmp_path, "touch /x && echo written", read_only_root=True)
    assert "Read-only file system" in said


async def test_another_user(sandbox: SandboxRuntime, tmp_path: Path) -> None:
    who = Identity(uid=1000, gid=2000)
    assert await run(sandbox, tmp_path, "id -u; id -g", identity=who) == "1000\n2000\n"


async def test_mounts_below_programs_and_etc(sandbox: SandboxRuntime, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.mkdir()
    (config / "a").write_text("1")
    mounts = (Mount(config, "/etc/app"), Mount(config / "a", "/srv/deep/file", read_only=True))
    said = await run(sandbox, tmp_path, "cat /etc/app/a /srv/deep/file; touch /srv/deep/file 2>&1", mounts=mounts)
    assert said.startswith("11") and "Read-only" in said


async def test_term_reaches_process_one_only(sandbox: SandboxRuntime, tmp_path: Path) -> None:
    """Process 1 without a handler ignores SIGTERM, as in any container; the grace period ends it."""
    life = launch(sandbox, tmp_path / "pod", "sh", "-c", "echo up; exec sleep 1000")
    container = sandbox.start(life)
    await until(lambda: output(sandbox, life) == "up\n")
    container.signal(signal.SIGTERM)
    await asyncio.wait([container.ended], timeout=0.1)
    assert not container.ended.done()
    container.signal(signal.SIGKILL)
    assert (await end_of(container)).code == 137


async def test_term_ends_a_supervised_command(sandbox: SandboxRuntime, tmp_path: Path) -> None:
    """Steps of workflows run below a process of the runtime's, as they run below the original's emissary."""
    life = launch(sandbox, tmp_path / "pod", "sh", "-c", "echo $$; exec sleep 1000", supervised=True)
    container = sandbox.start(life)
    await until(lambda: output(sandbox, life) not in ("", "1\n"))
    container.signal(signal.SIGTERM)
    assert (await end_of(container)).code == 143


async def test_links_of_a_container_do_not_lead_out(sandbox: SandboxRuntime, tmp_path: Path) -> None:
    script = "ln -s /tmp/x /tmp/a; ln -s ../../../../../tmp /tmp/b; ln -s /etc/passwd /tmp/c; ln -s /root /tmp/d"
    life = launch(sandbox, tmp_path / "pod", "sh", "-c", script)
    await end_of(sandbox.start(life))
    (own,) = (tmp_path / "pod").glob("main.0.*-*")
    assert sandbox.host_path(life, "/tmp/a") == own / "tmp/x"
    assert sandbox.host_path(life, "/tmp/b/y") == own / "tmp/y"
    assert (sandbox.host_path(life, "/tmp/c") or Path()).read_text() == PASSWD
    assert sandbox.host_path(life, "/tmp/d/z") is None
    assert sandbox.host_path(life, "/proc/1/root/etc/passwd") is None


@pytest.mark.parametrize("path", ["/out", "/tmp/deep/out", "/work/out", "/usr/local/out", "/a/b/c/out"])
async def test_declared_places_can_be_collected(sandbox: SandboxRuntime, tmp_path: Path, path: str) -> None:
    script = f"mkdir -p $(dirname {path}) 2>/dev/null; echo content > {path}"
    life = launch(sandbox, tmp_path / "pod", "sh", "-c", script, kept=frozenset({path}))
    await end_of(sandbox.start(life))
    place = sandbox.host_path(life, path)
    assert place is not None and place.read_text() == "content\n"


async def test_the_termination_message(sandbox: SandboxRuntime, tmp_path: Path) -> None:
    life = launch(sandbox, tmp_path / "pod", "sh", "-c", "echo why > /dev/termination-log")
    await end_of(sandbox.start(life))
    place = sandbox.termination_message(life)
    assert place is not None and place.read_text() == "why\n"


def test_resolving_follows_mounts_and_counts_links(tmp_path: Path) -> None:
    root, volume = tmp_path / "root", tmp_path / "volume"
    root.mkdir()
    volume.mkdir()
    os.symlink("loop", root / "loop")
    os.symlink("/vol/x", root / "link")
    mounts = [Mount(root, "/"), Mount(volume, "/vol")]
    assert resolve(mounts, [], "/link") == volume / "x"
    assert resolve(mounts, [], "/vol/../vol/y") == volume / "y"
    assert resolve(mounts, [], "/../../z") == root / "z"
    assert resolve(mounts, [], "/loop") is None
    assert resolve([Mount(volume, "/usr")], [("/bin", "usr/bin")], "/bin/sh") == volume / "bin/sh"
    assert resolve([Mount(volume, "/usr")], [("/bin", "usr/bin")], "/etc/x") is None
    # a root of its own (outputs that lie right below /) gets the same links
    assert resolve([Mount(root, "/"), Mount(volume, "/usr")], [("/bin", "usr/bin")], "/bin/sh") == volume / "bin/sh"


@pytest.mark.parametrize("machine", ["x86_64", "aarch64", "riscv64"])
def test_the_filter_is_whole_instructions_and_ends_with_allow(machine: str) -> None:
    code = seccomp.program(machine)
    assert len(code) % 8 == 0 and code.endswith((0x7FFF0000).to_bytes(4, "little"))


async def test_own_places_beside_programs_hide_nothing(sandbox: SandboxRuntime, tmp_path: Path) -> None:
    """A step may have an artifact in /usr/local/bin or /bin, or leave an output in /etc: what is beside it stays."""
    tool = tmp_path / "tool"
    tool.write_text("#!/bin/sh\necho from the tool\n")
    tool.chmod(0o755)
    paths = frozenset(("/bin/tool", "/usr/local/bin/other", "/etc/made", "/usr/local/out"))
    mounts = (Mount(tool, "/bin/tool", read_only=False), Mount(tool, "/usr/local/bin/other", read_only=False))
    script = "tool > /etc/made && other && grep -q localhost /etc/hosts && ls /usr/share | grep -q . && cat /etc/passwd"
    more = {"kept": paths, "mounts": mounts}
    life = launch(sandbox, tmp_path / "pod", "sh", "-c", f"{script}; echo x > /usr/local/out", **more)
    await end_of(sandbox.start(life))
    said = output(sandbox, life)
    assert "from the tool" in said and "nobody" in said
    for path, text in (("/etc/made", "from the tool\n"), ("/usr/local/out", "x\n")):
        place = sandbox.host_path(life, path)
        assert place is not None and place.read_text() == text
