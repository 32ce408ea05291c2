"""The workflow engine: decides what follows from what happened, and remembers where the workflow stands.

    run = Run.load(workflow, settings, lookup)      from the stored object; after a restart too
    plan = run.decide(changes, now)                 values only: creates, patches, events, when to look again
    run.wrote(resource_version)                     the status patch of the last plan is stored

A decision repeats passes (`lifecycle`) until one changes nothing. What it costs depends on what changed: see `state`.
The status patch of a plan names only what changed since the last one and is conditional on the resourceVersion; where
it conflicts, load the run anew from the newest object: nothing is lost, since names are deterministic.
"""

from __future__ import annotations

import heapq
import sys
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from tiphys.lang import names
from tiphys.machinery.actions import Action, Emit, Patch, Plan
from tiphys.workflows.observe import Changes, Lookup, Object
from tiphys.workflows.plan import (
    agent,
    artifact_gc,
    chance,
    cleanup,
    events,
    lifecycle,
    locks,
    metrics,
    parallelism,
    patches,
    reconcile,
)
from tiphys.workflows.plan.canonical import TEMPLATE, NotCanonical, canonical
from tiphys.workflows.plan.locks import LockTable
from tiphys.workflows.plan.nodes import COMPLETED, Node, NodeStore, from_wire, to_wire
from tiphys.workflows.plan.pods.artifact_gc import COMPONENT as GC_COMPONENT
from tiphys.workflows.plan.progress import Progress
from tiphys.workflows.plan.state import (
    ANNOTATION_NODE_ID,
    ANNOTATION_NODE_NAME,
    LABEL_COMPLETED,
    LABEL_COMPONENT,
    PodView,
    State,
)
from tiphys.workflows.settings import Settings

PASSES_MAX = 50
"""More passes than any workflow needs; what is left then is looked at in the next decision."""
FRAMES_MAX = 20_000
"""A template may call itself a hundred times, with several Python frames each (which cost no C stack)."""


class Run:
    """One workflow under control."""

    def __init__(self, state: State, written: patches.Written) -> None:
        self._state = state
        self._written = written
        self._progress = Progress(state.nodes, stale=True)
        self._first = True

    @classmethod
    def load(cls, workflow: Object, settings: Settings, lookup: Lookup, locks: LockTable | None = None) -> Run:
        """Takes a workflow under control. ``locks`` is shared by all runs of a controller."""
        table = locks if locks is not None else LockTable()
        table.agree(workflow)
        state = state_of(workflow, settings, lookup, table)
        run = cls(state, patches.Written.of(workflow))
        for pod in lookup.pods():
            run._see_pod(_name(pod), pod)
        for result in lookup.task_results():
            run._see_result(_name(result), result)
        run._find_missing_pods()
        return run

    def decide(self, changes: Changes, now: datetime) -> Plan:
        """What to do now. ``now`` is UTC."""
        if changes.workflow is not None:
            self._reload(changes.workflow)
        state = self._state
        self._begin(now)
        self._absorb(changes)
        if not state.is_broken:
            with _DeepRecursion(), chance.deciding(state.uid or state.key, now):
                self._passes()
        return self._plan()

    def wrote(self, resource_version: str) -> None:
        """Says that the last plan's patch is stored, and under which resourceVersion."""
        self._written.resource_version = resource_version

    def status(self) -> dict[str, Any]:
        """The status as decided, nodes included (wire form)."""
        return {**self._state.status, "nodes": {node.id: to_wire(node) for node in self._state.nodes}}

    def node(self, node_id: str) -> Node | None:
        """A node by its id."""
        return self._state.nodes.get(node_id)

    @property
    def phase(self) -> str:
        return self._state.phase

    @property
    def metadata(self) -> dict[str, Any]:
        """Labels, annotations and finalizers as decided."""
        state = self._state
        return {"labels": state.labels, "annotations": state.annotations, "finalizers": state.finalizers}

    # -- what happened -----------------------------------------------------------------------------------------------

    def _reload(self, workflow: Object) -> None:
        """Starts over from an object that somebody else changed; what is known of pods and results stays."""
        old = self._state
        old.locks.agree(workflow)
        state = state_of(workflow, old.settings, old.lookup, old.locks)
        state.task_set, state.has_task_set, state.has_agent = old.task_set, old.has_task_set, old.has_agent
        state.cleaned, state.delete_at = old.cleaned, old.delete_at
        self._state, self._written = state, patches.Written.of(workflow)
        self._progress = Progress(state.nodes, stale=True)
        self._first = True
        for name, view in old.pods.items():
            self._see_pod(name, view.obj)
        for name, result in old.task_results.items():
            self._see_result(name, result)
        self._find_missing_pods()

    def _begin(self, now: datetime) -> None:
        state = self._state
        state.now, state.second = now, now.replace(microsecond=0)
        state.refused_claims = {}
        state.claims, state.actions, state.after, state.events, state.waits = [], [], [], [], {}
        state.caches, state.cache_writes, state.signalled = {}, {}, []
        while state.timers and state.timers[0][0] < now:
            _, node_id = heapq.heappop(state.timers)
            if node_id:
                state.mark(node_id)
        if state.lock_waits:
            locks.retry_waiting(state)

    def _absorb(self, changes: Changes) -> None:
        for name, pod in changes.pods.items():
            if pod is None:
                self._lose_pod(name)
            else:
                self._see_pod(name, pod)
        for name, result in changes.task_results.items():
            if result is not None:
                self._see_result(name, result)
        self._state.refused.update(changes.refused)
        self._state.delayed.update(changes.delayed)
        self._state.refused_claims.update(changes.claims)
        if changes.task_set is not None:
            self._state.task_set = changes.task_set
            self._state.has_task_set = True
        if changes.others:
            self._look_again()

    def _see_pod(self, name: str, pod: Object) -> None:
        state = self._state
        meta = pod.get("metadata") or {}
        labels = meta.get("labels") or {}
        if labels.get(LABEL_COMPLETED) == "true":
            self._lose_pod(name)
            return
        if labels.get(LABEL_COMPONENT) == GC_COMPONENT:
            return  # `artifact_collection`'s
        annotations = meta.get("annotations") or {}
        node_id = annotations.get(ANNOTATION_NODE_ID) or names.node_id(
            state.name, annotations.get(ANNOTATION_NODE_NAME, "")
        )
        state.pods[name] = PodView(pod, node_id)
        state.fresh_pods[name] = None
        if reconcile.is_agent(state, name):
            state.has_agent = True
            return
        state.pod_of[node_id] = name
        state.remade.pop(node_id, None)
        if node_id not in state.nodes.by_id and (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed"):
            state.unpaired[node_id] = annotations.get(ANNOTATION_NODE_NAME, "")
        else:  # one that ended takes no place
            state.unpaired.pop(node_id, None)
        state.finished_pods[name] = None
        state.nodes.set_pod_exists(node_id, True)

    def _lose_pod(self, name: str) -> None:
        """A pod is gone, or its label says that nobody needs it any more."""
        state = self._state
        view = state.pods.pop(name, None)
        state.fresh_pods.pop(name, None)
        state.delete_at.pop(name, None)
        if reconcile.is_agent(state, name):
            state.has_agent = False
            return
        node_id = view.node_id if view is not None else next((n for n, p in state.pod_of.items() if p == name), "")
        if node_id and state.pod_of.get(node_id) == name:
            del state.pod_of[node_id]
        if node_id:
            state.unpaired.pop(node_id, None)
            state.remade.pop(node_id, None)
            state.nodes.set_pod_exists(node_id, False)
            node = state.nodes.by_id.get(node_id)
            if node is None or not node.phase_fulfilled:
                state.missing[node_id] = None
                state.mark(node_id)

    def _see_result(self, name: str, result: Object) -> None:
        self._state.task_results[name] = result
        self._state.fresh_results[name] = None

    def _find_missing_pods(self) -> None:
        state = self._state
        for node_id in state.nodes.open:
            node = state.nodes.by_id[node_id]
            if node.type == "Pod" and not state.nodes.pod_exists(node_id):
                state.missing[node_id] = None
                if parallelism.keeps_place(state, node):
                    state.unpaired[node_id] = node.name

    def _look_again(self) -> None:
        state = self._state
        for node_id in state.waiting_for_globals:
            state.mark(node_id)
        locks.retry_waiting(state, anyway=True)

    # -- deciding ----------------------------------------------------------------------------------------------------

    def _passes(self) -> None:
        state = self._state
        tried: set[tuple[parallelism.Limit, str]] = set()
        for _ in range(PASSES_MAX):
            state.nodes.begin_pass()
            state.updated, state.pod_running, state.synced_in_pass = False, None, {}
            version, phase = state.globals_version, state.phase
            state.waits = {}
            lifecycle.run_pass(state)
            self._end_pass()
            has_room = bool(state.blocked) and parallelism.retry(state, tried)
            if state.globals_version != version:
                self._retry_waiting()
            first, self._first = self._first, False
            changes = state.updated and (first or state.phase != phase or self._is_unsettled(version))
            if not changes and not has_room:
                return

    def _is_unsettled(self, version: int) -> bool:
        """Whether the pass that ended left something that another one would look at."""
        state = self._state
        return bool(
            state.dirty
            or state.fresh_pods
            or state.fresh_results
            or state.stale_results
            or state.missing
            or state.refused
            or state.globals_version != version
        )

    def _end_pass(self) -> None:
        state = self._state
        metrics.of_pass(state)
        came_to_nodes = state.pod_running is not None
        writes = state.updated or (came_to_nodes and locks.concern_nodes(state))
        if came_to_nodes and (writes or artifact_gc.is_over(state)):
            lifecycle.upsert_condition(state, "PodRunning", "True" if state.pod_running else "False")
        if state.phase in COMPLETED:
            locks.release_all(state)
        elif state.status.get("synchronization") is not None:
            locks.release_finished(state)
        if not writes:  # whether results are complete is no reason to write, and is forgotten when nothing is
            for node_id, before in state.synced_in_pass.items():
                state.nodes.update(state.nodes.by_id[node_id], synced=before)
        state.events.extend(events.of_pass(state))
        for node_id in state.nodes.pass_before:
            changed = state.nodes.by_id.get(node_id)
            if changed is None:
                continue
            is_restless = node_id in state.nodes.restless
            if is_restless and (
                changed.type != "Pod" or changed.phase != "Pending" or not state.nodes.pod_exists(node_id)
            ):
                state.mark(node_id)
            awaits_result = changed.synced is False and changed.completed and node_id in state.task_results
            if awaits_result and not state.nodes.pod_exists(node_id):
                state.stale_results[node_id] = None  # it will never be complete
            if changed.phase_fulfilled:
                state.processed.pop(node_id, None)
                state.unpaired.pop(node_id, None)
                if node_id in state.pod_of:
                    state.finished_pods[state.pod_of[node_id]] = None

    def _retry_waiting(self) -> None:
        state = self._state
        waiting, state.waiting_for_globals = state.waiting_for_globals, {}
        for node_id in waiting:
            state.mark(node_id)

    # -- the plan ----------------------------------------------------------------------------------------------------

    def _plan(self) -> Plan:
        state = self._state
        self._refresh_progress()
        cleanup.pods(state)
        agent.clean_up(state)
        patch = patches.difference(state, self._written)
        told = tuple(self._emitted())
        made = _in_order(state.actions, patch)
        stages = (tuple(state.claims), *made, (*state.after, *told))
        return Plan(tuple(filter(None, stages)), self._wake_at(), dict(state.waits))

    def _refresh_progress(self) -> None:
        state = self._state
        if (self._written.metadata.get("labels") or {}).get(LABEL_COMPLETED) == "true":
            return  # stored as complete: nothing about it changes any more
        catch_up_at = self._progress.refresh(state.nodes.changed, state.now)
        phase, whole = state.phase, self._progress.whole
        if phase in COMPLETED:
            self._progress.settle()
        elif catch_up_at is not None:
            state.at(catch_up_at)
        if phase:
            state.set_status(progress=f"{whole.done}/{whole.total}")
            if whole.durations:
                state.set_status(resourcesDuration=dict(whole.durations))

    def _emitted(self) -> Iterable[Emit]:
        state = self._state
        if not state.events:
            return
        about = {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Workflow",
            "name": state.name,
            "namespace": state.namespace,
            "uid": state.uid,
        }
        for type_, reason, message, node in state.events:
            yield Emit(about, type_, reason, message, _annotations(node) if node is not None else {})

    def _wake_at(self) -> datetime | None:
        """Strictly after the nearest timer: deadlines are passed only when they are over. Now where more is to do."""
        if self._state.phase in COMPLETED and not self._state.finished_pods:
            return None
        if parallelism.THIS_TURN in self._state.blocked:
            return self._state.now
        timers = self._state.timers
        return timers[0][0] + _AFTERWARDS if timers else None


_AFTERWARDS = timedelta(milliseconds=1)


def _in_order(actions: list[Action], patch: Patch | None) -> tuple[tuple[Action, ...], ...]:
    """The stages of what is made and of the status: both at once, but a lock is stored before the pod that holds it.

    Else a controller that dies in between gives the lock away a second time.
    """
    if patch is None:
        return (tuple(actions),)
    if "synchronization" in (patch.patch.get("status") or {}):
        return (patch,), tuple(actions)
    return ((*actions, patch),)


class _DeepRecursion:
    """Inside, more frames are allowed; see `FRAMES_MAX`."""

    __slots__ = ("_limit",)

    def __enter__(self) -> None:
        self._limit = sys.getrecursionlimit()
        sys.setrecursionlimit(max(self._limit, FRAMES_MAX))

    def __exit__(self, *_error: object) -> None:
        sys.setrecursionlimit(self._limit)


def _annotations(node: Node) -> Mapping[str, str]:
    return {
        "workflows.argoproj.io/node-type": node.type,
        "workflows.argoproj.io/node-name": node.name,
        "workflows.argoproj.io/node-id": node.id,
        "workflows.argoproj.io/node-start-time": _nanoseconds(node.started_at),
    }


@lru_cache(maxsize=256)
def _nanoseconds(started: datetime | None) -> str:
    """Since 1970; whole seconds, so that many nodes start at the same one."""
    return str(int(started.timestamp() * 1e9)) if started is not None else "0"


def state_of(workflow: Object, settings: Settings, lookup: Lookup, table: LockTable) -> State:
    """The state of a stored workflow, before its spec is prepared."""
    meta = workflow.get("metadata") or {}
    status = {key: value for key, value in (workflow.get("status") or {}).items() if key != "nodes"}
    nodes = NodeStore()
    for node_id, wire in ((workflow.get("status") or {}).get("nodes") or {}).items():
        nodes.load(from_wire(wire if "id" in wire else {**wire, "id": node_id}))
    return State(
        workflow={**workflow, "metadata": dict(meta)},
        settings=settings,
        lookup=lookup,
        locks=table,
        nodes=nodes,
        status=status,
        labels=dict(meta.get("labels") or {}),
        annotations=dict(meta.get("annotations") or {}),
        finalizers=list(meta.get("finalizers") or ()),
        stored_templates={key: _decoded(value) for key, value in (status.get("storedTemplates") or {}).items()},
    )


def _decoded(template: Any) -> Any:
    try:
        return canonical(template, TEMPLATE)
    except NotCanonical:  # who executes it will say what is wrong
        return template


def _name(obj: Object) -> str:
    return str((obj.get("metadata") or {}).get("name", ""))
