"""What end-to-end tests share."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def unmounted(tmp_path: Path) -> Iterator[None]:
    """Takes away the memory volumes of pods whose server was killed: nobody could remove the folder else."""
    yield
    mounts = Path("/proc/mounts")
    if mounts.exists():
        places = [line.split(" ")[1] for line in mounts.read_text(encoding="utf-8").splitlines()]
        for place in places:
            if place.startswith(f"{tmp_path}/"):
                subprocess.run(["umount", "-l", place], check=False)
