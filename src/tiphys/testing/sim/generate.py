"""Workflows and scripts by chance: small, of every shape that the engine knows, and always the same for a seed.

    leaf     a pod (or a suspend): failing, retried with back-off, with locks, with outputs, memoized
    use      a step or task: looped, conditional, forgiven, with hooks and exit handlers
    around   exit handler, hooks, lock and parallelism of the workflow; a second workflow that wants the same locks

What comes out ends the same however things are timed (no deadlines, ``failFast: false``, hooks that wait for an end),
so that a run full of faults can be compared with an undisturbed one.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tiphys.testing.stage.rules import Script

Object = dict[str, Any]

NAMESPACE = "default"
SEMAPHORES: Mapping[str, int] = {"one": 1, "two": 2}
"""Keys and limits in the ConfigMap of the semaphores."""

_SEMAPHORES_NAME, _CACHE_NAME = "sim-semaphores", "sim-cache"
_LOOPS = frozenset(("withItems", "withSequence", "withParam"))
_IMAGE = {"image": "busybox", "command": ["true"]}


@dataclass(frozen=True)
class Scene:
    """What a seed means: the workflows, the objects that they refer to, and how their pods end."""

    workflows: tuple[Object, ...]
    objects: tuple[Object, ...]
    script: Script


@dataclass
class _Maker:
    rng: random.Random
    workflow: str
    templates: list[Object] = field(default_factory=list)
    rules: list[Object] = field(default_factory=list)

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    # -- leaves

    def leaf(self) -> str:
        if self.chance(0.08):
            return self.suspend()
        name = f"leaf-{len(self.templates)}"
        template: Object = {"name": name, "container": dict(_IMAGE)}
        rule: Object = {
            "match": {"workflow": self.workflow, "template": name},
            "duration": f"{self.rng.choice((0, 0, 1, 5, 60))}s",
        }
        if self.chance(0.12):
            self.memoize(template, rule)
        elif self.chance(0.4):
            self.retry(template, rule)
        elif self.chance(0.1):
            rule["exitCode"] = 1
        if self.chance(0.2):
            template["synchronization"] = self.locks()
        if "outputs" not in template and self.chance(0.3):
            self.output(template, rule, f"value-{self.rng.randint(0, 9)}")
        self.rules.append(rule)
        self.templates.append(template)
        return name

    def suspend(self) -> str:
        """Over after a while, or when the user of the simulation resumes it."""
        body = {"duration": f"{self.rng.choice((1, 20, 90))}s"} if self.chance(0.7) else {}
        return self.add("suspend", {"suspend": body})

    def retry(self, template: Object, rule: Object) -> None:
        strategy: Object = {"limit": str(self.rng.randint(0, 3)), "retryPolicy": "Always"}
        if self.chance(0.4):
            strategy["backoff"] = {"duration": f"{self.rng.choice((1, 7))}s", "factor": "2", "cap": "20s"}
        template["retryStrategy"] = strategy
        failing = list(range(self.rng.randint(0, 4)))
        if failing:
            match = {**rule["match"], "attempt": failing}
            self.rules.append(rule | {"match": match, "exitCode": self.rng.randint(1, 3)})

    def memoize(self, template: Object, rule: Object) -> None:
        """Every run of it has the same outputs, so whether it was found in the cache makes no difference."""
        template["memoize"] = {
            "key": f"{template['name']}-{self.workflow}",
            "maxAge": "1h",
            "cache": {"configMap": {"name": _CACHE_NAME}},
        }
        self.output(template, rule, "remembered")

    def output(self, template: Object, rule: Object, value: str) -> None:
        template["outputs"] = {"parameters": [{"name": "out", "valueFrom": {"path": "/tmp/out"}}]}
        rule["parameters"] = {"out": value}

    def locks(self) -> Object:
        wanted: Object = {}
        if self.chance(0.6):
            wanted["mutexes"] = [{"name": self.rng.choice(("a", "b"))}]
        if not wanted or self.chance(0.3):
            key = self.rng.choice(tuple(SEMAPHORES))
            wanted["semaphores"] = [{"configMapKeyRef": {"name": _SEMAPHORES_NAME, "key": key}}]
        return wanted

    # -- composites

    def use(self, depth: int, family: str, name: str) -> Object:
        """A step or task: which template, perhaps looped, perhaps conditional, perhaps with hooks."""
        step: Object = {"name": name, "template": self.any_template(depth)}
        if self.chance(0.25):
            step.update(self.loop())
        if self.chance(0.1):
            step["when"] = self.rng.choice(("1 == 1", "1 == 2"))
        if self.chance(0.1):
            step["continueOn"] = {"failed": True, "error": True}
        hooks: Object = {}
        if self.chance(0.1):
            hooks["exit"] = {"template": self.leaf()}
        if self.chance(0.08) and not (family == "steps" and _LOOPS & step.keys()):  # whose items have other names
            ended = " || ".join(f'{family}["{name}"].status == "{phase}"' for phase in ("Succeeded", "Failed"))
            hooks["ended"] = {"expression": ended, "template": self.leaf()}
        if hooks:
            step["hooks"] = hooks
        return step

    def loop(self) -> Object:
        number = self.rng.randint(1, 4)
        return self.rng.choice(
            (
                {"withItems": list(range(number))},
                {"withSequence": {"count": str(number)}},
                {"withParam": str(list(range(number)))},
            )
        )

    def any_template(self, depth: int) -> str:
        if depth <= 0 or self.chance(0.6):
            return self.leaf()
        return self.steps(depth - 1) if self.chance(0.5) else self.dag(depth - 1)

    def steps(self, depth: int) -> str:
        groups = [
            [self.use(depth, "steps", f"s{number}-{column}") for column in range(self.rng.randint(1, 3))]
            for number in range(self.rng.randint(1, 3))
        ]
        return self.composite("steps", {"steps": groups})

    def dag(self, depth: int) -> str:
        tasks: list[Object] = []
        uses_depends = self.chance(0.4)
        for number in range(self.rng.randint(1, 6)):
            task = self.use(depth, "tasks", f"t{number}")
            before = [earlier["name"] for earlier in tasks if self.chance(0.4)]
            if uses_depends:
                task.pop("continueOn", None)
                if before:
                    task["depends"] = self.condition(before)
            elif before:
                task["dependencies"] = before
            tasks.append(task)
        return self.composite("dag", {"dag": {"failFast": False, "tasks": tasks}})

    def condition(self, names: list[str]) -> str:
        """A ``depends``: bare names, and results that hold however the task ends."""
        ends = ("Succeeded", "Failed", "Errored", "Skipped", "Omitted")
        return " && ".join(
            name if self.chance(0.5) else "(" + " || ".join(f"{name}.{end}" for end in ends) + ")" for name in names
        )

    def composite(self, kind: str, body: Object) -> str:
        more: Object = {"parallelism": self.rng.randint(1, 3)} if self.chance(0.1) else {}
        if self.chance(0.05):
            more["retryStrategy"] = {"limit": "1"}
        return self.add(kind, {**body, **more})

    def add(self, kind: str, body: Object) -> str:
        name = f"{kind}-{len(self.templates)}"
        self.templates.append({"name": name, **body})
        return name

    # -- the whole

    def make(self) -> Object:
        spec: Object = {"entrypoint": self.any_template(depth=2)}
        if self.chance(0.3):
            spec["onExit"] = self.leaf()
        if self.chance(0.1):
            # Not on a retried root: as in the original, its end and an open hook make it try once more.
            spec["entrypoint"] = self.add("steps", {"steps": [[{"name": "main", "template": spec["entrypoint"]}]]})
            spec["hooks"] = {"runs": {"expression": 'workflow.status != "Pending"', "template": self.leaf()}}
        if self.chance(0.15):
            spec["parallelism"] = self.rng.randint(1, 4)
        if self.chance(0.1):
            spec["synchronization"] = {"mutexes": [{"name": "workflow"}]}
        if self.chance(0.15):
            spec["podGC"] = {"strategy": self.rng.choice(("OnPodCompletion", "OnPodSuccess", "OnWorkflowCompletion"))}
        spec["templates"] = self.templates
        return {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Workflow",
            "metadata": {"name": self.workflow, "namespace": NAMESPACE},
            "spec": spec,
        }


def scene(seed: int) -> Scene:
    """What happens under ``seed``: one workflow, or two that compete for locks."""
    rng = random.Random(seed)
    makers = [_Maker(rng, f"sim-{seed}")]
    if rng.random() < 0.25:
        makers.append(_Maker(rng, f"sim-{seed}-too"))
    workflows = tuple(maker.make() for maker in makers)
    # Rules for single attempts come first: the first match decides.
    rules = sorted((rule for maker in makers for rule in maker.rules), key=lambda rule: "attempt" not in rule["match"])
    limits = {key: str(limit) for key, limit in SEMAPHORES.items()}
    semaphores = {"metadata": {"name": _SEMAPHORES_NAME, "namespace": NAMESPACE}, "data": limits}
    return Scene(workflows, (semaphores,), Script.of({"rules": rules}))
