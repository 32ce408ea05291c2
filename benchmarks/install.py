"""What a user pays before anything runs: megabytes on disk, the first answer, an idle cluster."""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from benchmarks._rows import Row, median_seconds

TIPHYS = Path(sysconfig.get_path("scripts")) / "tiphys"
IDLE_SECONDS = 10


def rows() -> Iterator[Row]:
    yield Row("installed size", "MB", installed_megabytes("tiphys"), bar=60, aim=50)
    yield Row("tiphys --help", "ms", 1000 * median_seconds(show_help, repeat=11), bar=150, aim=80)
    yield from idle()


def installed_megabytes(name: str) -> float:
    """The distribution and all that it requires on this system, by their RECORDs; our own files from src."""
    package = Path(__file__).parents[1] / "src" / "tiphys"
    ours = sum(file.stat().st_size for file in package.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    return (ours + sum(map(distribution_bytes, required(name) - {name}))) / 1e6


def required(name: str) -> set[str]:
    """Names of ``name`` and everything below it (extras left out)."""
    from packaging.requirements import Requirement

    seen: set[str] = set()
    todo = [name]
    while todo:
        current = re.sub(r"[-_.]+", "-", todo.pop()).lower()
        if current in seen:
            continue
        seen.add(current)
        for line in metadata.requires(current) or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                todo.append(requirement.name)
    return seen


def distribution_bytes(name: str) -> int:
    files = metadata.files(name) or []
    paths = [Path(str(file.locate())) for file in files if "__pycache__" not in str(file)]
    return sum(path.stat().st_size for path in paths if path.is_file())


def show_help() -> None:
    subprocess.run([TIPHYS, "--help"], check=True, stdout=subprocess.DEVNULL)


def idle() -> Iterator[Row]:
    """Memory and processor time of ``tiphys up`` with nothing to do, and how long it takes to be Ready."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        command = [
            TIPHYS,
            "up",
            "--data-dir",
            folder,
            "--listen",
            "127.0.0.1:0",
            "--kubeconfig",
            f"{folder}/kubeconfig",
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
            try:
                assert server.stdout is not None
                ready = next((line for line in server.stdout if "Ready" in line), None)
                if ready is None:
                    raise RuntimeError("tiphys up ended before it was Ready")
                yield Row("tiphys up: Ready", "s", time.perf_counter() - began, bar=2, aim=1)
                time.sleep(2)  # a start's last work is not idling
                before = cpu_seconds(server.pid)
                sizes = []
                for _ in range(IDLE_SECONDS):
                    time.sleep(1)
                    sizes.append(resident_megabytes(server.pid))
                used = cpu_seconds(server.pid) - before
            finally:
                server.terminate()
    yield Row("tiphys up: idle memory", "MB", statistics.median(sizes), bar=150, aim=80)
    yield Row("tiphys up: idle processor", "% of one", 100 * used / IDLE_SECONDS, bar=1, aim=0.2)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process (ps, so that macOS works as well)."""
    text = subprocess.run(["ps", "-o", "time=", "-p", str(pid)], check=True, capture_output=True, text=True).stdout
    stat = Path(f"/proc/{pid}/stat")
    if stat.is_file():  # ps rounds to seconds on Linux
        fields = stat.read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100
    *hours, minutes, seconds = text.strip().replace("-", ":").split(":")
    return sum(int(part) * 3600 for part in hours) + int(minutes) * 60 + float(seconds)


def resident_megabytes(pid: int) -> float:
    text = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], check=True, capture_output=True, text=True).stdout
    return int(text) * 1024 / 1e6


if __name__ == "__main__":
    for row in rows():
        print(row.as_json(), file=sys.stdout)
