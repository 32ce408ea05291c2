"""What the agent watches with the kernel's help, it watches without where the kernel has no more to give."""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tiphys.cluster.node.changes import FileChanges
from tiphys.cluster.node.runtimes.exits import ExitWatch

DEADLINE = 60.0


@contextmanager
def no_more_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def a_sleeper(*, child: bool) -> int:
    """The number of a process that ends soon: ours, or nobody's here."""
    if child:
        return os.posix_spawnp("sleep", ["sleep", "0.2"], os.environ)
    return int(subprocess.check_output(["sh", "-c", "sleep 0.2 >/dev/null & echo $!"]))


@pytest.mark.parametrize("child", [True, False])
async def test_ends_are_noticed_though_no_file_can_be_opened(child: bool) -> None:
    gone, watch, pid = asyncio.Event(), ExitWatch(), a_sleeper(child=child)
    with no_more_files():
        watch.add(pid, gone.set, child=child)
        await asyncio.wait_for(gone.wait(), DEADLINE)
    watch.close()


async def test_a_file_is_followed_whose_directory_cannot_be_watched_yet(tmp_path: Path) -> None:
    changes = FileChanges()
    with changes.watch([tmp_path / "later/file"]) as changed:
        (tmp_path / "later").mkdir()
        (tmp_path / "later/file").write_text("x")
        await asyncio.wait_for(changed.wait(), DEADLINE)
    changes.close()
