"""Workflows and scripts by chance: small, of every shape that the engine knows, and always the same for a seed.

What comes out ends the same however things are timed (no deadlines, ``failFast: false``), so that a run full of faults
can be compared with an undisturbed one.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from tiphys.testing.stage.rules import Script

_IMAGE = {"image": "busybox", "command": ["true"]}


@dataclass
class _Maker:
    rng: random.Random
    templates: list[dict[str, Any]] = field(default_factory=list)
    rules: list[dict[str, Any]] = field(default_factory=list)

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def leaf(self) -> str:
        """A pod; perhaps failing, perhaps retried, perhaps with a lock, perhaps with outputs."""
        name = f"leaf-{len(self.templates)}"
        template: dict[str, Any] = {"name": name, "container": dict(_IMAGE)}
        rule: dict[str, Any] = {"match": {"template": name}, "duration": f"{self.rng.choice((0, 0, 1, 5, 60))}s"}
        if self.chance(0.4):
            template["retryStrategy"] = {"limit": str(self.rng.randint(0, 3)), "retryPolicy": "Always"}
            failing = list(range(self.rng.randint(0, 4)))
            if failing:
                match = {"template": name, "attempt": failing}
                self.rules.append(rule | {"match": match, "exitCode": self.rng.randint(1, 3)})
        elif self.chance(0.1):
            rule["exitCode"] = 1
        if self.chance(0.15):
            template["synchronization"] = {"mutexes": [{"name": self.rng.choice(("a", "b"))}]}
        if self.chance(0.3):
            template["outputs"] = {"parameters": [{"name": "out", "valueFrom": {"path": "/tmp/out"}}]}
            rule["parameters"] = {"out": f"value-{self.rng.randint(0, 9)}"}
        self.rules.append(rule)
        self.templates.append(template)
        return name

    def use(self, depth: int) -> dict[str, Any]:
        """A step or task: which template, perhaps looped, perhaps conditional."""
        step: dict[str, Any] = {"template": self.any_template(depth)}
        if self.chance(0.2):
            step["withItems"] = list(range(self.rng.randint(1, 4)))
        if self.chance(0.1):
            step["when"] = self.rng.choice(("1 == 1", "1 == 2"))
        if self.chance(0.1):
            step["hooks"] = {"exit": {"template": self.leaf()}}
        return step

    def any_template(self, depth: int) -> str:
        if depth <= 0 or self.chance(0.6):
            return self.leaf()
        return self.steps(depth - 1) if self.chance(0.5) else self.dag(depth - 1)

    def steps(self, depth: int) -> str:
        groups = [
            [{"name": f"s{column}", **self.use(depth)} for column in range(self.rng.randint(1, 3))]
            for _ in range(self.rng.randint(1, 3))
        ]
        return self.add("steps", {"steps": groups})

    def dag(self, depth: int) -> str:
        tasks: list[dict[str, Any]] = []
        for number in range(self.rng.randint(1, 6)):
            task = {"name": f"t{number}", **self.use(depth)}
            before = [earlier["name"] for earlier in tasks if self.chance(0.4)]
            if before:
                task["dependencies"] = before
            tasks.append(task)
        return self.add("dag", {"dag": {"failFast": False, "tasks": tasks}})

    def add(self, kind: str, body: dict[str, Any]) -> str:
        name = f"{kind}-{len(self.templates)}"
        parallel = {"parallelism": self.rng.randint(1, 3)} if self.chance(0.1) else {}
        self.templates.append({"name": name, **body, **parallel})
        return name


def workflow_and_script(seed: int) -> tuple[dict[str, Any], Script]:
    """The workflow of ``seed`` (namespace default) and how its pods end."""
    maker = _Maker(random.Random(seed))
    spec: dict[str, Any] = {"entrypoint": maker.any_template(depth=2)}
    if maker.chance(0.3):
        spec["onExit"] = maker.leaf()
    if maker.chance(0.15):
        spec["parallelism"] = maker.rng.randint(1, 4)
    spec["templates"] = maker.templates
    # Rules for single attempts come first: the first match decides.
    rules = sorted(maker.rules, key=lambda rule: "attempt" not in rule["match"])
    workflow = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": f"sim-{seed}", "namespace": "default"},
        "spec": spec,
    }
    return workflow, Script.of({"rules": rules})
