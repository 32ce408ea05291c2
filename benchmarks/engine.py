"""The workflow engine alone: decisions for workflows of many nodes, with the events of their pods played.

Each pod is seen twice (running, succeeded), in a decision of its own each time, which is the least that can be batched.
Flatness is the CPU per node at one size as a ratio to that at 100 nodes: an engine that looks at all nodes for every
event shows here.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from benchmarks._rows import Row
from tiphys.app.compose import GC_THRESHOLDS
from tiphys.machinery.actions import Create, Patch, Plan
from tiphys.workflows.observe import Changes
from tiphys.workflows.plan.engine import Run
from tiphys.workflows.settings import Settings

START = datetime(2026, 1, 1, tzinfo=UTC)
SMALL, SIZES = 100, {1_000: 1.3, 10_000: 1.3}
REPEAT = 3
Spec = Mapping[str, Any]


def rows() -> Iterator[Row]:
    for name, shape in (("fan-out", fan_out), ("layered DAG", layers), ("chain of steps", chain)):
        floor = per_node(shape, SMALL, repeat=9)
        for size, bar in SIZES.items():
            cost = per_node(shape, size, repeat=REPEAT if size <= 1_000 else 1)
            yield Row(f"engine: {name}, CPU per node at {size}, of that at {SMALL}", "ms", cost, bar, 1.1, floor=floor)
            if size == 1_000:
                yield Row(f"engine: {name}, nodes per second", "1/s", 1e3 / cost, 3_000, 6_000, more_is_better=True)


def per_node(shape: Callable[[int], Spec], nodes: int, repeat: int) -> float:
    """CPU milliseconds of the decisions for one node."""
    spec = shape(nodes)
    timings = []
    gc.set_threshold(*GC_THRESHOLDS)
    for _ in range(repeat):
        gc.collect()
        timings.append(play(spec, nodes) / nodes * 1e3)
    return statistics.median(timings)


def play(spec: Spec, nodes: int) -> float:
    """CPU seconds of all decisions for a workflow whose pods succeed one after another."""
    meta = {"name": "wf", "namespace": "default", "uid": "u", "resourceVersion": "1"}
    workflow = {"metadata": {**meta, "creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": spec}
    now, spent, ended = START, 0.0, 0
    began = time.process_time()
    run = Run.load(workflow, Settings(), Nothing())
    plan = run.decide(Changes(), now)
    spent += time.process_time() - began
    waiting, gone = deque(created(plan)), dict.fromkeys(released(plan))
    while waiting:
        pod = waiting.popleft()
        for phase in ("Running", "Succeeded"):
            seen = {**pod, "status": status(phase)}
            now += timedelta(milliseconds=10)
            began = time.process_time()
            plan = run.decide(Changes(pods={**gone, pod["metadata"]["name"]: seen}), now)
            spent += time.process_time() - began
            waiting.extend(created(plan))
            gone = dict.fromkeys(released(plan))
        ended += 1
    if run.phase != "Succeeded" or ended != nodes:
        raise RuntimeError(f"{run.phase} after {ended} of {nodes} pods")
    return spent


def created(plan: Plan) -> Iterator[dict[str, Any]]:
    return (dict(a.obj) for a in plan.actions if isinstance(a, Create) and a.resource.plural == "pods")


def released(plan: Plan) -> Iterator[str]:
    """Pods that are labelled as no longer needed: the controller does not see them again."""
    for action in plan.actions:
        if isinstance(action, Patch) and action.resource.plural == "pods":
            yield action.key.name


def status(phase: str) -> dict[str, Any]:
    if phase == "Running":
        return {"phase": phase, "containerStatuses": [{"name": "main", "state": {"running": {}}, "ready": True}]}
    state = {"terminated": {"exitCode": 0, "reason": "Completed"}}
    return {"phase": phase, "containerStatuses": [{"name": "main", "state": state}]}


class Nothing:
    """A cluster without other objects."""

    def workflow_template(self, name: str) -> None: ...

    def cluster_workflow_template(self, name: str) -> None: ...

    def config_map(self, name: str, namespace: str | None = None) -> None: ...

    def pod(self, name: str) -> None: ...

    def pods(self) -> list[Any]:
        return []

    def task_results(self) -> list[Any]:
        return []

    def namespace_labels(self) -> dict[str, str]:
        return {}

    def service_account(self, name: str) -> None: ...

    def executor_plugins(self, namespace: str) -> list[Any]:
        return []

    def last_success(self, label: str, value: str) -> str:
        return ""

    def seconds_taken(self, workflow: str, node_id: str = "") -> int:
        return 0


def fan_out(nodes: int) -> Spec:
    step = {"name": "one", "template": "work", "arguments": argument("{{item}}"), "withSequence": {"count": str(nodes)}}
    return workflow({"name": "main", "steps": [[step]]})


def layers(nodes: int, width: int = 10) -> Spec:
    """Layers of tasks, of which each needs two of the layer before."""
    tasks = []
    for index in range(nodes):
        layer, place = divmod(index, width)
        needed = [f"t{(layer - 1) * width + at}" for at in sorted({place, (place + 1) % width})] if layer else []
        tasks.append({"name": f"t{index}", "template": "work", "dependencies": needed, "arguments": argument(index)})
    return workflow({"name": "main", "dag": {"tasks": tasks}})


def chain(nodes: int) -> Spec:
    steps = [[{"name": f"s{index}", "template": "work", "arguments": argument(index)}] for index in range(nodes)]
    return workflow({"name": "main", "steps": steps})


def argument(value: object) -> dict[str, Any]:
    return {"parameters": [{"name": "n", "value": str(value)}]}


def workflow(main: dict[str, Any]) -> Spec:
    container = {"image": "busybox", "command": ["echo", "{{inputs.parameters.n}}"]}
    work = {"name": "work", "inputs": {"parameters": [{"name": "n"}]}, "container": container}
    return {"entrypoint": "main", "templates": [main, work]}
