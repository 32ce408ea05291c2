"""The workflow controller: which change wakes which workflow, and the loop of observe, decide and act.

    Workflow, Pod, WorkflowTaskResult, WorkflowTaskSet ──label or name──┐
    templates, config maps, namespaces …  ──who asked for it────────────┼─► pending Changes ─► queue ─► reconcile
    time (Plan.wake_at) ────────────────────────────────────────────────┘

A workflow that is under way has a ``Run`` in memory, which makes a decision cost what changed. It is thrown away and
loaded again from the API whenever memory and API may differ: a refused or a lost write. A finished workflow has none,
once its pods are cleaned up. Locks are held across workflows, in one table. Nothing here decides anything: that is
``plan/engine.py``.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol

from tiphys.client.client import Client, Object
from tiphys.machinery.actions import Action, Create, Delete, Patch, Plan
from tiphys.machinery.errors import ApiError, BadRequest, Conflict, Forbidden, Invalid, NotFound, TooLarge
from tiphys.machinery.resources import (
    NAMESPACES,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    WORKFLOW_TASK_RESULTS,
    WORKFLOWS,
    ObjectKey,
    Resource,
)
from tiphys.runtime.act import Actor, Done, EventSink
from tiphys.runtime.clock import Clock
from tiphys.runtime.controller import Controller, Outcome
from tiphys.runtime.later import Later
from tiphys.runtime.queue import WorkQueue
from tiphys.runtime.recorder import FlightRecorder
from tiphys.runtime.trace import NO_TRACE, Trace
from tiphys.workflows import firstlook
from tiphys.workflows.caches import WORKFLOW_LABEL, CacheLookup, Caches, Interest
from tiphys.workflows.observe import Changes
from tiphys.workflows.plan.engine import Run
from tiphys.workflows.plan.lifecycle import EXCEEDED
from tiphys.workflows.plan.locks import LockTable
from tiphys.workflows.plan.pods.artifact_gc import COMPONENT
from tiphys.workflows.plan.throttle import Throttler, postpone
from tiphys.workflows.replay import RecordedRun
from tiphys.workflows.settings import Settings

logger = logging.getLogger(__name__)

_COMPLETED_LABEL = "workflows.argoproj.io/completed"
_COMPONENT_LABEL = "workflows.argoproj.io/component"
_PARALLELISM_LABEL = "workflows.argoproj.io/parallelism-limit"
_WORKERS = 32
_TELLING_METADATA = ("deletionTimestamp", "annotations", "labels")


@dataclass(slots=True)
class _Pending:
    """What happened to a workflow since its last decision."""

    workflow: Object | None = None
    pods: dict[str, Object | None] = field(default_factory=dict)
    task_results: dict[str, Object | None] = field(default_factory=dict)
    task_set: Object | None = None
    refused: dict[str, str] = field(default_factory=dict)
    delayed: dict[str, str] = field(default_factory=dict)
    others: bool = False

    def changes(self) -> Changes | None:
        """None: nothing happened."""
        if not any(
            (self.workflow, self.pods, self.task_results, self.task_set, self.refused, self.delayed, self.others)
        ):
            return None
        return Changes(
            self.workflow, self.pods, self.task_results, self.task_set, self.refused, self.delayed, others=self.others
        )


class Decider(Protocol):
    """A ``Run``, or one that is being recorded."""

    def decide(self, changes: Changes, now: datetime) -> Plan: ...

    def wrote(self, resource_version: str) -> None: ...


@dataclass(slots=True)
class _Live:
    """A workflow in memory: its run, and the version and completion of the object that the run stands on."""

    run: Decider
    lookup: CacheLookup
    version: str
    completed: bool
    interests: set[Interest] = field(default_factory=set)
    wake_at: datetime | None = None


class WorkflowController:
    def __init__(
        self,
        client: Client,
        settings: Settings,
        *,
        clock: Clock,
        rng: random.Random,
        events: EventSink,
        namespace: str | None = None,
        workers: int = _WORKERS,
        recorder: FlightRecorder | None = None,
        trace: Trace = NO_TRACE,
    ) -> None:
        self.caches = Caches(client, clock, rng, namespace)
        self._client = client
        self._settings = settings
        self._clock = clock
        self._recorder = recorder
        self._trace = trace
        self._actor = Actor(client, events)
        self._later = Later(self._actor, clock, self._not_done_later)
        self._queue = WorkQueue[ObjectKey](clock, rng)
        self._controller = Controller("workflows", self._queue, self._reconcile, workers)
        self._locks = LockTable()
        self._throttle = Throttler(settings.parallelism, settings.namespace_parallelism)
        self._begun = False
        self._live: dict[ObjectKey, _Live] = {}
        self._pending: dict[ObjectKey, _Pending] = {}
        self._refused_claims: dict[ObjectKey, dict[str, str]] = {}
        self._asked_by: dict[Interest, set[ObjectKey]] = {}
        self._subscribe()

    async def run(self) -> None:
        """Works until cancelled; no decision is made before every cache is complete and every held lock known."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.caches.run(), name="workflow-caches")
            await self.caches.synced()
            self._take_over()
            group.create_task(self._later.run(), name="workflow-clean-up")
            group.create_task(self._controller.run(), name="workflow-controller")

    def _take_over(self) -> None:
        """Learns from the stored workflows who holds which lock and whose turn it is to run; the running come first."""
        open_ones = [workflow for workflow in self.caches.workflows.objects() if not is_completed(workflow)]
        open_ones.sort(key=lambda workflow: (workflow.get("status") or {}).get("phase") != "Running")
        for workflow in open_ones:
            self._locks.restore(workflow, self.caches.lock_limit)
            self._throttle.add(workflow)
        self._begun = True

    # Which change wakes which workflow

    def _subscribe(self) -> None:
        caches = self.caches
        caches.workflows.subscribe(self._on_workflow)
        caches.pods.subscribe(self._on_pod)
        caches.task_results.subscribe(self._on_task_result)
        caches.task_sets.subscribe(self._on_task_set)
        for resource, informer in caches.shared.items():
            informer.subscribe(self._on_shared(resource))

    def _on_workflow(self, key: ObjectKey, before: Object | None, after: Object | None) -> None:
        live = self._live.get(key)
        self._queue_up(key, after)
        if after is None:
            self._forget(key)
            self._locks.forget(str(key))
            self._wake_waiting()
        elif live is not None and live.version == after["metadata"]["resourceVersion"]:
            return  # our own write
        elif live is not None or not is_completed(after):
            self._trace.stop(WorkflowController._on_workflow, f"workflow {key}")
            self._pending_of(key).workflow = after
            self._queue.add(key)

    def _queue_up(self, key: ObjectKey, workflow: Object | None) -> None:
        """Keeps the throttle's queue; whoever may run now is looked at."""
        if workflow is None or is_completed(workflow):
            self._throttle.remove(str(key))
        elif self._begun:
            self._throttle.add(workflow)
        while self._throttle.admitted:
            self._queue.add(ObjectKey(*self._throttle.admitted.pop().split("/", 1)))

    def _on_pod(self, key: ObjectKey, before: Object | None, after: Object | None) -> None:
        if deletes_artifacts(after or before):
            return  # of no run: see artifact_gc.py
        workflow = _workflow_of(key, after or before)
        if not self._concerns(workflow, after):
            return
        self._pending_of(workflow).pods[key.name] = after
        if after is None or _is_news(before, after):
            self._trace.stop(WorkflowController._on_pod, f"pod {key}")
            self._queue.add(workflow)

    def _concerns(self, workflow: ObjectKey, pod: Object | None) -> bool:
        """A finished workflow only has to do with pods that are not cleaned up."""
        if workflow in self._live or self._is_under_way(workflow):
            return True
        return pod is not None and self.caches.workflows.get(workflow) is not None and not is_completed(pod)

    def _on_task_result(self, key: ObjectKey, before: Object | None, after: Object | None) -> None:
        workflow = _workflow_of(key, after or before)
        if self._is_under_way(workflow):
            self._pending_of(workflow).task_results[key.name] = after
            self._queue.add(workflow)

    def _on_task_set(self, key: ObjectKey, _before: Object | None, after: Object | None) -> None:
        if after is not None and self._is_under_way(key):  # a task set has its workflow's name
            self._pending_of(key).task_set = after
            self._queue.add(key)

    def _on_shared(self, resource: Resource) -> Any:
        def handle(key: ObjectKey, _before: Object | None, after: Object | None) -> None:
            if resource is NAMESPACES:
                self._limit_namespace(key.name, after)
            for workflow in self._asked_by.get(Interest(resource, key), ()):
                self._pending_of(workflow).others = True
                self._queue.add(workflow)

        return handle

    def _limit_namespace(self, name: str, namespace: Object | None) -> None:
        labels = (namespace["metadata"].get("labels") or {}) if namespace is not None else {}
        limit = str(labels.get(_PARALLELISM_LABEL, ""))
        if limit.isdecimal():
            self._throttle.namespace_limits[name] = int(limit)
        else:
            self._throttle.namespace_limits.pop(name, None)

    def _is_under_way(self, key: ObjectKey) -> bool:
        workflow = self.caches.workflows.get(key)
        return workflow is not None and not is_completed(workflow)

    def _pending_of(self, key: ObjectKey) -> _Pending:
        pending = self._pending.get(key)
        if pending is None:
            pending = self._pending[key] = _Pending()
        return pending

    # observe → decide → act

    async def _reconcile(self, key: ObjectKey) -> Outcome:
        workflow = self.caches.workflows.get(key)
        if workflow is not None and not is_completed(workflow) and not self._throttle.lets_run(workflow):
            await self._postpone(key)
            return None
        live, changes = await self._observe(key)
        if live is None:
            return None
        now = self._clock.now()
        if changes is None and (live.wake_at is None or now < live.wake_at):
            return live.wake_at  # our own write came back
        self._trace.stop(Run.decide, f"workflow {key}")
        plan = live.run.decide(changes or Changes(), now)
        self._keep_interests(key, live)
        self._wake_waiting()
        self._trace.stop(Actor.carry_out, f"{len(plan.actions)} actions")
        urgent, unhurried = _parted(plan)
        outcomes = await self._actor.carry_out(urgent)
        live.wake_at = plan.wake_at
        if self._settle(key, live, outcomes):
            self._later.add(key, *unhurried)
        return live.wake_at

    async def _postpone(self, key: ObjectKey) -> None:
        """Says on the workflow that it waits for its turn."""
        workflow = self.caches.workflows.get(key)
        patch = postpone(workflow) if workflow is not None else None
        if patch is not None:
            await self._client.patch(WORKFLOWS, key, patch)

    def _not_done_later(self, key: ObjectKey, error: ApiError) -> None:
        """A clean-up was refused: the run, which believes that it was done, is void."""
        logger.debug("%s: clean-up: %s", key, error)
        self._forget(key)
        self._queue.add(key)

    async def _observe(self, key: ObjectKey) -> tuple[_Live | None, Changes | None]:
        """The run with what changed since; (None, None) where there is nothing to do (any more)."""
        live = self._live.get(key)
        if live is None:
            live, claims = await self._load(key), self._refused_claims.pop(key, {})
            return live, Changes(claims=claims) if live is not None else None
        pending = self._pending.pop(key, None)
        if pending is None:
            return live, None
        if pending.workflow is not None and not _is_newer(pending.workflow, live.version):
            pending.workflow = None
        if pending.workflow is not None:
            live.version = pending.workflow["metadata"]["resourceVersion"]
            live.completed = is_completed(pending.workflow)
        return live, pending.changes()

    async def _load(self, key: ObjectKey) -> _Live | None:
        """From the API and not from the cache: a run that was thrown away knew more than the cache does yet."""
        try:
            workflow = await self._client.get(WORKFLOWS, key)
        except NotFound:
            return None
        if not (workflow.get("status") or {}).get("phase"):
            await firstlook.fill(self.caches, self._client, workflow)
        self._pending.pop(key, None)  # whatever it was, the caches have it, and the run is built from them
        lookup = CacheLookup(self.caches, key)
        if self._recorder is None:
            run: Decider = Run.load(workflow, self._settings, lookup, self._locks)
        else:
            run = RecordedRun(self._recorder, key, workflow, self._settings, lookup, self._locks)
        live = _Live(run, lookup, workflow["metadata"]["resourceVersion"], is_completed(workflow))
        self._live[key] = live
        return live

    def _wake_waiting(self) -> None:
        """Has those looked at whose locks may be free now."""
        while self._locks.woken:
            key = ObjectKey(*self._locks.woken.pop().split("/", 1))
            if self._is_under_way(key):
                self._pending_of(key).others = True
                self._queue.add(key)

    def _settle(self, key: ObjectKey, live: _Live, outcomes: Sequence[Done]) -> bool:
        """Takes over what was written; says whether all was.

        A pod that the API will not make (never, or not now) is news for the run. Any other refusal voids the run: it
        is loaded again, at once where somebody else was faster, else (raised) after a while.
        """
        failed: ApiError | None = None
        for outcome in outcomes:
            if outcome.object is not None:
                self._learn(key, live, outcome)
            elif (name := _refused(outcome, PODS)) is not None and outcome.error is not None:
                pending, why = self._pending_of(key), outcome.error.message
                (pending.delayed if EXCEEDED in why else pending.refused)[name] = why
                self._queue.add(key)
            elif (name := _refused(outcome, PERSISTENT_VOLUME_CLAIMS)) is not None and outcome.error is not None:
                return self._start_without(key, name, outcome.error.message)
            elif outcome.error is not None:
                failed = outcome.error
        if failed is not None:
            self._forget(key)
            if not isinstance(failed, Conflict):
                raise failed
            self._queue.add(key)
            return False
        if live.completed and live.wake_at is None:
            self._forget(key)
        return True

    def _start_without(self, key: ObjectKey, claim: str, why: str) -> bool:
        """A volume claim was refused, and nothing of the decision behind it was done: the next run is told."""
        self._forget(key)
        self._refused_claims[key] = {claim: why}
        self._queue.add(key)
        return False

    def _learn(self, key: ObjectKey, live: _Live, outcome: Done) -> None:
        assert outcome.object is not None
        match outcome.action:
            case Patch(resource=resource, key=patched) if resource is WORKFLOWS and patched == key:
                live.version = outcome.object["metadata"]["resourceVersion"]
                live.completed = is_completed(outcome.object)
                live.run.wrote(live.version)
            case Create(resource=resource) if resource is PODS:
                self.caches.pods.learn(outcome.object)
            case Create(resource=resource) if resource is WORKFLOW_TASK_RESULTS:
                self.caches.task_results.learn(outcome.object)

    def _forget(self, key: ObjectKey) -> None:
        live = self._live.pop(key, None)
        self._pending.pop(key, None)
        if live is None:
            return
        for interest in live.interests:
            asked_by = self._asked_by.get(interest)
            if asked_by is not None:
                asked_by.discard(key)
                if not asked_by:
                    del self._asked_by[interest]

    def _keep_interests(self, key: ObjectKey, live: _Live) -> None:
        asked = live.lookup.interests
        if len(asked) != len(live.interests):
            for interest in asked - live.interests:
                self._asked_by.setdefault(interest, set()).add(key)
            live.interests = set(asked)


def _parted(plan: Plan) -> tuple[Plan, list[Action]]:
    """A plan without the clean-up of pods in its last stage, and that: patches and deletions that nobody waits for."""
    if not plan.stages:
        return plan, []
    *urgent, last = plan.stages
    rest: list[Action] = []
    unhurried: list[Action] = []
    for action in last:
        is_clean_up = isinstance(action, Patch | Delete) and action.resource is PODS
        (unhurried if is_clean_up else rest).append(action)
    return replace(plan, stages=(*urgent, tuple(rest))), unhurried


def _refused(outcome: Done, kind: Resource) -> str | None:
    """The name of an object of this kind that was refused for what it is: asking again at once would not help."""
    match outcome:
        case Done(Create(resource, obj), error=BadRequest() | Invalid() | Forbidden() | TooLarge()):
            if resource is kind:
                return str(obj["metadata"]["name"])
    return None


def deletes_artifacts(pod: Object | None) -> bool:
    """Whether a pod is there to delete artifacts of a workflow that has ended."""
    return pod is not None and pod["metadata"]["labels"].get(_COMPONENT_LABEL) == COMPONENT


def _workflow_of(key: ObjectKey, obj: Object | None) -> ObjectKey:
    assert obj is not None
    return ObjectKey(key.namespace, obj["metadata"]["labels"][WORKFLOW_LABEL])


def _is_news(before: Object | None, after: Object) -> bool:
    """Whether a change of a pod can change a decision: not that it was made, bound, or marked as done with."""
    if is_completed(after):
        return False
    if before is None:
        return bool((after.get("status") or {}).get("phase", "Pending") != "Pending")
    if before.get("status") != after.get("status"):
        return True
    return any(before["metadata"].get(part) != after["metadata"].get(part) for part in _TELLING_METADATA)


def is_completed(obj: Object) -> bool:
    """Of a workflow: it has finished. Of a pod: it has served its purpose."""
    labels = obj["metadata"].get("labels") or {}
    return bool(labels.get(_COMPLETED_LABEL) == "true")


def _is_newer(workflow: Object, version: str) -> bool:
    mine: str = workflow["metadata"]["resourceVersion"]
    return int(mine) > int(version) if mine.isdecimal() and version.isdecimal() else mine != version
