"""What a sync of an application would do now, in order and with the reason, and nothing of it done.

It is the controller's own comparison and the engine's own list of tasks; the conversation with the cluster ends before
its first write.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tiphys.cd.act import SyncActor
from tiphys.cd.caches import Caches
from tiphys.cd.clusters import ClusterSet
from tiphys.cd.comparing import Compared, Comparer, ProjectError, Sources
from tiphys.cd.kinds import KindTable
from tiphys.cd.plan.compare import Managed
from tiphys.cd.plan.objects import Object, ResourceKey, key_of
from tiphys.cd.plan.operation import Around, begun, engine_state, seen_by_sync
from tiphys.cd.plan.sync.run import preview as tasks_of
from tiphys.cd.plan.sync.tasks import Task
from tiphys.cd.plan.validation import Condition, DestinationError
from tiphys.cd.rendering import Renderer
from tiphys.cd.settings import ControllerSettings
from tiphys.client.client import Client
from tiphys.runtime.clock import Clock


@dataclass(frozen=True)
class Step:
    """One task. ``before`` and ``after`` are the object as compared; None where it is not there."""

    phase: str
    wave: int
    does: str
    key: ResourceKey
    why: str
    before: Object | None = None
    after: Object | None = None


@dataclass(frozen=True)
class Preview:
    """``problems`` are what keeps the sync from being tried at all."""

    app: Object
    sync: Mapping[str, Any]
    steps: Sequence[Step]
    conditions: Sequence[Condition]
    problems: Sequence[str]

    @property
    def changes(self) -> list[Step]:
        return [step for step in self.steps if step.does != "leave"]


async def preview(
    app: Object,
    client: Client,
    kinds: KindTable,
    renderer: Renderer,
    settings: ControllerSettings,
    *,
    clock: Clock,
    rng: random.Random,
) -> Preview:
    """``client`` is that of the cluster in which applications live; the application itself need not be there."""
    caches = Caches(client, settings.namespace, clock=clock, rng=rng)
    clusters = ClusterSet(client, kinds, lambda: caches.settings, lambda _instance: None, clock=clock, rng=rng)
    comparer = Comparer(caches, clusters, renderer, settings, clock)
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(caches.run())]
        await caches.synced()
        caches.read_settings()
        clusters.set_secrets(caches.cluster_secrets())
        running.append(group.create_task(clusters.run()))
        try:
            return await _planned(app, comparer, clock)
        finally:
            for task in running:
                task.cancel()


async def _planned(app: Object, comparer: Comparer, clock: Clock) -> Preview:
    problems = comparer.problems(app)
    if problems:
        return Preview(app, {"status": "Unknown"}, (), problems, [each.message for each in problems])
    try:
        compared = await comparer.compare(app, Sources.of_spec(app), resolve=True)
    except (ProjectError, DestinationError) as err:
        return Preview(app, {"status": "Unknown"}, (), (), [str(err)])
    comparison = compared.comparison
    wrong = [each.message for each in comparison.conditions if each.type.endswith("Error")]
    if wrong:
        return Preview(app, comparison.sync, (), comparison.conditions, wrong)
    found = await _tasks(app, compared, clock)
    managed = {each.key: each for each in comparison.managed}
    steps = [_step(task, managed) for task in found.tasks]
    refused = [f"{each.key}: {each.message}" for each in found.problems]
    return Preview(app, comparison.sync, steps, comparison.conditions, refused)


async def _tasks(app: Object, compared: Compared, clock: Clock) -> Any:
    policy = (app.get("spec") or {}).get("syncPolicy") or {}
    prunes = bool((policy.get("automated") or {}).get("prune"))
    operation = {"sync": {"prune": prunes, "syncOptions": policy.get("syncOptions") or []}}
    state = begun(operation, clock.now())
    around = Around(compared.project, compared.cluster, compared.kinds, compared.check)
    seen = seen_by_sync(app, state, compared.comparison, around)
    # Nothing is changed, so that it does not matter as whom.
    return await SyncActor(compared.live, clock, compared.live.client).hold(tasks_of(seen, engine_state(state)))


def _step(task: Task, managed: Mapping[ResourceKey, Managed]) -> Step:
    known = managed.get(task.live_key) or managed.get(task.key)
    before, after = (None, task.target) if known is None else (known.diff.live, known.diff.predicted)
    if task.is_hook:
        return Step(task.phase, task.wave, "run", task.key, "it is a hook", None, task.target)
    if task.target is None:
        return Step(task.phase, task.wave, "prune", task.key, "it is in Git no more", task.live, None)
    if task.live is None:
        return Step(task.phase, task.wave, "create", task.key, "it is not there", None, task.target)
    if known is not None and known.diff.is_modified:
        return Step(task.phase, task.wave, "change", key_of(task.live), "it differs", before, after)
    return Step(task.phase, task.wave, "leave", key_of(task.live), "it is as in Git")
