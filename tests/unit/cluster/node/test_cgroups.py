"""Control groups of version 2: over directories that play the kernel's files, and over a real one if there is any.

What is true of both versions is tried by really limiting containers (``test_oci.py``, ``test_resizing.py``).
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tiphys.cluster.node import cgroups
from tiphys.cluster.node.cgroups import Group, Hierarchies, Limits, find_in, hierarchies

ALL = "cpu memory pids\n"


def a_group(place: Path, *, processes: str = "", handed: str = ALL, kind: str = "domain") -> Path:
    """A directory with the files that the kernel makes in each group but the top one."""
    place.mkdir(parents=True, exist_ok=True)
    for name, text in (("procs", processes), ("subtree_control", handed), ("type", kind)):
        (place / f"cgroup.{name}").write_text(text)
    return place


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A hierarchy's top, which has processes and no type."""
    (tmp_path / "cgroup.procs").write_text("1\n2\n")
    (tmp_path / "cgroup.subtree_control").write_text(ALL)
    return tmp_path


def found(top: Path, own: str) -> cgroups.Cgroups:
    return find_in(Hierarchies({}, top), {"": own})


def test_groups_are_made_beside_our_own(top: Path) -> None:
    """As systemd has it: our own has processes, and so can have no groups with controllers below."""
    a_group(top / "app.slice/ours.scope", processes="77\n", handed="")
    home = a_group(a_group(top / "app.slice") / "tiphys")
    groups = found(top, "/app.slice/ours.scope")
    assert (groups.homes, groups.missing, groups.unified) == (dict.fromkeys(("memory", "cpu", "pids"), home), (), True)


def test_at_the_top_processes_are_in_nobodys_way(top: Path) -> None:
    home = a_group(top / "tiphys")
    assert set(found(top, "/").homes.values()) == {home}


def test_a_group_with_processes_hands_nothing_down(top: Path) -> None:
    """The top of a container's view: cpu and pids could be had, and then no group below could be entered."""
    a_group(top, processes="1\n", handed="")
    groups = found(top, "/")
    assert groups.missing == cgroups.CONTROLLERS
    assert (top / "cgroup.subtree_control").read_text() == ""
    assert not (top / "tiphys").exists()


def test_in_a_threaded_domain_there_are_no_limits(top: Path) -> None:
    a_group(top / "tiphys", kind="domain invalid")
    assert found(top, "/").missing == cgroups.CONTROLLERS


def test_what_is_not_handed_down_yet_is_asked_for(top: Path) -> None:
    home = a_group(top / "tiphys", handed="memory cpu\n")
    (top / "cgroup.subtree_control").write_text("memory cpu\n")
    found(top, "/")
    assert (top / "cgroup.subtree_control").read_text() == (home / "cgroup.subtree_control").read_text() == "+pids"


def test_what_does_not_arrive_is_missing(top: Path) -> None:
    """A plain file forgets what it held, where the kernel adds."""
    a_group(top / "tiphys", handed="memory cpu\n")
    assert "memory" in found(top, "/").missing


def test_limits_are_written_in_the_words_of_version_2(top: Path) -> None:
    home = a_group(top / "tiphys")
    groups = found(top, "/")
    group = groups.make(Path("/pods/u/c.0"), Limits(memory_bytes=64 << 20, cpu=0.5, cpu_request=0.25, pids=100))
    (place,) = set(group.places.values())
    assert place.parent == home
    assert {file.name: file.read_text() for file in place.iterdir()} == {
        "memory.max": str(64 << 20),
        "memory.swap.max": "0",
        "memory.oom.group": "1",
        "cpu.max": "50000 100000",
        "cpu.weight": "10",
        "pids.max": "100",
    }
    assert group.entries == [place / "cgroup.procs"]
    assert groups.find(Path("/pods/u/c.0")).places == group.places


@pytest.mark.parametrize(("events", "killed"), [("low 0\noom 1\noom_kill 1\n", True), ("oom_kill 0\n", False)])
def test_the_kernels_hand_is_seen(tmp_path: Path, events: str, killed: bool) -> None:
    (tmp_path / "memory.events").write_text(events)
    (tmp_path / "memory.current").write_text("4096\n")
    group = Group({"memory": tmp_path}, unified=True)
    assert (group.out_of_memory(), group.memory_bytes) == (killed, 4096)


def test_all_of_a_group_is_ended_by_one_word(tmp_path: Path) -> None:
    (tmp_path / "cgroup.kill").touch()
    (tmp_path / "cgroup.procs").touch()
    Group({"memory": tmp_path, "pids": tmp_path}, unified=True).kill()
    assert (tmp_path / "cgroup.kill").read_text() == "1"


@pytest.fixture
def real() -> Iterator[Path]:
    """A group of a real hierarchy of version 2, whether it has any controllers or not."""
    try:
        top = hierarchies(Path("/proc/self/mounts").read_text()).unified
        assert top is not None
        place = top / f"tiphys-test-{os.getpid()}"
        place.mkdir()
    except (OSError, AssertionError):
        pytest.skip("no hierarchy of version 2 that can be written to")
    yield place
    place.rmdir()


def test_a_real_group_is_entered_ended_and_can_be_removed(real: Path) -> None:
    script = f"echo 0 > {real}/cgroup.procs && echo in; sleep 600 & sleep 600"
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout is not None
        assert started.stdout.readline() == "in\n"
        group = Group({"pids": real}, unified=True)
        assert started.pid in group.processes()
        group.kill()
        assert started.stdout.read() == ""  # until nobody can write any more
    assert started.returncode == -signal.SIGKILL
    assert group.processes() == []
