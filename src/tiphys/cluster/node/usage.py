"""What containers and the machine use: read from control groups where a container has one, else from /proc.

    processor   seconds so far; a tree of processes counts with those of its children that have ended
    memory      the working set: what could not be taken away without harm; of processes, their share (Pss)

One walk over /proc serves all containers of a reading. Nothing is read unless somebody asks (``metrics.py``).
"""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tiphys.cluster.node.cgroups import Group

PROC: Final = Path("/proc")
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
# Fields of /proc/PID/stat after the name: parent, utime to cstime, resident pages (proc_pid_stat(5), from field 3 on).
_PARENT, _TIMES, _RESIDENT = 1, slice(11, 15), 21


@dataclass(frozen=True, slots=True)
class Figure:
    """``cpu`` in seconds since the beginning, ``memory`` in bytes."""

    cpu: float
    memory: int


@dataclass(frozen=True, slots=True)
class Process:
    parent: int
    cpu: float
    resident: int


def processes(proc: Path = PROC) -> Mapping[int, Process]:
    """All processes of this machine."""
    found = {}
    for name in os.listdir(proc):
        if name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                found[int(name)] = parse_stat((proc / name / "stat").read_text(errors="replace"))
    return found


def parse_stat(text: str) -> Process:
    """From ``/proc/PID/stat``; the name in parentheses may hold anything."""
    words = text.rpartition(")")[2].split()
    ticks = sum(int(word) for word in words[_TIMES])
    return Process(int(words[_PARENT]), ticks / _TICKS, int(words[_RESIDENT]) * _PAGE)


def of_trees(roots: Mapping[str, int], found: Mapping[int, Process], proc: Path = PROC) -> Mapping[str, Figure]:
    """Key → what the process with this number and all below it use; without those that are gone."""
    children: defaultdict[int, list[int]] = defaultdict(list)
    for pid, process in found.items():
        children[process.parent].append(pid)
    figures = {}
    for key, root in roots.items():
        if root in found:
            members = list(_below(root, children))
            cpu = sum(found[pid].cpu for pid in members)
            figures[key] = Figure(cpu, sum(_share(proc, pid, found[pid].resident) for pid in members))
    return figures


def _below(root: int, children: Mapping[int, list[int]]) -> Iterable[int]:
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        yield pid
        waiting.extend(children.get(pid, ()))


def _share(proc: Path, pid: int, resident: int) -> int:
    """Pages that several processes share count once among them; where that cannot be read, what is resident."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in (proc / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return resident


def of_group(group: Group) -> tuple[float | None, int | None]:
    """(seconds of processor, bytes of working set) that a container's groups have counted; None: not counted."""
    cpu = memory = None
    place = group.places.get("cpu")
    if place is not None:
        with contextlib.suppress(OSError, ValueError, KeyError):
            if group.unified:
                cpu = _rows(place / "cpu.stat")["usage_usec"] / 1e6
            else:
                cpu = int((place / "cpuacct.usage").read_text()) / 1e9
    place = group.places.get("memory")
    if place is not None:
        with contextlib.suppress(OSError, ValueError):
            whole = int((place / ("memory.current" if group.unified else "memory.usage_in_bytes")).read_text())
            idle = _rows(place / "memory.stat").get("inactive_file" if group.unified else "total_inactive_file", 0)
            memory = max(0, whole - idle)
    return cpu, memory


def _rows(file: Path) -> Mapping[str, int]:
    return {name: int(value) for name, _, value in (line.partition(" ") for line in file.read_text().splitlines())}


def of_machine(proc: Path = PROC) -> Figure:
    """Of everything that runs here."""
    # user, nice, system, idle, iowait, irq, softirq, steal; guests are counted in user already.
    ticks = [int(word) for word in (proc / "stat").read_text().partition("\n")[0].split()[1:9]]
    rows = dict(line.split(":", 1) for line in (proc / "meminfo").read_text().splitlines())
    total, free = (int(rows[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    return Figure((sum(ticks) - ticks[3] - ticks[4]) / _TICKS, total - free)
