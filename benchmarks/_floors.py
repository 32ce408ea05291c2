"""The least that the job can cost, measured in the same run as tiphys, so that ratios mean the same on any machine.

    spawn      posix_spawn of the same commands, one after another
    xargs      ``xargs -P8`` of the same commands
    F2F        what a minimal DAG runner must do to be as durable as tiphys is: asyncio, one log file per step, one
               durable SQLite commit before a step starts and one after it ended

Nothing of tiphys is used here.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

Argv = Sequence[str]


def spawn_seconds(commands: Sequence[Argv]) -> float:
    began = time.perf_counter()
    for argv in commands:
        pid = os.posix_spawnp(argv[0], list(argv), os.environ)
        os.waitpid(pid, 0)
    return time.perf_counter() - began


def xargs_seconds(argv: Argv, times: int, at_once: int) -> float:
    lines = "\n".join(map(str, range(times))).encode()
    began = time.perf_counter()
    subprocess.run(["xargs", "-P", str(at_once), "-n", "1", *argv], input=lines, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def f2f_seconds(argv: Argv, dag: Mapping[str, Sequence[str]]) -> float:
    """Runs ``argv`` for every task of ``dag`` (task → the tasks it waits for)."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        asyncio.run(_F2F(Path(folder), argv, dag).run())
        return time.perf_counter() - began


class _F2F:
    def __init__(self, folder: Path, argv: Argv, dag: Mapping[str, Sequence[str]]) -> None:
        self._folder = folder
        self._argv = argv
        self._dag = dag
        self._ended = {task: asyncio.Event() for task in dag}
        self._db = sqlite3.connect(folder / "state.db", isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute("CREATE TABLE steps (name TEXT PRIMARY KEY, state TEXT, code INTEGER)")

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for task in self._dag:
                group.create_task(self._step(task))
        self._db.close()

    async def _step(self, task: str) -> None:
        for before in self._dag[task]:
            await self._ended[before].wait()
        self._db.execute("INSERT INTO steps VALUES (?, 'started', NULL)", (task,))
        with (self._folder / f"{task}.log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(*self._argv, stdout=log, stderr=log)
            code = await process.wait()
        self._db.execute("UPDATE steps SET state = 'ended', code = ? WHERE name = ?", (code, task))
        self._ended[task].set()


def chain(length: int) -> dict[str, list[str]]:
    return {f"t{n}": [f"t{n - 1}"] if n else [] for n in range(length)}


def diamond(width: int, depth: int) -> dict[str, list[str]]:
    """One task, then ``depth`` layers of ``width`` (each waits for the whole layer before), then one task."""
    dag: dict[str, list[str]] = {"first": []}
    layer = ["first"]
    for level in range(depth):
        names = [f"l{level}x{column}" for column in range(width)]
        dag.update((name, layer) for name in names)
        layer = names
    return dag | {"last": layer}
