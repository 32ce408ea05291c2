"""What a run remembers between decisions, and the small operations on it that every topic needs.

The state is the workflow as last decided: its status with the node store, the pods and task results as last seen, and,
for every node that is not finished, the `Call` that made it. From the calls follows what a change can affect: marking
a node dirty marks its callers up to the root, and a decision walks down only where something is dirty.

    root call ── steps frame ── call of a step ── retry frame ── call of an attempt
                          └──── call of a hook

Nothing here decides anything; that is `execute` and its neighbours.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tiphys.lang import names
from tiphys.machinery.actions import Action
from tiphys.workflows.observe import Lookup, Object
from tiphys.workflows.plan.nodes import UNSUCCESSFUL, Node, NodeStore, moment
from tiphys.workflows.plan.text import Layers, Values
from tiphys.workflows.settings import Settings

if TYPE_CHECKING:
    from tiphys.workflows.plan.arguments import Body
    from tiphys.workflows.plan.locks import LockTable
    from tiphys.workflows.plan.parallelism import Limit
    from tiphys.workflows.plan.templates import TemplateContext, Templates

LABEL_COMPLETED = "workflows.argoproj.io/completed"
LABEL_PHASE = "workflows.argoproj.io/phase"
LABEL_WORKFLOW = "workflows.argoproj.io/workflow"
LABEL_ON_EXIT = "workflows.argoproj.io/on-exit"
LABEL_COMPONENT = "workflows.argoproj.io/component"
LABEL_INSTANCE_ID = "workflows.argoproj.io/controller-instanceid"
LABEL_RESULT_COMPLETED = "workflows.argoproj.io/report-outputs-completed"
ANNOTATION_NODE_ID = "workflows.argoproj.io/node-id"
ANNOTATION_REPORTED_IN = "workflows.argoproj.io/reported-in"
ANNOTATION_NODE_NAME = "workflows.argoproj.io/node-name"
LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(slots=True, eq=False)
class Call:
    """One use of a template: what is needed to execute it again.

    ``holder`` is the step, task or hook (it names the template); ``kind`` ("step" or "task") says which of
    ``steps.name`` and ``tasks.name`` it defines. ``parent`` is the id of the node that evaluates this one, "" for the
    workflow itself.
    """

    node_id: str
    name: str
    holder: Mapping[str, Any]
    kind: str
    context: TemplateContext
    arguments: Mapping[str, Any]
    parent: str = ""
    boundary_id: str = ""
    on_exit: bool = False
    flag: dict[str, bool] | None = None
    deadline: datetime | None = None


@dataclass(slots=True)
class PodView:
    """A pod as last seen, while its label does not say completed."""

    obj: Object
    node_id: str


@dataclass(eq=False)
class State:
    """See the module. ``status`` holds every key but ``nodes``; ``spec`` is the spec that is executed.

    ``unpaired`` are, by node id, the names of nodes whose pod is not seen yet and of pods whose node is not stored:
    what an earlier life left half done. Each takes the place of a pod.
    """

    workflow: dict[str, Any]
    settings: Settings
    lookup: Lookup
    locks: LockTable
    nodes: NodeStore
    status: dict[str, Any]
    labels: dict[str, str]
    annotations: dict[str, str]
    finalizers: list[str]
    spec: dict[str, Any] = field(default_factory=dict)
    globals: dict[str, Any] = field(default_factory=dict)
    globals_version: int = 0
    volumes: list[Any] = field(default_factory=list)
    synced_in_pass: dict[str, bool] = field(default_factory=dict)
    ended: dict[str, str] = field(default_factory=dict)
    ended_seen: set[str] = field(default_factory=set)
    stale_results: dict[str, None] = field(default_factory=dict)
    stored_templates: dict[str, Any] = field(default_factory=dict)
    stored_spec: dict[str, Any] | None = None
    has_metrics: tuple[int, bool] | None = None
    has_hooks: tuple[int, bool] | None = None
    is_from_template: bool = False
    is_broken: bool = False
    has_agent: bool = False
    agent_name: str = ""
    finished_pods: dict[str, None] = field(default_factory=dict)
    cleaned: set[str] = field(default_factory=set)
    delete_at: dict[str, datetime] = field(default_factory=dict)
    has_task_set: bool = False
    given_tasks: set[str] = field(default_factory=set)
    taken_tasks: set[str] = field(default_factory=set)
    baseline: str | None = None
    artifact_repository: Mapping[str, Any] | None = None
    pod_running: bool | None = None
    synced_before_mark: dict[str, bool] = field(default_factory=dict)
    created_pods: set[str] = field(default_factory=set)
    terminated: set[str] = field(default_factory=set)
    signalled: list[str] = field(default_factory=list)
    ids: dict[str, str] = field(default_factory=dict)
    result_uses: dict[int, tuple[Mapping[str, Any], frozenset[str]]] = field(default_factory=dict)
    caches: dict[str, Any] = field(default_factory=dict)
    cache_writes: dict[str, int] = field(default_factory=dict)
    processed: dict[str, tuple[int, Any, Any, Any]] = field(default_factory=dict)
    timed: set[str] = field(default_factory=set)
    template_texts: dict[int, Body] = field(default_factory=dict)

    calls: dict[str, Call] = field(default_factory=dict)
    frames: dict[str, Any] = field(default_factory=dict)
    dirty: dict[str, dict[str, None]] = field(default_factory=dict)
    waiting_for_globals: dict[str, None] = field(default_factory=dict)
    blocked: dict[Limit, dict[str, None]] = field(default_factory=dict)
    blocked_by: dict[str, Limit] = field(default_factory=dict)
    lock_waits: dict[str, dict[str, None]] = field(default_factory=dict)
    lock_versions: dict[str, Any] = field(default_factory=dict)
    lock_nodes: dict[str, None] = field(default_factory=dict)
    timers: list[tuple[datetime, str]] = field(default_factory=list)

    pods: dict[str, PodView] = field(default_factory=dict)
    unpaired: dict[str, str] = field(default_factory=dict)
    remade: dict[str, None] = field(default_factory=dict)
    pod_of: dict[str, str] = field(default_factory=dict)
    task_results: dict[str, Object] = field(default_factory=dict)
    fresh_pods: dict[str, None] = field(default_factory=dict)
    fresh_results: dict[str, None] = field(default_factory=dict)
    awaited_results: dict[str, datetime] = field(default_factory=dict)
    missing: dict[str, None] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    delayed: dict[str, str] = field(default_factory=dict)
    refused_claims: dict[str, str] = field(default_factory=dict)
    held_back: dict[str, tuple[datetime, str]] = field(default_factory=dict)
    task_set: Object | None = None
    tasks: dict[str, Any] = field(default_factory=dict)

    now: datetime = LONG_AGO
    second: datetime = LONG_AGO
    depth: int = 0
    active_pods: int = 0
    updated: bool = False
    claims: list[Action] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)
    after: list[Action] = field(default_factory=list)
    events: list[tuple[str, str, str, Node | None]] = field(default_factory=list)
    waits: dict[str, str] = field(default_factory=dict)
    templates: Templates = None  # type: ignore[assignment]  # set as soon as the spec is known

    # -- identity: asked for dozens of times for every node, and never another -----------------------------------------

    @cached_property
    def name(self) -> str:
        return str(self.workflow["metadata"]["name"])

    @cached_property
    def namespace(self) -> str:
        return str(self.workflow["metadata"].get("namespace", ""))

    @cached_property
    def uid(self) -> str:
        return str(self.workflow["metadata"].get("uid", ""))

    @cached_property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"

    def node_id(self, name: str) -> str:
        known = self.ids.get(name)
        if known is None:
            known = self.ids[name] = names.node_id(self.name, name)
        return known

    def pod_name(self, node_name: str, template: str) -> str:
        version = names.pod_name_version(self.annotations)
        return names.pod_name(self.name, node_name, template, self.node_id(node_name), version)

    def node_named(self, name: str) -> Node | None:
        return self.nodes.by_id.get(self.node_id(name))

    # -- the workflow's own state ------------------------------------------------------------------------------------

    @property
    def phase(self) -> str:
        phase: str = self.status.get("phase", "")
        return phase

    @property
    def shutdown(self) -> str:
        return str(self.spec.get("shutdown") or "")

    def lets_run(self, on_exit: bool) -> bool:
        """Whether a shutdown, if any, still allows a pod to start: "Stop" lets exit handlers run."""
        return not self.shutdown or (self.shutdown == "Stop" and on_exit)

    @property
    def deadline(self) -> datetime | None:
        """When the whole workflow must be done."""
        seconds = self.spec.get("activeDeadlineSeconds")
        if seconds is None:
            return None
        started = moment(self.status.get("startedAt"))
        return None if started is None else started + timedelta(seconds=int(seconds))

    @property
    def is_past_deadline(self) -> bool:
        deadline = self.deadline
        return deadline is not None and self.now > deadline

    def set_status(self, **fields: Any) -> None:
        """Sets top-level status keys; None removes."""
        for key, value in fields.items():
            if value is None:
                if self.status.pop(key, None) is not None:
                    self.updated = True
            elif self.status.get(key) != value:
                self.status[key] = value
                self.updated = True

    def set_global(self, name: str, value: Any) -> None:
        if name not in self.globals or self.globals[name] != value:
            self.globals[name] = value
            self.globals_version += 1

    def values(self, *local: Values) -> Values:
        """The variables of a template: local ones before the workflow's."""
        return Layers(*local, self.globals)

    # -- what to look at ---------------------------------------------------------------------------------------------

    def mark(self, node_id: str) -> None:
        """Says that a node, and so everything that called it, needs another look."""
        while True:
            call = self.calls.get(node_id)
            if call is None:
                return
            marked = self.dirty.get(call.parent)
            if marked is None:
                marked = self.dirty[call.parent] = {}
            if node_id in marked:
                return
            marked[node_id] = None
            if not call.parent:
                return
            node_id = call.parent

    def mark_below(self, parent: str, node_id: str) -> None:
        """Says that a composite needs another look at a node of its that no call made (a TaskGroup)."""
        self.dirty.setdefault(parent, {})[node_id] = None
        self.mark(parent)

    def is_dirty(self, call: Call) -> bool:
        marked = self.dirty.get(call.parent)
        return marked is not None and call.node_id in marked

    def clean(self, call: Call) -> None:
        marked = self.dirty.get(call.parent)
        if marked is not None:
            marked.pop(call.node_id, None)
            if not marked:
                del self.dirty[call.parent]

    def take_dirty(self, parent: str) -> dict[str, None]:
        """The dirty nodes that a composite evaluates. They stay dirty until executed or, when done, `visited`."""
        return dict(self.dirty.get(parent, ()))

    def visited(self, parent: str, seen: Mapping[str, None]) -> None:
        """Takes the marks back from those of ``seen`` that are done: nothing executes them any more."""
        marked = self.dirty.get(parent)
        if marked is None:
            return
        for node_id in seen:
            node = self.nodes.by_id.get(node_id)
            if node is not None and node.phase_fulfilled:
                marked.pop(node_id, None)
        if not marked:
            del self.dirty[parent]

    def at(self, when: datetime, node_id: str = "") -> None:
        """Asks for another look at a node (or the whole workflow) at a moment."""
        heapq.heappush(self.timers, (when, node_id))

    # -- nodes -------------------------------------------------------------------------------------------------------

    def mark_phase(self, node: Node, phase: str, message: str | None = None) -> Node:
        """Gives a node a phase, the time it finished, and a message unless that is None."""
        fields: dict[str, Any] = {"phase": phase}
        if message is not None:
            fields["message"] = message
        if node.phase != "Running" and phase in UNSUCCESSFUL and node.synced is not None:
            self.nodes.update(node, synced=True)  # which alone is no reason to write
        changed = self.nodes.update(node, **fields)
        if node.finished_at is None and node.fulfilled:
            changed = self.nodes.update(node, finished_at=self.second) or changed
        self.updated = self.updated or changed
        return node

    def mark_error(self, node: Node, problem: Exception | str) -> Node:
        return self.mark_phase(node, "Error", str(problem))

    def update(self, node: Node, **fields: Any) -> None:
        if self.nodes.update(node, **fields):
            self.updated = True

    def link(self, parent: Node, child_id: str) -> None:
        if self.nodes.link(parent, child_id):
            self.updated = True

    def attempts(self, node: Node) -> list[Node]:
        """The attempts of a retry node, first to last; hooks are children of it too, but no attempts."""
        found = (self.nodes.by_id.get(child) for child in node.children)
        return [child for child in found if child is not None and _is_attempt(child, node)]

    def is_in_exit_handler(self, node: Node) -> bool:
        current: Node | None = node
        while current is not None:
            if current.display_name.endswith(".onExit"):
                return True
            current = self.nodes.by_id.get(current.boundary_id) if current.boundary_id else None
        return False

    def terminate(self, node: Node) -> None:
        """Ends the pod of a node (a daemon's)."""
        from tiphys.workflows.plan import leaf

        leaf.terminate_pod(self, node)

    def database_limit(self, name: names.LockName) -> int:
        """The limit of a lock that is kept in the database: mutexes have one holder, others what the lookup says."""
        ask = getattr(self.lookup, "sync_limit", None)
        found = ask(name.namespace, name.resource) if ask is not None else None
        return int(found) if found is not None else 1

    def validate(self) -> str | None:
        """What is wrong with the workflow, None for nothing."""
        from tiphys.workflows.plan import validation

        return validation.problem_of(self)

    def emit(self, type_: str, reason: str, message: str, node: Node | None = None) -> None:
        """Notes a Kubernetes event about the workflow."""
        self.events.append((type_, reason, message, node))


def _is_attempt(child: Node, node: Node) -> bool:
    """Whether a child of a retry node is an attempt: a hook below it that is itself retried has the same flag."""
    return child.retried and child.name.startswith(f"{node.name}(")
