"""The controller that has the artifacts of ended workflows deleted; decisions are ``plan/artifact_collection.py``.

    Workflow (ended or deleted, with the finalizer), its artifact-gc pods, its WorkflowArtifactGCTasks ─► reconcile

Beside the workflow controller and not in it: a workflow that has ended has no run any more. It stores what it learns
under the version of the workflow that it was decided from, so that the two never overwrite each other.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable

from tiphys.client.client import Client, Object
from tiphys.machinery.resources import WORKFLOW_ARTIFACT_GC_TASKS, WORKFLOWS, ObjectKey
from tiphys.runtime.act import Actor, EventSink
from tiphys.runtime.clock import Clock
from tiphys.runtime.controller import Controller, Outcome
from tiphys.runtime.informer import Informer
from tiphys.runtime.queue import WorkQueue
from tiphys.workflows.caches import WORKFLOW_LABEL, CacheLookup, Caches
from tiphys.workflows.controller import deletes_artifacts
from tiphys.workflows.plan.artifact_collection import Observed, is_concerned, plan
from tiphys.workflows.settings import Settings

_WORKERS = 4


def by_workflow(task: Object) -> Iterable[str]:
    """An index of tasks: ``namespace/name`` of the workflow that owns them."""
    meta = task["metadata"]
    for owner in meta.get("ownerReferences") or ():
        if owner.get("kind") == WORKFLOWS.kind:
            yield f"{meta.get('namespace') or ''}/{owner['name']}"


class ArtifactGcController:
    """``caches`` are the workflow controller's, which runs them."""

    def __init__(
        self,
        client: Client,
        caches: Caches,
        settings: Settings,
        *,
        clock: Clock,
        rng: random.Random,
        events: EventSink,
        namespace: str | None = None,
    ) -> None:
        self._caches, self._settings, self._clock = caches, settings, clock
        self._tasks = Informer(
            client,
            WORKFLOW_ARTIFACT_GC_TASKS,
            clock=clock,
            rng=rng,
            namespace=namespace,
            indexes={"workflow": by_workflow},
        )
        self._actor = Actor(client, events)
        self._queue = WorkQueue[ObjectKey](clock, rng)
        caches.workflows.subscribe(self._on_workflow)
        caches.pods.subscribe(self._on_pod)
        self._tasks.subscribe(self._on_task)

    async def run(self) -> None:
        """Works until cancelled; decides nothing before the caches are complete."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._tasks.run(), name="artifact-gc-tasks")
            await self._tasks.synced.wait()
            await self._caches.synced()
            group.create_task(Controller("artifact-gc", self._queue, self._reconcile, _WORKERS).run())

    def _on_workflow(self, key: ObjectKey, _before: Object | None, after: Object | None) -> None:
        if after is not None and is_concerned(after):
            self._queue.add(key)

    def _on_pod(self, key: ObjectKey, before: Object | None, after: Object | None) -> None:
        pod = after or before
        if pod is not None and deletes_artifacts(pod):
            self._queue.add(ObjectKey(key.namespace, pod["metadata"]["labels"][WORKFLOW_LABEL]))

    def _on_task(self, key: ObjectKey, before: Object | None, after: Object | None) -> None:
        for workflow in by_workflow(after or before or {"metadata": {}}):
            self._queue.add(ObjectKey(*workflow.split("/", 1)))

    async def _reconcile(self, key: ObjectKey) -> Outcome:
        workflow = self._caches.workflows.get(key)
        if workflow is None or not is_concerned(workflow):
            return None
        lookup = CacheLookup(self._caches, key)
        pods = [pod for pod in lookup.pods() if deletes_artifacts(pod)]
        tasks = {task["metadata"]["name"]: task for task in self._tasks.indexed("workflow", str(key))}
        todo = plan(Observed(workflow, pods, tasks), self._settings, lookup, self._clock.now())
        for outcome in await self._actor.carry_out(todo):
            if outcome.error is not None:
                raise outcome.error
        return todo.wake_at
