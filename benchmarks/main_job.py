"""The main job against its floors: the same commands, run by the least that can run them (``_floors.py``).

Every step really starts ``true`` under the process runtime, with the store on disk. The embedded cluster is started
before the clock, as the floors' Python is; the row "clean state to Succeeded" pays for all of that.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import _floors as floors
from benchmarks._rows import Row

TIPHYS = Path(sysconfig.get_path("scripts")) / "tiphys"
COMMAND = ["true"]
FAN_OUT = 1000
AT_ONCE = 8
ONE_STEP_WORKFLOWS = 300
REPEAT = 3

Dag = Mapping[str, Sequence[str]]


def rows() -> Iterator[Row]:
    chain, diamond = floors.chain(100), floors.diamond(10, 10)
    yield against(
        "chain of 100 steps, of F2F", dag_workflow(chain), lambda: floors.f2f_seconds(COMMAND, chain), bar=5, aim=2
    )
    yield against(
        f"fan-out {FAN_OUT} at parallelism {AT_ONCE}, of xargs",
        fan_out_workflow(),
        lambda: floors.xargs_seconds(COMMAND, FAN_OUT, AT_ONCE),
        bar=6,
        aim=2.5,
    )
    yield against(
        "diamond 10×10, of F2F", dag_workflow(diamond), lambda: floors.f2f_seconds(COMMAND, diamond), bar=5, aim=2
    )
    yield Row("clean state to hello-world Succeeded", "s", hello_world_seconds(), bar=1.5, aim=0.5)
    yield one_step_workflows()


def against(name: str, workflow: dict[str, Any], floor: Callable[[], float], bar: float, aim: float) -> Row:
    """Both sides in turns, so that what else the machine does falls on both."""
    ours, theirs = [], []
    for _ in range(REPEAT):
        theirs.append(floor())
        ours.append(asyncio.run(seconds_of([workflow])))
    return Row(name, "s", statistics.median(ours), bar, aim, floor=statistics.median(theirs))


def one_step_workflows() -> Row:
    """All submitted at once; the floor is the bare commands, one after another."""
    workflows = [workflow({"container": container()}) for _ in range(ONE_STEP_WORKFLOWS)]
    rates = [ONE_STEP_WORKFLOWS / asyncio.run(seconds_of(workflows)) for _ in range(REPEAT)]
    return Row("one-step workflows", "per s", statistics.median(rates), bar=100, aim=400, more_is_better=True)


async def seconds_of(workflows: Sequence[dict[str, Any]]) -> float:
    """From submitting to the last one Succeeded."""
    from tiphys.app.follow import follow
    from tiphys.app.local import LocalCluster
    from tiphys.app.settings import Settings
    from tiphys.machinery.resources import WORKFLOWS, key_of

    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(runtime="process", data_dir=Path(folder))
        async with LocalCluster.start(settings) as cluster:
            began = time.perf_counter()
            made = await asyncio.gather(*(cluster.client.create(WORKFLOWS, each) for each in workflows))
            phases = {}
            async for state in follow(cluster.client, [key_of(each) for each in made]):
                phases[key_of(state)] = state.get("status", {}).get("phase")
            took = time.perf_counter() - began
    if set(phases.values()) != {"Succeeded"}:
        raise RuntimeError(f"a workflow of the benchmark ended {phases}")
    return took


def hello_world_seconds() -> float:
    """``tiphys run`` with nothing there before: process start, cluster, run, end."""
    import json

    timings = []
    for _ in range(5):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "hello.json"
            hello = workflow({"container": {"image": "busybox", "command": ["echo"], "args": ["hello world"]}})
            file.write_text(json.dumps(hello))
            began = time.perf_counter()
            subprocess.run(
                [TIPHYS, "run", file, "--runtime", "process"],
                check=True,
                capture_output=True,
                env=os.environ | {"HOME": folder, "XDG_STATE_HOME": folder},
            )
            timings.append(time.perf_counter() - began)
    return statistics.median(timings)


def dag_workflow(dag: Dag) -> dict[str, Any]:
    tasks = [{"name": name, "template": "step", "dependencies": list(before)} for name, before in dag.items()]
    return workflow({"dag": {"tasks": tasks}}, {"name": "step", "container": container()})


def fan_out_workflow() -> dict[str, Any]:
    loop = {"name": "each", "template": "step", "withSequence": {"count": str(FAN_OUT)}}
    return workflow({"steps": [[loop]], "parallelism": AT_ONCE}, {"name": "step", "container": container()})


def container() -> dict[str, Any]:
    return {"image": "busybox", "command": COMMAND}


def workflow(main: dict[str, Any], *templates: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"generateName": "bench-", "namespace": "default"},
        "spec": {"entrypoint": "main", "templates": [{"name": "main", **main}, *templates]},
    }


if __name__ == "__main__":
    for row in rows():
        print(row.as_json())
