"""The whole platform on the stage: API server, controller with engine, pods that a script ends; in virtual time.

Each size is measured in a process of its own: CPU from submitting to the end, and the peak of its memory. Flatness is
CPU per node as a ratio to that at 100 nodes. The run of 100,000 nodes takes minutes: ``make bench FULL=1``.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from benchmarks._rows import Row
from benchmarks.engine import chain, fan_out

SMALL, MIDDLE, LARGE, HUGE = 100, 1_000, 10_000, 100_000
WORKFLOWS_AT_ONCE, STEPS_EACH = 1_000, 10
FULL = bool(os.environ.get("TIPHYS_BENCH_FULL"))


class Measured(NamedTuple):
    """``cpu_seconds`` from submitting to the end of all; ``peak_mb`` of the whole process."""

    cpu_seconds: float
    peak_mb: float


def rows() -> Iterator[Row]:
    floor = min(measured("fan-out", SMALL).cpu_seconds for _ in range(3)) / SMALL * 1e3
    for size, bar, aim in ((MIDDLE, 1.3, 1.1), (LARGE, 1.3, 1.1), *([(HUGE, 1.6, 1.2)] if FULL else [])):
        found = measured("fan-out", size)
        cost = found.cpu_seconds / size * 1e3
        yield Row(f"stage: fan-out, CPU per node at {size}, of that at {SMALL}", "ms", cost, bar, aim, floor=floor)
        if size == MIDDLE:
            yield Row(f"stage: peak memory at fan-out {size}", "MB", found.peak_mb, 250, 120)
        if size == HUGE:
            yield Row(f"stage: peak memory at {size} nodes", "MB", found.peak_mb, 1_500, 1_000)
    many = measured("workflows", WORKFLOWS_AT_ONCE)
    nodes = WORKFLOWS_AT_ONCE * STEPS_EACH
    name = f"stage: {WORKFLOWS_AT_ONCE} workflows of {STEPS_EACH} steps at once, nodes per CPU second"
    yield Row(name, "1/s", nodes / many.cpu_seconds, 500, 1_500, more_is_better=True)


def measured(shape: str, size: int) -> Measured:
    """``size`` nodes of one workflow, or for "workflows" so many of them, in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.stage", shape, str(size)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return Measured(*json.loads(done.stdout))


def play(shape: str, size: int) -> Measured:
    """Runs it here."""
    from tiphys.app.compose import World
    from tiphys.app.local import LocalCluster
    from tiphys.app.settings import Settings
    from tiphys.testing.stage import Script, run_on_stage, stage

    specs = [fan_out(size)] if shape == "fan-out" else [chain(STEPS_EACH)] * size

    async def job(world: World) -> float:
        async with LocalCluster.start(Settings(), node=stage(Script()), world=world) as cluster:
            began = time.process_time()
            await finish(cluster.client, specs)
            return time.process_time() - began

    spent = run_on_stage(job)
    return Measured(spent, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


async def finish(client: Any, specs: Sequence[Any]) -> None:
    """Submits and waits for the end of all; raises RuntimeError where one does not succeed."""
    from tiphys.app.follow import is_finished
    from tiphys.machinery.resources import WORKFLOWS, key_of

    async def submit(number: int, spec: Any) -> Any:
        meta = {"name": f"wf-{number}", "namespace": "default"}
        body = {"apiVersion": WORKFLOWS.api_version, "kind": "Workflow", "metadata": meta, "spec": spec}
        return key_of(await client.create(WORKFLOWS, body))

    async with client.watch(WORKFLOWS, resourceVersion="0") as events:
        waiting = set(await asyncio.gather(*(submit(number, spec) for number, spec in enumerate(specs))))
        async for event in events:
            if is_finished(event.object):
                waiting.discard(key_of(event.object))
                if event.object["status"]["phase"] != "Succeeded":
                    raise RuntimeError(f"a workflow of the benchmark ended {event.object['status']['phase']}")
            if not waiting:
                return


if __name__ == "__main__":
    print(json.dumps(play(sys.argv[1], int(sys.argv[2]))))
